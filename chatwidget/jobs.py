"""Background jobs: what `manage.py worker` does, and the server process itself in the default.

Each application registers its jobs in its AppConfig. A job is an async function that does what is
due now and returns whether more may be waiting; it must be safe in several processes at once.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class Job:
    """One registered job and the event that wakes it before its time."""

    name: str
    every_s: float
    run: Work
    wake: asyncio.Event = field(default_factory=asyncio.Event)


_registered: dict[str, tuple[float, Work]] = {}


def register(name: str, *, every_s: float, run: Work) -> None:
    """Have `run` called every `every_s` seconds, and whenever `wake(name)` is called."""
    _registered[name] = (every_s, run)


class Loop:
    """The running jobs of this process."""

    def __init__(self) -> None:
        self.jobs = {name: Job(name, every_s, run) for name, (every_s, run) in _registered.items()}
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(self._repeat(job)) for job in self.jobs.values()]

    def wake(self, name: str) -> None:
        """Run the job now, rather than at its time. Safe from any thread."""
        self._loop.call_soon_threadsafe(self.jobs[name].wake.set)

    async def stop(self) -> None:
        """Stop between two runs where possible; what is under way is cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, job: Job) -> None:
        while True:
            job.wake.clear()
            more = False
            try:
                more = await job.run()
            except Exception:  # a job that fails today is due again tomorrow
                log.exception("job %s failed", job.name)
            if more:
                await asyncio.sleep(0)
                continue
            # Spread, so that several processes do not ask the database in step.
            pause = job.every_s * random.uniform(0.8, 1.2)  # noqa: S311
            try:
                async with asyncio.timeout(pause):
                    await job.wake.wait()
            except TimeoutError:
                pass
