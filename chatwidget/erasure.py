"""Forgetting: visitors who ask to, and conversations past their widget's retention.

What is kept here goes at once, in one transaction; other applications' rows go with the messages
they belong to. Vendors that can be asked to forget, or at least to close, are asked afterwards, by
a row that goes when they have done so.
"""

import asyncio
import logging
import uuid
from datetime import timedelta
from functools import partial

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from . import attachments, process, tokens
from .errors import ChatWidgetError
from .lanes import Room
from .models import Agent, Conversation, Erasure, RateLimit, Visitor, VisitorToken, Widget
from .providers import PROVIDERS
from .providers.drive import drive
from .runner import open_provider

log = logging.getLogger(__name__)

JOB = "erase upstream"
LOG_JOB = "empty the log"
LOG_TRIES = 10
BATCH = 500
FIRST_RETRY_S, LONGEST_RETRY_S = 60.0, 6 * 3600.0


def erase_visitor(visitor: Visitor) -> None:
    """Erase the visitor with everything kept about them, here now and at vendors soon."""
    erase = partial(_erase_here, visitor.pk)
    if connection.in_atomic_block:
        erase()
    else:
        process.commit(erase)
    process.revoke(visitor.pk)
    process.wake(JOB)
    process.wake(LOG_JOB)


def _erase_here(pk: uuid.UUID) -> None:
    visitor = Visitor.objects.select_for_update().filter(pk=pk).first()
    if visitor is None:
        return
    _lock(visitor.conversations.all())
    agents = Agent.objects.in_bulk(list(visitor.upstream))
    Erasure.objects.bulk_create(
        Erasure(agent=agent, upstream=visitor.upstream[str(agent.pk)])
        for agent in agents.values()
        if (adapter := PROVIDERS.get(agent.provider)) and (adapter.erases or adapter.closes)
    )
    visitor.delete()


def _lock(conversations: QuerySet[Conversation]) -> None:
    """Lock conversations before their messages, as everybody does."""
    list(conversations.select_for_update().order_by("pk").values_list("pk"))


async def erase_upstream() -> bool:
    """Job: start asking vendors to erase, each in its own lane."""
    running = process.running()
    due, more = await running.store.write(_claim_due, running.lanes.room(JOB))
    for erasure in due:
        running.lanes.start(JOB, erasure.agent_id, _erase(erasure, running))
    return more


def _claim_due(room: Room) -> tuple[list[Erasure], bool]:
    """Take what is due by moving its next try ahead, which is also what a failure leaves."""
    now = timezone.now()
    due = Erasure.objects.select_related("agent").filter(next_at__lte=now)
    found = list(due.exclude(agent__in=room.full).order_by("next_at")[:BATCH])
    mine = []
    for erasure in found:
        wait = min(FIRST_RETRY_S * 2.0 ** min(erasure.attempts, 20), LONGEST_RETRY_S)
        same = Erasure.objects.filter(pk=erasure.pk, next_at=erasure.next_at)
        if room.take(erasure.agent_id) and same.update(
            next_at=now + timedelta(seconds=wait), attempts=erasure.attempts + 1
        ):
            mine.append(erasure)
    return mine, len(found) == BATCH


async def _erase(erasure: Erasure, running: process.Process) -> None:
    """Ask once; once it is done, forget that there was something to erase."""
    try:
        provider = open_provider(erasure.agent)
        async with asyncio.timeout(FIRST_RETRY_S / 2):
            await drive(provider, provider.forget(erasure.upstream), running.http)
    except (ChatWidgetError, TimeoutError) as error:
        problem = str(error) or "no answer in time"
        log.warning("erasing at %s failed: %s", erasure.agent, problem)
        await running.store.write(_note_problem, erasure, problem)
    else:
        await running.store.write(erasure.delete)


def _note_problem(erasure: Erasure, problem: str) -> None:
    Erasure.objects.filter(pk=erasure.pk).update(problem=problem[:500])


async def empty_log() -> bool:
    """Job: have what was erased leave SQLite's write-ahead log too, where it may stay long."""
    for _ in range(LOG_TRIES):
        if await process.running().store.read(_emptied_log):
            break
        await asyncio.sleep(1)
    return False


def _emptied_log() -> bool:
    if connection.vendor != "sqlite":
        return True
    wait_ms = int(connection.settings_dict["OPTIONS"]["timeout"] * 1000)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout=100")  # writers wait meanwhile, so not for long
        try:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return bool(cursor.fetchone()[0] == 0)
        finally:
            cursor.execute(f"PRAGMA busy_timeout={wait_ms}")


async def apply_retention() -> bool:
    """Job: erase what is older than its widget keeps."""
    store = process.running().store
    widgets = await store.read(_retaining)
    more = False
    for widget in widgets:
        more |= await store.write(retain, widget)
    return more


def _retaining() -> list[Widget]:
    return list(Widget.objects.exclude(retention_days=None))


def retain(widget: Widget) -> bool:
    """Erase a batch of what is too old on one widget. Returns whether there may be more."""
    assert widget.retention_days is not None, "called for widgets that have a retention"
    before = timezone.now() - timedelta(days=widget.retention_days)
    old = Conversation.objects.filter(visitor__widget=widget, updated_at__lt=before)
    conversations = list(old.select_related("agent", "visitor")[:BATCH])
    with transaction.atomic():
        Erasure.objects.bulk_create(
            Erasure(
                agent=one.agent,
                upstream=one.visitor.upstream.get(str(one.agent_id), {}) | one.upstream,
            )
            for one in conversations
            if (adapter := PROVIDERS.get(one.agent.provider)) and adapter.closes
        )
        erased = Conversation.objects.filter(pk__in=[one.pk for one in conversations])
        _lock(erased)
        erased.delete()
    process.wake(JOB)
    # Whoever has nothing left and was not here since is forgotten whole, at the vendor too.
    gone = Visitor.objects.filter(widget=widget, seen_at__lt=before, conversations=None)[:BATCH]
    visitors = list(gone)
    for visitor in visitors:
        erase_visitor(visitor)
    return BATCH in (len(conversations), len(visitors))


async def let_go_of_files() -> bool:
    """Job: forget visitors' files that are no longer needed."""
    await process.running().store.write(attachments.let_go)
    return False


async def expire_tokens() -> bool:
    """Job: drop tokens long past their end, and limits that are whole again."""
    await process.running().store.write(_drop_expired)
    return False


def _drop_expired() -> None:
    now = timezone.now()
    VisitorToken.objects.filter(expires_at__lt=now - tokens.REMEMBER).delete()
    RateLimit.objects.filter(free_at__lt=now.timestamp()).delete()
