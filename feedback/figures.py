"""What tallies come to: added up, and one compared with another.

A share stands with its interval, and one agent is called better than another only where the
interval of the difference says so (`statistics.py`).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from django.db.models import QuerySet

from .days import Period
from .models import Tally
from .statistics import Difference, Interval, Times, difference, level_of_each, wilson

FEW = 10
"""With fewer votes a share is not shown large, nor compared."""


@dataclass(slots=True)
class Figures:
    """What some tallies come to."""

    conversations: int = 0
    answers: int = 0
    failed: int = 0
    up: int = 0
    down: int = 0
    times: Times = field(default_factory=Times)

    def add(self, row: Mapping[str, Any]) -> None:
        self.conversations += row["conversations"]
        self.answers += row["answers"]
        self.failed += row["failed"]
        self.up += row["up"]
        self.down += row["down"]
        self.times.add(row["times"])

    @property
    def votes(self) -> int:
        return self.up + self.down

    @property
    def share(self) -> float | None:
        """The share of thumbs up among votes."""
        return self.up / self.votes if self.votes else None

    @property
    def share_interval(self) -> Interval | None:
        return wilson(self.up, self.votes)

    @property
    def failure(self) -> float | None:
        """The share of answers that failed."""
        return self.failed / self.answers if self.answers else None

    @property
    def failure_interval(self) -> Interval | None:
        return wilson(self.failed, self.answers)

    @property
    def votes_per_100(self) -> float | None:
        return 100 * self.votes / self.answers if self.answers else None

    @property
    def median(self) -> float | None:
        """The seconds within which half of the answers came."""
        return self.times.quantile(0.5)

    @property
    def slow(self) -> float | None:
        """The seconds within which 95 % of them came."""
        return self.times.quantile(0.95)

    @property
    def few_votes(self) -> bool:
        return self.votes < FEW


@dataclass(frozen=True, slots=True)
class Summary:
    """All that the tallies say about a period."""

    total: Figures
    before: Figures
    by_day: dict[date, Figures]
    by_agent: dict[Any, Figures]
    by_widget: dict[Any, Figures]


def summarise(period: Period, tallies: QuerySet[Tally]) -> Summary:
    """Add up the tallies of a period, and of as many days before it."""
    before = Figures()
    summary = Summary(
        Figures(), before, defaultdict(Figures), defaultdict(Figures), defaultdict(Figures)
    )
    rows = tallies.filter(day__gte=period.before.first, day__lte=period.last).values(
        "day", "agent", "widget", "conversations", "answers", "failed", "up", "down", "times"
    )
    for row in rows.iterator():
        if row["day"] < period.first:
            before.add(row)
            continue
        for figures in (
            summary.total,
            summary.by_day[row["day"]],
            summary.by_agent[row["agent"]],
            summary.by_widget[row["widget"]],
        ):
            figures.add(row)
    return summary


# --- comparing ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether one of two does better, in words; empty `verdict`: it cannot be told."""

    verdict: str
    words: str
    good: bool = False


def compare_shares(
    one: Figures, other: Figures, level: float, *, failures: bool = False
) -> Comparison:
    """Compare the share of thumbs up, or of failures, of one with that of another."""
    if failures:
        found = difference(one.failed, one.answers, other.failed, other.answers, level)
        enough = min(one.answers, other.answers) >= FEW
    else:
        found = difference(one.up, one.votes, other.up, other.votes, level)
        enough = min(one.votes, other.votes) >= FEW
    if found is None or not enough:
        return Comparison("", "too few to compare")
    words = points(found)
    if not found.is_clear:
        return Comparison("", f"no clear difference: {words}")
    more = found.value > 0
    return Comparison("more" if more else "less", words, good=more is not failures)


def compare_times(one: Figures, other: Figures, level: float) -> Comparison:
    """Compare medians: one is faster only where the two intervals do not touch."""
    mine, theirs = one.times.interval(0.5, level), other.times.interval(0.5, level)
    if mine is None or theirs is None or min(one.times.total, other.times.total) < FEW:
        return Comparison("", "too few to compare")
    if mine.high < theirs.low:
        return Comparison("faster", "", good=True)
    if mine.low > theirs.high:
        return Comparison("slower", "")
    return Comparison("", "no clear difference")


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the tables by agent and by widget."""

    name: str
    url: str
    figures: Figures
    is_base: bool = False
    """The one that the others are compared with."""
    shares: Comparison | None = None
    failures: Comparison | None = None
    speed: Comparison | None = None


def lines(found: dict[Any, Figures], names: dict[Any, tuple[str, str]]) -> list[Line]:
    """Return a line for each, the one with the most answers first, compared with that one."""
    ranked = sorted(found.items(), key=lambda pair: (-pair[1].answers, str(pair[0])))
    named = [(names.get(key, ("(deleted)", "")), figures) for key, figures in ranked]
    if not named:
        return []
    _name, base = named[0]
    level = level_of_each(len(named) - 1)
    return [
        Line(name, url, figures, is_base=len(named) > 1)
        if figures is base
        else Line(
            name,
            url,
            figures,
            shares=compare_shares(figures, base, level),
            failures=compare_shares(figures, base, level, failures=True),
            speed=compare_times(figures, base, level),
        )
        for (name, url), figures in named
    ]


# --- in words -------------------------------------------------------------------------------------


def points(found: Difference) -> str:
    """Return a difference of shares in percentage points, with its interval."""
    low, high = 100 * found.interval.low, 100 * found.interval.high
    return f"{100 * found.value:+.1f} points ({low:+.1f} to {high:+.1f})".replace("-", "−")


def between(interval: Interval) -> str:
    """Return an interval of shares in percent."""
    return f"{100 * interval.low:.0f}–{100 * interval.high:.0f}\u00a0%"


def seconds(value: float | None) -> str:
    """Return a time as people say it; it is known to within a twentieth."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.1f}\u00a0s"
    return f"{value:.0f}\u00a0s" if value < 120 else f"{value / 60:.1f}\u00a0min"


def tenths(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
