"""What a simulator can do instead of answering properly.

A fault is given to `Simulator.fail_next` or `fail_always`.  It decides what happens to one request:
answer something else, answer late, or close the connection before or after the work was done.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request that a fault is applied to."""

    request: web.Request
    proceed: Callable[[], Awaitable[web.StreamResponse]]
    """Do what would have been done without the fault."""
    released: Callable[[], Awaitable[None]]
    """Wait for the next `Simulator.release()`."""


class Fault:
    """Base of all faults."""

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """Answer with this status.  A body that is not text or bytes is sent as JSON."""

    code: int
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        headers = dict(self.headers)
        if isinstance(self.body, str | bytes):
            body = self.body
        else:
            body = json.dumps(self.body)
            headers.setdefault("Content-Type", "application/json")
        data = body.encode() if isinstance(body, str) else body
        return web.Response(status=self.code, body=data, headers=headers)


def Html(code: int = 502) -> Status:  # noqa: N802  (reads as the faults beside it)
    """A proxy's error page, or with code 200 a captive portal's."""
    page = f"<!doctype html><title>{code}</title><h1>{code} from the gateway</h1>"
    return Status(code, page, {"Content-Type": "text/html; charset=utf-8"})


def RateLimited(retry_after: int | str | None = None) -> Status:  # noqa: N802
    """429; `retry_after` is seconds or an HTTP date, None leaves the header out."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Status(429, {"status": 429, "message": "Too many requests"}, headers)


def Redirect(location: str, code: int = 302) -> Status:  # noqa: N802
    """Send the client elsewhere: to plain http, to a private address."""
    return Status(code, b"", {"Location": location})


def GzipBomb(mebibytes: int = 100) -> Status:  # noqa: N802
    """A small answer that unpacks to `mebibytes` of JSON string."""
    data = gzip.compress(b'"' + b"0" * (mebibytes << 20) + b'"', compresslevel=9)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    return Status(200, data, headers)


@dataclass(frozen=True, slots=True)
class Drop(Fault):
    """Close the connection without doing or answering anything.

    Clients built on aiohttp repeat GET, PUT and DELETE once by themselves when this happens on a
    connection they used before; drop twice to be seen by them.
    """

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        _abort(exchange.request)
        return web.Response()


@dataclass(frozen=True, slots=True)
class DropAfter(Fault):
    """Accepted, answer lost: do the work, then close the connection without an answer.

    httpx-aiohttp 0.2 calls this a ConnectTimeout, as if nothing had been sent; the true error is
    its `__cause__`, aiohttp's ServerDisconnectedError.
    """

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        await exchange.proceed()
        _abort(exchange.request)
        return web.Response()


@dataclass(frozen=True, slots=True)
class Stall(Fault):
    """Answer properly, but only after `seconds`, or with None after `Simulator.release()`."""

    seconds: float | None = None

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        if self.seconds is None:
            await exchange.released()
        else:
            await asyncio.sleep(self.seconds)
        return await exchange.proceed()


@dataclass(frozen=True, slots=True)
class Withhold(Fault):
    """Do the work at once, and answer only after `Simulator.release()`."""

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        response = await exchange.proceed()
        await exchange.released()
        return response


@dataclass(frozen=True, slots=True)
class Raw(Fault):
    """Put these bytes on the wire, whatever they are, and close.

    With `pause` (seconds) byte by byte: a header or a body that drips.
    """

    data: bytes
    pause: float = 0.0

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        transport = exchange.request.transport
        if transport is not None:
            size = 1 if self.pause else max(1, len(self.data))
            for start in range(0, len(self.data), size):
                transport.write(self.data[start : start + size])
                await asyncio.sleep(self.pause)
            transport.close()
        return web.Response()


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
