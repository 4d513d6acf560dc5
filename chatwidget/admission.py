"""How many answers are under way at once: per agent, per widget, per visitor, in one process.

An answer under way holds a live lease, so the database knows how busy an agent is, whatever
process runs its answers. Where everybody has room nobody waits. Where not, answers begin in the
order in which they were asked, and nobody stands behind somebody who waits for another agent or
another widget. As many may wait as are answered at once; the next visitors are told to come back.

Every process reads the same line, one after the other: a question may reach the database later than
a younger one, and two that looked just between the two would see different lines.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count, Min, Q, QuerySet, Value
from django.utils import timezone

from .models import Agent, Conversation, Message
from .prepared import Prepared

AT_ONCE = settings.PROVIDER_CONNECTIONS * 4 // 5
"""Answers under way at once in one process. Each holds one connection at a time, so a fifth of them
is left for everything else: deliveries, looks after people, erasing."""
SHARE = AT_ONCE // 2
"""No agent has more of them, whatever its own limit: one that hangs leaves room for others."""
LINE = 200
"""At most this many of those who wait are looked at for the places that are free."""
SWEEP = 100
"""Abandoned answers that a process takes up at once; the rest may be another's."""
ABANDONED_S = 2.0
"""An answer that has waited longer than this may begin in any process, not only where asked."""
SOONEST_S, LATEST_S = 2.0, 30.0
"""What a visitor who finds the line full is told to wait, at least and at most."""


def is_free(now: datetime | None = None) -> Q:
    """Select answers that nobody is working on."""
    return Q(lease_until=None) | Q(lease_until__lt=now or timezone.now())


def count(of: Q | None = None) -> Count:
    """Count answers, or those of them that `of` selects. Their age is never null, and indexed."""
    return Count("created_at", filter=of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An answer that is still to begin, or was begun by a process that is gone."""

    answer: uuid.UUID
    agent: uuid.UUID | None
    since: datetime
    sent: bool = False
    """The vendor may have its question already."""
    abandoned: bool = False
    """Found by a sweep: whoever has no place for it now leaves it to the next sweep."""

    @classmethod
    def of(cls, answer: Message, *, abandoned: bool = False) -> "Waiting":
        """Return what is to be known of a stored answer."""
        return cls(
            answer=answer.pk,
            agent=answer.agent_id,
            since=answer.created_at,
            sent=answer.sent_at is not None,
            abandoned=abandoned,
        )

    @property
    def is_late(self) -> bool:
        """Whether it has waited as long as anybody is to wait."""
        waited = timezone.now() - self.since
        return not self.sent and waited > timedelta(seconds=settings.ANSWER_WAIT_S)


class Verdict(Enum):
    """What becomes of an answer that waits no longer."""

    ASK = ""
    TRY = "the first question after a rest"
    RESTS = "not asked: the vendor has failed several times and is left alone for a while"
    LATE = "not asked: it has waited too long for its turn"


@dataclass(slots=True)
class Room:
    """The places of one process: in all, and for any one agent at most."""

    places: int
    share: int
    held: Counter[uuid.UUID | None]

    @property
    def closed_to(self) -> list[uuid.UUID]:
        """The agents that have their share."""
        return [agent for agent, held in self.held.items() if agent and held >= self.share]

    def take(self, agent: uuid.UUID | None) -> bool:
        """Take a place for an answer of this agent. Returns False if there is none."""
        if self.places <= 0 or self.held[agent] >= self.share:
            return False
        self.places -= 1
        self.held[agent] += 1
        return True


class Held:
    """The places of this process, and who holds them. Safe from any thread."""

    def __init__(self) -> None:
        self._room = Room(places=AT_ONCE, share=SHARE, held=Counter())
        self._lock = threading.Lock()

    @property
    def room(self) -> Room:
        """What is left, for whoever chooses among those who wait."""
        with self._lock:
            return replace(self._room, held=self._room.held.copy())

    def take(self, agent: uuid.UUID | None) -> None:
        """Take a place that `room` has told of."""
        with self._lock:
            self._count(agent, 1)

    def take_free(self, agent: uuid.UUID | None) -> bool:
        """Take a place that nobody waits for. Returns False if there is none."""
        with self._lock:
            return self._room.take(agent)

    def leave(self, agent: uuid.UUID | None) -> None:
        """Give one back."""
        with self._lock:
            self._count(agent, -1)

    def _count(self, agent: uuid.UUID | None, number: int) -> None:
        self._room.places -= number
        self._room.held[agent] += number


@dataclass(slots=True)
class Places:
    """The places that are free over all processes, and who needs them."""

    of_agent: dict[uuid.UUID, int] = field(default_factory=dict)
    of_widget: dict[str, int] = field(default_factory=dict)
    crowded: set[uuid.UUID] = field(default_factory=set)
    """Agents that have more open answers than may begin, or whose widgets have."""
    rests: dict[uuid.UUID, datetime] = field(default_factory=dict)

    @property
    def full(self) -> Q:
        """Select answers of the agents and widgets that have no place left."""
        return Q(agent__in=[one for one, free in self.of_agent.items() if free <= 0]) | Q(
            widget__in=[one for one, free in self.of_widget.items() if free <= 0]
        )

    def take(self, agent: uuid.UUID, widget: str) -> bool:
        """Take a place of both. Returns False if one of them has none."""
        if self.of_agent[agent] <= 0 or self.of_widget[widget] <= 0:
            return False
        self.of_agent[agent] -= 1
        self.of_widget[widget] -= 1
        return True


@Prepared
def _open_turns(now: datetime) -> QuerySet[Message, tuple[Any, ...]]:
    return (
        Message.objects.open()
        .exclude(agent=None)
        .values_list(
            "agent", "agent__answers_at_once", "agent__resting_until",
            "widget", "widget__answers_at_once",
        )
        .annotate(number=count(), under_way=count(~is_free(now)))
        .order_by()
    )  # fmt: skip


def look() -> Places:
    """Read how busy everybody is."""
    places, still_open = Places(), Counter[uuid.UUID | str]()
    pairs: list[tuple[uuid.UUID, int, str, int]] = []
    rows = _open_turns(timezone.now())
    for agent, agents_limit, resting_until, widget, widgets_limit, number, under_way in rows:
        places.of_agent[agent] = places.of_agent.get(agent, agents_limit) - under_way
        places.of_widget[widget] = places.of_widget.get(widget, widgets_limit) - under_way
        still_open.update({agent: number, widget: number})
        pairs.append((agent, agents_limit, widget, widgets_limit))
        if resting_until:
            places.rests[agent] = resting_until
    places.crowded = {
        agent
        for agent, agents_limit, widget, widgets_limit in pairs
        if still_open[agent] > agents_limit or still_open[widget] > widgets_limit
    }
    return places


def line(places: Places) -> set[uuid.UUID]:
    """Take the free places of crowded agents for those who have waited longest; return who."""
    waiting = (
        Message.objects.open()
        .filter(is_free(), agent__in=places.crowded)
        .exclude(places.full)
        .order_by("created_at")
        .values_list("pk", "agent", "widget")
    )
    return {answer for answer, agent, widget in waiting[:LINE] if places.take(agent, widget)}


def _one_at_a_time(agents: Collection[uuid.UUID]) -> None:
    """Wait until no other process chooses among these agents' answers, and see what it claimed."""
    if connection.vendor == "sqlite":  # only one writes at a time
        return
    rows = Agent.objects.select_for_update(no_key=True).filter(pk__in=agents)
    list(rows.order_by("pk").values_list("pk"))


def choose(waiting: Collection[Waiting], room: Room) -> dict[uuid.UUID, Verdict]:
    """Return those of `waiting` that wait no longer, and what becomes of each.

    Belongs into the transaction that then claims them.
    """
    _one_at_a_time({one.agent for one in waiting if one.agent})
    now, places = timezone.now(), look()
    room = replace(room, held=room.held.copy())
    first = line(places) if places.crowded else set()
    chosen: dict[uuid.UUID, Verdict] = {}
    for one in sorted(waiting, key=lambda one: one.since):
        rests_until = None if one.sent or one.agent is None else places.rests.get(one.agent)
        if rests_until and rests_until > now:
            chosen[one.answer] = Verdict.RESTS
        elif rests_until:
            chosen[one.answer] = Verdict.TRY  # `claims.take` leaves it to one of them
        elif (one.agent not in places.crowded or one.answer in first) and room.take(one.agent):
            chosen[one.answer] = Verdict.ASK
        elif one.is_late:
            chosen[one.answer] = Verdict.LATE
    return chosen


def abandoned(room: Room) -> list[Waiting]:
    """Return answers whose process is gone or has no room, as far as they could begin here now."""
    now = timezone.now()
    waited = Q(created_at__lt=now - timedelta(seconds=ABANDONED_S))
    late = Q(created_at__lt=now - timedelta(seconds=settings.ANSWER_WAIT_S))
    found = (
        Message.objects.open()
        .filter(is_free(), waited | Q(lease_token__isnull=False))
        .exclude(look().full | Q(agent__in=room.closed_to), ~late)
        .order_by("created_at")
    )
    at_once = max(0, min(room.places, SWEEP))
    return [Waiting.of(answer, abandoned=True) for answer in found[:at_once]]


@Prepared
def _still_open(
    agent: uuid.UUID, widget: str, visitor: uuid.UUID
) -> QuerySet[Message, tuple[str, int, int, int]]:
    return (
        Message.objects.open()
        .values_list(Value("all of them"))
        .annotate(
            agents=count(Q(agent=agent)),
            widgets=count(Q(widget=widget)),
            visitors=count(Q(visitor=visitor)),
        )
        .order_by()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What one more question in a conversation would find."""

    wait_s: float = 0.0
    """Seconds after which it is worth asking again."""
    whom: str = ""
    """Whom it would wait for so long, and cannot be taken: `agent` (also for its share, the
    widget's) or `visitor`."""
    at_once: bool = False
    """Nobody waits, and there is room for one more: its answer may begin."""


def outlook(conversation: Conversation) -> Outlook:
    """Return what one more question would find. Belongs into the transaction that stores it."""
    agent, visitor = conversation.agent, conversation.visitor
    counts = _still_open.first(conversation.agent_id, visitor.widget_id, visitor.pk)
    assert counts is not None, "nothing is grouped, so there is one row"
    _, of_agent, of_widget, of_visitor = counts
    if settings.RATE_LIMITS and of_visitor >= settings.VISITOR_AT_ONCE:
        return Outlook(wait_s=SOONEST_S, whom="visitor")
    limit, widgets_limit = agent.answers_at_once, visitor.widget.answers_at_once
    # PostgreSQL shows nobody what others are just storing: most of the places are left for them.
    part = 1 if connection.vendor == "sqlite" else 4
    if of_agent < limit // part and of_widget < widgets_limit // part:
        return Outlook(at_once=agent.resting_until is None)
    if of_agent < 2 * limit and of_widget < 2 * widgets_limit:
        return Outlook()
    # As long as whoever is first in line has waited: by then the line of now has begun.
    line = Message.objects.open().filter(is_free(), agent=conversation.agent_id)
    oldest = line.aggregate(at=Min("created_at"))["at"] or timezone.now()
    waited = (timezone.now() - oldest).total_seconds()
    return Outlook(wait_s=min(max(waited, SOONEST_S), LATEST_S), whom="agent")
