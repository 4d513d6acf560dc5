"""Counting the days: what the dashboard shows is added up from one row a day, agent and widget.

To count a million messages takes seconds, so each day is counted once, by a background job, and
again when something of it has changed. The job looks at the day that is and the one before every
few seconds; whoever changes an older one says so in the same transaction, by adding a `Recount`:
a late vote (`views.py`) and erasure (a signal, `apps.py`). A tally is always counted whole, from
the rows that are stored, so it cannot drift, and what is erased leaves it, too.

Counting is reading; only its outcome is written, and only if no other process has written one
since this one began. What has changed meanwhile is marked and counted next time.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Count, F, FloatField, Func, IntegerField, Min, Q, Value
from django.db.models.functions import Cast, Floor, Greatest, Ln
from django.utils import timezone

from chatwidget import process
from chatwidget.models import Conversation, Message, Role, Status

from .days import days_between, midnight
from .models import Census, Feedback, Recount, Tally, Vote
from .statistics import SHORTEST_S, STEPS

JOB = "count the days"
EVERY_S = 10.0
DAYS_AT_ONCE = 10
QUIET = timedelta(minutes=1)
"""How often it is written down that nothing has changed."""


# --- what has changed -----------------------------------------------------------------------------


def vote_changed(feedback: Feedback) -> None:
    """Have the vote counted; call it in the vote's transaction."""
    _mark([feedback.message.created_at])


def conversation_goes(sender: object, instance: Conversation, **kwargs: Any) -> None:
    """Signal: the conversation is about to be erased, and leaves what was counted of it."""
    _mark(instance.messages.order_by().values_list("created_at", flat=True))


def _mark(moments: Iterable[datetime]) -> None:
    """Have the days of these counted again. Today is counted in any case."""
    today = timezone.localdate()
    days = {timezone.localdate(moment) for moment in moments}
    Recount.objects.bulk_create(Recount(day=day) for day in sorted(days) if day < today)


# --- the job --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be counted now, as the database was before the counting."""

    census: Census
    today: date
    days: list[date]
    marks: list[int]
    """Recounts that this one settles."""
    more: bool


async def count() -> bool:
    """Job: count what has changed. Returns whether more days wait."""
    store = process.running().store
    plan = await store.read(plan_count)
    if plan is None:
        await store.write(start_over)
        return True
    tallies = [tally for day in plan.days for tally in await store.read(count_day, day)]
    if await store.read(is_news, plan, tallies):
        await store.write(keep, plan, tallies)
    return plan.more


def plan_count() -> Plan | None:
    """Return what to count, or None where everything must be counted anew."""
    census = Census.objects.first()
    if census is None or census.zone != timezone.get_default_timezone_name():
        return None
    today = timezone.localdate()
    # An answer belongs to the day of its question and may end after midnight.
    recent = days_between(census.day - timedelta(days=1), today)
    waiting = Recount.objects.order_by("-day").values_list("day", flat=True).distinct()
    marked = list(waiting[: DAYS_AT_ONCE + 1])
    days = sorted({*recent, *marked[:DAYS_AT_ONCE]}, reverse=True)
    marks = Recount.objects.filter(day__in=days).values_list("pk", flat=True)
    return Plan(census, today, days, list(marks), more=len(marked) > DAYS_AT_ONCE)


def start_over() -> None:
    """Have every day counted, newest first: at the beginning, or when the days themselves change
    with the time zone."""
    now, zone = timezone.now(), timezone.get_default_timezone_name()
    today = timezone.localdate(now)
    Census.objects.get_or_create(pk=1, defaults={"day": today, "counted_at": now})
    census = Census.objects.select_for_update().get(pk=1)
    if census.zone == zone:
        return  # another process was quicker
    first = Message.objects.aggregate(first=Min("created_at"))["first"] or now
    Tally.objects.all().delete()
    Recount.objects.all().delete()
    Recount.objects.bulk_create(
        Recount(day=day) for day in days_between(timezone.localdate(first), today)
    )
    census.zone, census.day, census.counted_at = zone, today, now
    census.version += 1
    census.save()


def is_news(plan: Plan, tallies: list[Tally]) -> bool:
    """Whether there is anything to write: a quiet service writes once a minute."""
    if plan.marks or plan.today != plan.census.day:
        return True
    stored = Tally.objects.filter(day__in=plan.days)
    changed = {what_of(tally) for tally in stored} != {what_of(tally) for tally in tallies}
    return changed or timezone.now() - plan.census.counted_at >= QUIET


def what_of(tally: Tally) -> tuple[Any, ...]:
    """Return everything that a tally says, to compare it with another."""
    counts = (tally.conversations, tally.answers, tally.failed, tally.up, tally.down)
    times = tuple(sorted(tally.times.items()))
    return (tally.day, tally.agent_id, tally.widget_id, counts, times)


def keep(plan: Plan, tallies: list[Tally]) -> bool:
    """Put what was counted in place of what was, unless somebody else has done so meanwhile."""
    mine = Census.objects.filter(pk=plan.census.pk, version=plan.census.version).update(
        version=F("version") + 1, day=plan.today, counted_at=timezone.now()
    )
    if mine:
        Tally.objects.filter(day__in=plan.days).delete()
        Tally.objects.bulk_create(tallies)
        Recount.objects.filter(pk__in=plan.marks).delete()
    return bool(mine)


# --- counting -------------------------------------------------------------------------------------


class Seconds(Func):
    """The seconds from the second moment to the first."""

    output_field = FloatField()

    def as_sqlite(self, compiler: Any, connection: Any, **kwargs: Any) -> Any:
        template = "((julianday(%(expressions)s)) * 86400.0)"
        return self.as_sql(
            compiler, connection, template=template, arg_joiner=") - julianday(", **kwargs
        )

    def as_postgresql(self, compiler: Any, connection: Any, **kwargs: Any) -> Any:
        template = "(extract(epoch from (%(expressions)s))::float8)"
        return self.as_sql(compiler, connection, template=template, arg_joiner=" - ", **kwargs)


def number(value: float) -> Value:
    return Value(float(value), output_field=FloatField())


TOOK = Greatest(Seconds(F("completed_at"), F("created_at")), number(SHORTEST_S))
BUCKET = Cast(Floor(Ln(TOOK / number(SHORTEST_S)) * number(STEPS / math.log(2))), IntegerField())
"""As `statistics.bucket_of`, in the database."""


def count_day(day: date) -> list[Tally]:
    """Return the day's tallies, unsaved; none for those on whom nothing happened."""
    begin, end = midnight(day), midnight(day + timedelta(days=1))
    said = (
        Message.objects.order_by()
        .filter(created_at__gte=begin, created_at__lt=end)
        .values(whose=F("conversation__agent"), where=F("conversation__visitor__widget"))
    )
    answer = Q(role=Role.AGENT, completed_at__isnull=False)
    found = {
        (row["whose"], row["where"]): Tally(
            day=day,
            agent_id=row["whose"],
            widget_id=row["where"],
            conversations=row["began"],
            answers=row["ended"],
            failed=row["failures"],
            up=row["ups"],
            down=row["downs"],
        )
        for row in said.annotate(
            began=Count("pk", filter=Q(position=1)),
            ended=Count("pk", filter=answer),
            failures=Count("pk", filter=Q(role=Role.AGENT, status=Status.FAILED)),
            ups=Count("pk", filter=Q(role=Role.AGENT, feedback__vote=Vote.UP)),
            downs=Count("pk", filter=Q(role=Role.AGENT, feedback__vote=Vote.DOWN)),
        )
    }
    # What an agent says unasked was never sent for, and did not take any time.
    came = said.filter(role=Role.AGENT, status=Status.COMPLETED, sent_at__isnull=False)
    for row in came.annotate(bucket=BUCKET).annotate(times=Count("pk")):
        if one := found.get((row["whose"], row["where"])):
            one.times[str(row["bucket"])] = row["times"]
    return [one for one in found.values() if one.conversations or one.answers]
