"""What the list of votes can be narrowed by. Each filter ignores a value that it does not know."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, TypeVar

from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest
from django.utils import timezone

from chatwidget.admin.base import bounded_count
from chatwidget.admin.conversations import as_uuid
from chatwidget.admin.text import visible
from chatwidget.models import Agent, Widget

from .days import midnight
from .models import Feedback, Review, State, Vote

M = TypeVar("M", bound=Model)
Votes = QuerySet[Feedback]
MOST_CHOICES = 100


class ChoiceFilter(admin.SimpleListFilter):
    """A choice of a few; subclasses say which, and what is kept of each."""

    def choose(self, request: HttpRequest, votes: Votes, choice: str) -> Votes:
        """Return the votes that belong to one of `lookups`."""
        raise NotImplementedError

    def choices(self, changelist: Any) -> Iterator[Any]:
        for choice in super().choices(changelist):
            yield choice | {"display": visible(choice["display"])}

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        choice = self.value()
        if choice is None or choice not in dict(self.lookup_choices):
            return queryset
        return self.choose(request, queryset, choice)


class TabFilter(ChoiceFilter):
    """The tabs above the list. Without a choice they show what is open: that is the queue."""

    title = "tab"
    parameter_name = "show"
    template = "admin/feedback/feedback/tabs.html"
    WORDS = {
        "open": "Thumbs down and comments that nobody has resolved yet, newest first.",
        "mine": "What is open and yours.",
        "resolved": "What was open once and is resolved, until its visitor says something new.",
        "all": "Every vote, also thumbs up without a comment and votes taken back.",
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(tab, tab.capitalize()) for tab in self.WORDS]

    def value(self) -> str:
        chosen = super().value()
        return chosen if chosen in self.WORDS else "open"

    def choices(self, changelist: Any) -> Iterator[Any]:
        for tab, label in self.lookup_choices:
            counted = tab in ("open", "mine")
            votes = self.choose(self.request, Feedback.objects.all(), str(tab))
            yield {
                "selected": self.value() == tab,
                "query_string": changelist.get_query_string({self.parameter_name: tab}),
                "display": label,
                "count": bounded_count(votes, 999) if counted else "",
                "words": self.WORDS[str(tab)],
            }

    def choose(self, request: HttpRequest, votes: Votes, choice: str) -> Votes:
        match choice:
            case "open":
                return votes.filter(review=Review.OPEN)
            case "mine":
                return votes.filter(review=Review.OPEN, owner=request.user.pk)
            case "resolved":
                return votes.filter(review=Review.RESOLVED)
        return votes


class StateFilter(ChoiceFilter):
    """How far the review is."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("open", "Open, not seen yet"),
            ("seen", "Seen"),
            ("resolved", "Resolved"),
            ("none", "Nothing to do"),
        ]

    def choose(self, request: HttpRequest, votes: Votes, choice: str) -> Votes:
        if choice in ("open", "seen"):
            return votes.filter(review=Review.OPEN, seen_at__isnull=choice == "open")
        return votes.filter(review=choice)


class OwnerFilter(ChoiceFilter):
    """Whose it is."""

    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        others = operators().exclude(username=request.user.get_username())[:MOST_CHOICES]
        names = [(str(user.pk), user.get_full_name() or user.username) for user in others]
        return [("me", "Me"), ("nobody", "Nobody"), *names]

    def choose(self, request: HttpRequest, votes: Votes, choice: str) -> Votes:
        if choice == "nobody":
            return votes.filter(owner=None)
        return votes.filter(owner=request.user.pk if choice == "me" else int(choice))


class VoteFilter(ChoiceFilter):
    """The visitor's last vote."""

    title = "vote"
    parameter_name = "vote"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("down", "Thumbs down"), ("up", "Thumbs up"), ("none", "Taken back")]

    def choose(self, request: HttpRequest, votes: Votes, choice: str) -> Votes:
        return votes.filter(vote=choice if choice in Vote.values else None)


class CommentFilter(ChoiceFilter):
    """Whether the visitor wrote something."""

    title = "comment"
    parameter_name = "comment"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "With a comment"), ("no", "Without")]

    def choose(self, request: HttpRequest, votes: Votes, choice: str) -> Votes:
        return votes.filter(comment="") if choice == "no" else votes.exclude(comment="")


class ReasonFilter(ChoiceFilter):
    """One of the reasons that visitors may choose from, by its key."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        lists = Widget.objects.values_list("reasons_down", "reasons_up")[:MOST_CHOICES]
        downs, ups = zip(*lists, strict=True) if lists else ((), ())
        found = {one["key"]: one["label"] for reasons in [*downs, *ups] for one in reasons}
        return list(found.items())[:MOST_CHOICES]

    def choose(self, request: HttpRequest, votes: Votes, choice: str) -> Votes:
        if connection.features.supports_json_field_contains:
            return votes.filter(reasons__contains=[choice])
        texts = votes.annotate(reasons_text=Cast("reasons", TextField()))
        return texts.filter(reasons_text__contains=json.dumps(choice))


def offered(rows: QuerySet[M], wanted: object) -> list[M]:
    """Return the first of these rows, and the one that is asked for where it comes later."""
    first = list(rows[:MOST_CHOICES])
    if wanted and all(row.pk != wanted for row in first):
        first += rows.filter(pk=wanted)
    return first


class AgentFilter(ChoiceFilter):
    """Whose answer it is on."""

    title = "agent"
    parameter_name = "agent"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        wanted = as_uuid(request.GET.get(self.parameter_name, ""))
        agents = offered(Agent.objects.all(), wanted)
        return [(str(agent.pk), agent.name) for agent in agents]

    def choose(self, request: HttpRequest, votes: Votes, choice: str) -> Votes:
        return votes.filter(agent_id=choice)


class WidgetFilter(ChoiceFilter):
    """Which widget it was given in."""

    title = "widget"
    parameter_name = "widget"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        key = request.GET.get(self.parameter_name, "")
        widgets = offered(Widget.objects.all(), key if key.isprintable() else "")
        return [(widget.key, widget.name) for widget in widgets]

    def choose(self, request: HttpRequest, votes: Votes, choice: str) -> Votes:
        return votes.filter(widget=choice)


class DeliveryFilter(ChoiceFilter):
    """Whether the vendor knows."""

    title = "delivery"
    parameter_name = "delivery"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(State.choices)

    def choose(self, request: HttpRequest, votes: Votes, choice: str) -> Votes:
        return votes.filter(delivery__state=choice)


class TypedFilter(admin.ListFilter):
    """What is typed rather than chosen: `parameters` by name, each with its kind of field."""

    parameters: dict[str, tuple[str, str]]
    """Of each parameter its label and the type of its input."""

    def __init__(
        self, request: HttpRequest, params: dict[str, list[str]], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        self.typed = {name: (params.pop(name, None) or [""])[-1] for name in self.parameters}

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return [*self.parameters]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield one thing: what the form is to hold, and the rest of the address."""
        yield {
            "fields": [
                (name, label, kind, self.typed[name])
                for name, (label, kind) in self.parameters.items()
            ],
            "chosen": self.in_words(),
            "rest": {
                name: value
                for name, value in changelist.params.items()
                if name not in self.parameters
            },
            "without": changelist.get_query_string(remove=list(self.parameters)),
            "presets": [
                (label, changelist.get_query_string(values, remove=list(self.parameters)))
                for label, values in self.presets()
            ],
        }

    def in_words(self) -> str:
        """Return what is chosen, empty if nothing is."""
        return " ".join(self.typed.values()).strip()

    def presets(self) -> list[tuple[str, dict[str, str]]]:
        """Return what is often wanted, as a label and the values of the parameters."""
        return []


class PageFilter(TypedFilter):
    """On which page of the site the question was asked: part of its address."""

    title = "page"
    template = "admin/feedback/feedback/typed_filter.html"
    parameters = {"page": ("The address contains", "search")}

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        part = self.typed["page"].strip().replace("\x00", "")
        return queryset.filter(page__icontains=part) if part else queryset


class DateFilter(TypedFilter):
    """When the visitor last said something: from one day to another, both included."""

    title = "date"
    template = "admin/feedback/feedback/typed_filter.html"
    parameters = {"from": ("From", "date"), "until": ("Until", "date")}

    def presets(self) -> list[tuple[str, dict[str, str]]]:
        today = timezone.localdate()
        return [
            (label, {"from": (today - timedelta(days=days)).isoformat()})
            for label, days in (("Today", 0), ("Last 7 days", 6), ("Last 30 days", 29))
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        days = Q()
        if first := self._day("from"):
            days &= Q(updated_at__gte=midnight(first))
        if last := self._day("until"):
            days &= Q(updated_at__lt=midnight(last + timedelta(days=1)))
        return queryset.filter(days)

    def in_words(self) -> str:
        first, last = self._day("from"), self._day("until")
        return f"{first or ''} – {last or ''}".strip() if first or last else ""

    def _day(self, name: str) -> date | None:
        try:
            day = date.fromisoformat(self.typed[name])
        except ValueError:
            return None
        return day if 2000 <= day.year < 3000 else None


def operators() -> QuerySet[User]:
    """Return who may own a vote."""
    return User.objects.filter(is_staff=True, is_active=True).order_by("username")
