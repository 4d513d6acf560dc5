"""Votes that have not arrived: what waits for an id, sending many again, and who is told of it."""

from datetime import timedelta

import httpx
import pytest
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from chatwidget.models import Message, Widget
from feedback import delivery
from feedback.models import Delivery, Feedback, State

from ..cast import make_feedback
from ..server import Server
from ..simulators.faults import Status
from ..simulators.raia import RaiaSimulator
from ..visitor import Visitor
from .conftest import delivery_of, settled


def get(server: Server, path: str) -> httpx.Response:
    return httpx.get(server.url + path, trust_env=False, timeout=20)


def backlog_age(server: Server) -> float:
    """Return the age that `/metrics` tells, in seconds."""
    for family in text_string_to_metric_families(get(server, "/metrics").text):
        if family.name == "chatwidget_feedback_backlog_age_seconds":
            return float(family.samples[0].value)
    raise AssertionError("the metric is not there")


async def test_a_vote_waits_for_the_answers_id_and_goes_out_when_it_is_known(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        stored = Message.objects.filter(pk=answer["id"])
        known = stored.get().upstream_id
        stored.update(upstream_id="")
        waiting = await visitor.vote(answer, vote="up")
        assert waiting["delivery"] == "pending"
        assert delivery_of(answer).problem == delivery.WAITS_FOR_ID
        assert raia.calls("feedback") == []
        stored.update(upstream_id=known)
        assert (await settled(visitor, answer))["delivery"] == "delivered"
    [held] = raia.feedbacks.values()
    assert (held.message_id, held.vote) == (known, "up")


def test_an_id_that_never_comes_parks_the_vote_after_a_week(raia: RaiaSimulator) -> None:
    early, late = (make_feedback(delivery=State.PENDING) for _ in range(2))
    rows = Delivery.objects.filter(feedback__in=(early, late))
    rows.update(problem=delivery.WAITS_FOR_ID)
    Feedback.objects.filter(pk=early.pk).update(
        updated_at=timezone.now() - delivery.LEAST_AGE - timedelta(minutes=1)
    )
    delivery.identify()
    states = dict(rows.values_list("feedback", "state"))
    assert states == {early.pk: State.FAILED, late.pk: State.PENDING}
    assert "never told" in rows.get(feedback=early).problem
    rows.update(state=State.LOCAL)


@pytest.mark.default_stack("what /metrics tells is of one process")
async def test_metrics_and_health_know_the_oldest_vote_on_its_way(
    server: Server, widget: Widget, raia: RaiaSimulator
) -> None:
    """B7: red when it passes a quarter of an hour."""
    Delivery.objects.filter(state=State.PENDING).update(state=State.LOCAL)  # of other tests
    raia.fail_always("feedback", Status(503))
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        comment_only = await visitor.ask_and_wait("Hello again")
        await visitor.vote(comment_only, vote=None, comment="By the way")  # waits for a vote
        await visitor.vote(answer, vote="up")
        given = Feedback.objects.filter(message__in=(answer["id"], comment_only["id"]))
        for minutes, status in ((14, 200), (16, 503)):
            given.update(updated_at=timezone.now() - timedelta(minutes=minutes))
            told = get(server, "/workz")
            assert told.status_code == status, told.text
            assert 60 * minutes <= backlog_age(server) < 60 * minutes + 60
        assert told.json() == {"status": "late", "late": ["feedback"]}
        assert get(server, "/readyz").status_code == 200
        raia.heal()
        await settled(visitor, answer)
    assert get(server, "/workz").json() == {"status": "ok"}
    assert backlog_age(server) == 0
