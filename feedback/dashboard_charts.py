"""The charts of the dashboard: what is drawn of each day, and the table that says the same."""

from collections.abc import Callable
from datetime import date

from .charts import Chart, Day, Label, Plane, short, top_of
from .days import Period
from .figures import Figures, between, seconds, tenths
from .statistics import Interval

Days = dict[date, Figures]
"""Every day of a period, in order."""


def charts(period: Period, by_day: dict[date, Figures]) -> list[Chart]:
    """Return the charts by day, each with its table."""
    days = {day: by_day.get(day) or Figures() for day in period.days}
    return [answers_chart(days), shares_chart(days), times_chart(days), votes_chart(days)]


def answers_chart(days: Days) -> Chart:
    plane = Plane(len(days), top_of(max(one.answers for one in days.values())))
    bars = []
    for number, one in enumerate(days.values()):
        bars.append(plane.bar("plain", number, one.failed, one.answers))
        bars.append(plane.bar("bad", number, 0, one.failed))
    total = sum(one.answers for one in days.values())
    failed = sum(one.failed for one in days.values())
    return Chart(
        key="answers",
        title="Answers per day",
        description=f"Bars, one a day: {total:,} answers in all, of which {failed:,} failed.",
        headings=["Day", "Conversations begun", "Answers", "Failed", "Failure rate"],
        rows=table(
            days,
            lambda one: [
                f"{one.conversations:,}",
                f"{one.answers:,}",
                f"{one.failed:,}",
                with_interval(one.failure, one.failure_interval),
            ],
        ),
        days=hovers(plane, days, lambda one: f"{one.answers:,} answers, {one.failed:,} failed"),
        across=labels_across(plane, days),
        up=labels_up(plane),
        legend=[("plain", "Answered"), ("bad", "Failed")],
        bars=bars,
        empty=not total,
    )


def shares_chart(days: Days) -> Chart:
    plane = Plane(len(days), 100)
    bars = []
    for number, one in enumerate(days.values()):
        if interval := one.share_interval:
            bars.append(plane.bar("band", number, 100 * interval.low, 100 * interval.high))
    shares = [None if one.share is None else 100 * one.share for one in days.values()]
    strokes, dots = plane.line("good", shares)
    known = [one for one in shares if one is not None]
    span = f" It lies between {min(known):.0f} and {max(known):.0f} %." if known else ""

    def share(one: Figures) -> str:
        return with_interval(one.share, one.share_interval)

    return Chart(
        key="shares",
        title="Thumbs up, share of votes",
        description="A line through the share of thumbs up of each day's answers, and behind it "
        f"the range that the number of votes allows for, at 95 %.{span}",
        headings=["Day", "Votes", "Thumbs up", "Share, and its 95 % interval"],
        rows=table(days, lambda one: [f"{one.votes:,}", f"{one.up:,}", share(one)]),
        days=hovers(plane, days, lambda one: f"{share(one)} of {one.votes:,} votes"),
        across=labels_across(plane, days),
        up=labels_up(plane, " %"),
        legend=[("good", "Share of thumbs up"), ("band", "95 % interval")],
        bars=bars,
        strokes=strokes,
        dots=dots,
        empty=not known,
    )


def times_chart(days: Days) -> Chart:
    most = [one.slow for one in days.values()]
    known = [one for one in most if one is not None]
    plane = Plane(len(days), top_of(max(known, default=0)))
    strokes, dots = plane.line("soft", most)
    own_strokes, own_dots = plane.line("plain", [one.median for one in days.values()])
    span = f" The slowest day's 95th percentile is {seconds(max(known))}." if known else ""
    return Chart(
        key="times",
        title="Answer time",
        description="Two lines through the days: the time within which half of the answers were "
        f"complete, and that within which 95 % were.{span}",
        headings=["Day", "Answers timed", "p50", "p95"],
        rows=table(
            days,
            lambda one: [f"{one.times.total:,}", seconds(one.median), seconds(one.slow)],
        ),
        days=hovers(
            plane,
            days,
            lambda one: f"half within {seconds(one.median)}, 95 % within {seconds(one.slow)}",
        ),
        across=labels_across(plane, days),
        up=labels_up(plane, " s"),
        legend=[("plain", "p50: half came within"), ("soft", "p95")],
        strokes=strokes + own_strokes,
        dots=dots + own_dots,
        empty=not known,
    )


def votes_chart(days: Days) -> Chart:
    plane = Plane(len(days), top_of(max(one.votes for one in days.values())))
    bars = []
    for number, one in enumerate(days.values()):
        bars.append(plane.bar("bad", number, 0, one.down))
        bars.append(plane.bar("good", number, one.down, one.votes))
    ups = sum(one.up for one in days.values())
    downs = sum(one.down for one in days.values())
    return Chart(
        key="votes",
        title="Votes per day",
        description=f"Bars, one a day: {ups:,} thumbs up and {downs:,} thumbs down in all.",
        headings=["Day", "Thumbs up", "Thumbs down", "Votes per 100 answers"],
        rows=table(days, lambda one: [f"{one.up:,}", f"{one.down:,}", tenths(one.votes_per_100)]),
        days=hovers(plane, days, lambda one: f"{one.up:,} up, {one.down:,} down"),
        across=labels_across(plane, days),
        up=labels_up(plane),
        legend=[("good", "Thumbs up"), ("bad", "Thumbs down")],
        bars=bars,
        empty=not (ups or downs),
    )


# --- what each chart has --------------------------------------------------------------------------


def table(days: Days, row: Callable[[Figures], list[str]]) -> list[list[str]]:
    """Return the rows of a chart's table, newest first, each with its day."""
    return [[f"{day:%a %-d %b %Y}", *row(one)] for day, one in days.items()][::-1]


def hovers(plane: Plane, days: Days, words: Callable[[Figures], str]) -> list[Day]:
    """Return what is said on hovering over each day."""
    return plane.hovers([f"{day:%-d %b}: {words(one)}" for day, one in days.items()])


def labels_across(plane: Plane, days: Days) -> list[Label]:
    return plane.labels([f"{day:%-d %b}" for day in days])


def labels_up(plane: Plane, unit: str = "") -> list[Label]:
    """Return the labels of zero, the middle and the top."""
    values = (0.0, plane.top / 2, plane.top)
    return [Label(f"{short(one)}{unit}", short(plane.y(one)), "end") for one in values]


def with_interval(share: float | None, interval: Interval | None) -> str:
    """Return a share with its interval in words."""
    if share is None or interval is None:
        return "–"
    return f"{100 * share:.1f}\u00a0% ({between(interval)})"
