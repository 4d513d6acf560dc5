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
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection, transaction

P = ParamSpec("P")
T = TypeVar("T")

READERS = 4
GROUP = 200
"""At most this many writes share one commit."""

Write = tuple[Callable[[], Any], "Future[Any]"]


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
        return await asyncio.wrap_future(self._queued(partial(work, *args, **kwargs)))

    def commit(self, work: Callable[[], T]) -> T:
        """As `write`, for a thread that can wait."""
        _give_back()  # or those who wait for the writer hold every connection, and it has none
        return self._queued(work).result()

    def _queued(self, work: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        with self._opening:
            if not self._open:
                raise RuntimeError("the store is closed")
            self._queue.put((work, future))
        return future

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
        results = _with_connection(partial(_together, writes))
    except BaseException:  # whatever it is, the writer lives on
        for work, future in writes:
            try:
                alone = _with_connection(partial(_together, [(work, Future())]))
            except BaseException as error:
                _settle(future, error=error)
            else:
                _settle(future, result=alone[0])
    else:
        for (_, future), result in zip(writes, results, strict=True):
            _settle(future, result=result)


def _together(writes: list[Write]) -> list[Any]:
    with transaction.atomic():
        return [work() for work, _ in writes]


def _settle(
    future: "Future[Any]", *, result: Any = None, error: BaseException | None = None
) -> None:
    if not future.set_running_or_notify_cancel():
        return  # the caller was cancelled; the write stands all the same
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
