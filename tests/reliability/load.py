"""Visitors on bad networks: tabs that come back as the widget does, and accounts of what they saw.

All times are `time.monotonic()`, which the simulators stamp their tokens with, too.
"""

import asyncio
import contextlib
import gc
import json
import random
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import websockets

from ..visitor import FINAL, JSON, Screen, Visitor
from .report import Report, percentile

# The widget's rules for coming back: frontend/src/backoff.ts and socket.ts.
FIRST_S, LONGEST_S, STEADY_S, READY_S, TOO_MANY_S = 0.5, 30.0, 5.0, 8.0, 10.0
TOO_MANY = 4429
TOO_LATE_S = 0.020
"""A full run whose generator lagged more than this at p99 says nothing about the service."""


def reset(transport: asyncio.BaseTransport) -> None:
    """Cut a connection as a lost network does: a reset, no goodbye."""
    raw: socket.socket | None = transport.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert isinstance(transport, asyncio.Transport)
    transport.abort()


class Tab(Screen):
    """One tab on one conversation. Within `async with` it keeps itself connected.

    `pace` shortens the waits between attempts; 1 is the widget's own.
    """

    def __init__(self, visitor: Visitor, conversation: str, *, pace: float = 1.0) -> None:
        super().__init__()
        self.visitor, self.conversation, self.pace = visitor, conversation, pace
        self.watch: Callable[[], None] = lambda: None
        """Called after every frame."""
        self.ready = False
        self.lost: list[tuple[float, int]] = []
        """When a connection was lost, and its close code."""
        self.returned: list[float] = []
        """When a `ready` came, the first one included."""
        self.back: list[float] = []
        """When the network was back after a cut."""
        self._connection: websockets.ClientConnection | None = None
        self._online, self._news, self._poked = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._online.set()

    async def __aenter__(self) -> Self:
        self._living = asyncio.create_task(self._live())
        await self.until_ready()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._living.cancel()
        await asyncio.gather(self._living, return_exceptions=True)

    async def until(self, holds: Callable[[], Any], *, timeout_s: float = 60.0) -> None:
        """Look after every frame until `holds()`."""
        async with asyncio.timeout(timeout_s):
            while not holds():
                if self._living.done():
                    self._living.result()
                self._news.clear()
                await self._news.wait()

    async def until_lost(self) -> None:
        await self.until(lambda: self.lost)

    async def until_ready(self) -> None:
        await self.until(lambda: self.ready)

    async def until_ended(self, answer: str) -> JSON:
        """Wait until the tab shows the end of an answer."""
        await self.until(lambda: self.messages.get(answer, {}).get("status") in FINAL)
        return self.messages[answer]

    def cut(self) -> None:
        """Lose the network, until `restore`."""
        self._online.clear()
        if self._connection is not None:
            reset(self._connection.transport)

    def restore(self) -> None:
        """The network is back: the browser says so, and the widget tries at once."""
        self.back.append(time.monotonic())
        self._online.set()
        self._poked.set()

    async def lose_network(self, offline_s: float) -> None:
        """Be cut off for a while."""
        self.cut()
        try:
            await asyncio.sleep(offline_s)
        finally:
            self.restore()

    async def _live(self) -> None:
        attempt = 0
        while True:
            await self._online.wait()
            self._poked.clear()
            opened = time.monotonic()
            code, reason = await self._stay()
            now = time.monotonic()
            steady = self.ready and now - opened >= STEADY_S * self.pace
            if self.ready:
                self.lost.append((now, code))
            self.ready = False
            self._news.set()
            hint = re.match(r"retry_in=([\d.]+)", reason)
            attempt = 0 if steady or hint else attempt + 1
            if not self._online.is_set():
                attempt = 0
                continue
            if hint:
                wait_s = min(float(hint[1]), LONGEST_S)
            else:
                wait_s = max(backoff(attempt), TOO_MANY_S if code == TOO_MANY else 0.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s * self.pace):
                    await self._poked.wait()
                    attempt = 0

    async def _stay(self) -> tuple[int, str]:
        """Keep one connection as long as it lasts. Returns close code and reason."""
        address = self.visitor.base.replace("http", "ws", 1) + "/ws/v1/"
        try:
            async with websockets.connect(
                address, compression=None, proxy=None, ping_interval=None, open_timeout=READY_S
            ) as self._connection:
                if not self._online.is_set():
                    reset(self._connection.transport)
                hello = {
                    "type": "hello",
                    "token": self.visitor.token,
                    "conversation": self.conversation,
                }
                await self._connection.send(json.dumps(hello))
                async with asyncio.timeout(READY_S):
                    while not self.ready:
                        await self._take(self._connection)
                while True:
                    await self._take(self._connection)
        except websockets.ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
        except (OSError, TimeoutError, websockets.WebSocketException):
            return 1006, ""
        finally:
            self._connection = None

    async def _take(self, connection: websockets.ClientConnection) -> None:
        frame: JSON = json.loads(await connection.recv())
        gaps = self.gaps
        self.show(frame)
        if frame["type"] == "ready":
            if not self.ready:
                self.returned.append(time.monotonic())
            self.ready = True
        if self.gaps > gaps:
            await connection.send(json.dumps({"type": "sync", "conversation": self.conversation}))
        self.watch()
        self._news.set()


def backoff(attempt: int) -> float:
    """Return the seconds before attempt number `attempt`, as the widget draws them."""
    return random.uniform(0, min(LONGEST_S, FIRST_S * 2**attempt))


@dataclass
class Account:
    """What one tab showed of an answer whose tokens are `<number>@<when> `."""

    seen: list[tuple[float, float]] = field(default_factory=list)
    """When each token was sent, and when it was shown."""
    duplicates: int = 0
    disorders: int = 0
    taken_back: int = 0
    """Times that text which had been shown was gone."""
    _text: str = ""

    def show(self, text: str) -> None:
        """The tab shows this text now."""
        now = time.monotonic()
        if not text.startswith(self._text):
            self.taken_back += 1
            self.seen, self._text = [], ""
        for token in text[len(self._text) :].split():
            number, _, stamp = token.partition("@")
            if int(number) < len(self.seen):
                self.duplicates += 1
            elif int(number) > len(self.seen):
                self.disorders += 1
            self.seen.append((float(stamp), now))
        self._text = text

    def delays(self) -> list[float]:
        """Seconds from a token's sending to its being shown."""
        return [shown - sent for sent, shown in self.seen]

    def replays(self, back: list[float]) -> list[float]:
        """Seconds that tokens sent during a cut were shown after the network was `back`."""
        return [
            shown - at
            for at in back
            for sent, shown in self.seen
            if sent < at <= shown and not any(sent < other < at for other in back)
        ]


async def insist(visitor: Visitor, method: str, path: str, body: Any = None) -> Any:
    """Call until the service answers, as the widget does while a server is away."""
    for attempt in range(1, 100):
        try:
            answer = await visitor.http.request(method, path, json=body)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code < 500:
            assert answer.is_success, f"{answer.status_code}: {answer.text}"
            return answer.json() if answer.content else None
        await asyncio.sleep(backoff(min(attempt, 3)))
    raise AssertionError(f"{method} {path} was never answered")


@asynccontextmanager
async def punctual(report: Report, *, full: bool) -> AsyncIterator[None]:
    """Report how late this process runs meanwhile; a full run that ran late is void in the end.

    It does not stop to collect garbage: with a thousand tabs that takes up to half a second.
    """
    late: list[float] = []

    async def measure() -> None:
        due = time.monotonic()
        while True:
            due += 0.05
            await asyncio.sleep(due - time.monotonic())
            late.append(max(0.0, time.monotonic() - due))
            due = max(due, time.monotonic() - 0.05)

    gc.collect()
    gc.disable()
    measuring = asyncio.create_task(measure())
    try:
        yield
    finally:
        gc.enable()
        measuring.cancel()
        report.tell_times("generator's own lateness", late)
    report.void = full and percentile(late, 99) > TOO_LATE_S
