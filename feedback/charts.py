"""Charts as SVG that is drawn on the server: geometry here, elements in `chart.html`.

Places along the page are percentages and heights are pixels, so a chart is as wide as there is
room, without a script, and its text keeps its size on a phone. Colours are classes: styles in
attributes are against the page's policy, and dark mode and forced colours choose their own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

HEIGHT = 150
"""Pixels from the top line to the bottom one."""
LABELS = 6
GAP = 0.25
"""The share of a day's width that is left free between bars."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle: `x` and `width` in percent, `y` and `height` in pixels."""

    kind: str
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line from one point to another."""

    kind: str
    x1: str
    y1: str
    x2: str
    y2: str


@dataclass(frozen=True, slots=True)
class Dot:
    kind: str
    x: str
    y: str


@dataclass(frozen=True, slots=True)
class Label:
    """A text on one of the axes."""

    text: str
    at: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Day:
    """The part of the chart that one day has, and what is said on hovering over it."""

    x: str
    width: str
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart, and the table that says the same."""

    key: str
    title: str
    description: str
    """What the chart shows, for whoever does not see it."""
    headings: list[str]
    rows: list[list[str]]
    days: list[Day]
    across: list[Label]
    up: list[Label]
    legend: list[tuple[str, str]]
    """The kinds of its marks and their names."""
    bars: list[Bar] = field(default_factory=list)
    strokes: list[Stroke] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    empty: bool = False

    @property
    def height(self) -> int:
        return HEIGHT


def short(value: float) -> str:
    """Return a coordinate, as exact as an eye can see."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def percent(value: float) -> str:
    return f"{short(value)}%"


def top_of(highest: float) -> float:
    """Return a round number that is not less."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    steps = (float(f"{step * power:g}") for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10))
    return next(step for step in steps if step >= highest)


@dataclass(frozen=True, slots=True)
class Plane:
    """Where days and values are on the page."""

    days: int
    top: float
    """The value at the upper edge; the lower one is 0."""

    def left(self, number: float) -> float:
        return 100 * number / self.days

    def middle(self, number: int) -> str:
        return percent(self.left(number + 0.5))

    def y(self, value: float) -> float:
        return HEIGHT * (1 - min(value, self.top) / self.top)

    def bar(self, kind: str, number: int, low: float, high: float) -> Bar:
        """Return the bar of one day between two values."""
        y = self.y(high)
        # What is there is seen, however little it is.
        height = max(self.y(low) - y, 1.0) if high > low else 0.0
        x, width = self.left(number + GAP / 2), self.left(1 - GAP)
        return Bar(kind, percent(x), short(y), percent(width), short(height))

    def line(self, kind: str, values: Sequence[float | None]) -> tuple[list[Stroke], list[Dot]]:
        """Return a line through the days that have a value; where days have none it is broken."""
        strokes, dots = [], []
        for number, value in enumerate(values):
            if value is None:
                continue
            before = values[number - 1] if number else None
            after = values[number + 1] if number + 1 < len(values) else None
            y = short(self.y(value))
            if before is not None:
                start = self.middle(number - 1), short(self.y(before))
                strokes.append(Stroke(kind, *start, self.middle(number), y))
            if self.days <= 31 or (before is None and after is None):
                dots.append(Dot(kind, self.middle(number), y))
        return strokes, dots

    def labels(self, names: Sequence[str]) -> list[Label]:
        """Return as many of the days' names as fit, evenly, the newest among them."""
        step = max(1, math.ceil(self.days / LABELS))
        shown = range(self.days - 1, -1, -step)
        return [Label(names[number], self.middle(number)) for number in reversed(shown)]

    def hovers(self, words: Sequence[str]) -> list[Day]:
        width = percent(self.left(1))
        return [Day(percent(self.left(n)), width, text) for n, text in enumerate(words)]
