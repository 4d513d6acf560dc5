"""What our admin pages share: typed bases, a paginator that never counts a whole table."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.main import ChangeList
from django.contrib.contenttypes.models import ContentType
from django.core import paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property

from ..errors import VaultError

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as ModelAdmin
    from django.forms import ModelForm as ModelForm

    Paginator = paginator.Paginator[Any]
else:
    Paginator = paginator.Paginator

    class ModelAdmin(admin.ModelAdmin):
        """Django's, subscriptable as its type stubs want it."""

        def __class_getitem__(cls, item):
            return cls

    class ModelForm(forms.ModelForm):
        """Django's, subscriptable as its type stubs want it."""

        def __class_getitem__(cls, item):
            return cls


M = TypeVar("M", bound=Model)

ROWS = 50
AHEAD = 8
"""How many pages past the one that is shown are counted."""
RECENT = timedelta(days=7)
COUNTED_AT_MOST = 10_000
NOTED_AT_MOST = 1000
"""Ids in one entry of the log of changes."""


class LookaheadPaginator(Paginator):
    """Counts a few pages past the one that is shown and no further: a table may be very long."""

    shown = 1
    rows: QuerySet[Any]
    """Every row with what is shown of it."""

    def page(self, number: Any) -> "paginator.Page[Any]":
        """Return a page. Its keys are looked for first, by an index; only its rows are joined."""
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        keys: Any = self.object_list.values_list("pk", flat=True)  # type: ignore[attr-defined]
        wanted = list(keys[start : start + self.per_page])
        found = {row.pk: row for row in self.rows.filter(pk__in=wanted)}
        return paginator.Page([found[key] for key in wanted if key in found], number, self)

    @cached_property
    def count(self) -> int:
        return min(self._found, self._limit)

    @property
    def has_more(self) -> bool:
        """Whether there is more than `count`."""
        return self._found > self._limit

    @property
    def _limit(self) -> int:
        return (self.shown + AHEAD) * self.per_page

    @cached_property
    def _found(self) -> int:
        # `values` leaves the list's annotations out of the count.
        rows = self.object_list.order_by().values("pk")  # type: ignore[attr-defined]  # a QuerySet
        return int(rows[: self._limit + 1].count())


class LongList(ChangeList):
    """A list whose rows always come by way of its paginator, also where they fill no page."""

    def get_results(self, request: HttpRequest) -> None:
        """Find what this page of the list shows."""
        super().get_results(request)
        if not self.multi_page:
            self.result_list = self.paginator.page(1).object_list


class LongListAdmin(ModelAdmin[M]):
    """A read-only list of what visitors made: never counted as a whole, never edited."""

    list_per_page = ROWS
    list_max_show_all = 0
    show_full_result_count = False
    sortable_by = ()  # newest first, by an index; sorting a long table by a column is slow
    paginator = LookaheadPaginator

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LongList

    def get_rows(self, request: HttpRequest) -> QuerySet[M]:
        """Return everything with what a row shows. What is filtered and counted needs less."""
        return self.get_queryset(request)

    def get_paginator(
        self,
        request: HttpRequest,
        queryset: QuerySet[M],
        per_page: int,
        orphans: int = 0,
        allow_empty_first_page: bool = True,
    ) -> LookaheadPaginator:
        pages = LookaheadPaginator(queryset, per_page, orphans, allow_empty_first_page)
        pages.rows = self.get_rows(request)
        page = request.GET.get("p", "")
        pages.shown = max(1, int(page)) if page.isdecimal() and len(page) < 6 else 1
        return pages

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return False


def newest(request: HttpRequest, queryset: QuerySet[M], at_most: int, **older: str) -> QuerySet[M]:
    """Keep the newest rows of a list by `updated_at`: what can be looked through in no time.

    Where there are more, the page says so and leads to older ones (`search_bound.html`), by the
    list's filter `older`: its name, and the form of the day or moment that it takes. A request
    that is `whole` has the time to look through everything.
    """
    if getattr(request, "whole", False):
        return queryset
    by_time = queryset.order_by("-updated_at", "-pk")
    since = by_time.values_list("updated_at", flat=True)[at_most - 1 : at_most].first()
    if since is None:
        return queryset
    (name, form), query = next(iter(older.items())), request.GET.copy()
    query.pop("p", None)
    query[name] = f"{timezone.localtime(since):{form}}"
    request.looked_through = {  # type: ignore[attr-defined]
        "number": at_most,
        "since": since,
        "older": f"?{query.urlencode()}",
    }
    return queryset.filter(pk__in=by_time.values("pk")[:at_most])


def date_filter(title: str) -> type[admin.DateFieldListFilter]:
    """Return Django's filter by date under a name that says what the date is of."""

    class Dated(admin.DateFieldListFilter):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.title = title

    return Dated


def note(
    request: HttpRequest, model: type[Model], what: str, ids: Iterable[object] = (), *, flag: int
) -> None:
    """Write into Django's log of changes what an operator did, to rows of which it has the ids.

    Nothing of what people said may be in `what`: the log outlives it.
    """
    named = ", ".join(str(one) for one in islice(ids, NOTED_AT_MOST))
    LogEntry.objects.create(
        user_id=request.user.pk,  # type: ignore[misc]  # whoever acts is signed in
        content_type=ContentType.objects.get_for_model(model),
        object_repr=what[:200],
        action_flag=flag,
        change_message=f"{what}: {named}" if named else what,
    )


def bounded_count(rows: QuerySet[Any], at_most: int = COUNTED_AT_MOST) -> str:
    """Return how many rows there are, as text; past `at_most` only that there are more."""
    found = rows.order_by().values("pk")[: at_most + 1].count()
    return f"{at_most:,}+" if found > at_most else f"{found:,}"


def counted(count: str, noun: str) -> str:
    """Return "1 vote", "0 votes", "1,000+ votes"."""
    return f"{count} {noun}" if count == "1" else f"{count} {noun}s"


def may_fill_in(page: ModelAdmin[M], request: HttpRequest, obj: M | None) -> bool:
    """Whether the operator may save the form: of a row, or of a new one where there is none."""
    if obj is None:
        return page.has_add_permission(request)
    return page.has_change_permission(request, obj)


def vault_problem(open_sealed: Callable[[], object]) -> str:
    """Return why what is sealed cannot be opened; empty when it can."""
    try:
        open_sealed()
    except VaultError as error:
        return str(error)
    return ""


def recently() -> Any:
    """Return the moment since which something counts as recent on the front page."""
    return timezone.now() - RECENT
