"""How the Moveworks simulator writes a response's stream, properly or oddly."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from .base import Simulator
from .moveworks_ledger import JSON, Response

Ending = Literal[
    "completed", "after_progress", "before_any", "silent", "mid_event", "reset", "error"
]


@dataclass(slots=True)
class StreamOddities:
    """Switches for the bytes of a stream. All off at first."""

    ending: Ending = "completed"
    """`before_any` and `after_progress` close in good order without the answer, `silent` sends no
    byte until released. At the first delta of a message `mid_event` closes within it, `reset`
    aborts the connection behind it, and `error` tells ERROR instead. The assistant works on."""
    error: tuple[str, str] = ("INTERNAL_ERROR", "something went wrong")
    stays_open: bool = False
    """The connection is not closed behind the last event."""
    layout: Literal["named", "typed", "wrapped"] = "named"
    """`typed`: the type is in the data alone; `wrapped`: the data is `{"event", "data"}`."""
    bytewise: bool = False
    """Every byte written by itself: also between the halves of a character."""
    comments: bool = False
    """A comment line before each event."""
    twice: bool = False
    """Each event comes twice."""
    swapped: bool = False
    """Each delta of a message comes after the one that follows it."""
    garbage: bool = False
    """An event that is no JSON comes right behind the first."""
    unknown: bool = False
    """An event of a kind that nobody documented comes first."""


async def write_stream(
    simulator: Simulator,
    response: Response,
    request: web.Request,
    odd: StreamOddities,
    headers: dict[str, str],
) -> web.StreamResponse:
    """Write the response's events as they happen."""
    if odd.ending == "silent":
        await simulator.released()
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
    await stream.prepare(request)
    if odd.ending == "before_any":
        return stream
    if odd.unknown:
        await _write(stream, b'event: WEATHER\ndata: {"sun": true}\n\n', odd)
    sent = 0
    while True:
        kind, data = await _event(simulator, response, sent)
        if kind == "RESPONSE_OUTPUT_DELTA" and data["output"]["type"] == "MESSAGE":
            if odd.ending in ("error", "mid_event", "reset"):
                return await _break_off(stream, request, frame(kind, data, odd), odd)
            if odd.swapped and sent + 1 == len(response.events):
                following = await _event(simulator, response, sent + 1)
                if following[0] == kind:
                    await _write(stream, frame(*following, odd), odd)
        written = frame(kind, data, odd) * (2 if odd.twice else 1)
        if odd.garbage and sent == 0:
            written += b"data: {half\n\n"
        await _write(stream, (b": keep-alive\n\n" if odd.comments else b"") + written, odd)
        sent += 1
        if kind == "RESPONSE_IN_PROGRESS" and odd.ending == "after_progress":
            return stream
        if kind in ("RESPONSE_COMPLETED", "RESPONSE_FAILED"):
            if odd.stays_open:
                await asyncio.sleep(3600)
            return stream


async def _event(simulator: Simulator, response: Response, number: int) -> tuple[str, JSON]:
    """The response's event of this number, once there is one."""
    await simulator.until(lambda: len(response.events) > number)
    return response.events[number]


async def _break_off(
    stream: web.StreamResponse, request: web.Request, next_frame: bytes, odd: StreamOddities
) -> web.StreamResponse:
    if odd.ending == "error":
        code, message = odd.error
        data = {"error": {"code": code, "message": message}}
        await _write(stream, frame("ERROR", data, odd), odd)
    elif odd.ending == "mid_event":
        await _write(stream, next_frame[: len(next_frame) // 2], odd)
    elif request.transport is not None:
        await _write(stream, next_frame, odd)
        request.transport.abort()
    return stream


def frame(kind: str, data: JSON, odd: StreamOddities) -> bytes:
    """One event as it is written."""
    if odd.layout == "wrapped":
        text = json.dumps({"event": kind, "data": data}, ensure_ascii=False)
        return f"data: {text}\n\n".encode()
    name = f"event: {kind}\n" if odd.layout == "named" else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


async def _write(stream: web.StreamResponse, data: bytes, odd: StreamOddities) -> None:
    for piece in [data] if not odd.bytewise else [bytes((value,)) for value in data]:
        await stream.write(piece)
        if odd.bytewise:
            await asyncio.sleep(0)
