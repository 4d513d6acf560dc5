"""The dashboard: what the days were like, by widget and by agent, and whether votes get through.

All of it is added up from tallies (`tallies.py`), a row a day, agent and widget; only what waits
to be delivered is counted as the page is made. A share stands with its interval, and one agent is
called better than another only where the interval of the difference says so (`statistics.py`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Min, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from chatwidget.admin.base import ModelAdmin
from chatwidget.models import Agent, Conversation, Widget
from chatwidget.site import Card, CardLine, Menu

from .charts import Chart, Label, Plane, short, top_of
from .days import days_between
from .models import Census, Delivery, Recount, State, Tally
from .statistics import Difference, Interval, Times, difference, level_of_each, wilson

PERIODS = (7, 30, 90)
LONGEST = timedelta(days=731)
EARLIEST = 2000
LATE = timedelta(minutes=3)
"""Tallies older than that are said to be old."""
COUNTED = 10_000
FEW = 10
"""With fewer votes a share is not shown large, nor compared."""


# --- figures --------------------------------------------------------------------------------------


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
class Compared:
    """Whether one of two does better, in words; empty `verdict`: it cannot be told."""

    verdict: str
    words: str
    good: bool = False


def compare_shares(
    one: Figures, other: Figures, level: float, *, failures: bool = False
) -> Compared:
    """Compare the share of thumbs up, or of failures, of one with that of another."""
    if failures:
        found = difference(one.failed, one.answers, other.failed, other.answers, level)
        enough = min(one.answers, other.answers) >= FEW
    else:
        found = difference(one.up, one.votes, other.up, other.votes, level)
        enough = min(one.votes, other.votes) >= FEW
    if found is None or not enough:
        return Compared("", "too few to compare")
    words = points(found)
    if not found.is_clear:
        return Compared("", f"no clear difference: {words}")
    more = found.value > 0
    return Compared("more" if more else "less", words, good=more is not failures)


def points(found: Difference) -> str:
    """Return a difference of shares in percentage points, with its interval."""
    low, high = 100 * found.interval.low, 100 * found.interval.high
    return f"{100 * found.value:+.1f} points ({low:+.1f} to {high:+.1f})".replace("-", "−")


def compare_times(one: Figures, other: Figures, level: float) -> Compared:
    """Compare medians: one is faster only where the two intervals do not touch."""
    mine, theirs = one.times.interval(0.5, level), other.times.interval(0.5, level)
    if mine is None or theirs is None or min(one.times.total, other.times.total) < FEW:
        return Compared("", "too few to compare")
    if mine.high < theirs.low:
        return Compared("faster", "", good=True)
    if mine.low > theirs.high:
        return Compared("slower", "")
    return Compared("", "no clear difference")


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the tables by agent and by widget."""

    name: str
    url: str
    figures: Figures
    is_base: bool = False
    """The one that the others are compared with."""
    shares: Compared | None = None
    failures: Compared | None = None
    speed: Compared | None = None


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


# --- what is asked for ----------------------------------------------------------------------------


class Choice(forms.Form):
    """What the page is narrowed to."""

    first = forms.DateField(required=False, label="From", widget=forms.DateInput)
    last = forms.DateField(required=False, label="Until", widget=forms.DateInput)
    agent = forms.ModelChoiceField(Agent.objects.all(), required=False, empty_label="All agents")
    widget = forms.ModelChoiceField(Widget.objects.all(), required=False, empty_label="All widgets")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("first", "last"):
            self.fields[name].widget.input_type = "date"

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        first, last = cleaned.get("first"), cleaned.get("last")
        if any(day.year < EARLIEST for day in (first, last) if day):
            raise forms.ValidationError("There was nothing to count so long ago.")
        if first and last and first > last:
            raise forms.ValidationError("The first day is after the last.")
        if first and (last or timezone.localdate()) - first > LONGEST:
            raise forms.ValidationError("At most two years at a time.")
        return cleaned


@dataclass(frozen=True, slots=True)
class Period:
    """Days, both included."""

    first: date
    last: date

    @property
    def days(self) -> list[date]:
        return days_between(self.first, self.last)

    @property
    def before(self) -> "Period":
        """As many days before."""
        length = self.last - self.first + timedelta(days=1)
        return Period(self.first - length, self.last - length)

    def __str__(self) -> str:
        year = "" if self.first.year == self.last.year else " %Y"
        return f"{self.first.strftime('%-d %b' + year)} – {self.last:%-d %b %Y}"


def period_of(request: HttpRequest, chosen: dict[str, Any]) -> tuple[Period, int]:
    """Return the days to show, and how many up to today were asked for; 0: from one to another."""
    today = timezone.localdate()
    first, last = chosen.get("first"), chosen.get("last")
    if first or last:
        last = min(last or today, today)
        return Period(min(first or last - timedelta(days=29), last), last), 0
    asked = request.GET.get("days", "")
    days = int(asked) if asked in {str(one) for one in PERIODS} else 30
    return Period(today - timedelta(days=days - 1), today), days


# --- the page -------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Backlog:
    """Votes that have not reached their vendor."""

    waiting: str
    oldest: Any
    """When the one that waits longest was given, or None."""
    failed: str


def backlog(agent: Agent | None, widget: Widget | None) -> Backlog:
    """Count what waits now, up to a bound."""
    rows = Delivery.objects.all()
    if agent:
        rows = rows.filter(agent=agent)
    if widget:
        rows = rows.filter(feedback__widget=widget)
    waiting = rows.filter(state=State.PENDING).order_by("created_at").values("pk")[:COUNTED]
    ages = Delivery.objects.filter(pk__in=waiting).aggregate(
        count=Count("pk"), oldest=Min("feedback__updated_at")
    )
    failed = rows.filter(state=State.FAILED).order_by("created_at")[:COUNTED].count()
    return Backlog(at_most(ages["count"]), ages["oldest"], at_most(failed))


def at_most(count: int) -> str:
    return f"{COUNTED:,}+" if count >= COUNTED else f"{count:,}"


@admin.register(Tally)
class DashboardAdmin(ModelAdmin[Tally]):
    """The dashboard, in the place of a list of tallies. Whoever may view tallies sees it."""

    menu = Menu(order=5, icon="chart", label="Dashboard")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.dashboard)
        return [path("", view, name="feedback_tally_changelist")]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Tally | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Tally | None = None) -> bool:
        return False

    def dashboard(self, request: HttpRequest) -> HttpResponse:
        """Show the figures of a period, of one agent and widget or of all."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = Choice(request.GET)
        chosen = form.cleaned_data if form.is_valid() else {}
        agent, widget = chosen.get("agent"), chosen.get("widget")
        period, days = period_of(request, chosen)
        tallies = Tally.objects.all()
        if agent:
            tallies = tallies.filter(agent=agent)
        if widget:
            tallies = tallies.filter(widget=widget)
        summary = summarise(period, tallies)
        context = {
            **self.admin_site.each_context(request),
            "title": "Dashboard",
            "form": form,
            "problem": " ".join(map(str, form.non_field_errors()))
            or ("" if form.is_valid() else "That is no day, agent or widget of ours."),
            "period": period,
            "periods": [(one, one == days, period_link(request, one)) for one in PERIODS],
            "narrowed": bool(agent or widget or not days),
            "total": summary.total,
            "trends": trends(summary),
            "before": before(period),
            "charts": charts(period, summary.by_day),
            "agents": lines(summary.by_agent, agent_names(summary.by_agent)),
            "widgets": lines(summary.by_widget, widget_names(summary.by_widget)),
            "backlog": backlog(agent, widget),
            "votes_url": votes_url(request, agent, widget),
            "state": counting(),
            "never": not (Tally.objects.exists() or Conversation.objects.exists()),
            "zone": timezone.get_current_timezone_name(),
        }
        return TemplateResponse(request, "admin/feedback/dashboard.html", context)

    # --- the front page ---

    def card(self, request: HttpRequest) -> Card:
        today = timezone.localdate()
        week = Period(today - timedelta(days=6), today)
        summary = summarise(week, Tally.objects.all())
        total, share, interval = summary.total, summary.total.share, summary.total.share_interval
        url = reverse("admin:feedback_tally_changelist")
        figure, caption = "–", "no votes in the last 7 days"
        if share is not None and interval is not None:
            figure = f"{100 * share:.0f}\u00a0%"
            caption = f"thumbs up in the last 7 days ({between(interval)}, {total.votes:,} votes)"
        return Card(
            title="Dashboard",
            url=f"{url}?days=7",
            icon="chart",
            figure=figure,
            caption=caption,
            lines=[
                CardLine(
                    text=line.name,
                    note=f"{100 * line.figures.share:.0f} % of {line.figures.votes:,}"
                    if line.figures.share is not None
                    else f"{line.figures.answers:,} answers",
                    icon="agent",
                    url=f"{line.url}&days=7" if line.url else url,
                )
                for line in lines(summary.by_agent, agent_names(summary.by_agent))[:5]
            ],
            more="To the dashboard",
            empty="How many answers helped, how fast they came, how many failed: day by day.",
        )


def between(interval: Interval) -> str:
    """Return an interval of shares in percent."""
    return f"{100 * interval.low:.0f}–{100 * interval.high:.0f}\u00a0%"


def period_link(request: HttpRequest, days: int) -> str:
    """Return the same page for so many days up to today."""
    query = request.GET.copy()
    for name in ("first", "last"):
        query.pop(name, None)
    query["days"] = str(days)
    return f"?{query.urlencode()}"


def votes_url(request: HttpRequest, agent: Agent | None, widget: Widget | None) -> str:
    """Return the list of votes narrowed as the page is, ready for more; empty: not allowed."""
    if not request.user.has_perm("feedback.view_feedback"):
        return ""
    query = "?show=all"
    query += f"&agent={agent.pk}" if agent else ""
    query += f"&widget={widget.pk}" if widget else ""
    return reverse("admin:feedback_feedback_changelist") + query


def agent_names(keys: Iterable[Any]) -> dict[Any, tuple[str, str]]:
    """Return the agents' names, and the page narrowed to each."""
    url = reverse("admin:feedback_tally_changelist")
    found = Agent.objects.in_bulk(list(keys))
    return {pk: (one.name, f"{url}?agent={pk}") for pk, one in found.items()}


def widget_names(keys: Iterable[Any]) -> dict[Any, tuple[str, str]]:
    """Return the widgets' names, and the page narrowed to each."""
    url = reverse("admin:feedback_tally_changelist")
    found = Widget.objects.in_bulk(list(keys))
    return {pk: (one.name, f"{url}?widget={pk}") for pk, one in found.items()}


def trends(summary: Summary) -> dict[str, Compared]:
    """Compare thumbs up and failures with as many days before."""
    now, then = summary.total, summary.before
    return {
        "shares": compare_shares(now, then, level_of_each(1)),
        "failures": compare_shares(now, then, level_of_each(1), failures=True),
    }


def before(period: Period) -> str:
    """Return what a period is compared with, in words."""
    days = len(period.days)
    return f"the {days} days before" if days > 1 else "the day before"


def counting() -> dict[str, Any]:
    """Return how old the figures are, where that is worth a word."""
    census = Census.objects.first()
    if census is None:
        return {"begun": False}
    late = timezone.now() - census.counted_at > LATE
    waiting = Recount.objects.values("day").distinct()[:1000].count()
    return {"begun": True, "at": census.counted_at, "late": late, "waiting": waiting}


# --- charts ---------------------------------------------------------------------------------------


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


def seconds(value: float | None) -> str:
    """Return a time as people say it; it is known to within a twentieth."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.1f}\u00a0s"
    return f"{value:.0f}\u00a0s" if value < 120 else f"{value / 60:.1f}\u00a0min"


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
