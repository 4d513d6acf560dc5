"""The charts of the dashboard: what is drawn of each day, and the table that says the same."""

from datetime import date

from .charts import Chart, Label, Plane, short, top_of
from .days import Period
from .figures import Figures, between, seconds


def charts(period: Period, by_day: dict[date, Figures]) -> list[Chart]:
    """Return the charts by day, each with its table."""
    days = period.days
    figures = [by_day.get(day) or Figures() for day in days]
    return [
        answers_chart(days, figures),
        shares_chart(days, figures),
        times_chart(days, figures),
        votes_chart(days, figures),
    ]


def names_of(days: list[date]) -> list[str]:
    return [f"{day:%-d %b}" for day in days]


def table(days: list[date], rows: list[list[str]]) -> list[list[str]]:
    """Return the rows of a chart's table, newest first, each with its day."""
    named = [[f"{day:%a %-d %b %Y}", *row] for day, row in zip(days, rows, strict=True)]
    return named[::-1]


def scale(plane: Plane, unit: str = "") -> list[Label]:
    """Return the labels of zero, the middle and the top."""
    values = (0.0, plane.top / 2, plane.top)
    return [Label(f"{short(one)}{unit}", short(plane.y(one)), "end") for one in values]


def answers_chart(days: list[date], figures: list[Figures]) -> Chart:
    plane = Plane(len(days), top_of(max(one.answers for one in figures)))
    bars = []
    for number, one in enumerate(figures):
        bars.append(plane.bar("plain", number, one.failed, one.answers))
        bars.append(plane.bar("bad", number, 0, one.failed))
    rows = [
        [
            f"{one.conversations:,}",
            f"{one.answers:,}",
            f"{one.failed:,}",
            with_interval(one, "failed"),
        ]
        for one in figures
    ]
    words = [
        f"{day:%-d %b}: {one.answers:,} answers, {one.failed:,} failed"
        for day, one in zip(days, figures, strict=True)
    ]
    total, failed = sum(one.answers for one in figures), sum(one.failed for one in figures)
    return Chart(
        key="answers",
        title="Answers per day",
        description=f"Bars, one a day: {total:,} answers in all, of which {failed:,} failed.",
        headings=["Day", "Conversations begun", "Answers", "Failed", "Failure rate"],
        rows=table(days, rows),
        days=plane.hovers(words),
        across=plane.labels(names_of(days)),
        up=scale(plane),
        legend=[("plain", "Answered"), ("bad", "Failed")],
        bars=bars,
        empty=not total,
    )


def with_interval(one: Figures, what: str) -> str:
    """Return a share with its interval in words; what it is of follows from the heading."""
    share = one.failure if what == "failed" else one.share
    interval = one.failure_interval if what == "failed" else one.share_interval
    if share is None or interval is None:
        return "–"
    return f"{100 * share:.1f}\u00a0% ({between(interval)})"


def shares_chart(days: list[date], figures: list[Figures]) -> Chart:
    plane = Plane(len(days), 100)
    bars = []
    for number, one in enumerate(figures):
        if interval := one.share_interval:
            bars.append(plane.bar("band", number, 100 * interval.low, 100 * interval.high))
    shares = [None if one.share is None else 100 * one.share for one in figures]
    strokes, dots = plane.line("good", shares)
    known = [one for one in shares if one is not None]
    span = f" It lies between {min(known):.0f} and {max(known):.0f} %." if known else ""
    return Chart(
        key="shares",
        title="Thumbs up, share of votes",
        description="A line through the share of thumbs up of each day's answers, and behind it "
        f"the range that the number of votes allows for, at 95 %.{span}",
        headings=["Day", "Votes", "Thumbs up", "Share, and its 95 % interval"],
        rows=table(
            days,
            [[f"{one.votes:,}", f"{one.up:,}", with_interval(one, "up")] for one in figures],
        ),
        days=plane.hovers(
            [
                f"{day:%-d %b}: {with_interval(one, 'up')} of {one.votes:,} votes"
                for day, one in zip(days, figures, strict=True)
            ]
        ),
        across=plane.labels(names_of(days)),
        up=scale(plane, " %"),
        legend=[("good", "Share of thumbs up"), ("band", "95 % interval")],
        bars=bars,
        strokes=strokes,
        dots=dots,
        empty=not known,
    )


def times_chart(days: list[date], figures: list[Figures]) -> Chart:
    halves = [one.times.quantile(0.5) for one in figures]
    most = [one.times.quantile(0.95) for one in figures]
    known = [one for one in most if one is not None]
    plane = Plane(len(days), top_of(max(known, default=0)))
    strokes, dots = plane.line("soft", most)
    own_strokes, own_dots = plane.line("plain", halves)
    span = f" The slowest day's 95th percentile is {seconds(max(known))}." if known else ""
    return Chart(
        key="times",
        title="Answer time",
        description="Two lines through the days: the time within which half of the answers were "
        f"complete, and that within which 95 % were.{span}",
        headings=["Day", "Answers timed", "p50", "p95"],
        rows=table(
            days,
            [
                [f"{one.times.total:,}", seconds(half), seconds(high)]
                for one, half, high in zip(figures, halves, most, strict=True)
            ],
        ),
        days=plane.hovers(
            [
                f"{day:%-d %b}: half within {seconds(half)}, 95 % within {seconds(high)}"
                for day, half, high in zip(days, halves, most, strict=True)
            ]
        ),
        across=plane.labels(names_of(days)),
        up=scale(plane, " s"),
        legend=[("plain", "p50: half came within"), ("soft", "p95")],
        strokes=strokes + own_strokes,
        dots=dots + own_dots,
        empty=not known,
    )


def votes_chart(days: list[date], figures: list[Figures]) -> Chart:
    plane = Plane(len(days), top_of(max(one.votes for one in figures)))
    bars = []
    for number, one in enumerate(figures):
        bars.append(plane.bar("bad", number, 0, one.down))
        bars.append(plane.bar("good", number, one.down, one.votes))
    up, down = sum(one.up for one in figures), sum(one.down for one in figures)
    rate = [one.votes_per_100 for one in figures]
    return Chart(
        key="votes",
        title="Votes per day",
        description=f"Bars, one a day: {up:,} thumbs up and {down:,} thumbs down in all.",
        headings=["Day", "Thumbs up", "Thumbs down", "Votes per 100 answers"],
        rows=table(
            days,
            [
                [f"{one.up:,}", f"{one.down:,}", "–" if per is None else f"{per:.1f}"]
                for one, per in zip(figures, rate, strict=True)
            ],
        ),
        days=plane.hovers(
            [
                f"{day:%-d %b}: {one.up:,} up, {one.down:,} down"
                for day, one in zip(days, figures, strict=True)
            ]
        ),
        across=plane.labels(names_of(days)),
        up=scale(plane),
        legend=[("good", "Thumbs up"), ("bad", "Thumbs down")],
        bars=bars,
        empty=not (up or down),
    )
