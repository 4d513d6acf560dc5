"""People at the vendor: who has a conversation, and what they say in it.

Nothing tells us when a person steps in, so conversations that are alive are asked: often while a
person has them, now and then while the agent does, and no more once they have gone quiet.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from . import claims, process
from .errors import ChatWidgetError, ProviderError
from .events import HumanHas, HumanSaid, ProviderEvent
from .models import Conversation, Mode
from .providers.base import Ask, Known
from .providers.drive import drive
from .runner import open_provider

log = logging.getLogger(__name__)

BATCH = 50
ALIVE = timedelta(minutes=10)
AWAKE = timedelta(hours=24)
# Waits as multiples of HUMAN_POLL_S: (a person has it and it is alive, … asleep, the agent has it)
LIVELY, SLOW, WATCHFUL = 1, 20, 5


async def follow() -> bool:
    """Job: ask after conversations that are due."""
    running = process.running()
    due = await running.store.write(_claim_due)
    for conversation in due:
        try:
            await _follow_one(conversation, running)
        except (ProviderError, ChatWidgetError) as error:
            log.warning("conversation %s cannot be followed: %s", conversation.pk, error)
    return len(due) == BATCH


def next_look(conversation: Conversation, now: datetime) -> datetime | None:
    """Return when to ask again after `now`; None once the conversation has gone quiet."""
    quiet = now - conversation.updated_at
    if conversation.mode == Mode.HUMAN:
        pace = LIVELY if quiet < ALIVE else SLOW if quiet < AWAKE else None
    else:
        pace = WATCHFUL if quiet < ALIVE else None
    return now + timedelta(seconds=settings.HUMAN_POLL_S * pace) if pace else None


def _claim_due() -> list[Conversation]:
    """Take what is due by setting the next look, so that two processes never ask at once."""
    now = timezone.now()
    due = Conversation.objects.select_related("agent", "visitor").filter(sync_at__lte=now)
    return [
        conversation
        for conversation in due.order_by("sync_at")[:BATCH]
        if Conversation.objects.filter(pk=conversation.pk, sync_at=conversation.sync_at).update(
            sync_at=next_look(conversation, now)
        )
    ]


async def _follow_one(conversation: Conversation, running: process.Process) -> None:
    provider = open_provider(conversation.agent)
    if not provider.has_humans:
        return
    replies: list[HumanSaid] = []
    human = conversation.mode == Mode.HUMAN

    async def sink(events: Sequence[ProviderEvent]) -> None:
        nonlocal human
        replies.extend(event for event in events if isinstance(event, HumanSaid))
        for event in events:
            if isinstance(event, HumanHas):
                human = event.human

    ask = Ask(
        visitor=str(conversation.visitor_id),
        conversation=str(conversation.pk),
        text="",
        known=Known(
            visitor=conversation.visitor.upstream.get(str(conversation.agent_id), {}),
            conversation=conversation.upstream,
        ),
    )
    await drive(provider, provider.follow(ask), running.http, sink)
    frames = await running.store.write(claims.add_replies, conversation, replies)
    changed = await running.store.write(claims.set_mode, conversation.pk, human)
    running.hub.publish(str(conversation.visitor_id), *frames, *filter(None, [changed]))
