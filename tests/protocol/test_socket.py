"""The WebSocket: hello, ready, sync, ping, close codes, several tabs."""

import uuid
from typing import Any

import pytest
import websockets
from django.conf import settings
from django.utils import timezone

from chatwidget.models import Conversation, VisitorToken, Widget

from ..cast import add_message
from ..conftest import new_server
from ..server import ONE_PROCESS, Server
from ..simulators.openai import OpenAISimulator
from ..visitor import JSON, Socket
from .contract import CheckedVisitor, Contract


def kinds(socket: Socket) -> list[str]:
    return [frame["type"] for frame in socket.frames]


def of_messages(socket: Socket) -> list[JSON]:
    """What came after `ready`, without the frames of conversations, which may come twice."""
    return [frame for frame in socket.frames[1:] if frame["type"] != "conversation"]


async def test_hello_is_answered_with_the_newest_page(ann: CheckedVisitor) -> None:
    answer = await ann.ask_and_wait("Hello")
    async with ann.socket(hello=False) as socket:
        ready = await socket.hello(answer["conversation"])
        assert kinds(socket) == ["ready"]
    assert ready == {
        "type": "ready",
        "conversation": answer["conversation"],
        "messages": await ann.messages(answer["conversation"]),
    }


async def test_the_page_in_ready_is_the_newest_fifty(ann: CheckedVisitor) -> None:
    conversation = await ann.conversation()
    stored = Conversation.objects.get(pk=conversation)
    for number in range(51):
        add_message(stored, f"{number}")
    async with ann.socket(hello=False) as socket:
        ready = await socket.hello(conversation)
    assert [one["text"] for one in ready["messages"]] == [str(n) for n in range(1, 51)]
    assert ready["messages"] == await ann.messages(conversation)


@pytest.mark.parametrize("more", [{"conversation": None}, {}])
async def test_hello_without_a_conversation_is_ready_with_null(
    ann: CheckedVisitor, more: dict[str, None]
) -> None:
    async with ann.socket(hello=False) as socket:
        await socket.send({"type": "hello", "token": ann.token} | more)
        assert await socket.next() == {"type": "ready", "conversation": None, "messages": []}


@pytest.mark.parametrize("unknown", [str(uuid.UUID(int=1)), "x", "", "bob's"])
async def test_an_unknown_conversation_is_an_error_and_the_socket_stays_open(
    ann: CheckedVisitor, bob: CheckedVisitor, unknown: str
) -> None:
    wanted = await bob.conversation() if unknown == "bob's" else unknown
    async with ann.socket(hello=False) as socket:
        for kind in ("hello", "sync"):
            await socket.send({"type": kind, "token": ann.token, "conversation": wanted})
            error = await socket.next()
            assert (error["type"], error["code"]) == ("error", "not_found")
            assert wanted not in error["detail"] or not wanted
            assert await socket.next() == {"type": "ready", "conversation": None, "messages": []}
        await socket.send({"type": "ping"})
        assert await socket.next() == {"type": "pong"}


async def test_sync_is_answered_like_hello(ann: CheckedVisitor) -> None:
    answer = await ann.ask_and_wait("Hello")
    async with ann.socket() as socket:
        ready = await socket.sync(answer["conversation"])
    assert ready["conversation"] == answer["conversation"]
    assert ready["messages"][1] == answer


BAD_HELLOS: list[Any] = [
    {"type": "ping"},
    {"type": "sync", "conversation": str(uuid.UUID(int=1))},
    {"type": "hello"},
    {"type": "hello", "token": None},
    {"type": "hello", "token": ""},
    {"type": "hello", "token": 5},
    {"type": "hello", "token": "vt_x", "conversation": 5},
    {"type": "hello", "token": "vt_x", "conversation": {}},
    "not json",
    "[]",
    "null",
    '{"type": 5}',
]


@pytest.mark.parametrize("hello", BAD_HELLOS)
async def test_a_bad_hello_closes_with_4400(ann: CheckedVisitor, hello: Any) -> None:
    async with ann.socket(hello=False) as socket:
        await socket.send(hello)
        assert await socket.close_code() == 4400
        assert [(frame["type"], frame["code"]) for frame in socket.frames] == [("error", "invalid")]


async def test_a_refused_token_closes_with_4401(ann: CheckedVisitor) -> None:
    for code in ("token_invalid", "token_expired"):
        token = ann.token if code == "token_expired" else "vt_unknown"
        VisitorToken.objects.filter(visitor=ann.id).update(expires_at="2026-01-01T00:00:00Z")
        async with ann.socket(hello=False) as socket:
            await socket.send({"type": "hello", "token": token})
            assert await socket.close_code() == 4401
            assert [frame["code"] for frame in socket.frames] == [code]


@pytest.mark.parametrize("how", ["token taken away", "token expired", "widget deleted"])
async def test_an_open_socket_is_closed_once_its_token_opens_nothing(
    model: Widget, contract: Contract, how: str
) -> None:
    assert settings.RECHECK_S <= 60 / 2, "within a minute, also when a look comes late"
    with new_server(RECHECK_S="0.2", EMBEDDED_WORKER="false") as own:
        async with CheckedVisitor(own.url, model.key, contract) as eve, eve.socket() as socket:
            await socket.send({"type": "ping"})
            assert await socket.next() == {"type": "pong"}
            match how:
                case "token taken away":
                    VisitorToken.objects.filter(visitor=eve.id).delete()
                case "token expired":
                    VisitorToken.objects.filter(visitor=eve.id).update(expires_at=timezone.now())
                case "widget deleted":
                    model.delete()
            assert await socket.close_code() == 4401


async def test_silence_instead_of_hello_closes_with_4408(
    limited: Server, ann: CheckedVisitor
) -> None:
    ann.base = limited.url
    async with ann.socket(hello=False) as socket:
        assert await socket.close_code() == 4408
    async with ann.socket() as socket:  # whoever said hello may be silent
        await socket.send({"type": "ping"})
        assert (await socket.next())["type"] == "pong"


async def test_too_many_frames_close_with_4429(limited: Server, ann: CheckedVisitor) -> None:
    ann.base = limited.url
    async with ann.socket() as socket:
        for _ in range(100):
            await socket.send({"type": "ping"})
        assert await socket.close_code() == 4429
        assert socket.frames[-1]["code"] == "rate_limited"
        assert kinds(socket).count("pong") >= 50


async def test_too_many_sockets_close_with_4429(limited: Server, ann: CheckedVisitor) -> None:
    ann.base = limited.url
    codes: list[str] = []
    while "rate_limited" not in codes and len(codes) < 120:  # a place is regained each second
        async with ann.socket(hello=False, headers={"X-Forwarded-For": "192.0.2.77"}) as socket:
            await socket.send({"type": "hello", "token": ann.token})
            frame = await socket.next()
            codes.append(frame["type"] if frame["type"] == "ready" else frame["code"])
            if frame["type"] == "error":
                assert await socket.close_code() == 4429
    assert codes.count("ready") >= 60
    assert codes[-1] == "rate_limited"


async def test_a_bad_frame_is_an_error_and_the_socket_stays_open(ann: CheckedVisitor) -> None:
    async with ann.socket() as socket:
        for bad in ("x", "{}", "[]", '{"type": "sync"}', '{"type": "hello"}', '{"type": "sing"}'):
            await socket.send(bad)
            frame = await socket.next()
            assert (frame["type"], frame["code"]) == ("error", "invalid")
            assert frame["detail"]


@ONE_PROCESS
async def test_a_question_is_told_as_messages_deltas_and_the_end(
    ann: CheckedVisitor, contract: Contract
) -> None:
    conversation = await ann.conversation()
    async with ann.socket(conversation) as socket:
        asked = await ann.ask(conversation, "Hello")
        answer = await socket.final(asked["answer"])
        await socket.until(
            lambda frame: frame["type"] == "conversation" and frame["conversation"]["unread"] == 1
        )
    first, *_, last = told = of_messages(socket)
    assert first["message"] == asked["question"]
    assert last["message"] == answer
    assert {"type": "message", "message": asked["answer"]} in told
    assert "delta" in kinds(socket)
    for frame in socket.frames:
        match frame["type"]:
            case "message":
                contract.of("MessageOut", frame["message"])
            case "conversation":
                contract.of("ConversationOut", frame["conversation"])
            case "delta":
                assert set(frame) == {"type", "conversation", "message_id", "seq", "text"}
                assert frame["conversation"] == conversation


@ONE_PROCESS
async def test_two_tabs_are_told_the_same(mia: CheckedVisitor, openai: OpenAISimulator) -> None:
    openai.tokens = [f"{n} " for n in range(50)]
    openai.rate = 200
    conversation = await mia.conversation()
    async with mia.socket(conversation) as one, mia.socket() as two:
        asked = await mia.ask(conversation, "Hello")
        first, second = await one.final(asked["answer"]), await two.final(asked["answer"])
    assert first == second
    assert of_messages(one) == of_messages(two)


@ONE_PROCESS
async def test_a_rewritten_answer_comes_whole_and_counts_on(ann: CheckedVisitor) -> None:
    conversation = await ann.conversation()
    async with ann.socket(conversation) as socket:
        asked = await ann.ask(conversation, "Please rewrite")
        answer = await socket.final(asked["answer"])
    assert socket.gaps == 0
    assert answer["text"].startswith("Here is a **better** answer")
    whole = [
        frame["message"]
        for frame in socket.frames
        if frame["type"] == "message" and frame["message"]["status"] == "streaming"
    ]
    assert [one["text"] for one in whole[:1]] == [""]
    assert whole[0]["seq"] > 1


async def test_reading_in_one_tab_is_told_in_the_other(ann: CheckedVisitor) -> None:
    answer = await ann.ask_and_wait("Hello")
    async with ann.socket() as other:
        await ann.call("POST", f"/conversations/{answer['conversation']}/read", expect=204)
        frame = await other.until(lambda frame: frame["type"] == "conversation")
    assert (frame["conversation"]["id"], frame["conversation"]["unread"]) == (
        answer["conversation"],
        0,
    )


@pytest.mark.parametrize("path", ["/ws/v1", "/ws/v2/", "/ws/", "/"])
async def test_there_is_no_other_socket(server: Server, path: str) -> None:
    with pytest.raises(websockets.InvalidStatus, match="403"):
        await websockets.connect(server.url.replace("http", "ws") + path, proxy=None)
