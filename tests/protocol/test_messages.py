"""Asking, asking again, stopping and retrying over REST."""

import asyncio
import json
import uuid
from typing import Any

import pytest

from chatwidget.models import Message, Widget

from ..server import Server
from ..simulators.faults import Status
from ..simulators.openai import OpenAISimulator
from ..visitor import JSON, Visitor
from .contract import CheckedVisitor


async def send(ann: CheckedVisitor, conversation: str, body: Any, *, expect: int) -> JSON:
    """Post a message as bytes of our own making, since httpx refuses lone surrogates."""
    headers = {"Content-Type": "application/json"}
    path = f"/conversations/{conversation}/messages"
    answer = await ann.http.post(path, content=json.dumps(body), headers=headers)
    assert answer.status_code == expect, answer.text
    told: JSON = answer.json()
    return told


async def test_a_question_comes_back_with_its_pending_answer(ann: CheckedVisitor) -> None:
    conversation = await ann.conversation()
    asked = await ann.ask(conversation, "Hello", id="5f0c3a0e-8d57-4b0c-9d3e-b1de3f6a2c01")
    question, answer = asked["question"], asked["answer"]
    assert question["id"] == "5f0c3a0e-8d57-4b0c-9d3e-b1de3f6a2c01"
    assert (question["role"], question["status"], question["seq"]) == ("visitor", "completed", 0)
    assert (answer["role"], answer["status"], answer["seq"]) == ("agent", "pending", 0)
    assert (answer["text"], answer["completed_at"], answer["error"]) == ("", None, None)
    assert question["completed_at"] == question["created_at"]
    assert question["conversation"] == answer["conversation"] == conversation
    assert not question["rateable"]
    assert not answer["rateable"]


async def test_messages_are_in_the_order_they_were_asked(ann: CheckedVisitor) -> None:
    first = await ann.ask_and_wait("One")
    conversation = first["conversation"]
    async with ann.socket(conversation) as socket:
        asked = await ann.ask(conversation, "Two")
        second = await socket.final(asked["answer"])
    found = await ann.messages(conversation)
    assert [one["role"] for one in found] == ["visitor", "agent"] * 2
    assert found[1] == first
    assert found[3] == second


async def test_the_same_message_again_is_the_same_two_messages(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 1
    conversation = await mia.conversation()
    body = {"id": str(uuid.uuid4()), "text": "Hello", "page": {"url": "https://a.example"}}
    path = f"/conversations/{conversation}/messages"
    first = await mia.call("POST", path, body, expect=201)
    again = await mia.call("POST", path, body | {"page": None, "attachments": []}, expect=200)
    assert again["question"] == first["question"]
    assert again["answer"]["id"] == first["answer"]["id"]
    async with mia.socket(conversation) as socket:
        openai.release()
        final = await socket.final(first["answer"])
    late = await mia.call("POST", path, body, expect=200)
    assert late == {"question": first["question"], "answer": final}
    assert len(openai.sends) == 1


async def test_an_id_with_another_text_or_place_is_reused(
    ann: CheckedVisitor, bob: CheckedVisitor
) -> None:
    answer = await ann.ask_and_wait("Hello")
    used, answered = [one["id"] for one in await ann.messages(answer["conversation"])]
    for visitor, conversation, taken, text in [
        (ann, answer["conversation"], used, "Other"),
        (ann, await ann.conversation(), used, "Hello"),
        (bob, await bob.conversation(), used, "Hello"),
        (ann, answer["conversation"], answered, "Hello"),
    ]:
        refused = await visitor.ask(conversation, text, id=taken, expect=409)
        assert refused["code"] == "message_id_reused"


async def test_one_answer_at_a_time_in_each_conversation(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 1
    conversation = await mia.conversation()
    asked = await mia.ask(conversation, "One")
    refused = await mia.ask(conversation, "Two", expect=409)
    assert refused["code"] == "answer_in_progress"
    await mia.ask(await mia.conversation(), "Elsewhere")
    await mia.call("POST", f"/messages/{asked['answer']['id']}/stop", expect=202)
    async with mia.socket(conversation) as socket:
        await socket.final(asked["answer"])
    await mia.ask(conversation, "Two")


@pytest.mark.parametrize(
    "text", ["x", "x" * 4000, "🚲" * 4000, "é\n\t👩‍👩‍👧", "\u202eabc", "  x  ", "مرحبا"]
)
async def test_a_text_of_1_to_4000_characters_is_kept_as_it_is(
    ann: CheckedVisitor, text: str
) -> None:
    asked = await ann.ask(await ann.conversation(), text)
    assert asked["question"]["text"] == text


async def test_characters_written_as_surrogate_pairs_count_once(ann: CheckedVisitor) -> None:
    body = {"id": str(uuid.uuid4()), "text": "🚲" * 4000}
    assert "\\ud83d" in json.dumps(body)
    asked = await send(ann, await ann.conversation(), body, expect=201)
    assert asked["question"]["text"] == body["text"]


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\t\u2003", "x" * 4001, "🚲" * 4001, "a\x00b", "\ud800", None, 5, True, [], {}],
)
async def test_no_other_text_is_taken(ann: CheckedVisitor, text: object) -> None:
    body = {"id": str(uuid.uuid4()), "text": text}
    refused = await send(ann, await ann.conversation(), body, expect=422)
    assert (refused["code"], list(refused["errors"])) == ("invalid", ["text"])


@pytest.mark.parametrize("id_", ["", "x", "123", 5, True, None, [], "{" * 40, "g" * 32, 10**400])
async def test_no_other_id_is_taken(ann: CheckedVisitor, id_: object) -> None:
    refused = await send(ann, await ann.conversation(), {"id": id_, "text": "Hi"}, expect=422)
    assert list(refused["errors"]) == ["id"]


@pytest.mark.parametrize("body", [[], "text", 5, True, {}])
async def test_a_body_that_is_no_message_is_invalid(ann: CheckedVisitor, body: object) -> None:
    refused = await send(ann, await ann.conversation(), body, expect=422)
    assert refused["errors"]


async def test_an_id_in_capitals_is_the_same_id(ann: CheckedVisitor) -> None:
    conversation, message_id = await ann.conversation(), str(uuid.uuid4())
    first = await ann.ask(conversation, "Hello", id=message_id.upper())
    assert first["question"]["id"] == message_id
    await ann.ask(conversation, "Hello", id=message_id, expect=200)
    await ann.call("POST", f"/messages/{first['answer']['id'].upper()}/stop", expect=202)


async def test_stop_ends_an_answer_that_is_coming(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 2
    conversation = await mia.conversation()
    async with mia.socket(conversation) as socket:
        asked = await mia.ask(conversation, "Hello")
        await socket.until_text(asked["answer"])
        path = f"/messages/{asked['answer']['id']}/stop"
        stopped, *others = await asyncio.gather(
            *(mia.call("POST", path, expect=202) for _ in range(3))
        )
        final = await socket.final(asked["answer"])
    assert stopped["id"] == asked["answer"]["id"]
    assert (final["status"], final["error"]) == ("stopped", None)
    assert final["text"]
    assert await mia.call("POST", path, expect=202) == final
    assert len(others) == 2


async def test_stopping_what_is_finished_changes_nothing(ann: CheckedVisitor) -> None:
    answer = await ann.ask_and_wait("Hello")
    found = await ann.messages(answer["conversation"])
    for message in found:
        again = await ann.call("POST", f"/messages/{message['id']}/stop", expect=202)
        assert again == message


async def test_only_a_failed_or_stopped_answer_can_be_retried(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    completed = await mia.ask_and_wait("Hello")
    question = (await mia.messages(completed["conversation"]))[0]
    openai.odd.stall_after = 1
    coming = (await mia.ask(await mia.conversation(), "Hello"))["answer"]
    for message in (completed, question, coming):
        refused = await mia.call("POST", f"/messages/{message['id']}/retry", expect=409)
        assert refused["code"] == "retry_not_allowed"


async def test_twenty_retries_at_once_are_one_new_answer(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    openai.fail_next("send", Status(500))
    failed = await mia.ask_and_wait("Hello")
    path = f"/messages/{failed['id']}/retry"
    answers = await asyncio.gather(*(mia.http.post(path) for _ in range(20)))
    assert sorted(one.status_code for one in answers) == [200] * 19 + [201]
    assert len({one.json()["answer"]["id"] for one in answers}) == 1
    async with mia.socket(failed["conversation"]) as socket:
        again = await socket.final(answers[0].json()["answer"])
    assert again["status"] == "completed"
    found = await mia.messages(failed["conversation"])
    assert [one["status"] for one in found] == ["completed", "failed", "completed"]
    assert found[1] == failed
    assert len(openai.sends) == 1


async def test_a_failed_answer_says_why(mia: CheckedVisitor, openai: OpenAISimulator) -> None:
    codes = []
    for status in (500, 401, 400):
        openai.fail_next("send", Status(status))
        failed = await mia.ask_and_wait("Hello")
        assert failed["status"] == "failed"
        assert failed["error"]["message"]
        codes.append(failed["error"]["code"])
    assert codes == ["agent_unavailable", "agent_misconfigured", "agent_rejected"]


async def race(visitor: Visitor, number: int) -> None:
    """Send one message 2 to 10 times at once."""
    body = {"id": str(uuid.uuid4()), "text": f"Race {number}"}
    path = f"/conversations/{await visitor.conversation()}/messages"
    sends = [visitor.http.post(path, json=body) for _ in range(2 + number % 9)]
    answers = await asyncio.gather(*sends)
    assert sorted(one.status_code for one in answers) == [200] * (len(sends) - 1) + [201]
    assert len({one.json()["answer"]["id"] for one in answers}) == 1


async def test_fifty_races_of_the_same_send_post_once_each(
    server: Server, model: Widget, openai: OpenAISimulator
) -> None:
    async with Visitor(server.url, model.key) as visitor:
        for start in range(0, 50, 10):
            await asyncio.gather(*(race(visitor, start + number) for number in range(10)))
        await openai.eventually(lambda: openai.finished == 50)
    asked = [body["messages"][-1]["content"] for body in openai.sends]
    assert sorted(asked) == sorted(f"Race {number}" for number in range(50))
    assert Message.objects.filter(conversation__visitor=visitor.id).count() == 100


async def test_of_two_different_questions_at_once_one_is_answered(
    mia: CheckedVisitor, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 1
    for _ in range(5):
        path = f"/conversations/{await mia.conversation()}/messages"
        bodies = [{"id": str(uuid.uuid4()), "text": "Hello"} for _ in range(4)]
        answers = await asyncio.gather(*(mia.http.post(path, json=body) for body in bodies))
        assert sorted(one.status_code for one in answers) == [201, 409, 409, 409]
        codes = {one.json()["code"] for one in answers if one.status_code == 409}
        assert codes == {"answer_in_progress"}
