"""No vote is lost or wrong, whatever the vendor does."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from chatwidget.errors import Rejected
from chatwidget.models import Agent, Widget
from feedback import delivery
from feedback.models import Delivery, State

from ..cast import make_conversation, make_feedback, make_widget
from ..server import Server
from ..simulators.faults import Drop, DropAfter, Fault, Html, RateLimited, Stall, Status
from ..simulators.raia import RaiaSimulator
from ..visitor import Visitor
from ..waiting import eventually
from .conftest import delivery_of, raia_agent, settled


@pytest.mark.parametrize(
    "fault",
    [
        Status(500, {"status": 500, "message": "oh"}),
        Html(502),
        Html(200),
        Status(201, '{"half": '),
        Drop(),
        DropAfter(),
        RateLimited(),
    ],
    ids=["500", "gateway", "html", "half JSON", "dropped", "answer lost", "429"],
)
async def test_a_failed_attempt_is_repeated_with_the_same_state(
    server: Server, widget: Widget, raia: RaiaSimulator, fault: Fault
) -> None:
    raia.fail_next("feedback", fault, fault)
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="down", comment="No")
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    calls = raia.calls("feedback")
    assert len(calls) == 3
    assert calls[0].json == calls[1].json == calls[2].json
    assert [one.vote for one in raia.feedbacks.values()] == ["down"]


async def test_retry_after_is_honoured_for_all_of_a_vendors_votes(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("feedback", RateLimited(2))
    async with Visitor(server.url, widget.key) as visitor:
        first = await visitor.ask_and_wait("Hello")
        second = await visitor.ask_and_wait("Hello again")
        async with visitor.socket(first["conversation"]) as socket:
            await visitor.vote(first, vote="up")
            for _ in ("voted", "refused"):
                await socket.until(lambda frame: frame["type"] == "message")
        await visitor.vote(second, vote="up")
        for answer in (first, second):
            assert (await settled(visitor, answer))["delivery"] == "delivered"
    refused, *later = raia.calls("feedback")
    assert later[0].at - refused.at >= 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
async def test_a_refusal_parks_the_vote_until_it_is_sent_again(
    server: Server, widget: Widget, raia: RaiaSimulator, status: int
) -> None:
    raia.fail_next("feedback", Status(status, {"status": status, "message": "no"}))
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="up")
        assert (await settled(visitor, answer))["delivery"] == "failed"
        parked = delivery_of(answer)
        assert parked.attempts == 1
        assert parked.next_at is None
        assert str(status) in parked.problem
        delivery.resend(Delivery.objects.filter(pk=parked.pk))
        assert (await settled(visitor, answer))["delivery"] == "delivered"


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_key_marks_the_agent_once_until_a_vote_arrives(
    server: Server, widget: Widget, raia: RaiaSimulator, status: int
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answers = [await visitor.ask_and_wait(text) for text in ("Hello", "Hello again")]
        raia.fail_always("feedback", Status(status, {"status": status, "message": "no"}))
        marks = []
        for answer in answers:
            await visitor.vote(answer, vote="up")
            assert (await settled(visitor, answer))["delivery"] == "failed"
            marks.append(Agent.objects.values_list("problem", "problem_at").get(pk=widget.agent_id))
        assert str(status) in marks[0][0]
        assert marks[0] == marks[1]
        raia.heal()
        delivery.resend(Delivery.objects.filter(feedback__message=answers[0]["id"]))
        assert (await settled(visitor, answers[0]))["delivery"] == "delivered"
    assert Agent.objects.get(pk=widget.agent_id).problem == ""


async def test_votes_wait_for_a_vendor_that_is_down(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        raia.stop()
        await visitor.vote(answer, vote="up")
        await visitor.vote(answer, vote="down", comment="On second thought")
        async with visitor.socket(answer["conversation"]) as socket:
            await socket.until(lambda _: delivery_of(answer).attempts > 1)
        assert delivery_of(answer).state == "pending"
        raia.start()
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    [held] = raia.feedbacks.values()
    assert (held.vote, held.comment) == ("down", "On second thought")


async def test_a_stalled_vendor_delays_nobody_elses_votes(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    with RaiaSimulator() as dead:
        dead.fail_always("feedback", Stall())
        async with Visitor(server.url, widget.key) as visitor:
            answer = await visitor.ask_and_wait("Hello")
            waiting = backlog(raia_agent(dead), 70)
            await dead.eventually(lambda: dead.stalled == 16)  # its lane is full
            await visitor.vote(answer, vote="up")
            assert (await settled(visitor, answer, timeout_s=3))["delivery"] == "delivered"
        assert dead.stalled == 16
        assert waiting.filter(state=State.PENDING).count() == 70
        dead.heal()
        dead.release()
        await eventually(lambda: not waiting.filter(state=State.PENDING).exists())
        assert len(dead.calls("feedback")) == 70


def backlog(agent: Agent, count: int, *, age_s: float = 60) -> QuerySet[Delivery]:
    """Votes on answers that raia does not know, due for `age_s` already."""
    with transaction.atomic():
        widget = make_widget(agent)
        for _ in range(count):
            conversation = make_conversation([("visitor", "Hi"), ("agent", "Hello")], widget=widget)
            conversation.visitor.upstream = {str(agent.pk): {"user": str(uuid4())}}
            conversation.visitor.save()
            answer = conversation.messages.get(role="agent")
            answer.upstream_id = str(uuid4())
            answer.save()
            make_feedback(answer, delivery=State.PENDING)
        waiting = Delivery.objects.filter(agent=agent)
        waiting.update(next_at=timezone.now() - timedelta(seconds=age_s))
    return waiting


def test_a_row_that_two_have_read_is_claimed_by_one(raia: RaiaSimulator) -> None:
    row = backlog(raia_agent(raia), 1, age_s=-3600).get()  # so that the server leaves it
    first, second = (delivery.claim([row.pk], timezone.now()) for _ in range(2))
    assert len(first) == 1
    assert second == []
    with transaction.atomic():
        delivery.settle(first[0], Rejected("so that it is not sent later"))


async def test_a_newer_vote_does_not_overtake_a_stalled_older_one(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("feedback", Stall())
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="up")
        await raia.eventually(lambda: raia.stalled == 1)
        await visitor.vote(answer, vote="down")
        assert delivery_of(answer).lease_token
        assert len(raia.calls("feedback")) == 1
        raia.release()
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    assert [call.json["voteType"] for call in raia.calls("feedback")] == ["up", "down"]
    assert [one.vote for one in raia.feedbacks.values()] == ["down"]


async def test_a_week_of_failures_parks_a_vote_with_its_reason(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_always("feedback", Status(500))
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="up")
        await raia.eventually(lambda: raia.calls("feedback"))
        Delivery.objects.filter(feedback__message=answer["id"]).update(
            attempts=20,
            first_tried_at=timezone.now() - timedelta(days=7),
            next_at=timezone.now(),
            lease_token=None,
            lease_until=None,
        )
        assert (await settled(visitor, answer))["delivery"] == "failed"
    assert delivery_of(answer).problem == "HTTP 500 from raia"
