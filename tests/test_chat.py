"""The main job on the default stack: ask, stream, stop, retry, come back."""

import asyncio

import pytest

from chatwidget.models import Widget

from .cast import make_widget, openai_agent
from .server import ONE_PROCESS, Server
from .simulators.openai import OpenAISimulator
from .visitor import Visitor


@pytest.fixture
def widget(openai: OpenAISimulator) -> Widget:
    return make_widget(openai_agent(openai))


@ONE_PROCESS
async def test_an_answer_streams_in_numbered_deltas(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens = [f"word{n} " for n in range(40)]
    openai.rate = 200
    async with Visitor(server.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Hello")
            answer = await socket.final(asked["answer"])
        deltas = [frame for frame in socket.frames if frame["type"] == "delta"]
        assert answer["text"] == "".join(openai.tokens)
        assert [frame["seq"] for frame in deltas] == list(range(1, len(deltas) + 1))
        assert "".join(frame["text"] for frame in deltas) == answer["text"]
        assert socket.gaps == 0
        assert await visitor.messages(conversation) == [
            asked["question"],
            answer,
        ]


async def test_an_answer_goes_on_without_its_socket(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 3
    async with Visitor(server.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Hello")
            await socket.until_text(asked["answer"])
        openai.release()
        async with visitor.socket(conversation) as socket:
            answer = await socket.final(asked["answer"])
        assert answer["status"] == "completed"


async def test_stop_is_heard_at_once_and_closes_the_stream(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 3
    async with Visitor(server.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Hello")
            await socket.until_text(asked["answer"])
            await visitor.call("POST", f"/messages/{asked['answer']['id']}/stop", expect=202)
            answer = await socket.final(asked["answer"], timeout_s=2)
        assert answer["status"] == "stopped"
        assert answer["text"]
        await openai.eventually(lambda: openai.aborted == 1)
        again = await visitor.call("POST", f"/messages/{answer['id']}/stop", expect=202)
        assert again == answer


async def test_a_retry_is_a_new_answer_and_the_same_retry_the_same(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    from .simulators.faults import Status

    openai.fail_next("send", Status(500))
    async with Visitor(server.url, widget.key) as visitor:
        failed = await visitor.ask_and_wait("Hello")
        assert (failed["status"], failed["error"]["code"]) == ("failed", "agent_unavailable")
        path = f"/messages/{failed['id']}/retry"
        first = await visitor.call("POST", path, expect=201)
        second = await visitor.call("POST", path, expect=200)
        assert first["answer"]["id"] == second["answer"]["id"] != failed["id"]
        async with visitor.socket(failed["conversation"]) as socket:
            answer = await socket.final(first["answer"])
        assert answer["status"] == "completed"
        refused = await visitor.call("POST", f"/messages/{answer['id']}/retry", expect=409)
        assert refused["code"] == "retry_not_allowed"


async def test_fifty_visitors_lose_nothing(
    server: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    tokens = openai.tokens = [f"{n}," for n in range(60)]
    openai.rate = 50

    async def one() -> None:
        async with Visitor(server.url, widget.key) as visitor:
            conversation = await visitor.conversation()
            async with visitor.socket(conversation) as socket:
                asked = await visitor.ask(conversation, "Hello")
                answer = await socket.final(asked["answer"], timeout_s=30)
            assert answer["text"] == "".join(tokens)
            assert socket.gaps == 0

    await asyncio.gather(*(one() for _ in range(50)))
