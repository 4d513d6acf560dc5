"""Coming back after minutes, a day, a week: the exact transcript, or a plain "not found".

Time passes by moving everything that is stored of a visitor into the past.
"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import DateTimeField, F, QuerySet

from chatwidget.models import Conversation, Message, VisitorToken, Widget
from chatwidget.models import Visitor as StoredVisitor
from feedback.models import Delivery, Feedback

from ..cast import add_message, make_widget
from ..server import Server
from ..simulators.openai import OpenAISimulator
from ..visitor import JSON, Visitor
from ..waiting import eventually
from .load import Tab

pytestmark = pytest.mark.usefixtures("up_again")

AWAY = {"5-minutes": timedelta(minutes=5), "a-day": timedelta(days=1), "a-week": timedelta(days=7)}
WHEN = ("created_at", "completed_at", "updated_at")

away = pytest.mark.parametrize("gone_for", [pytest.param(AWAY[name], id=name) for name in AWAY])


def let_pass(visitor: str, time: timedelta) -> None:
    """Move everything of this visitor into the past."""
    rows: list[QuerySet[Any]] = [
        StoredVisitor.objects.filter(pk=visitor),
        VisitorToken.objects.filter(visitor_id=visitor),
        Conversation.objects.filter(visitor_id=visitor),
        Message.objects.filter(conversation__visitor_id=visitor),
        Feedback.objects.filter(message__conversation__visitor_id=visitor),
        Delivery.objects.filter(feedback__message__conversation__visitor_id=visitor),
    ]
    for found in rows:
        names = [
            one.name for one in found.model._meta.concrete_fields if isinstance(one, DateTimeField)
        ]
        found.update(**{name: F(name) - time for name in names})


def timeless(messages: list[JSON]) -> list[JSON]:
    """The transcript without its times, which moved."""
    return [
        {
            name: timeless([value])[0] if name == "feedback" and value else value
            for name, value in message.items()
            if name not in WHEN
        }
        for message in messages
    ]


async def whole_transcript(visitor: Visitor, conversation: str) -> list[JSON]:
    """Read all pages, as a visitor who scrolls up."""
    found: list[JSON] = []
    path = f"/conversations/{conversation}/messages"
    page = await visitor.call("GET", path)
    found[:0] = page["results"]
    while page["next"]:
        page = await visitor.call("GET", f"{path}?before={page['next']}")
        found[:0] = page["results"]
    return found


@away
async def test_the_transcript_is_exact_after(
    server: Server, at_openai: Widget, openai: OpenAISimulator, gone_for: timedelta
) -> None:
    async with Visitor(server.url, at_openai.key) as visitor:
        conversation = await visitor.conversation()
        async with Tab(visitor, conversation) as tab:
            for text in ("Hello", "And now?"):
                asked = await visitor.ask(conversation, text)
                await tab.until_ended(asked["answer"]["id"])
            await visitor.vote(tab.messages[asked["answer"]["id"]], vote="up", comment="Thanks")
            left = await whole_transcript(visitor, conversation)
        let_pass(visitor.id, gone_for)
        async with Tab(visitor, conversation) as tab:
            assert timeless(list(tab.messages.values())) == timeless(left)
        assert timeless(await whole_transcript(visitor, conversation)) == timeless(left)


@away
async def test_a_long_transcript_has_no_gap_after(
    server: Server, at_openai: Widget, gone_for: timedelta
) -> None:
    async with Visitor(server.url, at_openai.key) as visitor:
        conversation = await visitor.conversation()
        stored = Conversation.objects.get(pk=conversation)
        for number in range(60):
            question = add_message(stored, f"Question {number}")
            add_message(stored, f"Answer {number}", role="agent", question=question)
        let_pass(visitor.id, gone_for)
        texts = [one["text"] for one in await whole_transcript(visitor, conversation)]
        newest = [f"{kind} {number}" for number in range(60) for kind in ("Question", "Answer")]
        assert texts == newest
        async with Tab(visitor, conversation) as tab:
            assert [one["text"] for one in tab.messages.values()] == newest[-50:]


@away
async def test_what_was_said_after_they_left_is_there_after(
    server: Server, at_openai: Widget, openai: OpenAISimulator, gone_for: timedelta
) -> None:
    openai.odd.stall_after = 3
    async with Visitor(server.url, at_openai.key) as visitor:
        conversation = await visitor.conversation()
        async with Tab(visitor, conversation) as tab:
            asked = await visitor.ask(conversation, "Hello")
            answer = asked["answer"]["id"]
            await tab.until(lambda: tab.messages.get(answer, {}).get("text"))
            tab.cut()
        await openai.eventually(lambda: openai.stalled)
        openai.release()
        await eventually(lambda: Message.objects.get(pk=answer).status == "completed")
        let_pass(visitor.id, gone_for)
        async with Tab(visitor, conversation) as tab:
            assert tab.messages[answer]["text"] == "".join(openai.tokens)  # type: ignore[arg-type]
            assert tab.messages[answer]["status"] == "completed"


async def test_an_answer_that_a_dead_server_left_has_ended_openly_after_a_week(
    server: Server, at_openai: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 3
    async with Visitor(server.url, at_openai.key) as visitor:
        conversation = await visitor.conversation()
        asked = await visitor.ask(conversation, "Hello")
        answer = asked["answer"]["id"]
        await eventually(lambda: bool(Message.objects.get(pk=answer).text))
        await asyncio.to_thread(server.kill)
        kept = Message.objects.get(pk=answer).text
        let_pass(visitor.id, AWAY["a-week"])
        await asyncio.to_thread(server.start)
        async with Tab(visitor, conversation) as tab:
            await tab.until_ended(answer)
            message = tab.messages[answer]
        assert (message["status"], message["error"]["code"]) == ("failed", "interrupted")
        assert message["text"] == kept
        assert [one["text"] for one in tab.messages.values()] == ["Hello", kept]


async def test_what_retention_removed_is_said_to_be_not_found(server: Server) -> None:
    widget = make_widget(retention_days=3)
    async with (
        Visitor(server.url, widget.key) as returning,
        Visitor(server.url, widget.key) as forgotten,
    ):
        gone = await returning.conversation()
        await returning.ask(gone, "Hello")
        await forgotten.conversation()
        let_pass(returning.id, timedelta(days=1))
        async with returning.socket(gone) as socket:
            assert [one["text"] for one in socket.messages.values()][:1] == ["Hello"]
            await socket.until_message(lambda one: one["status"] == "completed")

        let_pass(returning.id, timedelta(days=7))
        let_pass(forgotten.id, timedelta(days=7))
        kept = await returning.conversation()
        await asyncio.to_thread(server.stop)  # what is too old is removed at the next start
        await asyncio.to_thread(server.start)
        await eventually(lambda: not StoredVisitor.objects.filter(pk=forgotten.id).exists())

        async with returning.socket(gone) as socket:
            assert [one["type"] for one in socket.frames[:2]] == ["error", "ready"]
            assert socket.frames[0]["code"] == "not_found"
            assert socket.frames[1]["conversation"] is None
        refused = await returning.call("GET", f"/conversations/{gone}/messages", expect=404)
        assert refused["code"] == "not_found"
        assert await returning.messages(kept) == []
        refused = await forgotten.call("GET", "/conversations", expect=401)
        assert refused["code"] == "token_invalid"
