"""Bringing votes upstream: a transactional outbox with leases.

The vote and its delivery row are committed together. Whoever takes a row holds its lease alone,
sends the newest revision, and writes the outcome only while the lease is still theirs: attempts
at one answer never overtake each other, and what changed meanwhile is sent next. A row ends as

    delivered     the vendor holds exactly the visitor's last word
    unsupported   the vendor cannot say this (clear a vote, mostly)
    local         the vendor takes no feedback at all
    failed        refused for good, or given up after a week: kept, shown, and sent again on request

and is never deleted before its answer is.
"""

import asyncio
import logging
import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Min, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from chatwidget import claims, health, metrics, process
from chatwidget.errors import (
    ChatWidgetError,
    Misconfigured,
    ProviderError,
    TimedOut,
    Unsupported,
)
from chatwidget.events import MessageChanged
from chatwidget.lanes import Room
from chatwidget.models import Agent, Conversation, Message
from chatwidget.providers import PROVIDERS, Provider
from chatwidget.providers.base import Rating
from chatwidget.providers.drive import drive
from chatwidget.runner import open_provider
from chatwidget.serializers import message_frame

from . import alerts
from .models import Delivery, Feedback, State

log = logging.getLogger(__name__)

JOB = "deliver feedback"
IDS_JOB = "deliver votes whose answer has its id now"
IDS_EVERY_S = 5.0
ATTEMPT_SHARE = 0.8
"""An attempt's deadline as a share of the lease, so that the lease outlives the attempt."""
RESENT_TOGETHER = 20
LEAST_ATTEMPTS = 12
LEAST_AGE = timedelta(days=7)
LONGEST_WAIT_S = 12 * 3600.0
"""Also the longest that a Retry-After is believed."""

WAITS_FOR_VOTE = "the comment waits for a vote: the vendor takes none without one"
WAITS_FOR_ID = "waits for the vendor's id of the answer"


# --- the first state of a revision ----------------------------------------------------------------


def schedule(feedback: Feedback, agent: Agent, *, vote_changed: bool = True) -> Delivery:
    """Set the delivery of the feedback's newest revision; call it in the vote's transaction.

    What changes nothing that the vendor could be told leaves the delivery as it is.
    """
    delivery, made = Delivery.objects.select_for_update().get_or_create(
        feedback=feedback, defaults={"agent": agent}
    )
    provider = PROVIDERS.get(agent.provider)
    if not (made or vote_changed or (provider and provider.takes_comments)):
        return delivery
    state, problem, due = first_state(feedback, delivery, provider)
    delivery.state, delivery.problem = state, problem
    delivery.next_at = timezone.now() if due else None
    delivery.revision, delivery.attempts, delivery.first_tried_at = feedback.revision, 0, None
    delivery.save(
        update_fields=["state", "problem", "next_at", "revision", "attempts", "first_tried_at"]
    )
    return delivery


def first_state(
    feedback: Feedback, delivery: Delivery, provider: type[Provider] | None
) -> tuple[State, str, bool]:
    """Return the state a new revision starts in, why, and whether it can be sent now."""
    if provider is None or not provider.takes_votes:
        return State.LOCAL, "", False
    if feedback.vote is None and not delivery.sent_revision:  # there is nothing to take back
        if not provider.takes_comments or not (feedback.comment or feedback.reasons):
            return State.DELIVERED, "", False
        if provider.comment_needs_vote:
            return State.DELIVERED, WAITS_FOR_VOTE, False
    elif feedback.vote is None and not provider.clears_votes:
        held = delivery.held_vote or "perhaps a vote"
        return State.UNSUPPORTED, f"cannot be taken back there: it still holds {held}", False
    if not feedback.message.upstream_id:
        return State.PENDING, WAITS_FOR_ID, False
    return State.PENDING, "", True


# --- the job --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A delivery that is ours until its lease ends."""

    pk: int
    token: uuid.UUID
    revision: int
    attempts: int
    first_tried_at: datetime
    agent: Agent
    visitor: str
    feedback: Feedback
    """With all that `rating_of` reads, as it was when it was claimed."""


async def look_for_ids() -> bool:
    """Job: have votes sent whose answer has its id meanwhile."""
    if await process.running().store.write(identify):
        process.wake(JOB)
    return False


def identify() -> int:
    """Make due what waited for an id that is known now, and park what waited in vain for a week.

    Returns how many are due.
    """
    now = timezone.now()
    waiting = Delivery.objects.filter(state=State.PENDING, next_at=None, problem=WAITS_FOR_ID)
    unknown = waiting.filter(feedback__message__upstream_id="")
    unknown.filter(feedback__updated_at__lt=now - LEAST_AGE).update(
        state=State.FAILED, problem="the vendor has never told the answer's id"
    )
    known = waiting.exclude(feedback__message__upstream_id="")
    return known.update(next_at=now, problem="")


async def drain() -> bool:
    """Job: start sending what is due, each agent's in its own lane."""
    running = process.running()
    for one in await running.store.write(claim_due, running.lanes.room(JOB)):
        running.lanes.start(JOB, one.agent.pk, _send(one))
    return False  # a lane that is full asks for more as it empties


def claim_due(room: Room) -> list[Due]:
    """Take what is due, of each agent the oldest, as far as its lane has room."""
    now = timezone.now()
    due = _free(now).filter(next_at__lte=now).exclude(agent__in=room.full)
    found: list[int] = []
    for agent in due.order_by().values_list("agent", flat=True).distinct():
        oldest = due.filter(agent=agent).order_by("next_at")[: room.left(agent)]
        # PostgreSQL passes over what another process is just taking.
        found += oldest.select_for_update(skip_locked=True).values_list("pk", flat=True)
    return claim(found, now)


def claim(rows: list[int], now: datetime) -> list[Due]:
    """Take those of these rows that nobody else has, all by one statement."""
    if not rows:
        return []
    token = uuid.uuid4()
    _free(now).filter(pk__in=rows).update(
        lease_token=token,
        lease_until=now + timedelta(seconds=settings.DELIVERY_LEASE_S),
        attempts=F("attempts") + 1,
        first_tried_at=Coalesce("first_tried_at", now),
        sent_revision=F("revision"),
    )
    ours = Delivery.objects.filter(pk__in=rows, lease_token=token).order_by("next_at")
    return [
        _due(one)
        for one in ours.select_related("feedback__message__question")
        .select_related("feedback__message__conversation__visitor")
        .prefetch_related("agent", "feedback__message__conversation__visitor__widget")
    ]


def _free(now: datetime) -> QuerySet[Delivery]:
    """Return what is on its way and in nobody's hands."""
    return Delivery.objects.filter(
        Q(lease_until=None) | Q(lease_until__lt=now), state=State.PENDING
    )


def _due(delivery: Delivery) -> Due:
    assert delivery.lease_token, "it was just claimed"
    assert delivery.first_tried_at, "with the claim"
    feedback = delivery.feedback
    return Due(
        pk=delivery.pk,
        token=delivery.lease_token,
        revision=delivery.revision,
        attempts=delivery.attempts,
        first_tried_at=delivery.first_tried_at,
        agent=delivery.agent,
        visitor=str(feedback.message.conversation.visitor_id),
        feedback=feedback,
    )


def rating_of(feedback: Feedback) -> Rating:
    """Return a vote as its vendor is told."""
    message = feedback.message
    widget = message.conversation.visitor.widget
    return Rating(
        question=message.question.text if message.question else "",
        answer=message.text,
        vote=feedback.vote,  # type: ignore[arg-type]
        comment=feedback.comment,
        reasons=tuple(widget.reasons_in_words(feedback.reasons)),
        answer_id=message.upstream_id,
        known=claims.known(message),
    )


async def _send(due: Due) -> None:
    """One attempt; whatever comes of it is written down."""
    running = process.running()
    limit_s = settings.DELIVERY_LEASE_S * ATTEMPT_SHARE
    error: Exception | None = None
    try:
        provider = open_provider(due.agent)
        async with asyncio.timeout(limit_s):
            await drive(provider, provider.rate(rating_of(due.feedback)), running.http)
    except asyncio.CancelledError:  # the process ends: another one may go on at once
        await asyncio.shield(running.store.write(release, due))
        raise
    except TimeoutError:
        error = TimedOut(f"{due.agent.provider} did not answer within {limit_s:g} s")
    except ChatWidgetError as raised:
        error = raised
    except Exception as raised:
        log.exception("delivery %s met a bug", due.pk)
        error = raised
    if wait := retry_after_s(error):
        running.lanes.rest(JOB, due.agent.pk, wait)
    outcome = "delivered" if error is None else type(error).__name__.lower()
    metrics.deliveries.labels(due.agent.provider, outcome).inc()
    refused = isinstance(error, Misconfigured)
    if refused or (due.agent.problem and error is None):
        # The key is one, however many votes it is refused for: the agent says so once.
        await running.store.write(claims.note_problem, due.agent, str(error) if refused else "")
    is_here = running.hub.is_here(due.visitor)
    frame = await running.store.write(settle, due, error, show=is_here)
    if frame:
        running.hub.publish(due.visitor, frame)
    else:
        running.hub.ring(due.visitor, str(due.feedback.message_id))


def release(due: Due) -> None:
    """Give a delivery back, if still ours. What went out may go out again: the same state."""
    mine = Delivery.objects.filter(pk=due.pk, lease_token=due.token)
    mine.update(lease_token=None, lease_until=None)


def settle(due: Due, error: Exception | None, *, show: bool = True) -> MessageChanged | None:
    """Write an attempt's outcome, if the lease is still ours. Returns what `touch` does."""
    mine = Delivery.objects.filter(pk=due.pk, lease_token=due.token)
    delivery = mine.select_for_update().first()
    if delivery is None:
        return None
    now = timezone.now()
    delivery.lease_token = delivery.lease_until = None
    if error is None:
        delivery.held_vote = due.feedback.vote or ""
    if delivery.revision != due.revision:
        # The visitor has said something newer meanwhile; `schedule` has set what happens next.
        if delivery.state == State.UNSUPPORTED and error is None:
            delivery.problem = f"cannot be taken back there: it still holds {due.feedback.vote}"
    elif error is None:
        delivery.state, delivery.problem, delivery.next_at = State.DELIVERED, "", None
        delivery.delivered_at = now
    elif isinstance(error, Unsupported):
        delivery.state, delivery.problem, delivery.next_at = State.UNSUPPORTED, str(error), None
    else:
        _after_failure(delivery, due, error, now)
    delivery.save()
    if delivery.state == State.FAILED:
        alerts.failed(delivery)
    return touch(due.feedback.message_id, show=show)


def _after_failure(delivery: Delivery, due: Due, error: Exception, now: datetime) -> None:
    delivery.problem = (str(error) or type(error).__name__)[:500]
    permanent = isinstance(error, ProviderError) and error.permanent
    tired = due.attempts >= LEAST_ATTEMPTS and now - due.first_tried_at >= LEAST_AGE
    if permanent or tired:
        delivery.state, delivery.next_at = State.FAILED, None
    else:
        wait = max(wait_s(due.attempts), min(retry_after_s(error), LONGEST_WAIT_S))
        delivery.next_at = now + timedelta(seconds=wait)


def retry_after_s(error: Exception | None) -> float:
    """Return the seconds that the vendor asked us to wait, 0 where it did not."""
    return (error.retry_after_s or 0.0) if isinstance(error, ProviderError) else 0.0


def wait_s(attempts: int) -> float:
    """Return the seconds before the next attempt: doubling up to a longest, with full jitter."""
    doubled = 2.0 ** min(attempts - 1, 64)
    longest = min(settings.FEEDBACK_FIRST_RETRY_S * doubled, LONGEST_WAIT_S)
    # The first retry keeps its time; later ones spread out, so that a vendor that comes back is
    # not met by everybody at once.
    return longest if attempts == 1 else random.uniform(0, longest)  # noqa: S311


def touch(message: uuid.UUID, *, show: bool = True) -> MessageChanged | None:
    """Note that a message looks different now. Returns its frame, None if it is erased, and where
    nobody is shown it."""
    now = timezone.now()
    changed = Message.objects.filter(pk=message)
    changed.update(changed_at=now)
    Conversation.objects.filter(pk__in=changed.values("conversation")).update(changed_at=now)
    found = Message.objects.to_show().filter(pk=message).first() if show else None
    return message_frame(found) if found else None


# --- what the operator does -----------------------------------------------------------------------


def resend(deliveries: QuerySet[Delivery]) -> int:
    """Try these again from the start, unless somebody has them. Returns how many are on their way.

    A few are read at a time and share a commit, so that thousands neither fill the memory nor keep
    visitors waiting.
    """
    free = Delivery.objects.exclude(state=State.PENDING, lease_token__isnull=False)
    rows = free.select_related("agent", "feedback__message__conversation").order_by("pk")
    found, count = list(deliveries.order_by("pk").values_list("pk", flat=True)), 0
    for start in range(0, len(found), RESENT_TOGETHER):
        with transaction.atomic():
            some = rows.filter(pk__in=found[start : start + RESENT_TOGETHER])
            sent = [_resend(one) for one in some]
        for visitor, frame, state in sent:
            process.publish(visitor, *filter(None, [frame]))
            count += state == State.PENDING
    process.wake(JOB)
    return count


def _resend(delivery: Delivery) -> tuple[uuid.UUID, MessageChanged | None, str]:
    state = schedule(delivery.feedback, delivery.agent).state
    message = delivery.feedback.message
    return message.conversation.visitor_id, touch(message.pk), state


# --- what whoever watches is told -----------------------------------------------------------------


@health.collect
def _gauges() -> None:
    on_their_way = Delivery.objects.on_their_way()
    backlog = on_their_way.aggregate(count=Count("pk"), oldest=Min("feedback__updated_at"))
    metrics.backlog.set(backlog["count"])
    oldest = backlog["oldest"]
    metrics.backlog_age.set((timezone.now() - oldest).total_seconds() if oldest else 0)


@health.watch("feedback")
def _is_late() -> bool:
    return Delivery.objects.late().exists()
