"""The built-in agent shows each state of the widget when it is asked to."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from chatwidget.models import Agent, Message, Widget
from feedback import tallies

from ..cast import make_agent, make_widget
from ..server import ONE_PROCESS, Server
from ..visitor import Visitor
from ..waiting import eventually
from .asking import ask


@pytest.fixture
def widget() -> Widget:
    return make_widget(make_agent(options={"think_s": 0, "words_per_s": 100_000}))


async def test_it_says_what_it_can_show_and_what_it_was_asked(
    server: Server, widget: Widget
) -> None:
    answer = await ask(server, widget, "Hi!\nAnyone there?")
    assert "> Hi!\n> Anyone there?" in answer["text"]
    for word in ("Markdown", "cite", "slowly", "long", "rewrite", "fail"):
        assert word in answer["text"]


@pytest.mark.parametrize(
    ("question", "shown"),
    [
        ("Show Markdown", "| Plan | Seats"),
        ("Write some code", "def greet"),
        ("Cite your sources", "Returns are free"),
        ("Tell a long story", "Paragraph 40"),
    ],
)
async def test_it_answers_as_asked(
    server: Server, widget: Widget, question: str, shown: str
) -> None:
    answer = await ask(server, widget, question)
    assert answer["status"] == "completed"
    assert shown in answer["text"]


async def test_it_cites(server: Server, widget: Widget) -> None:
    answer = await ask(server, widget, "Cite your sources")
    assert [one["title"] for one in answer["citations"]] == [
        "Returns and refunds",
        "How long a refund takes",
    ]
    assert all(one["url"].startswith("https://example.com/") for one in answer["citations"])


async def test_it_fails_in_the_middle_and_can_be_asked_again(
    server: Server, widget: Widget
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        answer = await visitor.ask_and_wait("Please fail")
        assert (answer["status"], answer["error"]["code"]) == ("failed", "agent_unavailable")
        assert answer["text"].startswith("Let me look that up")
        await visitor.call("POST", f"/messages/{answer['id']}/retry", expect=201)


@ONE_PROCESS
async def test_it_rewrites_itself_before_the_visitors_eyes(server: Server, widget: Widget) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Please rewrite yourself")
            await socket.until_message(lambda one: one["text"].startswith("My first idea"))
            answer = await socket.final(asked["answer"])
    assert answer["text"] == "Here is a **better** answer, in place of the first."
    assert socket.gaps == 0


@ONE_PROCESS
async def test_it_streams_at_its_pace(server: Server) -> None:
    widget = make_widget(make_agent(options={"think_s": 0, "words_per_s": 30}))
    async with Visitor(server.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Cite your sources")
            await socket.final(asked["answer"])
    deltas = [frame for frame in socket.frames if frame["type"] == "delta"]
    assert len(deltas) > 5


async def test_a_slow_answer_can_be_stopped_while_nothing_has_come(
    server: Server, widget: Widget
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Answer slowly")
            await visitor.call("POST", f"/messages/{asked['answer']['id']}/stop", expect=202)
            answer = await socket.final(asked["answer"], timeout_s=3)
    assert (answer["status"], answer["text"]) == ("stopped", "")


async def test_its_answers_have_a_time_on_the_dashboard(server: Server, widget: Widget) -> None:
    await ask(server, widget, "Hi!")
    counted = tallies.count_day(datetime.now(UTC).date())
    [tally] = [one for one in counted if one.widget_id == widget.pk]
    assert sum(tally.times.values()) == tally.answers == 1


async def test_a_process_that_ends_gives_its_answers_back_at_once() -> None:
    agent = make_agent(options={"think_s": 0, "words_per_s": 5})
    with Server(FINISH_S="60") as server:
        async with Visitor(server.url, make_widget(agent).key) as visitor:
            asked = (await visitor.ask(await visitor.conversation(), "A long story"))["answer"]
            await eventually(lambda: bool(Message.objects.get(pk=asked["id"]).text))
            began = time.monotonic()
            await asyncio.to_thread(server.stop)
            assert time.monotonic() - began < 10
            Agent.objects.filter(pk=agent.pk).update(options={"think_s": 0, "words_per_s": 100_000})
            server.start()
            async with visitor.socket(asked["conversation"]) as socket:
                answer = await socket.final(asked)
    assert answer["status"] == "completed"
    assert (answer["text"].count("Paragraph 1 "), answer["text"].count("Paragraph 40")) == (1, 1)
