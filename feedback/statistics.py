"""The arithmetic of the dashboard: shares with intervals, differences of shares, answer times.

A share of few votes says little, so none is shown without its 95 % interval, and a difference
counts only where its own interval leaves out zero. All of it takes votes for independent of each
other; one visitor who votes twenty times makes the intervals narrower than they should be.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the truth lies, as far as the numbers say: from `low` to `high`, both included."""

    low: float
    high: float


def z_of(level: float) -> float:
    """Return how many standard deviations each way hold `level` of a normal distribution."""
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(hits: int, of: int, level: float = LEVEL) -> Interval | None:
    """Return Wilson's score interval of the share `hits / of`, or None of nothing.

    It stays within 0 and 1 and holds for few votes and for shares at either end, where the
    textbook's ± does not.
    """
    if of <= 0:
        return None
    z = z_of(level)
    share = hits / of
    centre = share + z * z / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    whole = 1 + z * z / of
    # At the ends the formula gives 0 and 1 but for rounding.
    low = 0.0 if hits == 0 else (centre - spread) / whole
    high = 1.0 if hits == of else (centre + spread) / whole
    return Interval(low, high)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much larger one share is than another, with the interval of that."""

    value: float
    interval: Interval

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero: only then one is larger than the other."""
        return self.interval.low > 0 or self.interval.high < 0


def difference(
    hits: int, of: int, other_hits: int, other_of: int, level: float = LEVEL
) -> Difference | None:
    """Return `hits / of` less `other_hits / other_of` with Newcombe's interval, or None.

    Newcombe's hybrid score interval is made of both shares' Wilson intervals. That those do not
    overlap would be asking too much; that one share lies outside the other's, too little.
    """
    one, other = wilson(hits, of, level), wilson(other_hits, other_of, level)
    if one is None or other is None:
        return None
    share, other_share = hits / of, other_hits / other_of
    value = share - other_share
    down = math.hypot(share - one.low, other.high - other_share)
    up = math.hypot(one.high - share, other_share - other.low)
    return Difference(value, Interval(value - down, value + up))


def level_of_each(comparisons: int, level: float = LEVEL) -> float:
    """Return the level for each of several comparisons, so that all hold together at `level`."""
    return 1 - (1 - level) / max(1, comparisons)  # Bonferroni


# --- answer times ---------------------------------------------------------------------------------

SHORTEST_S = 0.05
STEPS = 8
"""Buckets per doubling: a time is told to within 5 %."""


def bucket_of(seconds: float) -> int:
    """Return the bucket that holds a time; `tallies.py` computes the same in the database."""
    return math.floor(math.log(max(seconds, SHORTEST_S) / SHORTEST_S) * STEPS / math.log(2))


def start_of(bucket: float) -> float:
    """Return where a bucket begins, in seconds."""
    return float(SHORTEST_S * 2 ** (bucket / STEPS))


class Times:
    """How many answers took how long, in buckets that grow: those of many days can be added up,
    which percentiles cannot."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts = dict(counts or {})

    def add(self, counts: Mapping[str, int]) -> None:
        """Add a tally's buckets, whose keys are text, as JSON has them."""
        for bucket, count in counts.items():
            self.counts[int(bucket)] = self.counts.get(int(bucket), 0) + count

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Times":
        """Return the times of single answers."""
        times = cls()
        for one in seconds:
            times.add({str(bucket_of(one)): 1})
        return times

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def quantile(self, share: float) -> float | None:
        """Return the seconds within which `share` of the answers came, or None of none."""
        if not (total := self.total):
            return None
        rank = min(max(share, 0.0), 1.0) * total
        for bucket in sorted(self.counts):
            count = self.counts[bucket]
            if rank <= count:
                return start_of(bucket + rank / count)
            rank -= count
        return start_of(max(self.counts) + 1)

    def interval(self, share: float, level: float = LEVEL) -> Interval | None:
        """Return the interval of a quantile, whatever the times' distribution: by their ranks."""
        if not (total := self.total):
            return None
        spread = z_of(level) * math.sqrt(share * (1 - share) / total)
        low, high = self.quantile(share - spread), self.quantile(share + spread)
        assert low is not None, "there are answers"
        assert high is not None, "there are answers"
        return Interval(low, high)
