"""B4: votes in a storm of failures: the vendor's ledger ends as our table, as visitors meant it."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.db import transaction
from django.utils import timezone

from chatwidget import tokens
from chatwidget.models import Conversation, Message, Role, Widget
from chatwidget.models import Visitor as Person
from feedback.models import Delivery, State

from ..cast import make_agent, make_widget, under_test
from ..conftest import new_server
from ..providers.cases.siteassist import VOTES, SiteAssistCase
from ..server import Server
from ..simulators.base import Received
from ..simulators.faults import Drop, DropAfter, Fault, RateLimited, Stall, Status
from ..simulators.siteassist_project import Message as Theirs
from ..simulators.siteassist_project import SiteAssistProject
from ..visitor import Visitor
from ..waiting import eventually
from .report import Report, sized

STORM: list[tuple[str, float, Fault | None]] = [
    ("500", 0.25, Status(500)),
    ("time-out", 0.10, Stall()),
    ("reset", 0.05, Drop()),
    ("429", 0.05, RateLimited()),
    ("accepted, then reset", 0.02, DropAfter()),
    ("malformed 200", 0.03, Status(200, '{"feedback": "li')),
    ("sound", 0.50, None),
]
WISHES: list[list[str | None]] = [["up"], ["up", "down"], ["up", "down", None]]
"""What visitors say of their answers in a second, by turns; the last one is meant."""
OF_ONE = 10
AT_ONCE = 10


@dataclass
class Rated:
    """A visitor with answers, each with what is said of it."""

    token: str
    answers: dict[str, list[str | None]]


def rated(there: SiteAssistProject, widget: Widget, number: int) -> Rated:
    """Make a visitor and a conversation, here and at the vendor."""
    agent = widget.agent
    name = f"visitor-{widget.pk}-{number}"
    with there.changing():
        there.init(name)
        conversation = there.converse(name)
        texts = [f"Answer {one}" for one in range(OF_ONE)]
        conversation.messages += [
            Theirs(conversation.id, "assistant", [{"type": "text", "text": text}]) for text in texts
        ]
    person = Person.objects.create(widget=widget, upstream={str(agent.pk): {"sa_vid": name}})
    here = Conversation.objects.create(
        visitor=person,
        agent=agent,
        upstream={"conversation": conversation.id},
        last_position=OF_ONE,
    )
    answers = Message.objects.bulk_create(
        Message(
            conversation=here,
            role=Role.AGENT,
            text=one.text,
            position=position,
            upstream_id=one.id,
            completed_at=timezone.now(),
        )
        for position, one in enumerate(conversation.messages, 1)
    )
    wishes = [WISHES[(number + one) % len(WISHES)] for one in range(OF_ONE)]
    ids = [str(answer.pk) for answer in answers]
    return Rated(tokens.issue(person), dict(zip(ids, wishes, strict=True)))


@pytest.fixture
def carried() -> Iterator[Server]:
    """A server whose attempts end after a second and a half and come again soon."""
    with new_server(DELIVERY_LEASE_S="2", FEEDBACK_FIRST_RETRY_S="0.05") as running:
        yield running
        assert "Traceback" not in running.log(), running.log()


@sized("votes", gate=300, full=10_000)
async def test_the_last_wish_arrives_through_a_storm(
    carried: Server, report: Report, votes: int
) -> None:
    """B4: half of the calls fail in six ways, and visitors change their minds meanwhile."""
    met: Counter[str] = Counter()

    def weather(received: Received) -> Fault | None:
        names, weights, faults = zip(*STORM, strict=True)
        [chosen] = report.random.choices(range(len(STORM)), weights)
        met[names[chosen]] += 1
        fault: Fault | None = faults[chosen]
        return fault

    with under_test(SiteAssistCase()) as case:
        there = case.simulator
        widget = make_widget(make_agent("Stormy", **case.agent()))
        with transaction.atomic():
            people = [rated(there, widget, number) for number in range(votes // OF_ONE)]
        rows = Delivery.objects.filter(agent=widget.agent_id)
        there.fail_always("feedback", weather)
        doors = asyncio.Semaphore(AT_ONCE)

        async def vote(person: Rated) -> None:
            async with doors, Visitor(carried.url, widget.key, token=person.token) as visitor:
                for answer, wishes in person.answers.items():
                    for wish in wishes:
                        await visitor.vote({"id": answer}, vote=wish)

        await asyncio.gather(*map(vote, people))
        waiting = rows.exclude(state=State.DELIVERED)
        # A vote that failed ten times waits for minutes: the storm ends when nine of ten are there.
        await eventually(lambda: waiting.count() <= votes // 10, timeout_s=1800)
        there.heal()
        await eventually(lambda: not waiting.exists(), timeout_s=600)
        meant = {answer: wishes[-1] for one in people for answer, wishes in one.answers.items()}
        ids = dict(Message.objects.filter(pk__in=meant).values_list("pk", "upstream_id"))
        with there.changing():
            ledger = {one.id: VOTES[one.feedback] for one in there.messages}
        table = dict(rows.values_list("feedback__message", "feedback__vote"))
        calls = len(there.calls("feedback"))
    held = {str(pk): ledger[upstream_id] for pk, upstream_id in ids.items()}
    report.tell("votes", votes)
    report.tell("as meant, at the vendor", sum(held[one] == meant[one] for one in meant))
    report.tell("calls", calls)
    for name, _, _ in STORM:
        report.tell(f"calls that met: {name}", met[name])
    assert held == meant
    assert {str(pk): vote for pk, vote in table.items()} == meant
