"""The part every simulator has: an HTTP server in a thread, a record, faults, waiting.

State is changed by the server's thread and by the test's.  Both do it inside `changing()`, which
holds one lock and wakes whoever waits; so nothing here or in a test needs to sleep.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from .faults import Exchange, Fault

ANY = "*"
"""Stands for every operation in `fail_next` and `fail_always`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it arrived."""

    operation: str
    """The simulator's name for it, such as `send`; `unknown` if there is none."""
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names are looked up without regard to case."""
    body: bytes
    json: Any
    """The parsed body; None if it is empty or not JSON."""
    at: float
    """`time.monotonic()` at arrival."""


Chooser = Callable[[Received], Fault | None]


class Simulator:
    """A vendor's server on `127.0.0.1`, for use in a `with` statement.

    A subclass says what a request is called (`operation`) and how it is answered (`respond`).
    """

    def __init__(self, *, port: int = 0) -> None:
        self.port = port
        self.requests: list[Received] = []
        """Every request, in order of arrival, also those that a fault answered."""
        self.violations: list[str] = []
        """What was asked against the vendor's document.  A test ends by asserting it is empty."""
        self.stalled = 0
        """Requests that wait for `release` now."""
        self._condition = threading.Condition()
        self._waiters: list[asyncio.Future[None]] = []
        self._releases = 0
        self._next: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Chooser] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    # For subclasses

    def operation(self, method: str, path: str) -> str:
        """Name the operation, for `Received` and for faults."""
        raise NotImplementedError

    async def respond(self, received: Received, request: web.Request) -> web.StreamResponse:
        """Answer a request that no fault was planned for."""
        raise NotImplementedError

    # Server

    @property
    def url(self) -> str:
        """Address without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve.  After `stop` it comes back on the same port, with everything it knew."""
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        self._thread.daemon = True
        self._thread.start()
        started.result(timeout=10)

    def stop(self) -> None:
        """Close all connections and refuse new ones."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = self._loop = self._stopping = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def stopping(self) -> bool:
        return self._stopping is None or self._stopping.is_set()

    async def _serve(self, started: Future[None]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A handler is cancelled when its client leaves: that is how an aborted stream is noticed.
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.01
        )
        await runner.setup()
        try:
            listening = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        except OSError as error:
            started.set_exception(error)
            return
        await web.SockSite(runner, listening, backlog=1024).start()
        self.port = listening.getsockname()[1]
        started.set_result(None)
        await self._stopping.wait()
        await _close(runner, listening)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        received = await self._receive(request)
        with self.changing():
            self.requests.append(received)
            fault = self._fault(received)

        async def proceed() -> web.StreamResponse:
            return await self.respond(received, request)

        try:
            if fault is None:
                return await proceed()
            return await fault.answer(Exchange(request, proceed, self.released))
        except ConnectionError:
            raise
        except Exception as error:
            self.violate(f"{received.operation}: the simulator itself failed: {error!r}")
            raise

    async def _receive(self, request: web.Request) -> Received:
        at = time.monotonic()
        body = await request.read()
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = None
        return Received(
            operation=self.operation(request.method, request.path),
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=request.headers,
            body=body,
            json=parsed,
            at=at,
        )

    # Faults

    def fail_next(self, operation: str, *faults: Fault) -> None:
        """Let the next requests for `operation` fail, one fault each."""
        with self.changing():
            self._next[operation].extend(faults)

    def fail_always(self, operation: str, fault: Fault | Chooser) -> None:
        """Let all requests for `operation` fail until `heal`, or those a function picks."""
        with self.changing():
            self._always[operation] = fault if not isinstance(fault, Fault) else lambda _: fault

    def heal(self) -> None:
        """Forget all planned faults."""
        with self.changing():
            self._next.clear()
            self._always.clear()

    def _fault(self, received: Received) -> Fault | None:
        for operation in (received.operation, ANY):
            if self._next[operation]:
                return self._next[operation].popleft()
            if (chooser := self._always.get(operation)) and (fault := chooser(received)):
                return fault
        return None

    def release(self) -> None:
        """Let go on what stalls until released."""
        with self.changing():
            self._releases += 1

    async def released(self) -> None:
        """Wait for the next `release`."""
        seen = self._releases
        with self.changing():
            self.stalled += 1
        try:
            await self.until(lambda: self._releases > seen)
        finally:
            with self.changing():
                self.stalled -= 1

    # Record

    def calls(self, operation: str) -> list[Received]:
        """The requests for one operation, in order of arrival."""
        return [received for received in self.requests if received.operation == operation]

    def violate(self, problem: str) -> None:
        """Put something that should not have been asked on record."""
        with self.changing():
            self.violations.append(problem)

    # Change and waiting

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock while state is changed, then wake whoever waits.  Never await inside."""
        with self._condition:
            yield
            self._condition.notify_all()
        if self._waiters and self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def wait_for(self, predicate: Callable[[], object], timeout: float = 20.0) -> None:
        """Block the test until `predicate` holds, looking after every request and change.

        Raises AssertionError after `timeout` seconds, with what was asked so far.
        """
        with self._condition:
            if not self._condition.wait_for(lambda: bool(predicate()), timeout):
                asked = ", ".join(received.operation for received in self.requests[-20:])
                raise AssertionError(f"not so within {timeout} s; last requests: {asked or 'none'}")

    async def eventually(self, predicate: Callable[[], object], timeout: float = 20.0) -> None:
        """`wait_for` for asynchronous tests, whose own loop must go on turning meanwhile."""
        await asyncio.to_thread(self.wait_for, predicate, timeout)

    async def until(self, predicate: Callable[[], bool]) -> None:
        """As `wait_for`, for the server's own thread and without a limit."""
        while True:
            with self._condition:  # or a change between look and append would wake nobody
                if predicate():
                    return
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
            await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


async def _close(runner: web.AppRunner, listening: socket.socket) -> None:
    """Stop serving and leave no connection behind.

    asyncio forgets a connection that it is just accepting when its server closes, and waits
    forever to close one whose peer does not read.
    """
    asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(3):  # an accepted connection is a transport two turns of the loop later
        await asyncio.sleep(0)
    server = runner.server
    assert server is not None, "it was set up"
    transports = [one.transport for one in server.connections]
    await runner.cleanup()
    for transport in transports:
        if transport is not None:
            transport.abort()
