"""Bounded answers at once: in order of age, over all processes, with an honest "busy" beyond."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from django.utils import timezone

from chatwidget import chat, claims, process
from chatwidget.admission import LINE, SWEEP, Room, Verdict, Waiting, abandoned, choose
from chatwidget.models import Conversation, Message, Widget
from chatwidget.problems import Problem
from chatwidget.process import Process

from .cast import add_message, make_agent, make_conversation, make_widget, openai_agent
from .server import Server
from .simulators.faults import Stall
from .simulators.openai import OpenAISimulator
from .visitor import JSON, Visitor
from .waiting import eventually


@pytest.fixture(scope="module")
def first(database: None) -> Iterator[Server]:
    with Server(EMBEDDED_WORKER="false") as server:
        yield server
        assert "Traceback" not in server.log(), server.log()


@pytest.fixture(scope="module")
def second(database: None) -> Iterator[Server]:
    """Another process on the same database."""
    with Server(EMBEDDED_WORKER="false") as server:
        yield server
        assert "Traceback" not in server.log(), server.log()


@pytest.fixture
def openai() -> Iterator[OpenAISimulator]:
    """A vendor that answers one question for each `release` it hears while the question waits."""
    with OpenAISimulator() as simulator:
        simulator.fail_always("send", Stall())
        yield simulator
        simulator.heal()
        simulator.release()
        assert simulator.violations == []


@pytest.fixture
def ready() -> Iterator[OpenAISimulator]:
    """A vendor that answers at once."""
    with OpenAISimulator() as simulator:
        yield simulator


def widget_at(
    openai: OpenAISimulator, *, answers_at_once: int = 500, of_widget: int = 500
) -> Widget:
    agent = openai_agent(openai)
    agent.answers_at_once = answers_at_once
    agent.save()
    return make_widget(agent, answers_at_once=of_widget)


@asynccontextmanager
async def visitors(number: int, widget: Widget, *servers: Server) -> AsyncIterator[list[Visitor]]:
    """As many visitors, each served by the next of the servers."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Visitor(servers[n % len(servers)].url, widget.key))
            for n in range(number)
        ]


async def ask(visitor: Visitor, text: str = "Hello") -> JSON:
    """Ask in a new conversation; return the pending answer."""
    answer: JSON = (await visitor.ask(await visitor.conversation(), text))["answer"]
    return answer


def asked(openai: OpenAISimulator) -> list[str]:
    """The questions that reached the vendor, in order."""
    return [str(call.json["messages"][-1]["content"]) for call in openai.calls("send")]


async def until_status(status: str, *answers: JSON) -> None:
    stored = Message.objects.filter(pk__in=[one["id"] for one in answers], status=status)
    await eventually(lambda: stored.count() == len(answers), timeout_s=30)


async def let_finish(openai: OpenAISimulator, *answers: JSON) -> None:
    """Let the vendor answer whatever reaches it, until all of these are complete."""
    stored = Message.objects.filter(pk__in=[one["id"] for one in answers], status="completed")

    def all_are() -> bool:
        openai.release()
        return stored.count() == len(answers)

    await eventually(all_are, timeout_s=30)


async def until_another_is_answered(server: Server, ready: OpenAISimulator) -> None:
    """Have this process start and finish a later question: it has looked at all that wait."""
    async with Visitor(server.url, widget_at(ready).key) as visitor:
        assert (await visitor.ask_and_wait("Me too"))["status"] == "completed"


@pytest_asyncio.fixture
async def here(database: None) -> AsyncIterator[Process]:
    """The parts of a serving process, in this one. While a test does not wait, no turn goes on."""
    yield process.start(background=False)
    await process.stop()


def ask_here(conversation: Conversation, text: str = "Hello") -> Message:
    """Ask as a view does; returns the pending answer."""
    return chat.ask(conversation, message_id=uuid.uuid4(), text=text, page={})[1]


def is_claimed(answer: Message) -> bool:
    return Message.objects.get(pk=answer.pk).lease_token is not None


def held(running: Process) -> int:
    """How many places the process has given away."""
    return running.runner.held.room.held.total()


def store(widget: Widget, number: int, *, minutes: float = 0.5, **fields: Any) -> list[Waiting]:
    """Store pending answers, asked one after the other so long ago."""
    since = timezone.now() - timedelta(minutes=minutes)
    answers = [
        add_message(
            make_conversation(widget=widget),
            role="agent",
            status="pending",
            agent=widget.agent,
            widget=widget,
            created_at=since + timedelta(milliseconds=n),
            **fields,
        )
        for n in range(number)
    ]
    return [Waiting.of(answer) for answer in answers]


def room() -> Room:
    return Room(places=1000, share=500, held=Counter())


# --- the line -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("undone")
def test_who_has_waited_longest_is_first() -> None:
    waiting = store(make_widget(make_agent(answers_at_once=2)), 5)
    newest_first = waiting[::-1]
    assert list(choose(newest_first, room())) == [one.answer for one in waiting[:2]]


@pytest.mark.usefixtures("undone")
def test_a_process_leaves_a_place_to_whoever_waits_longer_elsewhere() -> None:
    elsewhere, here = store(make_widget(make_agent(answers_at_once=1)), 2)
    assert choose([here], room()) == {}
    assert choose([elsewhere], room()) == {elsewhere.answer: Verdict.ASK}


@pytest.mark.usefixtures("undone")
def test_a_widgets_backlog_is_not_in_the_way_of_the_agents_other_widgets() -> None:
    agent = make_agent(answers_at_once=10)
    narrow, wide = make_widget(agent, answers_at_once=1), make_widget(agent)
    store(narrow, 1, lease_until=timezone.now() + timedelta(minutes=1))
    backlog, [other] = store(narrow, LINE + 1), store(wide, 1, minutes=0.1)
    assert choose([other, *backlog], room()) == {other.answer: Verdict.ASK}


@pytest.mark.usefixtures("undone")
def test_a_sweep_finds_what_stands_behind_a_full_agents_backlog() -> None:
    full = make_widget(make_agent(answers_at_once=1))
    store(full, 1, minutes=0.9, lease_until=timezone.now() + timedelta(minutes=1))
    store(full, SWEEP + 1)
    [orphan] = store(make_widget(), 1, minutes=0.1)
    assert orphan.answer in [one.answer for one in abandoned(room())]


@pytest.mark.usefixtures("undone")
def test_a_sweep_finds_what_stands_behind_an_agent_that_has_its_share_of_the_process() -> None:
    greedy = make_widget()
    store(greedy, SWEEP + 1)
    [orphan] = store(make_widget(), 1, minutes=0.1)
    full_here = Room(places=500, share=500, held=Counter({greedy.agent_id: 500}))
    assert orphan.answer in [one.answer for one in abandoned(full_here)]


# --- limits ---------------------------------------------------------------------------------------


async def test_an_agents_limit_holds_over_two_processes(
    first: Server, second: Server, openai: OpenAISimulator, ready: OpenAISimulator
) -> None:
    widget = widget_at(openai, answers_at_once=3)
    async with visitors(6, widget, first, second) as asking:
        answers = await asyncio.gather(*map(ask, asking))
        await openai.eventually(lambda: openai.stalled == 3)
        await until_another_is_answered(first, ready)
        await until_another_is_answered(second, ready)
        assert len(openai.calls("send")) == 3
        await let_finish(openai, *answers)
    assert len(openai.calls("send")) == 6


async def test_answers_begin_in_the_order_in_which_they_were_asked(
    first: Server, second: Server, openai: OpenAISimulator
) -> None:
    widget = widget_at(openai, answers_at_once=2)
    texts = [f"Question {n}" for n in range(4)]
    async with visitors(4, widget, first, second) as asking:
        answers = [await ask(one, text) for one, text in zip(asking, texts, strict=True)]
        await let_finish(openai, *answers)
    reached = asked(openai)
    assert (sorted(reached[:2]), sorted(reached[2:])) == (texts[:2], texts[2:])


async def test_a_full_agent_holds_up_no_other(
    first: Server, openai: OpenAISimulator, ready: OpenAISimulator
) -> None:
    full = widget_at(openai, answers_at_once=1)
    async with visitors(2, full, first) as waiting:
        answers = [await ask(one) for one in waiting]
        await openai.eventually(lambda: openai.stalled == 1)
        await until_another_is_answered(first, ready)
        await let_finish(openai, *answers)


async def test_a_widgets_share_leaves_the_agent_to_others(
    first: Server, second: Server, openai: OpenAISimulator
) -> None:
    narrow = widget_at(openai, of_widget=1, answers_at_once=2)
    wide = make_widget(narrow.agent)
    async with visitors(2, narrow, first) as many, Visitor(second.url, wide.key) as other:
        answers = [await ask(many[0], "1"), await ask(many[1], "2")]
        await openai.eventually(lambda: openai.stalled == 1)
        answers.append(await ask(other, "3"))
        await openai.eventually(lambda: openai.stalled == 2)
        assert asked(openai) == ["1", "3"]
        await let_finish(openai, *answers)


async def test_a_visitor_has_three_answers_at_once(openai: OpenAISimulator) -> None:
    with Server(EMBEDDED_WORKER="false", RATE_LIMITS="on") as limiting:
        async with Visitor(limiting.url, widget_at(openai).key) as visitor:
            answers = [await ask(visitor) for _ in range(3)]
            refused = await visitor.ask(await visitor.conversation(), "And this", expect=429)
            assert refused["code"] == "rate_limited"
            assert "reason" not in refused
            again = await visitor.ask(answers[0]["conversation"], "And this", expect=409)
            assert again["code"] == "answer_in_progress"
            await openai.eventually(lambda: openai.stalled == 3)
            await let_finish(openai, *answers)
            await ask(visitor)


async def test_no_agent_takes_all_places_of_a_process(
    openai: OpenAISimulator, ready: OpenAISimulator
) -> None:
    with Server(EMBEDDED_WORKER="false", PROVIDER_CONNECTIONS="5") as small:
        async with visitors(4, widget_at(openai), small) as asking:
            answers = await asyncio.gather(*map(ask, asking))
            await openai.eventually(lambda: openai.stalled == 2)
            await until_another_is_answered(small, ready)
            await let_finish(openai, *answers)


# --- busy -----------------------------------------------------------------------------------------


async def test_who_finds_the_line_full_is_told_when_to_come_back(
    first: Server, second: Server, openai: OpenAISimulator
) -> None:
    widget = widget_at(openai, answers_at_once=1)
    async with visitors(3, widget, first, second) as asking:
        answers = [await ask(asking[0]), await ask(asking[1])]
        conversation = await asking[2].conversation()
        question = {"id": str(uuid.uuid4()), "text": "And me?"}
        path = f"/api/v1/conversations/{conversation}/messages"
        response = await asking[2].http.post(asking[2].base + path, json=question)
        refused = response.json()
        assert response.status_code == 429
        assert (refused["code"], refused["reason"]) == ("rate_limited", "busy")
        assert "Many people" in refused["detail"]
        assert 2 <= refused["retry_after"] <= 30
        assert response.headers["Retry-After"] == str(refused["retry_after"])
        assert not Message.objects.filter(conversation__id=conversation).exists()
        await openai.eventually(lambda: openai.stalled == 1)
        await let_finish(openai, answers[0])
        late = await asking[2].ask(conversation, question["text"], id=question["id"])
        await let_finish(openai, *answers, late["answer"])


async def test_a_question_that_is_stored_can_be_sent_again_while_many_ask(
    first: Server, openai: OpenAISimulator
) -> None:
    widget = widget_at(openai, answers_at_once=1)
    async with visitors(2, widget, first) as asking:
        await ask(asking[0])
        conversation = await asking[1].conversation()
        question = {"id": str(uuid.uuid4()), "text": "Hello"}
        path = f"/conversations/{conversation}/messages"
        once = await asking[1].call("POST", path, question, expect=201)
        again = await asking[1].call("POST", path, question, expect=200)
    assert once["answer"]["id"] == again["answer"]["id"]


async def test_a_retry_is_refused_while_many_ask(first: Server, openai: OpenAISimulator) -> None:
    widget = widget_at(openai, answers_at_once=1)
    async with visitors(3, widget, first) as asking:
        stopped = await ask(asking[2])
        await openai.eventually(lambda: openai.stalled == 1)
        await asking[2].call("POST", f"/messages/{stopped['id']}/stop", expect=202)
        await until_status("stopped", stopped)
        await ask(asking[0])
        await ask(asking[1])
        path = f"/messages/{stopped['id']}/retry"
        refused = await asking[2].call("POST", path, expect=429)
    assert (refused["code"], refused["reason"]) == ("rate_limited", "busy")
    assert not Message.objects.filter(retry_of=stopped["id"]).exists()


# --- waiting --------------------------------------------------------------------------------------


async def test_an_answer_that_waits_is_stopped_at_once_and_never_asked(
    first: Server, openai: OpenAISimulator, ready: OpenAISimulator
) -> None:
    widget = widget_at(openai, answers_at_once=1)
    async with visitors(2, widget, first) as asking:
        begun = await ask(asking[0], "Begun")
        waiting = await ask(asking[1], "Waiting")
        stopped = await asking[1].call("POST", f"/messages/{waiting['id']}/stop", expect=202)
        assert stopped["status"] == "stopped"
        await openai.eventually(lambda: openai.stalled == 1)
        await let_finish(openai, begun)
        await until_another_is_answered(first, ready)
    assert asked(openai) == ["Begun"]


async def test_nobody_waits_for_ever(openai: OpenAISimulator) -> None:
    widget = widget_at(openai, answers_at_once=1)
    with Server(EMBEDDED_WORKER="false", ANSWER_WAIT_S="0.5") as impatient:
        async with visitors(2, widget, impatient) as asking:
            begun = await ask(asking[0], "Begun")
            late = await ask(asking[1], "Late")
            async with asking[1].socket(late["conversation"]) as socket:
                ended = await socket.final(late)
            assert (ended["status"], ended["error"]["code"]) == ("failed", "agent_unavailable")
            await openai.eventually(lambda: openai.stalled == 1)
            await let_finish(openai, begun)
    assert asked(openai) == ["Begun"]
    assert "waited" in Message.objects.get(pk=late["id"]).problem


async def test_what_waited_at_a_process_that_died_is_begun_by_another(
    server: Server, first: Server, openai: OpenAISimulator
) -> None:
    widget = widget_at(openai, answers_at_once=1)
    with Server(EMBEDDED_WORKER="false") as dying:
        async with visitors(1, widget, first) as one, visitors(1, widget, dying) as two:
            begun, waiting = await ask(one[0]), await ask(two[0])
            dying.kill()
            await openai.eventually(lambda: openai.stalled == 1)
            await let_finish(openai, begun, waiting)


async def test_a_server_that_stops_hands_on_what_waits(
    server: Server, openai: OpenAISimulator
) -> None:
    widget = widget_at(openai, answers_at_once=1)
    with Server(EMBEDDED_WORKER="false") as stopping:
        async with visitors(2, widget, stopping) as asking:
            begun, waiting = [await ask(one) for one in asking]
            await openai.eventually(lambda: openai.stalled == 1)
            assert stopping.stop() == 0
    await let_finish(openai, waiting)
    await until_status("failed", begun)  # interrupted: it had been sent, and cannot be resumed


# --- at once --------------------------------------------------------------------------------------


@pytest.mark.default_stack("elsewhere most places are left for what others store")
async def test_where_nobody_waits_an_answer_is_claimed_by_the_statement_that_stores_it(
    here: Process, openai: OpenAISimulator
) -> None:
    widget = widget_at(openai, answers_at_once=2)
    answers = [ask_here(make_conversation(widget=widget)) for _ in range(3)]
    assert [is_claimed(one) for one in answers] == [True, True, False]
    await eventually(lambda: len(openai.calls("send")) == 2)
    openai.release()
    await eventually(lambda: len(openai.calls("send")) == 3)  # the third in its turn
    await let_finish(openai, *({"id": one.pk} for one in answers))
    await eventually(lambda: held(here) == 0)


@pytest.mark.outgrown_stack("SQLite lets only one store at a time")
async def test_most_places_are_claimed_in_the_line_where_others_store_at_the_same_moment(
    here: Process, openai: OpenAISimulator
) -> None:
    of_three, of_eight = widget_at(openai, answers_at_once=3), widget_at(openai, answers_at_once=8)
    alone = ask_here(make_conversation(widget=of_three))
    several = [ask_here(make_conversation(widget=of_eight)) for _ in range(3)]
    assert [is_claimed(one) for one in (alone, *several)] == [False, True, True, False]
    await let_finish(openai, *({"id": one.pk} for one in (alone, *several)))


async def test_what_a_turn_knows_at_once_is_what_it_would_read(
    here: Process, ready: OpenAISimulator
) -> None:
    conversation = make_conversation(
        [("visitor", "One?"), ("agent", "Yes."), ("visitor", "Two?"), ("agent", "No.")],
        widget=widget_at(ready),
        title="Numbers",
        upstream={"thread": "t-1"},
    )
    answer = ask_here(conversation, "Three?")
    assert answer.lease_token is not None
    known = claims.leased(answer, answer.conversation)
    read = claims.load(answer.pk, answer.lease_token)
    assert read is not None
    assert (known.ask, known.shown, known.version) == (read.ask, read.shown, read.version)
    assert [one.text for one in known.ask.history] == ["One?", "Yes.", "Two?", "No."]
    for name in ("answer", "conversation", "visitor", "token", "agent", "asked_at", "request"):
        assert getattr(known, name) == getattr(read, name), name
    await eventually(lambda: Message.objects.get(pk=answer.pk).status == "completed")


async def test_a_question_that_is_refused_gives_its_place_back(
    here: Process, openai: OpenAISimulator
) -> None:
    conversation = make_conversation(widget=widget_at(openai))
    answer = ask_here(conversation)
    assert held(here) == 1
    with pytest.raises(Problem, match="still coming"):
        ask_here(conversation)
    await eventually(lambda: len(openai.calls("send")) == 1)
    assert held(here) == 1
    openai.release()
    await eventually(lambda: Message.objects.get(pk=answer.pk).status == "completed")
    await eventually(lambda: held(here) == 0)


async def test_a_process_that_ends_gives_back_what_it_claimed_and_has_not_begun(
    database: None, ready: OpenAISimulator
) -> None:
    running = process.start(background=False)
    drain = asyncio.create_task(running.runner.drain())
    answer = ask_here(make_conversation(widget=widget_at(ready)))  # in the same moment
    assert is_claimed(answer)
    await drain
    # Another server of this run may take it up in the same moment.
    ours = Message.objects.filter(pk=answer.pk, lease_token=answer.lease_token)
    await eventually(lambda: not ours.exists())
    late = ask_here(make_conversation(widget=widget_at(ready)))
    assert not is_claimed(late)
    await process.stop()
