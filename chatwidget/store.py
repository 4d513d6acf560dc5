"""The database as the event loop sees it: reads on a few threads, writes committed in groups.

Django's own `sync_to_async` sends every call of a process through one thread and closes the
connection after each. Here readers have connections of their own, and one writer commits
everything that queued up meanwhile in a single transaction: the more writers wait, the cheaper
each write becomes. What it costs: `write` returns only after the group's commit, and a function
given to it must be a short, repeatable piece of database work without side effects elsewhere.
"""

import asyncio
import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection, transaction

P = ParamSpec("P")
T = TypeVar("T")

READERS = 4
GROUP = 200
"""At most this many writes share one commit."""


@dataclass(slots=True)
class Write:
    """One piece of work, who waits for it, and what came of it."""

    work: Callable[[], Any]
    future: "asyncio.Future[Any] | Future[Any]"
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        """Tell whoever waits, from where they can be told; who was cancelled need not hear it."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Store:
    """The threads that do this process's database work. `close` ends them."""

    def __init__(self) -> None:
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._open = True
        self._opening = threading.Lock()
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_groups, name="store-write", daemon=True)
        self._writer.start()

    async def read(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `work(…)`, run on a reader's thread; tried again once on a lost connection."""
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, _with_connection, partial(work, *args, **kwargs)
        )

    async def write(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `work(…)` after it has been committed, together with whatever else waited.

        Raises what `work` raised; then nothing of it is stored. Cancelling the caller does not
        undo a write that is already queued. Raises RuntimeError once the store is closed.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(Write(partial(work, *args, **kwargs), future))
        return await future

    def commit(self, work: Callable[[], T]) -> T:
        """As `write`, for a thread that can wait."""
        _give_back()  # or those who wait for the writer hold every connection, and it has none
        future: Future[T] = Future()
        self._put(Write(work, future))
        return future.result()

    def _put(self, write: Write) -> None:
        with self._opening:
            if not self._open:
                raise RuntimeError("the store is closed")
            self._queue.put(write)

    def close(self) -> None:
        """Finish what is queued and end the threads."""
        with self._opening:
            self._open = False
            self._queue.put(None)
        self._writer.join(timeout=10)
        self._readers.shutdown(wait=True)

    def _write_groups(self) -> None:
        while True:
            group = [self._queue.get()]
            while len(group) < GROUP and not self._queue.empty():
                group.append(self._queue.get())
            writes = [write for write in group if write is not None]
            if writes:
                _commit(writes)
                _settle(writes)
            if len(writes) < len(group):
                connection.close()
                return


def _with_connection(work: Callable[[], T]) -> T:
    """Run `work`, once more on a fresh connection if the database had dropped the old one."""
    try:
        return work()
    except (OperationalError, InterfaceError):
        connection.close()
        return work()
    finally:
        _give_back()


def _give_back() -> None:
    """Let the pool have this thread's connection, where there is a pool."""
    if connection.settings_dict["OPTIONS"].get("pool"):
        connection.close()


def _commit(writes: list[Write]) -> None:
    """Commit all in one transaction, or, when one of them fails, each in its own."""
    try:
        _with_connection(partial(_together, writes))
    except BaseException as error:  # whatever it is, the writer lives on
        if len(writes) == 1:
            writes[0].error = error
            return
        for write in writes:
            _commit([write])


def _together(writes: list[Write]) -> None:
    with transaction.atomic():
        for write in writes:
            write.result = write.work()


def _settle(writes: list[Write]) -> None:
    """Tell everybody what came of it, each event loop by one call."""
    by_loop: defaultdict[asyncio.AbstractEventLoop | None, list[Write]] = defaultdict(list)
    for write in writes:
        future = write.future
        by_loop[None if isinstance(future, Future) else future.get_loop()].append(write)
    for loop, told in by_loop.items():
        if loop is None:
            _tell(told)
        else:
            with suppress(RuntimeError):  # it is closed, and nobody waits
                loop.call_soon_threadsafe(_tell, told)


def _tell(writes: list[Write]) -> None:
    for write in writes:
        write.settle()
