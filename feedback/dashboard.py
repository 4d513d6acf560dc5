"""The dashboard: what the days were like, by widget and by agent, and whether votes get through.

All of it is added up (`figures.py`) from tallies (`tallies.py`), a row a day, agent and widget, and
drawn day by day (`dashboard_charts.py`); only what waits to be delivered is counted as the page is
made.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from chatwidget.admin.base import ModelAdmin, counted
from chatwidget.models import Agent, Conversation, Widget
from chatwidget.site import Card, CardLine, Menu

from .dashboard_charts import charts
from .days import Period
from .figures import Comparison, Summary, between, compare_shares, lines, summarise
from .models import Census, Delivery, Recount, State, Tally
from .statistics import level_of_each

PERIODS = (7, 30, 90)
LONGEST = timedelta(days=731)
EARLIEST = 2000
LATE = timedelta(minutes=3)
"""Tallies older than that are said to be old."""
COUNTED = 10_000


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
class Backlog:
    """Votes that have not reached their vendor."""

    waiting: str
    oldest: datetime | None
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
            "agents": lines(summary.by_agent, names_of(Agent, summary.by_agent)),
            "widgets": lines(summary.by_widget, names_of(Widget, summary.by_widget)),
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
            given = counted(f"{total.votes:,}", "vote")
            caption = f"thumbs up in the last 7 days ({between(interval)}, {given})"
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
                    else counted(f"{line.figures.answers:,}", "answer"),
                    icon="agent",
                    url=f"{line.url}&days=7" if line.url else url,
                )
                for line in lines(summary.by_agent, names_of(Agent, summary.by_agent))[:5]
            ],
            more="To the dashboard",
            empty="How many answers helped, how fast they came, how many failed: day by day.",
        )


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


def names_of(model: type[Agent] | type[Widget], keys: Iterable[Any]) -> dict[Any, tuple[str, str]]:
    """Return the names of agents or of widgets, and the page narrowed to each."""
    url = reverse("admin:feedback_tally_changelist")
    found = model.objects.in_bulk(list(keys))
    return {pk: (one.name, f"{url}?{model._meta.model_name}={pk}") for pk, one in found.items()}


def trends(summary: Summary) -> dict[str, Comparison]:
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
