"""What polling costs: the learned pace beside fixed and growing waits.

    .venv/bin/python -m benchmarks.polling [--answers 1500] [--quick]

First in simulation, for several laws of how long an agent takes; then over real HTTP against the
simulator of raia, with its adapter and everything four times as fast. For each: polls per answer,
and how late an answer is noticed (from when it is there until the poll that finds it has come
back). Fixed waits are from poll to poll. The learned pace begins with nothing and learns as it
does in the service. Read the ratios to `fixed 1 s`; `equal delay` is its ratio of polls once more,
corrected for a delay that is not quite that of `fixed 1 s` (polls x delay beyond the floor).
"""

import argparse
import asyncio
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles
from typing import Any, Protocol

from chatwidget.polling import KEPT, LEARN_EVERY, Pace, Plan, Span, learn

RTT_S = 0.12
LATE_S = 0.5
"""POLL_LATE_S by default."""
SPEED = 4
WORKERS = 6

Law = Callable[[random.Random], float]
"""Draws how long an answer takes, in seconds."""


def lognormal(median_s: float, sigma: float) -> Law:
    return lambda draw: median_s * math.exp(draw.gauss(0, sigma))


def mixed(draw: random.Random) -> float:
    return lognormal(2, 0.3)(draw) if draw.random() < 0.7 else lognormal(15, 0.3)(draw)


LAWS: dict[str, Law] = {
    "wide: 6 s, sigma .5": lognormal(6, 0.5),
    "narrow: 6 s, sigma .25": lognormal(6, 0.25),
    "mixed: 70% 2 s, 30% 15 s": mixed,
    "slow: 40 s, sigma .6": lognormal(40, 0.6),
}


class Looks(Protocol):
    """What says when to look for one answer."""

    def next(self) -> float: ...


class Policy(Protocol):
    """A way to poll, through many answers of one agent."""

    def begin(self, clock: Callable[[], float]) -> Looks: ...

    def end(self, looks: Any) -> None:
        """The last look has found the answer."""


class Waits:
    """Waits for one answer that grow, or do not, from poll to poll."""

    def __init__(self, policy: "Growing", clock: Callable[[], float]) -> None:
        self._policy, self._clock = policy, clock
        self._wait, self._last = policy.first_s, clock()

    def next(self) -> float:
        self._last += min(self._wait, self._policy.longest_s)
        self._wait *= self._policy.growth
        return max(0.0, self._last - self._clock())


@dataclass(frozen=True, slots=True)
class Growing:
    """The first wait, what it grows by, and up to where."""

    first_s: float
    growth: float = 1.0
    longest_s: float = math.inf

    def begin(self, clock: Callable[[], float]) -> Waits:
        return Waits(self, clock)

    def end(self, looks: Any) -> None:
        """Nothing is learned."""


class Learned:
    """The service's own pace, learning after every few answers."""

    def __init__(self, late_s: float = LATE_S, spans: Sequence[Span] = ()) -> None:
        self.late_s, self.spans = late_s, list(spans)
        self.plan: Plan | None = learn(self.spans, late_s)
        self._ended = 0

    def begin(self, clock: Callable[[], float]) -> Pace:
        return Pace(lambda: self.plan, clock=clock)

    def end(self, looks: Pace) -> None:
        assert looks.span is not None, "it was polled"
        self.spans = [*self.spans, looks.span][-KEPT:]
        self._ended += 1
        if self._ended % LEARN_EVERY == 0:
            self.plan = learn(self.spans, self.late_s)


POLICIES: dict[str, Callable[[], Policy]] = {
    "fixed 1 s": lambda: Growing(1.0),
    "fixed 2 s": lambda: Growing(2.0),
    "1.5x from 0.5 s, at most 10 s": lambda: Growing(0.5, 1.5, 10.0),
    "1.1x from 0.5 s, at most 5 s": lambda: Growing(0.5, 1.1, 5.0),
    "learned": Learned,
}


@dataclass(frozen=True, slots=True)
class Look:
    """What one answer cost: its polls, and how late it was noticed (seconds)."""

    polls: int
    late_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of many answers: the mean number of polls, and how late they were noticed (seconds)."""

    polls: float
    mean_s: float
    p50_s: float
    p95_s: float

    @classmethod
    def of(cls, looks: Sequence[Look]) -> "Figures":
        late = [look.late_s for look in looks]
        cuts = quantiles(late, n=20)
        return cls(fmean(look.polls for look in looks), fmean(late), cuts[9], cuts[18])


def times(law: Law, answers: int, seed: int = 1) -> list[float]:
    """Return how long so many answers take: the same for every policy."""
    draw = random.Random(seed)
    return [law(draw) for _ in range(answers)]


def simulate(policy: Policy, answer_times: Sequence[float]) -> Iterator[Look]:
    """Poll for one answer after the other, without waiting."""
    now = 0.0

    def clock() -> float:
        return now

    for takes in answer_times:
        now, polls, found = 0.0, 0, False
        looks = policy.begin(clock)
        while not found:
            now += looks.next()
            polls += 1
            found = now + RTT_S / 2 >= takes  # the vendor sees it halfway
            now += RTT_S
        policy.end(looks)
        yield Look(polls, now - takes)


# --- over HTTP ------------------------------------------------------------------------------------


async def over_http(policy: Policy, answer_times: Sequence[float], speed: float) -> list[Look]:
    """Ask raia's simulator with raia's adapter, several conversations side by side."""
    import httpx

    todo = list(answer_times)
    async with httpx.AsyncClient() as http:
        every = await asyncio.gather(*(_visitor(policy, todo, speed, http) for _ in range(WORKERS)))
    return [look for looks in every for look in looks]


async def _visitor(policy: Policy, todo: list[float], speed: float, http: Any) -> list[Look]:
    from chatwidget.events import Text
    from chatwidget.providers import Setup
    from chatwidget.providers.base import Ask, Flow, Pause
    from chatwidget.providers.drive import drive
    from chatwidget.providers.raia import Raia
    from tests.simulators.raia import RaiaSimulator

    def hastened(flow: Flow) -> Flow:
        sent: Any = None
        while True:
            try:
                step = flow.send(sent)
            except StopIteration:
                return
            sent = yield Pause(step.seconds / speed) if isinstance(step, Pause) else step

    looks: list[Look] = []
    with RaiaSimulator() as raia:
        while todo:
            takes, noticed = todo.pop(), 0.0
            raia.ripening = takes / speed
            pace = policy.begin(lambda: time.monotonic() * speed)

            async def sink(events: Any) -> None:
                nonlocal noticed
                if any(isinstance(event, Text) for event in events):
                    noticed = time.monotonic()

            before = len(raia.calls("poll"))
            provider = Raia(Setup(base_url=raia.url, credentials={"secret_key": raia.key}))
            ask = Ask(visitor="v", conversation="c", text="Hello", pace=pace)  # type: ignore[arg-type]
            await drive(provider, hastened(provider.answer(ask)), http, sink)
            await asyncio.to_thread(policy.end, pace)
            due = raia.calls("send")[-1].at + raia.ripening
            looks.append(Look(len(raia.calls("poll")) - before, (noticed - due) * speed))
        assert raia.violations == []
    return looks


# --- the tables -----------------------------------------------------------------------------------


def table(title: str, rows: dict[str, Figures], floor_s: float) -> str:
    """Return a Markdown table, with ratios to the first row."""
    lines = [
        f"### {title}",
        "",
        "| policy | polls | x fixed 1 s | mean delay, s | p50 | p95 | equal delay, x fixed 1 s |",
        "|---|---|---|---|---|---|---|",
    ]
    first = next(iter(rows.values()))
    for name, row in rows.items():
        ratio = row.polls / first.polls
        equal = ratio * (row.mean_s - floor_s) / (first.mean_s - floor_s)
        lines.append(
            f"| {name} | {row.polls:.1f} | {ratio:.2f} | {row.mean_s:.2f} | {row.p50_s:.2f} "
            f"| {row.p95_s:.2f} | {equal:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--answers", type=int, default=1500, help="of each law, in simulation")
    parser.add_argument("--http-answers", type=int, default=150, help="of each law, over HTTP")
    parser.add_argument("--quick", action="store_true", help="does it work? The figures say little")
    given = parser.parse_args()
    simulated, asked = (60, 12) if given.quick else (given.answers, given.http_answers)
    for name, law in LAWS.items():
        answer_times = times(law, simulated)
        rows = {
            label: Figures.of([*simulate(make(), answer_times)]) for label, make in POLICIES.items()
        }
        print(table(f"Simulated, {name}", rows, RTT_S / 2), flush=True)
    for name in [*LAWS][:2]:
        answer_times = times(LAWS[name], asked)
        policies: dict[str, Policy] = {
            "fixed 1 s": Growing(1.0),
            "fixed 2 s": Growing(2.0),
            "learned": Learned(),
        }
        rows = {
            label: Figures.of(asyncio.run(over_http(policy, answer_times, SPEED)))
            for label, policy in policies.items()
        }
        print(table(f"raia over HTTP, {name}, {SPEED} times as fast", rows, 0.0), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatwidget.settings")  # the adapters read it
    main()
