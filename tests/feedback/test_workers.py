"""Several processes, any of which may die: no delivery in two hands, none left in a dead one's."""

import asyncio
import signal
from collections import Counter

from django.utils import timezone

from chatwidget.models import Widget
from feedback.models import Delivery

from ..server import Server, worker
from ..simulators.faults import Stall
from ..simulators.raia import RaiaSimulator
from ..visitor import Visitor
from ..waiting import eventually
from .conftest import delivery_of, settled


async def test_a_killed_workers_delivery_is_made_by_another(
    web: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(web.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        raia.fail_next("feedback", Stall())
        with worker(DELIVERY_LEASE_S="1.5") as first:
            await visitor.vote(answer, vote="down", comment="No")
            await raia.eventually(lambda: raia.stalled == 1)
            first.send_signal(signal.SIGKILL)
            first.wait()
        assert delivery_of(answer).lease_token
        with worker():
            assert (await settled(visitor, answer))["delivery"] == "delivered"
    assert [one.comment for one in raia.feedbacks.values()] == ["No"]


async def test_a_stopped_workers_delivery_is_free_at_once(
    web: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(web.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        raia.fail_next("feedback", Stall())
        with worker(DELIVERY_LEASE_S="600") as first:
            await visitor.vote(answer, vote="up")
            await raia.eventually(lambda: raia.stalled == 1)
            first.terminate()
            assert first.wait(timeout=10) == 0
        assert delivery_of(answer).lease_token is None
        with worker():
            assert (await settled(visitor, answer))["delivery"] == "delivered"


async def test_no_delivery_is_in_two_hands(
    web: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    rows = Delivery.objects.filter(agent=widget.agent_id)
    async with Visitor(web.url, widget.key) as visitor:

        def all_delivered() -> bool:
            return rows.filter(state="delivered").count() == 20

        answers = await asyncio.gather(*(visitor.ask_and_wait("Hello") for _ in range(20)))
        for answer in answers:
            await visitor.vote(answer, vote="up")
        with worker(), worker():
            await eventually(all_delivered)
            rows.update(state="pending", next_at=timezone.now())  # for both to race for
            await eventually(all_delivered)
    sent = Counter(call.json["conversationMessageId"] for call in raia.calls("feedback"))
    assert len(sent) == 20
    assert set(sent.values()) == {2}
