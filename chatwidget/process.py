"""What one process runs beside answering requests: store, hub, runner, background jobs.

Views run on threads, so everything they ask of it goes through `current`, whose methods are safe
from any thread and do nothing in a process that runs nothing (a management command, say): what
they would have started is found in the database by a process that does.
"""

import asyncio
import contextlib
import gc
import logging
import sys
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.db import transaction

from . import jobs, memory
from .admission import Verdict, Waiting
from .claims import Claimed
from .events import Frame
from .hub import REVOKED, Hub
from .lanes import Lanes
from .models import Message
from .providers.http import new_client
from .runner import Place, Runner
from .store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")


class Process:
    """The parts that live as long as the event loop. Make it on the loop."""

    def __init__(self, *, background: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.store = Store()
        self.http = new_client()
        self.hub = Hub(self.store)
        self.runner = Runner(self.store, self.hub, self.http)
        self.lanes = Lanes(wake)
        self.jobs = jobs.Loop() if background else None
        self._memory = self.loop.create_task(memory.give_back_always(self.store))

    async def stop(self) -> None:
        """Give running turns back and end everything, in the order of dependence."""
        self._memory.cancel()
        await self.runner.drain()
        if self.jobs:
            await self.jobs.stop()
        await self.lanes.stop()
        await self.hub.close()
        await self.http.aclose()
        await asyncio.to_thread(self.store.close)


_process: Process | None = None
_draining = False
UNDER_WAY_S = 4.0
"""How long a process that ends waits for requests to be answered and sockets to be closed."""


class UnderWay:
    """Counts requests and sockets that are not over. Used on the event loop only."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self._count += 1
        self._none.clear()

    def __exit__(self, *exc: object) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def wait_for_none(self, seconds: float) -> None:
        """Return when none is under way, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._none.wait()


under_way = UnderWay()


def start(*, background: bool | None = None) -> Process:
    """Start this process's parts, once. `background` overrides EMBEDDED_WORKER."""
    global _process
    if _process is None:
        _favour_the_loop()
        _process = Process(
            background=settings.EMBEDDED_WORKER if background is None else background
        )
    return _process


def _favour_the_loop() -> None:
    """Let nothing that computes hold up frames: a thread gives way after 1 ms instead of 5, and
    the collector, which stops everything, passes over what was loaded before and comes less often.

    Yet not too seldom: closed sockets are garbage in cycles. The second collection has it forget
    how much there was before, else it would wait for a quarter of that.
    """
    sys.setswitchinterval(0.001)
    gc.collect()
    gc.freeze()
    gc.collect()
    gc.set_threshold(5000, 5, 5)


async def stop() -> None:
    """End what `start` started."""
    global _process
    if _process is not None:
        try:
            await _process.stop()  # its jobs need it until they have stopped
        finally:
            _process = None


def leave() -> None:
    """Leave service: say so to whoever asks for readiness, and send sockets away."""
    global _draining
    _draining = True
    if _process is not None:
        _process.hub.send_away()


async def drain() -> None:
    """End in good order: let requests and sockets come to their end, then give turns back."""
    leave()
    await under_way.wait_for_none(UNDER_WAY_S)
    await stop()


def count_tasks() -> int:
    """Return how many tasks the event loop has. Safe from any thread."""
    return len(asyncio.all_tasks(_process.loop)) if _process is not None else 0


def is_draining() -> bool:
    """Whether this process is leaving service."""
    return _draining


def running() -> Process:
    """Return the process; only for code that runs inside it."""
    assert _process is not None, "this runs on the event loop of a started process"
    return _process


def _on_loop(act: Callable[[Process], Any]) -> None:
    if (process := _process) is not None:
        process.loop.call_soon_threadsafe(act, process)


def commit(work: Callable[[], T]) -> T:
    """Return `work()` after its commit, one with whatever else this process has to store.

    `work` is as for `Store.write`. Many who ask at once share a few transactions, where each
    would otherwise wait for the others' locks.
    """
    if (process := _process) is not None:
        return process.store.commit(work)
    with transaction.atomic():
        return work()


def take_place(agent: uuid.UUID) -> bool:
    """Take a place for an answer of this agent, if there is one here that nobody waits for."""
    return (process := _process) is not None and process.runner.take_place(agent)


def leave_place(agent: uuid.UUID) -> None:
    """Give back a place that was taken for nothing."""
    _on_loop(lambda process: process.runner.leave_place(agent))


def run_turn(answer: Message, claimed: Claimed | None = None) -> None:
    """Run a stored turn here, when there is a place for it; at once if it was leased for one."""
    waiting, token = Waiting.of(answer), answer.lease_token
    place = Place(Verdict.ASK, token, claimed) if token else None
    _on_loop(lambda process: process.runner.start(waiting, place))


def stop_turn(answer: uuid.UUID) -> None:
    """Stop a turn, if it runs here; elsewhere the stored wish is found."""
    _on_loop(lambda process: process.runner.stop(answer))


def publish(visitor: uuid.UUID | str, *frames: Frame) -> None:
    """Tell the visitor's sockets, here and in other processes, what has been committed."""
    _on_loop(lambda process: process.hub.publish(str(visitor), *frames))


def revoke(visitor: uuid.UUID | str) -> None:
    """Close the visitor's sockets, here and in other processes."""

    def act(process: Process) -> None:
        process.hub.revoke(str(visitor))
        process.hub.ring(str(visitor), REVOKED)

    _on_loop(act)


def wake(job: str) -> None:
    """Have a background job run now."""

    def act(process: Process) -> None:
        if process.jobs:
            process.jobs.wake(job)

    _on_loop(act)
