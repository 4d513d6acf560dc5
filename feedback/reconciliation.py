"""Comparing what was delivered with what the vendor says it holds, where a vendor can be asked.

A vote can be another one there without our doing: a colleague rated the answer in the vendor's own
console, somebody restored a backup, a vendor lost it. Each is reported, and noted beside the vote
for the operator. Nothing is changed at the vendor unless that is asked for: `MISSING` sends what is
not there, `ALL` also what is another one there.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from uuid import UUID

import httpx
from django.db import transaction
from django.db.models import QuerySet

from chatwidget import claims, process
from chatwidget.errors import Broken, ChatWidgetError, Rejected
from chatwidget.models import Agent, Conversation
from chatwidget.providers import PROVIDERS
from chatwidget.providers.base import Held
from chatwidget.providers.drive import drive
from chatwidget.providers.http import new_client
from chatwidget.runner import open_provider

from . import delivery
from .models import Delivery, State

BATCH = 50
AT_ONCE = 4
"""Conversations: read together, and asked after together at one vendor."""


class Outcome(StrEnum):
    """What became of comparing one vote."""

    SAME = "same"
    MISSING = "missing"
    """The vendor has the answer and holds no rating of it."""
    CHANGED = "changed"
    """The vendor holds another rating."""
    GONE = "gone"
    """The vendor no longer has the answer."""
    NOT_TOLD = "not told"
    """The vendor tells nobody what it holds."""
    NOT_ASKED = "not asked"
    """The vendor did not answer, or refused."""


class Again(StrEnum):
    """What to deliver again."""

    NOTHING = "nothing"
    MISSING = "missing"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One vote, here and there, without the visitor's words."""

    message: UUID
    agent: Agent
    outcome: Outcome
    here: str
    """The vote that was delivered; empty: none."""
    there: tuple[str, ...] = ()
    """The votes that the vendor holds."""
    problem: str = ""
    """Why it was not asked."""
    sent_again: bool = False

    def in_words(self) -> str:
        """Return what the operator is to know; nothing, if it is the same."""
        adapter = PROVIDERS.get(self.agent.provider)
        vendor = adapter.label if adapter else self.agent.provider
        match self.outcome:
            case Outcome.MISSING:
                return f"{vendor} does not hold it"
            case Outcome.CHANGED if set(self.there) == {self.here}:
                return f"{vendor} holds another comment"
            case Outcome.CHANGED:
                return f"{vendor} holds {' and '.join(self.there)}"
            case Outcome.GONE:
                return f"{vendor} no longer has the answer"
            case _:
                return ""


def compared(votes: QuerySet[Delivery], *, again: Again = Again.NOTHING) -> Iterator[Compared]:
    """Compare those of these votes that count as delivered, and tell of each. Asks the vendors."""
    delivered = votes.filter(state=State.DELIVERED).select_related(
        "agent",
        "feedback__message__question",
        "feedback__message__conversation__visitor__widget",
    )
    rows = delivered.order_by("feedback__message__conversation", "pk").iterator(chunk_size=500)
    broken: dict[UUID, str] = {}
    while batch := list(islice(rows, BATCH)):
        answers = asyncio.run(_ask(batch, broken))
        for one in batch:
            yield _note(one, _compare(one, answers[one.feedback.message.conversation_id]), again)


def in_words(outcomes: Counter[Outcome]) -> str:
    """Return what came of it in a sentence: `12 votes compared: 10 the same, 2 missing.`"""
    told = ", ".join(f"{outcomes[one]} {one}" for one in Outcome if outcomes[one])
    return f"{outcomes.total()} votes compared: {told or 'there are none'}."


# --- asking ---------------------------------------------------------------------------------------

Answer = Mapping[str, list[Held]] | Outcome | str
"""What a conversation's vendor holds; or why that is not known, a string being its error."""


async def _ask(batch: Iterable[Delivery], broken: dict[UUID, str]) -> dict[UUID, Answer]:
    """Ask after every conversation. A vendor that fails is in `broken`, and asked nothing more."""
    conversations = {
        one.feedback.message.conversation_id: (one.agent, one.feedback.message.conversation)
        for one in batch
    }
    places: defaultdict[UUID, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
    async with new_client() as http:

        async def ask(agent: Agent, conversation: Conversation) -> Answer:
            async with places[agent.pk]:
                return await _held(agent, conversation, http, broken)

        answers = await asyncio.gather(*(ask(*one) for one in conversations.values()))
    return dict(zip(conversations, answers, strict=True))


async def _held(
    agent: Agent, conversation: Conversation, http: httpx.AsyncClient, broken: dict[UUID, str]
) -> Answer:
    adapter = PROVIDERS.get(agent.provider)
    if adapter is None or not adapter.tells_votes:
        return Outcome.NOT_TOLD
    if agent.pk in broken:
        return broken[agent.pk]
    try:
        provider = open_provider(agent)
        held: Answer = await drive(provider, provider.held(claims.known_before(conversation)), http)
        return held
    except (Rejected, Broken) as error:  # this conversation's own trouble
        return str(error)
    except ChatWidgetError as error:
        broken[agent.pk] = str(error)
        return str(error)


# --- comparing ------------------------------------------------------------------------------------


def _compare(delivered: Delivery, answer: Answer) -> Compared:
    message = delivered.feedback.message
    adapter = PROVIDERS.get(delivered.agent.provider)
    wanted = adapter.kept(delivery.rating_of(delivered.feedback)) if adapter else None
    outcome, problem = Outcome.SAME, ""
    there: tuple[str, ...] = ()
    if isinstance(answer, Outcome):
        outcome = answer
    elif isinstance(answer, str):
        outcome, problem = Outcome.NOT_ASKED, answer
    elif (held := answer.get(message.upstream_id)) is None:
        outcome = Outcome.GONE if wanted else Outcome.SAME
    else:
        there = tuple(sorted({rating.vote for rating in held}))
        if wanted and not held:
            outcome = Outcome.MISSING
        elif held and not any(_is_same(wanted, rating) for rating in held):
            outcome = Outcome.CHANGED
    return Compared(
        message=message.pk,
        agent=delivered.agent,
        outcome=outcome,
        here=wanted.vote if wanted else "",
        there=there,
        problem=problem,
    )


def _is_same(wanted: Held | None, rating: Held) -> bool:
    if wanted is None or wanted.vote != rating.vote:
        return False
    if wanted.comment is None or rating.comment is None:
        return True
    return wanted.comment.strip() == rating.comment.strip()


def _note(compared: Delivery, one: Compared, again: Again) -> Compared:
    """Write the outcome beside the vote, and have it sent again if that is wanted."""
    send = (one.outcome is Outcome.MISSING and again is not Again.NOTHING) or (
        one.outcome is Outcome.CHANGED and again is Again.ALL
    )
    if one.outcome in (Outcome.NOT_TOLD, Outcome.NOT_ASKED):
        return one
    if one.in_words() == compared.problem and not send:
        return one
    with transaction.atomic():
        row = (
            Delivery.objects.select_for_update(of=("self",))
            .select_related("agent", "feedback__message__conversation")
            .filter(pk=compared.pk, state=State.DELIVERED, delivered_at=compared.delivered_at)
            .first()
        )
        if row is None:  # the visitor has said something newer meanwhile
            return replace(one, outcome=Outcome.SAME)
        row.problem, row.held_vote = one.in_words(), one.there[0] if len(one.there) == 1 else ""
        row.save(update_fields=["problem", "held_vote"])
        if not send:
            return one
        sent = delivery.schedule(row.feedback, row.agent).state == State.PENDING
        frame = delivery.touch(row.feedback.message_id)
    process.publish(row.feedback.message.conversation.visitor_id, *filter(None, [frame]))
    process.wake(delivery.JOB)
    return replace(one, sent_again=sent)
