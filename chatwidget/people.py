"""People at the vendor: who has a conversation, and what they say in it.

Nothing need tell us when a person steps in, so conversations that are alive are asked: often while
a person has them, now and then while the agent does, and no more once they have gone quiet. A look
that fails is repeated less and less soon, and a wait that the vendor asks for holds for all of its
agent's. Where a vendor has a doorbell, `bells.py` makes a look come at once.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from . import claims, process
from .errors import ChatWidgetError, ProviderError, RateLimited, Unsupported
from .events import (
    AgentSaid,
    ConversationChanged,
    HumanHas,
    HumanSaid,
    MessageChanged,
    ProviderEvent,
)
from .lanes import Room
from .models import MAX_UPSTREAM_ID, Conversation, Message, Mode, Role
from .providers.base import Ask
from .providers.drive import drive
from .runner import open_provider
from .serializers import conversation_frame, message_frame
from .turn import titled, whole

log = logging.getLogger(__name__)

JOB = "follow people"
BATCH = 50
LOOK_S = 20.0
"""One look's deadline; a look that was lost with its process is taken again after it."""
ALIVE = timedelta(minutes=10)
AWAKE = timedelta(hours=24)
# Waits as multiples of HUMAN_POLL_S: (a person has it and it is alive, … asleep, the agent has it)
LIVELY, SLOW, WATCHFUL = 1, 20, 5
MOST_FAILED = 10_000

_failed: Counter[uuid.UUID] = Counter()
"""How many looks at a conversation have failed in a row, in this process. Beyond MOST_FAILED
conversations it begins anew."""


async def follow() -> bool:
    """Job: start asking after conversations that are due, each agent's in its own lane."""
    running = process.running()
    room = running.lanes.room(JOB)
    if not await running.store.read(_due(room).exists):  # mostly so: then nothing is locked
        return False
    due, more = await running.store.write(_claim_due, room)
    for conversation in due:
        running.lanes.start(JOB, conversation.agent_id, _look(conversation, running))
    return more


def next_look(conversation: Conversation, now: datetime) -> datetime | None:
    """Return when to ask again after `now`; None once the conversation has gone quiet."""
    quiet = now - conversation.updated_at
    if conversation.mode == Mode.HUMAN:
        pace = LIVELY if quiet < ALIVE else SLOW if quiet < AWAKE else None
    else:
        pace = WATCHFUL if quiet < ALIVE else None
    return now + timedelta(seconds=settings.HUMAN_POLL_S * pace) if pace else None


def _due(room: Room) -> QuerySet[Conversation]:
    return (
        Conversation.objects.select_related("agent", "visitor")
        .filter(sync_at__lte=timezone.now())
        .exclude(agent__in=room.full)
        .order_by("sync_at")
    )


def _claim_due(room: Room) -> tuple[list[Conversation], bool]:
    """Take what is due by moving its next look behind this one's deadline: one look at a time."""
    lost = timezone.now() + timedelta(seconds=LOOK_S * 1.5)
    found = list(_due(room)[:BATCH])
    mine = []
    for one in found:
        if room.take(one.agent_id) and _move(one, lost):
            one.sync_at = lost
            mine.append(one)
    return mine, len(found) == BATCH


def _move(conversation: Conversation, to: datetime | None) -> bool:
    """Set the next look, unless somebody else has set it since."""
    same = Conversation.objects.filter(pk=conversation.pk, sync_at=conversation.sync_at)
    return bool(same.update(sync_at=to))


async def _look(conversation: Conversation, running: process.Process) -> None:
    """Ask the vendor once, and store and show what is new."""
    replies: list[HumanSaid | AgentSaid] = []
    human = conversation.mode == Mode.HUMAN

    async def sink(events: Sequence[ProviderEvent]) -> None:
        nonlocal human
        replies.extend(event for event in events if isinstance(event, HumanSaid | AgentSaid))
        for event in events:
            if isinstance(event, HumanHas):
                human = event.human

    ask = Ask(
        visitor=str(conversation.visitor_id),
        conversation=str(conversation.pk),
        text="",
        known=claims.known_before(conversation),
    )
    try:
        provider = open_provider(conversation.agent)
        await drive(provider, provider.follow(ask), running.http, sink, within_s=LOOK_S)
    except Unsupported:  # any more: an option was switched off
        await running.store.write(_move, conversation, None)
        return
    except ChatWidgetError as error:
        log.warning("conversation %s cannot be followed: %r", conversation.pk, error)
        if asked_s := _asked_s(error):
            running.lanes.rest(JOB, conversation.agent_id, asked_s)
        wait_s = max(asked_s, settings.HUMAN_POLL_S * _pace(conversation.pk, error))
        await running.store.write(_put_off, conversation, wait_s)
        return
    _failed.pop(conversation.pk, None)
    frames = await running.store.write(_note, conversation, replies, human)
    running.hub.publish(str(conversation.visitor_id), *frames)


def _asked_s(error: ChatWidgetError) -> float:
    """Return how long the vendor asks to be left alone, 0 where it does not."""
    asked_s = error.retry_after_s if isinstance(error, ProviderError) else None
    if asked_s is None and isinstance(error, RateLimited):  # without saying for how long
        asked_s = settings.HUMAN_POLL_S * SLOW
    return min(asked_s or 0.0, AWAKE.total_seconds())


def _pace(conversation: uuid.UUID, error: ChatWidgetError) -> int:
    """Return the pace after one more look that failed: lively at first, then half each time."""
    if not isinstance(error, ProviderError) or error.permanent:  # it does not pass by itself
        return SLOW
    if len(_failed) >= MOST_FAILED:
        _failed.clear()
    failed = _failed[conversation]
    _failed[conversation] += 1
    return min(LIVELY << failed, SLOW)


def _put_off(conversation: Conversation, wait_s: float) -> None:
    """A look failed: the next one comes in its time, and not before `wait_s` are over."""
    now = timezone.now()
    usual = next_look(conversation, now)
    _move(conversation, max(usual, now + timedelta(seconds=wait_s)) if usual else None)


def _note(
    conversation: Conversation, replies: list[HumanSaid | AgentSaid], human: bool
) -> list[MessageChanged | ConversationChanged]:
    """Store what a look has shown and when the next one is due. Returns the frames that tell."""
    fresh = claims.locked.first(conversation.pk)
    if fresh is None:
        return []  # erased while it was looked at
    frames = _add(fresh, replies)
    conversation.updated_at = fresh.updated_at
    _move(conversation, next_look(conversation, timezone.now()))
    changed = claims.set_mode(conversation.pk, human)
    return [*frames, *filter(None, [changed])]


def _add(
    fresh: Conversation, replies: Iterable[HumanSaid | AgentSaid]
) -> list[MessageChanged | ConversationChanged]:
    """Store what is new of what was said outside answers, in a conversation that is locked.

    Returns the frames that show it.
    """
    said = Message.objects.filter(conversation=fresh)
    stored = set(said.exclude(upstream_id="").values_list("upstream_id", flat=True))
    question = said.filter(role=Role.VISITOR).order_by("-position").first()
    frames: list[MessageChanged | ConversationChanged] = []
    for reply in replies:
        if reply.id in stored:
            continue
        if len(reply.id) > MAX_UPSTREAM_ID:  # it would be new at every look
            log.warning("conversation %s: a message's id is too long to be kept", fresh.pk)
            continue
        stored.add(reply.id)
        now = timezone.now()
        fresh.last_position += 1
        fresh.unread += 1
        fresh.updated_at = fresh.changed_at = now
        message = Message.objects.create(
            conversation=fresh,
            position=fresh.last_position,
            text=whole(reply.text),
            upstream_id=reply.id,
            takes_vote=reply.rateable,
            created_at=now,
            completed_at=now,
            question=question,
            **_own(reply),
        )
        frames.append(message_frame(Message.objects.to_show().get(pk=message.pk)))
    if frames:
        fresh.save(update_fields=["last_position", "unread", "updated_at", "changed_at"])
        frames.append(conversation_frame(fresh))
    return frames


def _own(reply: HumanSaid | AgentSaid) -> dict[str, Any]:
    """What is stored of the one and not of the other."""
    if isinstance(reply, HumanSaid):
        return {"role": Role.HUMAN}
    return {
        "role": Role.AGENT,
        "upstream": dict(reply.answer),
        "citations": [titled(one) for one in reply.citations],
        "links": [titled(one) for one in reply.links],
    }
