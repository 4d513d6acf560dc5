"""What the database knows of running turns: every step is a compare-and-set on the lease.

A turn is claimed by writing a fresh token into its row where no live lease stands; every later
write names the token, so whoever lost the lease changes nothing any more. All of it is short
database work, to be given to `Store.write`, or to `Store.read` where it says so.

Who writes to several of them writes, or locks, the visitor first, then the conversation, then its
messages; who claims what waits, its agents before them. Else two could wait for each other, and
PostgreSQL would fail one of them.
"""

import uuid
from collections.abc import Collection, Iterable
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from . import breaker, paces
from .admission import Room, Verdict, Waiting, choose, is_free
from .events import ConversationChanged, Learned, MessageChanged
from .models import (
    MAX_UPSTREAM_ID,
    SHOWN,
    Agent,
    Conversation,
    Message,
    Mode,
    Role,
    Status,
    Visitor,
)
from .polling import Span
from .prepared import Prepared, Update
from .providers import provider_class
from .providers.base import Ask, Attached, Known, Past
from .serializers import MESSAGE, conversation_frame, message_frame

FOLLOW_SOON = timedelta(seconds=1)
"""After an answer ended, a vendor's people are looked for this soon."""
HISTORY = 60
"""Messages read for an agent that wants the conversation's past; it may use fewer."""


NEEDED = (
    *SHOWN,
    *("question", "upstream", "request_id", "sent_at", "stop_requested", "lease_token"),
    *(f"conversation__{name}" for name in ("title", "mode", "upstream", "agent")),
    *("conversation__visitor__upstream", "feedback__vote"),
)
"""What of a message, and of what it is joined with, a turn needs."""


class LeaseLostError(Exception):
    """Another process has the turn, or it is over, or erased: stop without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A turn that is ours until the lease ends."""

    answer: uuid.UUID
    conversation: uuid.UUID
    visitor: str
    token: uuid.UUID
    agent: Agent
    at: datetime
    """When it was claimed, about."""
    asked_at: datetime
    request: str
    """The id of the request that asked."""
    ask: Ask = field(repr=False)
    message: Message = field(repr=False)
    """The answer as it was then; of what it is joined with, only what showing it needs."""
    version: str

    @property
    def shown(self) -> dict[str, Any]:
        """The message's JSON object as it was when the turn was claimed."""
        return MESSAGE.to_representation(self.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of answers that waited: claimed with a verdict, or no longer there to claim."""

    token: uuid.UUID
    verdicts: dict[uuid.UUID, Verdict]
    gone: set[uuid.UUID]


def _lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.LEASE_S)


def take(waiting: Collection[Waiting], room: Room) -> Taken:
    """Claim those of `waiting` whose turn it is, all under one fresh token."""
    chosen = choose(waiting, room)
    token = uuid.uuid4()
    free = Message.objects.open().filter(is_free(), pk__in=chosen)
    if free.update(lease_token=token, lease_until=_lease_end()) < len(chosen):
        # The rest is over, erased or another's.
        held = Message.objects.filter(pk__in=chosen, lease_token=token)
        ours = set(held.values_list("pk", flat=True))
    else:
        ours = set(chosen)
    agents = {one.answer: one.agent for one in waiting}
    return Taken(
        token=token,
        verdicts={pk: _settled(chosen[pk], agents[pk]) for pk in chosen if pk in ours},
        gone=chosen.keys() - ours,
    )


def _settled(verdict: Verdict, agent: uuid.UUID | None) -> Verdict:
    """Only one of all processes tries an agent that has rested."""
    if verdict is Verdict.TRY and agent and not breaker.may_try(agent):
        return Verdict.RESTS
    return verdict


def lease(answer: Message) -> None:
    """Have an answer claimed by the statement that stores it."""
    answer.lease_token, answer.lease_until = uuid.uuid4(), _lease_end()


def leased(answer: Message, conversation: Conversation) -> Claimed:
    """Return a turn that was claimed as it was stored. Reads the conversation's past, if any.

    Of `answer`, its question and its `conversation`, all is known that `load` would read.
    """
    assert answer.question is not None, "an answer always has its question"
    answer.conversation = conversation
    Message._meta.get_field("feedback").set_cached_value(answer, None)  # nobody has rated it
    return _claimed(answer, answer.question)


def load(answer: uuid.UUID, token: uuid.UUID) -> Claimed | None:
    """Read what a claimed turn needs; None if it is no longer ours. Only reads."""
    message = _held.first(answer, token)
    if message is None:
        return None
    assert message.question_id is not None, "an answer always has its question"
    agent = _agent.first(message.conversation.agent_id)
    question = _question.first(message.question_id)
    if agent is None or question is None:  # erased between two reads
        return None
    message.conversation.agent = agent
    return _claimed(message, question)


def _claimed(message: Message, question: Message) -> Claimed:
    conversation, token = message.conversation, message.lease_token
    assert token is not None, "it is claimed"
    return Claimed(
        answer=message.pk,
        conversation=conversation.pk,
        visitor=str(conversation.visitor_id),
        token=token,
        agent=conversation.agent,
        at=timezone.now(),
        asked_at=message.created_at,
        request=message.request_id,
        ask=_ask(message, question),
        message=message,
        version=message.changed_at.isoformat(),
    )


# Few columns, and the agent by itself: joining all of it would cost Django twice the time.


@Prepared
def _held(answer: uuid.UUID, token: uuid.UUID) -> QuerySet[Message]:
    found = Message.objects.select_related("feedback", "conversation__visitor__widget")
    return found.only(*NEEDED).filter(pk=answer, lease_token=token)


@Prepared
def _agent(pk: uuid.UUID) -> QuerySet[Agent]:
    return Agent.objects.filter(pk=pk)


@Prepared
def _question(pk: uuid.UUID) -> QuerySet[Message]:
    return Message.objects.only("text", "position", "attachments").filter(pk=pk)


@Prepared
def _others(conversation: uuid.UUID, answer: uuid.UUID) -> QuerySet[Message, tuple[Any, ...]]:
    found = Message.objects.filter(conversation=conversation).exclude(pk=answer)
    found = found.order_by("-position")[: 2 * HISTORY]
    return found.values_list("position", "role", "status", "text", "upstream")


@Prepared
def locked(conversation: uuid.UUID) -> QuerySet[Conversation]:
    """Lock a conversation; who writes to its messages, too, does so first."""
    return Conversation.objects.select_for_update().filter(pk=conversation)


def _ask(answer: Message, question: Message) -> Ask:
    conversation = answer.conversation
    others: list[tuple[Any, ...]] = []
    if answer.position > 2:  # else there is only the question
        others = _others(conversation.pk, answer.pk)
    past = [one for one in others if one[0] < question.position][:HISTORY]
    return Ask(
        visitor=str(conversation.visitor_id),
        conversation=str(conversation.pk),
        title=conversation.title,
        text=question.text,
        attachments=tuple(Attached(**one) for one in question.attachments),
        history=tuple(
            Past(role=role, text=text)
            for _, role, status, text, _ in reversed(past)
            if text and role != Role.SYSTEM and status == Status.COMPLETED
        ),
        known=known(answer),
        sent_before=answer.sent_at is not None,
        human=conversation.mode == Mode.HUMAN,
        other_questions=frozenset(
            upstream["question"]
            for _, role, _, _, upstream in others
            if role == Role.AGENT and upstream.get("question")
        ),
    )


def known(answer: Message) -> Known:
    """Return the upstream ids stored for a message, its conversation and its visitor."""
    return replace(known_before(answer.conversation), answer=answer.upstream)


def known_before(conversation: Conversation) -> Known:
    """Return the upstream ids stored for a conversation and its visitor."""
    return Known(
        visitor=conversation.visitor.upstream.get(str(conversation.agent_id), {}),
        conversation=conversation.upstream,
    )


OURS: dict[str, Any] = {"where": ("id", "lease_token"), "also": "completed_at IS NULL"}
"""As `_mine`. Whose lease is lost finds no row."""
_sent = Update(Message, "sent_at", **OURS)
_save_text = Update(Message, "text", "seq", "status", "lease_until", "changed_at", **OURS)
_end = Update(
    Message,
    *("status", "text", "seq", "citations", "links", "error", "takes_vote", "problem"),
    *("upstream_id", "completed_at", "changed_at"),
    clears=("lease_token", "lease_until"),
    **OURS,
)
_touch = Update(Conversation, "changed_at")
_end_in_conversation = Update(Conversation, "unread", "updated_at", "changed_at", "sync_at")


def _mine(claimed: Claimed) -> Any:
    return Message.objects.open().filter(pk=claimed.answer, lease_token=claimed.token)


def _expect(rows: int) -> None:
    if not rows:
        raise LeaseLostError


def _locked(claimed: Claimed) -> Conversation:
    """Lock the turn's conversation. Raises LeaseLostError if it is erased."""
    found = locked.first(claimed.conversation)
    if found is None:
        raise LeaseLostError
    return found


def mark_sent(claimed: Claimed) -> None:
    """Note that the question goes out now. Raises LeaseLostError."""
    _expect(_sent(sent_at=timezone.now(), id=claimed.answer, lease_token=claimed.token))


def learn(claimed: Claimed, learned: Learned) -> None:
    """Store upstream ids. Raises LeaseLostError."""
    if learned.visitor:
        visitor = Visitor.objects.select_for_update().filter(pk=claimed.visitor).first()
        if visitor is None:
            raise LeaseLostError
        agent = str(claimed.agent.pk)
        visitor.upstream[agent] = visitor.upstream.get(agent, {}) | dict(learned.visitor)
        visitor.save(update_fields=["upstream"])
    if learned.conversation:
        conversation = _locked(claimed)
        conversation.upstream |= dict(learned.conversation)
        conversation.save(update_fields=["upstream"])
    fields: dict[str, Any] = {"lease_until": _lease_end()}
    if learned.answer:
        held = Message.objects.filter(pk=claimed.answer).values_list("upstream", flat=True).first()
        fields["upstream"] = (held or {}) | dict(learned.answer)
    _expect(_mine(claimed).update(**fields))


def forget_first(claimed: Claimed) -> None:
    """Forget the upstream ids of the answer that this one is a retry of. Raises LeaseLostError."""
    _expect(_mine(claimed).update(upstream={}, lease_until=_lease_end()))


def save_texts(states: Collection[tuple[Claimed, str, int]]) -> list[bool]:
    """Store texts so far and renew their leases. Returns which turns are still ours."""
    now = timezone.now()
    _touch.among([claimed.conversation for claimed, _, _ in states], changed_at=now)
    count = _save_text.each(
        (
            {
                "text": text,
                "seq": seq,
                "status": Status.STREAMING if seq else Status.PENDING,
                "id": claimed.answer,
                "lease_token": claimed.token,
            }
            for claimed, text, seq in states
        ),
        lease_until=_lease_end(),
        changed_at=now,
    )
    if count == len(states):
        return [True] * count
    tokens = {claimed.token for claimed, _, _ in states}
    held = set(
        Message.objects.open()
        .filter(pk__in=[claimed.answer for claimed, _, _ in states], lease_token__in=tokens)
        .values_list("pk", "lease_token")
    )
    return [(claimed.answer, claimed.token) in held for claimed, _, _ in states]


def stops_requested(answers: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """Return which of these answers a visitor wants stopped."""
    wanted = Message.objects.filter(pk__in=list(answers), stop_requested=True)
    return list(wanted.values_list("pk", flat=True))


def give_back(claimed: Claimed, text: str, seq: int) -> None:
    """Store the text so far and end the lease, so that another process takes the turn at once.

    The token becomes nobody's: a save that comes after it must not renew the lease.
    """
    save_texts([(claimed, text, seq)])
    _mine(claimed).update(lease_token=uuid.uuid4(), lease_until=None)


def release(answers: Iterable[uuid.UUID], token: uuid.UUID) -> None:
    """Give turns back that were claimed and not begun."""
    held = Message.objects.filter(pk__in=list(answers), lease_token=token)
    held.update(lease_token=uuid.uuid4(), lease_until=None)


def set_mode(conversation: uuid.UUID, human: bool) -> ConversationChanged | None:
    """Note who has the conversation. Returns the frame that tells it, or None: it was known."""
    mode = Mode.HUMAN if human else Mode.AGENT
    now = timezone.now()
    changed = (
        Conversation.objects.filter(pk=conversation)
        .exclude(mode=mode)
        .update(mode=mode, changed_at=now, sync_at=now)
    )
    return conversation_frame(Conversation.objects.get(pk=conversation)) if changed else None


def note_problem(agent: Agent, problem: str) -> None:
    """Show the operator what to fix, once, and that it is fixed when `problem` is empty."""
    Agent.objects.filter(pk=agent.pk).exclude(problem=problem[:500]).update(
        problem=problem[:500], problem_at=timezone.now() if problem else None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """How an answer ends."""

    status: Status
    text: str = field(repr=False)
    seq: int
    citations: list[dict[str, str]]
    error: str = ""
    problem: str = ""
    links: list[dict[str, str]] = field(default_factory=list)
    answer_id: str = ""
    rateable: bool = True
    span: Span | None = None
    """When it came, where it was polled."""


def finish(claimed: Claimed, final: Final) -> tuple[MessageChanged, ConversationChanged]:
    """Store the one final state. Raises LeaseLostError if it was reached otherwise.

    A person who took the conversation meanwhile is not interrupted: the agent's late answer ends
    as stopped and empty.
    """
    conversation = _locked(claimed)
    if final.status == Status.COMPLETED and conversation.mode == Mode.HUMAN:
        final = Final(status=Status.STOPPED, text="", seq=final.seq, citations=[])
    now = timezone.now()
    message = copy(claimed.message)
    message.status, message.text, message.seq = final.status, final.text, final.seq
    message.citations, message.links = final.citations, final.links
    fits = len(final.answer_id) <= MAX_UPSTREAM_ID  # half an id would be somebody else's
    message.error, message.takes_vote = final.error, final.rateable and fits
    message.problem = final.problem[:500]
    message.upstream_id = _once(conversation, final.answer_id) if fits else ""
    message.completed_at = message.changed_at = now
    _expect(_end.save(message))
    if final.span:
        paces.note(claimed.agent.pk, final.span)
    follows = provider_class(claimed.agent.provider).follows(claimed.agent.options)
    conversation.sync_at = now + FOLLOW_SOON if follows else None
    conversation.unread += final.status == Status.COMPLETED
    conversation.updated_at = conversation.changed_at = now
    _end_in_conversation.save(conversation)
    return message_frame(message), conversation_frame(conversation)


def _once(conversation: Conversation, answer_id: str) -> str:
    """Return the vendor's id of an answer, or "" where an answer before has it, and the votes."""
    if not answer_id or conversation.last_position <= 2:  # there is no other answer
        return answer_id
    named = Message.objects.filter(conversation=conversation, upstream_id=answer_id)
    return "" if named.exists() else answer_id
