"""Processes die and end; answers do not get lost, and no question is asked twice."""

import asyncio
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from chatwidget import claims
from chatwidget.models import Conversation, Erasure, Message, Widget
from chatwidget.models import Visitor as StoredVisitor

from .cast import claimed_turn, make_conversation, make_visitor, make_widget, openai_agent
from .feedback.conftest import raia_agent
from .server import Server
from .simulators.faults import DropAfter, Html, RateLimited, Stall, Status
from .simulators.openai import OpenAISimulator
from .simulators.raia import RaiaSimulator
from .visitor import JSON, Socket, Visitor
from .waiting import eventually


@pytest.fixture
def at_raia(raia: RaiaSimulator) -> Widget:
    return make_widget(raia_agent(raia))


@pytest.fixture
def at_openai(openai: OpenAISimulator) -> Widget:
    return make_widget(openai_agent(openai))


async def final(visitor: Visitor, asked: JSON) -> JSON:
    """Come back with a new socket and wait for the answer."""
    async with visitor.socket(asked["answer"]["conversation"]) as socket:
        return await socket.final(asked["answer"])


async def until_text(socket: Socket) -> str:
    shown = await socket.until_message(lambda one: one["role"] == "agent" and bool(one["text"]))
    return str(shown["text"])


def die(server: Server) -> None:
    """Kill the server, and let the time pass after which its turns are another's."""
    server.kill()
    Message.objects.filter(lease_until__gt=timezone.now()).update(lease_until=timezone.now())


@pytest.fixture(autouse=True)
def up_again(server: Server) -> Iterator[None]:
    """A test that fails while the server is down leaves none without it."""
    yield
    if not server.is_up:
        server.start()


# --- killed ---------------------------------------------------------------------------------------


async def test_an_answer_pending_at_a_kill_arrives_after_the_restart(
    server: Server, at_raia: Widget, raia: RaiaSimulator
) -> None:
    raia.hold()
    async with Visitor(server.url, at_raia.key) as visitor:
        asked = await visitor.ask(await visitor.conversation(), "Hello")
        await raia.eventually(lambda: raia.calls("poll"))
        die(server)
        raia.release()
        server.start()
        answer = await final(visitor, asked)
    assert answer["status"] == "completed"
    assert len(raia.sends) == len(raia.calls("send")) == 1


async def test_a_stream_cut_by_a_kill_ends_interrupted_with_what_came(
    server: Server, at_openai: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 3
    async with Visitor(server.url, at_openai.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Hello")
            await until_text(socket)
            answer_id = asked["answer"]["id"]
            await eventually(lambda: bool(Message.objects.get(pk=answer_id).text))
        die(server)
        openai.odd.stall_after = None
        server.start()
        answer = await final(visitor, asked)
        assert (answer["status"], answer["error"]["code"]) == ("failed", "interrupted")
        assert answer["text"]
        assert "Hello, how".startswith(answer["text"])
        assert len(openai.sends) == 1
        again = await visitor.call("POST", f"/messages/{answer['id']}/retry", expect=201)
        assert (await final(visitor, again))["status"] == "completed"
    assert len(openai.sends) == 2


async def test_killed_after_the_question_was_stored_it_is_sent_once(
    server: Server, at_raia: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("search_user", Stall())
    async with Visitor(server.url, at_raia.key) as visitor:
        asked = await visitor.ask(await visitor.conversation(), "Hello")
        await raia.eventually(lambda: raia.stalled)
        die(server)
        assert raia.calls("send") == []
        server.start()
        answer = await final(visitor, asked)
    assert answer["status"] == "completed"
    assert len(raia.sends) == len(raia.calls("send")) == 1


async def test_killed_before_the_sends_answer_was_stored_it_is_looked_up(
    server: Server, at_raia: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("send", DropAfter())  # accepted, and its id lost
    raia.fail_next("list_messages", Stall())  # killed while it is looked for
    async with Visitor(server.url, at_raia.key) as visitor:
        asked = await visitor.ask(await visitor.conversation(), "Hello")
        await raia.eventually(lambda: raia.stalled)
        die(server)
        server.start()
        answer = await final(visitor, asked)
    assert answer["status"] == "completed"
    assert len(raia.sends) == len(raia.calls("send")) == 1


async def test_killed_before_the_sends_answer_was_stored_it_is_looked_up_while_raia_fails(
    server: Server, at_raia: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("send", DropAfter())
    raia.fail_next("list_messages", Stall())
    async with Visitor(server.url, at_raia.key) as visitor:
        asked = await visitor.ask(await visitor.conversation(), "Hello")
        await raia.eventually(lambda: raia.stalled)
        die(server)
        raia.fail_next("list_messages", Html(502), RateLimited(1), Status(500))
        server.start()
        answer = await final(visitor, asked)
    assert answer["status"] == "completed"
    assert len(raia.sends) == len(raia.calls("send")) == 1


async def test_killed_while_a_send_was_lost_it_fails_openly(
    server: Server, at_raia: Widget, raia: RaiaSimulator
) -> None:
    raia.fail_next("send", Stall())  # never reaches raia: its connection dies with the process
    async with Visitor(server.url, at_raia.key) as visitor:
        asked = await visitor.ask(await visitor.conversation(), "Hello")
        await raia.eventually(lambda: raia.stalled)
        die(server)
        server.start()
        answer = await final(visitor, asked)
        assert (answer["status"], answer["error"]["code"]) == ("failed", "agent_unavailable")
        again = await visitor.call("POST", f"/messages/{answer['id']}/retry", expect=201)
        assert (await final(visitor, again))["status"] == "completed"
    assert len(raia.sends) == 1


async def test_a_wish_to_stop_outlives_the_process(
    server: Server, at_raia: Widget, raia: RaiaSimulator
) -> None:
    raia.hold()
    async with Visitor(server.url, at_raia.key) as visitor:
        asked = await visitor.ask(await visitor.conversation(), "Hello")
        await raia.eventually(lambda: raia.calls("poll"))
        die(server)
        Message.objects.filter(pk=asked["answer"]["id"]).update(stop_requested=True)
        server.start()
        answer = await final(visitor, asked)
    assert answer["status"] == "stopped"


# --- ended in order -------------------------------------------------------------------------------


async def test_a_server_that_is_stopped_gives_its_turns_back(
    server: Server, at_raia: Widget, raia: RaiaSimulator
) -> None:
    raia.hold()
    async with Visitor(server.url, at_raia.key) as visitor:
        asked = await visitor.ask(await visitor.conversation(), "Hello")
        await raia.eventually(lambda: raia.calls("poll"))
        assert server.stop() == 0
        given_back = Message.objects.get(pk=asked["answer"]["id"])
        assert (given_back.status, given_back.lease_until) == ("pending", None)
        raia.release()
        server.start()
        answer = await final(visitor, asked)
    assert answer["status"] == "completed"
    assert len(raia.sends) == 1


def test_a_save_that_comes_after_a_turn_was_given_back_renews_nothing() -> None:
    claimed = claimed_turn(make_conversation([("visitor", "Hello")]))
    with transaction.atomic():  # so that no other process takes it up between the two
        claims.give_back(claimed, "so far", 1)
        assert claims.save_texts([(claimed, "so far and more", 2)]) == [False]
        stored = Message.objects.get(pk=claimed.answer)
        assert (stored.text, stored.lease_until) == ("so far", None)
        assert stored.lease_token is not None, "or it would not be taken up at once"
        stored.delete()


def test_a_turn_whose_question_is_erased_while_it_is_read_is_nobodys() -> None:
    claimed = claimed_turn(make_conversation([("visitor", "Hello")]))
    with transaction.atomic():  # whose end is when a missing question would be noticed
        Message.objects.filter(pk=claimed.answer).update(question=uuid.uuid4())
        assert claims.load(claimed.answer, claimed.token) is None
        Conversation.objects.filter(pk=claimed.conversation).delete()


async def test_text_that_came_before_a_stop_of_the_server_is_kept(
    at_openai: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 3
    with Server(SAVE_EVERY_S="600") as slow_saver:  # nothing is stored but at the end
        async with Visitor(slow_saver.url, at_openai.key) as visitor:
            conversation = await visitor.conversation()
            async with visitor.socket(conversation) as socket:
                asked = await visitor.ask(conversation, "Hello")
                shown = await until_text(socket)
                slow_saver.stop()
            assert Message.objects.get(pk=asked["answer"]["id"]).text.startswith(shown)
            slow_saver.start()
            answer = await final(visitor, asked)
    assert answer["error"]["code"] == "interrupted"
    assert answer["text"].startswith(shown)
    assert len(openai.sends) == 1


async def test_visitors_who_leave_at_once_lose_nothing(
    server: Server, at_raia: Widget, raia: RaiaSimulator
) -> None:
    async def ask_and_leave() -> JSON:
        async with Visitor(server.url, at_raia.key) as visitor:
            conversation = await visitor.conversation()
            async with visitor.socket(conversation) as socket:
                asked: JSON = await visitor.ask(conversation, "Hello")
                socket.connection.transport.abort()
            return asked

    asked = await asyncio.gather(*(ask_and_leave() for _ in range(20)))
    answers = Message.objects.filter(pk__in=[one["answer"]["id"] for one in asked])
    await eventually(lambda: answers.filter(status="completed").count() == 20)
    assert len(raia.sends) == 20


# --- forgetting -----------------------------------------------------------------------------------


async def test_erasing_a_visitor_asks_raia_to_erase(
    server: Server, at_raia: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(server.url, at_raia.key) as visitor:
        await visitor.ask_and_wait("My name is Jo")
        await visitor.ask_and_wait("And my number is 5")
        other = await Visitor(server.url, at_raia.key).__aenter__()
        kept = await other.ask_and_wait("I stay")
        await visitor.call("DELETE", "/visitor", expect=204)
        await raia.eventually(lambda: len(raia.users) == 1)
    assert len(raia.conversations) == 1
    assert [one.body["fkId"] for one in raia.users.values()] == [other.id]
    assert not StoredVisitor.objects.filter(pk=visitor.id).exists()
    assert Message.objects.filter(pk=kept["id"]).exists()
    await other.http.aclose()


async def test_erasing_waits_for_a_raia_that_is_down(
    server: Server, at_raia: Widget, raia: RaiaSimulator
) -> None:
    erasures = Erasure.objects.filter(agent=at_raia.agent_id)
    async with Visitor(server.url, at_raia.key) as visitor:
        await visitor.ask_and_wait("My name is Jo")
        raia.fail_always("delete_conversations", Status(500))
        await visitor.call("DELETE", "/visitor", expect=204)
        await raia.eventually(lambda: raia.calls("delete_conversations"))
        server.stop()
    waiting = erasures.get()
    assert waiting.attempts == 1
    assert waiting.next_at > timezone.now()
    raia.heal()
    erasures.update(next_at=timezone.now())
    server.start()
    await raia.eventually(lambda: not raia.users)
    await eventually(lambda: not erasures.exists())
    assert not raia.conversations


@pytest.mark.parametrize("unknown", [404, 400, 500])
async def test_what_is_gone_at_raia_already_is_erased_as_well(
    server: Server, at_raia: Widget, raia: RaiaSimulator, unknown: Any
) -> None:
    raia.odd.unknown_id = unknown
    async with Visitor(server.url, at_raia.key) as visitor:
        await visitor.ask_and_wait("My name is Jo")
        with raia.changing():
            raia.users.clear()
            raia.conversations.clear()
        await visitor.call("DELETE", "/visitor", expect=204)
    await raia.eventually(lambda: raia.calls("delete_user"))
    await eventually(lambda: not Erasure.objects.filter(agent=at_raia.agent_id).exists())


async def test_retention_erases_what_is_older_and_whoever_has_nothing_left(
    server: Server, at_raia: Widget, raia: RaiaSimulator
) -> None:
    raia.ripening = 0
    at_raia.retention_days = 30
    at_raia.save()
    async with Visitor(server.url, at_raia.key) as gone:
        await gone.ask_and_wait("Long ago")
    async with Visitor(server.url, at_raia.key) as back:
        old = await back.ask_and_wait("Long ago, too")
        new = await back.ask_and_wait("Just now")
    server.stop()
    before = timezone.now() - timedelta(days=31)
    StoredVisitor.objects.filter(pk=gone.id).update(seen_at=before)
    Conversation.objects.filter(visitor=gone.id).update(updated_at=before)
    Conversation.objects.filter(pk=old["conversation"]).update(updated_at=before)
    server.start()
    await raia.eventually(lambda: len(raia.users) == 1)
    assert not StoredVisitor.objects.filter(pk=gone.id).exists()
    assert StoredVisitor.objects.filter(pk=back.id).exists()
    assert not Message.objects.filter(pk=old["id"]).exists()
    assert Message.objects.filter(pk=new["id"]).exists()


def test_retention_goes_on_where_there_is_more_than_a_batch() -> None:
    from chatwidget import erasure

    widget = make_widget(retention_days=1)
    visitor = make_visitor(widget)
    for _ in range(3):
        make_conversation([("visitor", "Hello")], visitor=visitor)
    Conversation.objects.filter(visitor=visitor).update(
        updated_at=timezone.now() - timedelta(days=2)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erasure, "BATCH", 2)
        assert erasure.retain(widget)
        assert Conversation.objects.filter(visitor=visitor).count() == 1
        assert not erasure.retain(widget)
    assert not Conversation.objects.filter(visitor=visitor).exists()
