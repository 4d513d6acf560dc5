"""Erasing a visitor: everything at once, everywhere, and for good."""

import asyncio
import uuid

from chatwidget.models import Conversation, Message, Visitor, VisitorToken
from feedback.models import Delivery, Feedback

from ..server import Server
from ..simulators.openai import OpenAISimulator
from .contract import CheckedVisitor


async def test_an_erased_visitor_is_gone_with_everything(ann: CheckedVisitor) -> None:
    answer = await ann.ask_and_wait("Hello")
    await ann.vote(answer, vote="up", comment="Thank you")
    await ann.call("DELETE", "/visitor", expect=204)
    for path in ("/conversations", f"/conversations/{answer['conversation']}/messages"):
        assert (await ann.call("GET", path, expect=401))["code"] == "token_invalid"
    assert not Visitor.objects.filter(pk=ann.id).exists()
    assert not VisitorToken.objects.filter(visitor=ann.id).exists()
    assert not Conversation.objects.filter(visitor=ann.id).exists()
    assert not Message.objects.filter(conversation=answer["conversation"]).exists()
    assert not Feedback.objects.filter(message=answer["id"]).exists()
    assert not Delivery.objects.filter(feedback__message=answer["id"]).exists()


async def test_an_erased_visitors_token_opens_a_new_visitor(ann: CheckedVisitor) -> None:
    await ann.conversation()
    await ann.call("DELETE", "/visitor", expect=204)
    gone = ann.id
    session = await ann.enter()
    assert ann.id != gone
    assert session["conversations"] == []


async def test_every_tab_of_an_erased_visitor_is_closed(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 1
    conversation = await mia.conversation()
    async with mia.socket(conversation) as one, mia.socket() as two:
        await mia.ask(conversation, "Hello")
        await one.until(lambda frame: frame["type"] == "delta")
        await mia.call("DELETE", "/visitor", expect=204)
        assert (await one.close_code(), await two.close_code()) == (4401, 4401)
    await openai.eventually(lambda: openai.aborted == 1)
    async with mia.socket(hello=False) as back:
        await back.send({"type": "hello", "token": mia.token, "conversation": None})
        assert await back.close_code() == 4401


async def test_another_visitor_is_not_touched(ann: CheckedVisitor, bob: CheckedVisitor) -> None:
    conversation = await bob.conversation()
    async with bob.socket(conversation) as socket:
        await ann.call("DELETE", "/visitor", expect=204)
        asked = await bob.ask(conversation, "Hello")
        assert (await socket.final(asked["answer"]))["status"] == "completed"


async def test_erasing_while_writing_is_refused_and_never_an_error(
    ann: CheckedVisitor, server: Server
) -> None:
    for _ in range(10):
        await ann.enter()
        answer = await ann.ask_and_wait("Hello")
        writes = [
            ann.http.post(
                f"/conversations/{answer['conversation']}/messages",
                json={"id": str(uuid.uuid4()), "text": "Hello"},
            ),
            ann.http.post("/conversations"),
            ann.http.put(f"/messages/{answer['id']}/feedback", json={"vote": "up"}),
            ann.http.post(f"/conversations/{answer['conversation']}/read"),
            ann.http.post(f"/widgets/{ann.key}/sessions", json={"token": ann.token}),
        ]
        codes = [
            one.status_code
            for one in await asyncio.gather(
                ann.http.delete("/visitor"),
                *writes,
                *[ann.http.delete("/visitor") for _ in range(2)],
            )
        ]
        assert set(codes) <= {200, 201, 204, 401, 404, 409}, codes
        assert not Visitor.objects.filter(pk=ann.id).exists()
