"""When to look for an answer that is asked for and then polled: as its agent's last ones came.

All that is known of an answer's time is its *span*: the look before found nothing, the last one
found it. `learn` makes of an agent's last spans how likely an answer is to come when, and of that
a plan: the waits with the fewest looks by which an answer is noticed in good time on average. Pure
computation, some 10 ms of it: to be done on a thread, when answers have ended.
"""

import math
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Span = tuple[float, float]
"""Seconds since the vendor took the question: not yet there, and there."""

KEPT = 64
"""Spans that a plan is learned from; the newest counts most, the oldest hardly."""
LEAST = 5
"""With fewer spans there is no plan."""
LEARN_EVERY = 3
"""After so many answers a plan is made anew."""
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0
UNWATCHED_S = 5.0
"""The least wait while the visitor is away."""

# Time is cut into cells, each longer than the one before by the same factor.
CELLS, FIRST_S, LAST_S = 160, 0.2, 300.0
STEP = math.log(LAST_S / FIRST_S) / (CELLS - 1)
EDGES = [0.0, *(FIRST_S * math.exp(STEP * cell) for cell in range(CELLS))]
WIDTHS = [later - earlier for earlier, later in pairwise(EDGES)]

ROUNDS = 8
SMOOTHING, LEAST_SMOOTHING = 0.8, 0.05
SURPRISE, SURPRISE_SPREAD = 0.25, 1.5
"""So much of one more answer may come at any time: the agent may have changed."""
PRICES = [1 / 1.19**step for step in range(9)]
"""What a look may cost, in seconds of an answer's delay, where that may be a second on average."""


def first_wait(elapsed: float) -> float:
    """Return the wait before anything is known: a second, then a tenth of the time waited."""
    return min(5.0, max(1.0, elapsed / 10))


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the next look is to be, by when the last one was."""

    looks: tuple[float, ...]
    """Seconds since the question, one for each of EDGES."""
    late_s: float
    """How late an answer is noticed on average, if answers come as they did."""

    def wait(self, elapsed: float) -> float:
        """Return the seconds until the next look, `elapsed` seconds after the question."""
        cell = bisect_right(EDGES, elapsed) - 1
        if not 0 <= cell < CELLS:
            return first_wait(elapsed)
        earlier, later = self.looks[cell], self.looks[cell + 1]
        look = earlier + (later - earlier) * (elapsed - EDGES[cell]) / WIDTHS[cell]
        return min(LONGEST_WAIT_S, max(SHORTEST_WAIT_S, look - elapsed))


def learn(spans: Sequence[Span], late_s: float) -> Plan | None:
    """Return the plan with the fewest looks that notices an answer `late_s` late on average.

    `spans` are the agent's last, oldest first. An agent so slow that this would take a great many
    looks is noticed later; None: too little is known of it.
    """
    sane = [span for span in spans if 0 <= span[0] <= span[1]][-KEPT:]
    if len(sane) < LEAST:
        return None
    odds = _odds(sane)
    plan: Plan | None = None
    for price in PRICES:  # delay grows with the root of the price
        plan = _plan(odds, price * late_s**2)
        if plan.late_s <= late_s:
            break
    return plan


def _odds(spans: Sequence[Span]) -> list[float]:
    """Return for each cell how likely an answer is to come in it.

    An answer may have come anywhere in its span, more likely so where others came: at first all
    of it counts alike, and with each round what the last one found. (Its middle would do as well
    where spans are short; but the first is long, and would draw the next looks too early.)
    """
    total = len(spans) * (len(spans) + 1) / 2
    shares = [(rank / total, *_cells(span)) for rank, span in enumerate(spans, start=1)]
    worth = 1 / sum(share**2 for share, _, _ in shares)  # as many spans that count alike
    surprise = SURPRISE / (worth + SURPRISE)
    density = [1.0] * CELLS
    odds: list[float] = []
    for _ in range(ROUNDS):
        odds = [0.0] * CELLS
        for share, first, end in shares:
            parts = [density[cell] * WIDTHS[cell] for cell in range(first, end)]
            whole = sum(parts)
            for cell, part in enumerate(parts, start=first):
                odds[cell] += share * part / whole
        middle = sum(cell * part for cell, part in enumerate(odds))
        spread = math.sqrt(sum(part * (cell - middle) ** 2 for cell, part in enumerate(odds)))
        smooth = _smoothed(odds, max(LEAST_SMOOTHING / STEP, SMOOTHING * spread * worth**-0.2))
        wide = _bell(SURPRISE_SPREAD / STEP, [cell - middle for cell in range(CELLS)])
        odds = [
            (1 - surprise) * known + surprise * any_time
            for known, any_time in zip(smooth, wide, strict=True)
        ]
        density = [part / width for part, width in zip(odds, WIDTHS, strict=True)]
    return odds


def _cells(span: Span) -> tuple[int, int]:
    """Return the first cell that a span touches, and the end of them."""
    first = min(bisect_right(EDGES, span[0]) - 1, CELLS - 1)
    return first, max(first + 1, min(bisect_left(EDGES, span[1]), CELLS))


def _bell(width: float, at: Sequence[float]) -> list[float]:
    """Return a normal curve at these distances from its middle, adding up to 1."""
    heights = [math.exp(-0.5 * (distance / width) ** 2) for distance in at]
    whole = sum(heights)
    return [height / whole for height in heights]


def _smoothed(odds: Sequence[float], width: float) -> list[float]:
    """Spread each cell's part over its neighbours; nothing leaves at the ends."""
    reach = int(3 * width) + 1
    bell = _bell(width, range(-reach, reach + 1))
    smooth = [0.0] * CELLS
    for cell, part in enumerate(odds):
        if part > 1e-9:
            for near, height in enumerate(bell, start=cell - reach):
                smooth[min(max(near, 0), CELLS - 1)] += part * height
    return smooth


def _plan(odds: Sequence[float], price: float) -> Plan:
    """Minimise mean delay + price x mean number of looks, by a dynamic programme from the end.

    With S(t) the share of answers still to come at t, a look at t and the next at u cost all of
    these S(t) x price, and those that come in between their delay: the integral of S(t) - S. The
    best next look for each t is kept, so that a late one changes nothing for those after it.
    """
    to_come, waited = [1.0], [0.0]  # S at each edge, and its integral up to there
    for part, width in zip(odds, WIDTHS, strict=True):
        to_come.append(max(0.0, to_come[-1] - part))
        waited.append(waited[-1] + (to_come[-2] + to_come[-1]) / 2 * width)
    cost, late, best = [0.0] * (CELLS + 1), [0.0] * (CELLS + 1), [CELLS] * (CELLS + 1)
    for edge in range(CELLS - 1, -1, -1):
        since, share, least = EDGES[edge], to_come[edge], math.inf
        fixed = share * (price - since) + waited[edge]
        for look in range(edge + 1, CELLS + 1):
            until = EDGES[look]
            if until - since < SHORTEST_WAIT_S and look < CELLS:
                continue
            here = fixed + share * until - waited[look]
            if here >= least:
                break  # the wait alone costs more already
            if here + cost[look] < least:
                least, best[edge] = here + cost[look], look
            if until - since > LONGEST_WAIT_S:
                break
        look, cost[edge] = best[edge], least
        late[edge] = fixed + share * (EDGES[look] - price) - waited[look] + late[look]
    return Plan(tuple(EDGES[look] for look in best), late[0])


class Pace:
    """The looks for one answer. Of itself it knows nothing of the agent."""

    def __init__(
        self,
        plan: Callable[[], Plan | None] = lambda: None,
        *,
        every_s: float = 0.0,
        since_s: float = 0.0,
        watched: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`every_s` above 0: the operator's own pace, always the same. `since_s` above 0: so long
        ago the question went out already, and the first look is due."""
        self._plan, self._every_s, self._since_s = plan, every_s, since_s
        self._watched, self._clock = watched, clock
        self._began: float | None = None
        self._was_watched = False
        self._last: Span = (0.0, 0.0)
        self.looks = 0
        """How many have been asked for."""

    def next(self) -> float:
        """Return the seconds to wait before the next look.

        To be asked as soon as the vendor has taken the question, and when a look has found nothing.
        """
        now = self._clock()
        if self._began is None:
            self._began = now - self._since_s
        elapsed = now - self._began
        wait = 0.0 if self._since_s and not self.looks else self._wait(elapsed)
        self.looks += 1
        self._last = elapsed, elapsed + wait
        return wait

    def _wait(self, elapsed: float) -> float:
        if self._every_s > 0:
            return self._every_s
        plan = self._plan()
        wait = plan.wait(elapsed) if plan else first_wait(elapsed)
        return wait if self._is_watched() else max(wait, UNWATCHED_S)

    def _is_watched(self) -> bool:
        """A visitor who was never seen watching may look in other ways than we know of."""
        watched = self._watched()
        self._was_watched |= watched
        return watched or not self._was_watched

    @property
    def span(self) -> Span | None:
        """When the answer came, if the last look found it; None: nothing can be learned of it."""
        if self._every_s > 0 or self._since_s or not self.looks:
            return None
        return self._last
