"""An agent whose vendor fails rests: visitors are told at once, one question tries, all can see."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chatwidget import breaker
from chatwidget.models import Agent, Message, Widget

from .cast import make_agent, make_operator, make_widget, openai_agent
from .server import Server
from .simulators.faults import Fault, RateLimited, Stall, Status
from .simulators.openai import OpenAISimulator
from .visitor import JSON, Visitor

DOWN = Status(503)


@pytest.fixture(scope="module")
def patient(database: None) -> Iterator[Server]:
    """A server whose agents rest for long."""
    with Server(EMBEDDED_WORKER="false", AGENT_REST_S="50") as server:
        yield server
        assert "Traceback" not in server.log(), server.log()


@pytest.fixture(scope="module")
def quick(database: None) -> Iterator[Server]:
    """A server whose agents hardly rest."""
    with Server(EMBEDDED_WORKER="false", AGENT_REST_S="0.01") as server:
        yield server
        assert "Traceback" not in server.log(), server.log()


@pytest.fixture
def widget(openai: OpenAISimulator) -> Widget:
    return make_widget(openai_agent(openai))


async def ask(server: Server, widget: Widget, times: int = 1) -> list[JSON]:
    """Ask one after the other, in a new visitor's conversations; return the final answers."""
    async with Visitor(server.url, widget.key) as visitor:
        return [await visitor.ask_and_wait(f"Question {n}") for n in range(times)]


async def make_rest(
    server: Server, widget: Widget, openai: OpenAISimulator, fault: Fault = DOWN
) -> Agent:
    openai.fail_always("send", fault)
    for answer in await ask(server, widget, 5):
        assert code(answer) == "agent_unavailable"
    return Agent.objects.get(pk=widget.agent_id)


def code(answer: JSON) -> str:
    return str((answer["error"] or {"code": ""})["code"])


def rest_s(agent: Agent) -> float:
    assert agent.resting_until is not None
    return (agent.resting_until - timezone.now()).total_seconds()


def wake(widget: Widget) -> None:
    """Let the agent's rest be over."""
    Agent.objects.filter(pk=widget.agent_id).update(resting_until=timezone.now())


# --- resting --------------------------------------------------------------------------------------


async def test_after_five_failures_visitors_are_told_at_once(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    agent = await make_rest(patient, widget, openai)
    assert agent.failures_in_row == 5
    [told] = await ask(patient, widget)
    assert (told["status"], code(told)) == ("failed", "agent_unavailable")
    assert len(openai.calls("send")) == 5, "the vendor was left alone"
    assert "left alone" in Message.objects.get(pk=told["id"]).problem


async def test_a_resting_agent_is_known_to_all_processes_and_after_a_restart(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    await make_rest(patient, widget, openai)
    with Server(EMBEDDED_WORKER="false") as other:
        await ask(other, widget)
        other.stop()
        other.start()
        await ask(other, widget)
    assert len(openai.calls("send")) == 5


async def test_a_failing_agent_leaves_others_alone(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    await make_rest(patient, widget, openai)
    [answer] = await ask(patient, make_widget(make_agent()))
    assert answer["status"] == "completed"


async def test_an_answer_in_between_starts_the_count_anew(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    for _ in range(2):
        openai.fail_next("send", *[DOWN] * 4)
        answers = await ask(patient, widget, 5)
        assert [one["status"] for one in answers] == ["failed"] * 4 + ["completed"]
    agent = Agent.objects.get(pk=widget.agent_id)
    assert (agent.failures_in_row, agent.failing_since, agent.last_failure) == (0, None, "")


@pytest.mark.parametrize(
    "refusal", [Status(400), Status(401), Status(200, "<html>")], ids=["400", "401", "nonsense"]
)
async def test_what_is_an_answer_of_a_kind_is_no_failure(
    patient: Server, widget: Widget, openai: OpenAISimulator, refusal: Fault
) -> None:
    openai.fail_next("send", *[refusal] * 6)
    await ask(patient, widget, 6)
    assert len(openai.calls("send")) == 6
    assert Agent.objects.get(pk=widget.agent_id).failures_in_row == 0


async def test_a_cut_after_something_came_is_no_failure(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.ending = "reset"
    for answer in await ask(patient, widget, 6):
        assert answer["text"]
        assert answer["status"] == "failed"
    assert Agent.objects.get(pk=widget.agent_id).failures_in_row == 0


@pytest.mark.parametrize(("asked_s", "rests_s"), [(30, 30), (3600, 60), (1, 10)])
async def test_a_vendors_wait_makes_the_rest_longer_up_to_a_minute(
    widget: Widget, openai: OpenAISimulator, asked_s: int, rests_s: int
) -> None:
    with Server(EMBEDDED_WORKER="false") as server:
        agent = await make_rest(server, widget, openai, RateLimited(asked_s))
    assert rests_s - 8 < rest_s(agent) <= rests_s


# --- trying again ---------------------------------------------------------------------------------


async def test_of_all_who_ask_after_a_rest_one_tries_and_its_answer_ends_the_rest(
    patient: Server, quick: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    await make_rest(patient, widget, openai)
    openai.fail_always("send", Stall())
    wake(widget)
    async with Visitor(patient.url, widget.key) as one, Visitor(quick.url, widget.key) as two:
        asking = [asyncio.create_task(who.ask_and_wait("Hello?")) for who in (one, two) * 2]
        done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 3:
            done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
        assert [code(task.result()) for task in done] == ["agent_unavailable"] * 3
        await openai.eventually(lambda: openai.stalled == 1)
        assert len(openai.calls("send")) == 6
        openai.heal()
        openai.release()
        answers = await asyncio.gather(*asking)
    assert sorted(one["status"] for one in answers) == ["completed", "failed", "failed", "failed"]
    agent = Agent.objects.get(pk=widget.agent_id)
    assert (agent.resting_until, agent.rests_in_row, agent.failures_in_row) == (None, 0, 0)
    assert [one["status"] for one in await ask(patient, widget, 2)] == ["completed"] * 2


async def test_the_first_word_ends_the_rest_while_the_answer_is_still_coming(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    await make_rest(patient, widget, openai)
    openai.heal()
    openai.odd.stall_after = 3
    wake(widget)
    async with Visitor(patient.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Hello?")
            await openai.eventually(lambda: openai.stalled)
            openai.odd.stall_after = None
            for _ in range(50):
                [other] = await ask(patient, widget)
                if other["status"] == "completed":
                    break
            assert other["status"] == "completed"
            openai.release()
            assert (await socket.final(asked["answer"]))["status"] == "completed"


async def test_a_try_that_fails_makes_the_rest_longer(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    with Server(EMBEDDED_WORKER="false", AGENT_REST_S="20") as server:
        assert 10 < rest_s(await make_rest(server, widget, openai)) <= 20
        for longer_s in (40, 60, 60):
            wake(widget)
            await ask(server, widget)
            agent = Agent.objects.get(pk=widget.agent_id)
            assert longer_s - 10 < rest_s(agent) <= longer_s
    assert len(openai.calls("send")) == 8
    assert agent.failing_since is not None


async def test_a_try_that_is_refused_ends_the_rest(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    await make_rest(patient, widget, openai)
    openai.heal()
    openai.fail_next("send", Status(400))
    wake(widget)
    assert [code(one) for one in await ask(patient, widget, 2)] == ["agent_rejected", ""]


async def test_a_try_that_is_stopped_leaves_it_to_the_next(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    await make_rest(patient, widget, openai)
    openai.fail_always("send", Stall())
    wake(widget)
    async with Visitor(patient.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Hello?")
            await openai.eventually(lambda: openai.stalled == 1)
            await visitor.call("POST", f"/messages/{asked['answer']['id']}/stop", expect=202)
            await socket.final(asked["answer"])
    openai.heal()
    for _ in range(50):
        [answer] = await ask(patient, widget)
        if answer["status"] == "completed":
            break
    assert answer["status"] == "completed"


async def test_a_rest_ends_by_itself(
    quick: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    await make_rest(quick, widget, openai)
    openai.heal()
    for _ in range(50):
        [answer] = await ask(quick, widget)
        if answer["status"] == "completed":
            break
    assert answer["status"] == "completed"


@pytest.mark.usefixtures("undone")
def test_of_two_processes_that_see_a_rest_end_one_tries() -> None:
    agent = make_agent(resting_until=timezone.now())
    assert breaker.may_try(agent.pk)
    assert not breaker.may_try(agent.pk)


@pytest.mark.usefixtures("undone")
def test_only_an_answer_asked_for_since_the_failures_ends_them() -> None:
    began = timezone.now()
    agent = make_agent(failures_in_row=3, failing_since=began)
    for asked_at, left in ((began - timedelta(seconds=1), 3), (began + timedelta(seconds=1), 0)):
        breaker.answered(agent, asked_at)
        agent.refresh_from_db()
        assert agent.failures_in_row == left


# --- the operator ---------------------------------------------------------------------------------


async def test_the_operator_sees_what_an_agent_fails_with_until_it_answers(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    client = Client()
    client.force_login(make_operator("breaker"))
    own, everybody = (
        reverse("admin:chatwidget_agent_change", args=[widget.agent_id]),
        reverse("admin:chatwidget_agent_changelist") + f"?q={openai.port}",
    )
    await make_rest(patient, widget, openai)
    shown = client.get(own).content.decode()
    assert "This agent is not answering" in shown
    assert "HTTP 503" in shown
    assert "Not answering" in client.get(everybody).content.decode()
    openai.heal()
    wake(widget)
    await ask(patient, widget)
    assert "not answering" not in client.get(own).content.decode()
    assert "Ready" in client.get(everybody).content.decode()


async def test_new_settings_end_the_rest(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    agent = await make_rest(patient, widget, openai)
    client = Client()
    client.force_login(make_operator("mender"))
    url = reverse("admin:chatwidget_agent_change", args=[agent.pk])
    form = {
        "provider": "openai",
        "name": "Mended",
        "base_url": openai.base_url,
        "option_model": openai.model,
        "answers_at_once": 500,
    }
    assert client.post(url, form).status_code == 302
    openai.heal()
    [answer] = await ask(patient, widget)
    assert answer["status"] == "completed"


async def test_a_success_of_before_the_failures_proves_nothing(
    patient: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 3
    async with Visitor(patient.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Hello?")
            await openai.eventually(lambda: openai.stalled)
            await make_rest(patient, widget, openai)
            openai.release()
            assert (await socket.final(asked["answer"]))["status"] == "completed"
    agent = Agent.objects.get(pk=widget.agent_id)
    assert agent.resting_until is not None
    assert agent.resting_until > timezone.now() + timedelta(seconds=5)
