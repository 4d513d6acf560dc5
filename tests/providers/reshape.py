"""Faults of an answer's bytes that any simulator can show: what it would say, told differently.

`Reshape` has the simulator answer itself once more over loopback and hands on what comes,
altered. So one catalogue serves every vendor, and streams are fed whole, byte by byte, cut short.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from tests.simulators.base import Received
from tests.simulators.faults import Exchange, Fault

MARK = "MARK"
"""A word in the answer that `bad_utf8` replaces with bytes that are no text."""
BAD = b"\xff\xfe"
AGAIN = "X-Reshaped"
Bytes = AsyncIterator[bytes]
Shape = Callable[[Bytes], Bytes]


class Reset(Exception):
    """The connection breaks here."""


def asked_by_us(received: Received) -> bool:
    """Whether the request is a simulator's own, to itself."""
    return AGAIN in received.headers


@dataclass(frozen=True, slots=True)
class Reshape(Fault):
    """Answer properly, with the events (or the whole body) put through `shape`."""

    shape: Shape
    content_type: str | None = None

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        request = exchange.request
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in ("host", "content-length", "transfer-encoding")
        }
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                request.url,
                headers=headers | {AGAIN: "1"},
                data=await request.read() or None,
            ) as proper,
        ):
            kind = self.content_type or proper.headers["Content-Type"]
            response = web.StreamResponse(status=proper.status)
            response.headers["Content-Type"] = kind
            await response.prepare(request)
            try:
                async for data in self.shape(_events(proper)):
                    await response.write(data)
            except Reset:
                assert request.transport is not None
                request.transport.abort()
            return response


async def _events(proper: aiohttp.ClientResponse) -> Bytes:
    """Whole events where there are any, else whatever the body is."""
    tail = b""
    async for data in proper.content.iter_any():
        *events, tail = (tail + data.replace(b"\r\n", b"\n")).split(b"\n\n")
        for event in events:
            yield event + b"\n\n"
    if tail:
        yield tail


# --- shapes that change nothing of what is said ---------------------------------------------------


async def whole(events: Bytes) -> Bytes:
    yield b"".join([event async for event in events])


async def bytewise(events: Bytes) -> Bytes:
    async for event in events:
        for byte in event:
            yield bytes((byte,))
            await asyncio.sleep(0)


async def crlf(events: Bytes) -> Bytes:
    async for event in events:
        yield event.replace(b"\n", b"\r\n")


async def cr_only(events: Bytes) -> Bytes:
    async for event in events:
        yield event.replace(b"\n", b"\r")


async def bom(events: Bytes) -> Bytes:
    yield b"\xef\xbb\xbf"
    async for event in events:
        yield event


# --- shapes that do -------------------------------------------------------------------------------


async def bad_utf8(events: Bytes) -> Bytes:
    """In the answer's text, or in any string where there is none of it."""
    async for event in events:
        where = MARK.encode() if MARK.encode() in event or event.startswith(b"data") else b'"'
        yield event.replace(where, BAD + where.replace(MARK.encode(), b""), 1)


async def twice(events: Bytes) -> Bytes:
    async for event in events:
        yield event * 2


async def swapped(events: Bytes) -> Bytes:
    """The second and the third event change places; the first often opens the answer."""
    found = [event async for event in events]
    found[1:3] = found[2:0:-1]
    for event in found:
        yield event


async def cut_between(events: Bytes) -> Bytes:
    for _ in range(2):
        yield await anext(events)


async def cut_within(events: Bytes) -> Bytes:
    yield await anext(events)
    event = await anext(events)
    yield event[: len(event) // 2]


async def reset_within(events: Bytes) -> Bytes:
    async for data in cut_within(events):
        yield data
    await asyncio.sleep(0.05)  # what was written arrives before the break
    raise Reset


async def lost(events: Bytes) -> Bytes:
    """All of it is written, and none of it arrives."""
    async for _ in events:
        yield b""
    raise Reset


async def stall_within(events: Bytes) -> Bytes:
    async for data in cut_within(events):
        yield data
    await asyncio.Event().wait()


async def heartbeats(events: Bytes) -> Bytes:
    yield await anext(events)
    while True:
        yield b": keep-alive\n\n"
        await asyncio.sleep(0.02)


async def oversize(events: Bytes) -> Bytes:
    yield await anext(events)
    yield b"data: " + b"x" * (1 << 20) + b"\n\n"
    async for event in events:
        yield event


async def endless_line(events: Bytes) -> Bytes:
    """200 MB without an end."""
    yield b'data: "'
    for _ in range(200):
        yield b"x" * 1_000_000
