"""Background work side by side, in one lane per vendor: one that stalls fills only its own lane."""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

WIDTH = 16
"""Tasks at once in one lane."""
LONGEST_REST_S = 60.0


@dataclass(frozen=True, slots=True)
class Room:
    """How much each of a job's lanes holds, while the job decides what to take on."""

    held: Counter[Hashable]

    @property
    def full(self) -> list[Any]:
        """The vendors that take nothing more now."""
        return [vendor for vendor, count in self.held.items() if count >= WIDTH]

    def left(self, vendor: Hashable) -> int:
        """Return how many places the vendor's lane has."""
        return max(0, WIDTH - self.held[vendor])

    def take(self, vendor: Hashable) -> bool:
        """Take a place in the vendor's lane. Returns False if there is none."""
        if self.held[vendor] >= WIDTH:
            return False
        self.held[vendor] += 1
        return True


class Lanes:
    """The tasks that this process's jobs have under way. Use it on the loop.

    A job looks for what is due, as far as its lanes have `room`, and starts it; it does not wait
    for it, but is woken when a lane that may have been full has emptied by half.
    """

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake
        self._tasks: defaultdict[tuple[str, Hashable], set[asyncio.Task[None]]] = defaultdict(set)
        self._rests: dict[tuple[str, Hashable], float] = {}
        self._stopping = False

    def room(self, job: str) -> Room:
        """Return what the job's lanes hold now."""
        now = time.monotonic()
        self._rests = {lane: until for lane, until in self._rests.items() if until > now}
        held = Counter(
            {vendor: len(tasks) for (of, vendor), tasks in self._tasks.items() if of == job}
        )
        return Room(held | Counter({vendor: WIDTH for of, vendor in self._rests if of == job}))

    def rest(self, job: str, vendor: Hashable, seconds: float) -> None:
        """Take nothing more on for a vendor who asked for that, a minute at most."""
        self._rests[job, vendor] = time.monotonic() + min(seconds, LONGEST_REST_S)

    def start(self, job: str, vendor: Hashable, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the vendor's lane of this job."""
        lane = (job, vendor)
        task = asyncio.create_task(work)
        self._tasks[lane].add(task)
        task.add_done_callback(lambda done: self._end(lane, done))

    async def stop(self) -> None:
        """Cancel everything and wait until it has cleaned up."""
        self._stopping = True
        tasks = [task for held in self._tasks.values() for task in held]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, lane: tuple[str, Hashable], task: asyncio.Task[None]) -> None:
        held = self._tasks[lane]
        held.discard(task)
        if not held:
            del self._tasks[lane]
        if not task.cancelled() and (error := task.exception()):
            log.error("work of the job %r failed", lane[0], exc_info=error)
        if len(held) == WIDTH // 2 and not self._stopping:
            self._wake(lane[0])
