"""The visitors of one run, in a process of their own: they come, ask, listen, and are counted.

    python -m benchmarks.load < job.json

Prints one Row as JSON. The server is looked at from here, just before and just after.
"""

import asyncio
import gc
import json
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import aiohttp

from . import processes
from .figures import Row, percentile
from .receipts import Receipts, faults
from .scenarios import Scenario
from .visitors import VISITORS, Target, Visitor

T = TypeVar("T")

AT_ONCE = 50
"""So many arrive, or read back, at once; questions keep the scenario's pace instead."""
WARM_UP = 2
"""Visitors who come first, so that nobody pays for what is loaded lazily."""
SETTLE_S = 1.0
TICK_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of one contestant."""

    contestant: str
    speaks: str
    address: str
    upstream: str
    server: int | None
    """The server's process id; None: there is none between."""
    scenario: Scenario
    known: list[dict[str, str]]
    """As whom visitors come, WARM_UP more than the scenario has; empty: as nobody."""

    def visitors(self) -> list[Visitor]:
        """Return all visitors, those of the warm-up last."""
        count = self.scenario.visitors + WARM_UP
        known = self.known or [{}] * count
        return [
            VISITORS[self.speaks](Target(address=self.address, visitor=one))
            for one in known[:count]
        ]

    def cpu_s(self) -> float | None:
        return processes.cpu_s(self.server) if self.server else None

    def memory_kib(self) -> int | None:
        return processes.memory_kib(self.server) if self.server else None


class Lateness:
    """How late this process is to what it wants to do: it cannot see a frame earlier than that."""

    def __init__(self) -> None:
        self._late_ms: list[float] = []
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            self._late_ms.append((time.monotonic() - due) * 1000)

    def p99_ms(self) -> float:
        self._task.cancel()
        return percentile(self._late_ms, 99)


class Steal:
    """How much of the machine's time the host took since this was made."""

    def __init__(self) -> None:
        self._before = processes.steal()

    def percent(self) -> float:
        (stolen, total), (stolen_before, total_before) = processes.steal(), self._before
        return 100 * (stolen - stolen_before) / max(1.0, total - total_before)


async def each(work: Callable[[Visitor], Coroutine[Any, Any, T]], of: Iterable[Visitor]) -> list[T]:
    """Return what `work` returns of each, AT_ONCE at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(visitor: Visitor) -> T:
        async with room:
            return await work(visitor)

    return list(await asyncio.gather(*(one(visitor) for visitor in of)))


def question(tokens: int, rate: float) -> tuple[str, str]:
    """Return a question's id and its text, as the upstream understands it."""
    name = uuid.uuid4().hex
    return name, json.dumps({"id": name, "tokens": tokens, "rate": rate})


async def ledger(upstream: str) -> Any:
    """Return what the upstream knows of the questions since it was last asked."""
    async with aiohttp.ClientSession() as http, http.get(f"{upstream}/ledger") as answer:
        return await answer.json()


def gained_kib(before: int | None, after: int | None, visitors: int) -> float | None:
    return (after - before) / visitors if before is not None and after is not None else None


# --- idle sockets ---------------------------------------------------------------------------------


async def idle(job: Job, visitors: list[Visitor]) -> Row:
    """Open every socket and leave it alone."""
    memory, cpu, steal, lateness = job.memory_kib(), job.cpu_s(), Steal(), Lateness()
    started = time.monotonic()
    await each(lambda visitor: visitor.open(), visitors)
    seconds = time.monotonic() - started
    late, cpu_after, count = lateness.p99_ms(), job.cpu_s(), len(visitors)
    await asyncio.sleep(SETTLE_S)
    return Row(
        scenario=job.scenario.name,
        contestant=job.contestant,
        late_p99_ms=late,
        steal_percent=steal.percent(),
        kib_each=gained_kib(memory, job.memory_kib(), count),
        accepts_per_s=count / seconds,
        cpu_ms_per_accept=None if cpu is None else ((cpu_after or 0) - cpu) * 1000 / count,
        base_mib=None if memory is None else memory / 1024,
    )


# --- answers --------------------------------------------------------------------------------------


async def answers(job: Job, visitors: list[Visitor]) -> Row:
    """Have everybody ask, each at their time, and listen until all answers have ended."""
    scenario, memory = job.scenario, job.memory_kib()
    await each(lambda visitor: visitor.arrive(), visitors)
    await ledger(job.upstream)  # from here on
    asked = [question(scenario.tokens, scenario.rate) for _ in visitors]
    cpu, steal, lateness = job.cpu_s(), Steal(), Lateness()
    receipts = await _all_asked(visitors, [text for _, text in asked], scenario)
    late, cpu_after, memory_after = lateness.p99_ms(), job.cpu_s(), job.memory_kib()
    stored = await each(lambda visitor: visitor.stored(), visitors)
    for one, kept in zip(receipts, stored, strict=True):
        one.stored = kept
    told = await ledger(job.upstream)
    said = [told["answers"].get(name, {"arrived": None, "text": ""}) for name, _ in asked]
    delays = [delay for one in receipts for delay in one.delays_ms()]
    ttfts = [
        ttft
        for one, sent in zip(receipts, said, strict=True)
        if sent["arrived"] is not None and (ttft := one.ttft_ms(sent["arrived"])) is not None
    ]
    found = [faults(one.text, sent["text"]) for one, sent in zip(receipts, said, strict=True)]
    never_asked = scenario.tokens * sum(sent["arrived"] is None for sent in said)
    kept_differently = sum(
        one.stored != sent["text"] for one, sent in zip(receipts, said, strict=True)
    )
    return Row(
        scenario=scenario.name,
        contestant=job.contestant,
        late_p99_ms=max(late, told["late_p99_ms"]),
        steal_percent=steal.percent(),
        cpu_s_per_m=None if cpu is None else ((cpu_after or 0) - cpu) * 1e6 / max(1, len(delays)),
        ttft_p50_ms=percentile(ttfts, 50),
        ttft_p99_ms=percentile(ttfts, 99),
        delay_p50_ms=percentile(delays, 50),
        delay_p99_ms=percentile(delays, 99),
        frames_per_token=sum(len(one.frames) for one in receipts) / max(1, len(delays)),
        kib_each=gained_kib(memory, memory_after, len(visitors)),
        tokens=len(delays),
        lost=never_asked + sum(one.lost for one in found),
        doubled=sum(one.doubled for one in found),
        reordered=sum(one.reordered for one in found),
        unended=sum(not one.ended for one in receipts),
        stored_differs=None if stored[0] is None else kept_differently,
    )


async def _all_asked(
    visitors: list[Visitor], questions: list[str], scenario: Scenario
) -> list[Receipts]:
    start = time.monotonic()

    async def one(number: int) -> Receipts:
        due = start + scenario.spread_s * number / len(visitors)
        await asyncio.sleep(due - time.monotonic())
        return await visitors[number].ask(questions[number])

    tasks = [asyncio.create_task(one(number)) for number in range(len(visitors))]
    for visitor in visitors:
        visitor.heard_at = start + scenario.spread_s
    waiting = set(tasks)
    while waiting:
        _, waiting = await asyncio.wait(waiting, timeout=1)
        for task, visitor in zip(tasks, visitors, strict=True):
            if task in waiting and time.monotonic() - visitor.heard_at > scenario.quiet_s:
                task.cancel()  # ends the question, which says what came until then
    return [task.result() for task in tasks]


async def run(job: Job) -> Row:
    """Warm the server up, then measure."""
    *visitors, first, second = job.visitors()
    try:
        for early in (first, second):
            await early.arrive()
            async with asyncio.timeout(job.scenario.quiet_s):
                if not (await early.ask(question(5, 100)[1])).ended:
                    raise ConnectionError("the first answer did not end")
        gc.collect()
        gc.disable()  # a pause of ours would look like one of the server's
        measure = idle if job.scenario.kind == "idle" else answers
        return await measure(job, visitors)
    finally:
        await each(lambda visitor: visitor.close(), [*visitors, first, second])


def main() -> None:
    given = json.load(sys.stdin)
    job = Job(**given | {"scenario": Scenario(**given["scenario"])})
    try:
        from uvloop import new_event_loop
    except ImportError:  # it costs a little more then
        from asyncio import new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(run(job)))))


if __name__ == "__main__":
    main()
