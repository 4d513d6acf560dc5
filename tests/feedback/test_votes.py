"""Voting, as the protocol has it. The agent here is the built-in one: votes stay here."""

import json
from typing import Any

import pytest

from chatwidget.models import Widget
from feedback.models import Feedback

from ..cast import make_agent, make_widget, openai_agent
from ..server import Server
from ..simulators.openai import OpenAISimulator
from ..simulators.raia import RaiaSimulator
from ..visitor import JSON, Visitor
from .conftest import raia_agent

AT_ONCE = {"think_s": 0, "words_per_s": 100_000}


@pytest.fixture
def widget() -> Widget:
    return make_widget(make_agent(options=AT_ONCE))


def stored(message: JSON) -> Feedback:
    return Feedback.objects.get(message=message["id"])


async def test_a_vote_is_stored_and_comes_back_with_its_message(
    server: Server, widget: Widget
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        given = await visitor.vote(answer, vote="down", comment="No", reasons=["wrong"])
        _, shown = await visitor.messages(answer["conversation"])
    assert shown["feedback"] == given
    assert given["vote"] == "down"
    assert given["comment"] == "No"
    assert given["reasons"] == ["wrong"]


async def test_a_put_replaces_and_what_is_missing_is_cleared(
    server: Server, widget: Widget
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="down", comment="No", reasons=["wrong"])
        given = await visitor.vote(answer, vote="up")
    assert (given["vote"], given["comment"], given["reasons"]) == ("up", "", [])
    assert Feedback.objects.filter(message=answer["id"]).count() == 1


async def test_the_same_again_changes_nothing(server: Server, widget: Widget) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        first = await visitor.vote(answer, vote="up", comment="Yes")
        second = await visitor.vote(answer, vote="up", comment="Yes", reasons=[])
    assert second == first
    assert stored(answer).revision == 1


async def test_deleting_clears_everything_and_may_be_repeated(
    server: Server, widget: Widget
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        path = f"/messages/{answer['id']}/feedback"
        await visitor.call("DELETE", path, expect=204)
        assert not Feedback.objects.filter(message=answer["id"]).exists()
        await visitor.vote(answer, vote="up", comment="Yes")
        await visitor.call("DELETE", path, expect=204)
        await visitor.call("DELETE", path, expect=204)
        _, shown = await visitor.messages(answer["conversation"])
    assert (shown["feedback"]["vote"], shown["feedback"]["comment"]) == (None, "")
    assert stored(answer).revision == 2


async def test_a_vote_can_be_taken_back_where_nothing_can_be_rated_any_more(
    server: Server, widget: Widget
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="up")
        Widget.objects.filter(pk=widget.pk).update(feedback_enabled=False)
        await visitor.vote(answer, vote="down", expect=409)
        await visitor.call("DELETE", f"/messages/{answer['id']}/feedback", expect=204)
    assert stored(answer).vote is None


async def test_a_question_and_a_failed_answer_take_no_vote(server: Server, widget: Widget) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Please fail")
        question, failed = await visitor.messages(answer["conversation"])
        assert failed["status"] == "failed"
        for message in (question, failed):
            refused = await visitor.vote(message, vote="up", expect=409)
            assert refused["code"] == "feedback_not_allowed"
            assert not message["rateable"]


async def test_an_answer_still_coming_takes_no_vote(server: Server, raia: RaiaSimulator) -> None:
    raia.hold()
    async with Visitor(server.url, make_widget(raia_agent(raia)).key) as visitor:
        conversation = await visitor.conversation()
        asked = await visitor.ask(conversation, "Hello")
        await visitor.vote(asked["answer"], vote="up", expect=409)
        await visitor.call("POST", f"/messages/{asked['answer']['id']}/stop", expect=202)


async def test_another_visitors_answer_does_not_exist(server: Server, widget: Widget) -> None:
    async with (
        Visitor(server.url, widget.key) as visitor,
        Visitor(server.url, widget.key) as stranger,
    ):
        answer = await visitor.ask_and_wait("Hello")
        path = f"/messages/{answer['id']}/feedback"
        await stranger.call("PUT", path, {"vote": "up"}, expect=404)
        await stranger.call("DELETE", path, expect=404)


async def test_a_widget_without_feedback_takes_none(server: Server) -> None:
    widget = make_widget(make_agent(options=AT_ONCE), feedback_enabled=False)
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        await visitor.vote(answer, vote="up", expect=409)
    assert not answer["rateable"]


async def test_a_widget_without_comments_takes_votes_only(server: Server) -> None:
    widget = make_widget(make_agent(options=AT_ONCE), comments_enabled=False)
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        refused = await visitor.vote(answer, vote="up", comment="Yes", expect=422)
        await visitor.vote(answer, vote="up")
    assert list(refused["errors"]) == ["comment"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "vote"),
        ({"vote": "sideways"}, "vote"),
        ({"vote": 1}, "vote"),
        ({"vote": "up", "comment": 5}, "comment"),
        ({"vote": "up", "comment": None}, "comment"),
        ({"vote": "down", "reasons": ["no such reason"]}, "reasons"),
        ({"vote": "down", "reasons": "wrong"}, "reasons"),
    ],
)
async def test_what_is_no_vote_is_refused_by_field(
    server: Server, widget: Widget, body: Any, field: str
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        refused = await visitor.vote(answer, **body, expect=422)
    assert (refused["code"], list(refused["errors"])) == ("invalid", [field])


@pytest.mark.parametrize(
    "comment",
    ["", "x", "x" * 2000, "مرحبا بالعالم", "👩‍👩‍👧‍👦🏳️‍🌈", "a\nb\tc", " spaces stay "],
    ids=["none", "one", "full", "right-to-left", "emoji", "lines", "spaces"],
)
async def test_a_comment_is_kept_as_it_was_written(
    server: Server, widget: Widget, comment: str
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        given = await visitor.vote(answer, vote="up", comment=comment)
    assert given["comment"] == comment == stored(answer).comment


@pytest.mark.parametrize(
    "comment", ["x" * 2001, "a\x00b", "a\ud83d"], ids=["too long", "NUL", "half a character"]
)
async def test_a_comment_that_cannot_be_kept_is_refused_whole(
    server: Server, widget: Widget, comment: str
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        body = json.dumps({"vote": "up", "comment": comment})
        refused = await visitor.http.put(
            f"/messages/{answer['id']}/feedback",
            content=body,
            headers={"Content-Type": "application/json"},
        )
    assert refused.status_code == 422, refused.text
    assert list(refused.json()["errors"]) == ["comment"]
    assert not Feedback.objects.filter(message=answer["id"]).exists()


async def test_a_comment_of_four_megabytes_is_too_large(server: Server, widget: Widget) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        refused = await visitor.vote(answer, vote="up", comment="x" * (4 << 20), expect=413)
    assert refused["code"] == "payload_too_large"


async def test_votes_stay_here_where_the_agent_takes_none(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    agent = openai_agent(openai)
    for key in (widget.key, make_widget(agent).key):
        async with Visitor(server.url, key) as visitor:
            answer = await visitor.ask_and_wait("Hello")
            given = await visitor.vote(answer, vote="down", comment="No")
            assert given["delivery"] == "local"
            given = await visitor.vote(answer, vote=None)
            assert given["delivery"] == "local"
