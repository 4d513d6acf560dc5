"""Test connection: each step seen, each failure with a sentence that says what to change."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from chatwidget.connection_test import Step, check_agent
from chatwidget.models import Agent

from .cast import make_agent, make_operator, openai_agent
from .simulators.faults import Html, Redirect, Status
from .simulators.openai import OpenAISimulator
from .simulators.raia import RaiaSimulator


@pytest.fixture
def agent(raia: RaiaSimulator) -> Agent:
    return make_agent(
        "Support",
        "raia",
        base_url=raia.url,
        credentials={"secret_key": raia.key},
        options={"poll_s": "0.05", "total_s": "5"},
    )


def outcomes(steps: list[Step]) -> dict[str, str]:
    return {step.name: step.outcome for step in steps}


def failure(steps: list[Step]) -> Step:
    (failed,) = [step for step in steps if step.outcome == "failed"]
    return failed


async def test_every_step_of_a_working_agent_passes_and_leaves_no_trace(
    agent: Agent, raia: RaiaSimulator
) -> None:
    steps = await check_agent(agent)
    assert outcomes(steps) == {
        "reach": "passed",
        "authenticate": "passed",
        "start": "passed",
        "ask": "passed",
        "receive": "passed",
        "rate": "skipped",
        "clean up": "passed",
    }
    assert len(raia.sends) == 1
    assert raia.conversations == {}
    assert raia.feedbacks == {}


async def test_rating_is_opt_in_and_real(agent: Agent, raia: RaiaSimulator) -> None:
    steps = await check_agent(agent, rate=True)
    assert outcomes(steps)["rate"] == "passed"
    assert [one.vote for one in raia.feedbacks.values()] == ["up"]


async def test_what_is_shown_holds_no_secret(agent: Agent, raia: RaiaSimulator) -> None:
    steps = await check_agent(agent, rate=True)
    assert any(step.calls for step in steps)
    assert raia.key not in repr(steps)


async def test_a_wrong_key_fails_at_authenticate_and_says_to_copy_it_again(
    agent: Agent, raia: RaiaSimulator
) -> None:
    raia.key = "another"
    failed = failure(await check_agent(agent))
    assert failed.name == "authenticate"
    assert "Copy the agent secret key again" in failed.note


async def test_a_host_that_is_not_there_fails_at_reach(agent: Agent, raia: RaiaSimulator) -> None:
    raia.stop()
    steps = await check_agent(agent)
    assert failure(steps).name == "reach"
    assert "Check the base URL" in failure(steps).note
    assert outcomes(steps)["ask"] == "skipped"


@pytest.mark.parametrize(
    ("operation", "fault", "step", "words"),
    [
        ("search_user", Html(200), "reach", "not a website"),
        ("search_user", Redirect("https://example.com/"), "authenticate", "it redirects to"),
        ("create_conversation", Status(500), "start", "try again later"),
        ("send", Status(400), "ask", "Check the options"),
        ("poll", Status(500), "receive", "try again later"),
    ],
)
async def test_each_fault_fails_its_step_with_a_sentence(
    agent: Agent, raia: RaiaSimulator, operation: str, fault: object, step: str, words: str
) -> None:
    raia.fail_always(operation, fault)  # type: ignore[arg-type]
    failed = failure(await check_agent(agent))
    assert (failed.name, words in failed.note) == (step, True), failed.note


async def test_a_stream_passes_too_and_an_unknown_model_is_told(openai: OpenAISimulator) -> None:
    agent = openai_agent(openai)
    assert outcomes(await check_agent(agent))["receive"] == "passed"
    agent.options["model"] = "nobody"
    assert "No such model" in failure(await check_agent(agent)).note


def test_the_command_prints_the_steps_and_fails_where_one_did(
    agent: Agent, raia: RaiaSimulator
) -> None:
    out = StringIO()
    call_command("check_agent", str(agent.pk), stdout=out)
    assert "Receive the answer" in out.getvalue()
    raia.key = "another"
    with pytest.raises(CommandError, match="cannot answer yet"):
        call_command("check_agent", str(agent.pk), stdout=out)


def test_the_operator_runs_it_on_the_agents_page(agent: Agent, raia: RaiaSimulator) -> None:
    client = Client()
    client.force_login(make_operator())
    page = client.get(f"/admin/chatwidget/agent/{agent.pk}/change/")
    assert f"/admin/chatwidget/agent/{agent.pk}/test/" in page.content.decode()
    result = client.post(f"/admin/chatwidget/agent/{agent.pk}/test/").content.decode()
    assert "It works." in result
    assert raia.key not in result
