"""What vendors hold is compared with what they were told, and nothing is overwritten unasked."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from chatwidget import claims
from chatwidget.errors import Unsupported
from chatwidget.models import Agent, Conversation, Message
from chatwidget.providers import PROVIDERS
from chatwidget.providers.drive import drive
from chatwidget.providers.http import new_client
from chatwidget.runner import open_provider
from feedback.models import Delivery, Feedback, State

from ..cast import make_agent, make_operator, make_widget, under_test
from ..providers.cases import CASES, Case
from ..providers.cases.raia import RaiaCase
from ..providers.cases.siteassist import SiteAssistCase
from ..server import ROOT, Server
from ..simulators.base import Received
from ..simulators.faults import Fault, Html, Stall, Status
from ..simulators.raia_ledger import Feedback as RaiaFeedback
from ..visitor import JSON, Visitor
from ..waiting import eventually
from .conftest import delivery_of


@pytest.fixture
def raia_case() -> Iterator[RaiaCase]:
    with under_test(RaiaCase()) as case:
        case.simulator.ripening = 0
        yield case


def agent_of(case: Case) -> Agent:
    return make_agent(f"At {case.provider}", **case.agent())


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as an operator does."""
    return subprocess.run(
        [sys.executable, "manage.py", "reconcile_feedback", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def reconcile(agent: Agent, *arguments: str, fails: bool = False) -> tuple[list[JSON], str]:
    """Compare an agent's votes. Returns the command's lines and what it says at the end."""
    done = run("--agent", str(agent.pk), *arguments)
    assert done.returncode == fails, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


async def rated(server: Server, agent: Agent, count: int, **vote: Any) -> list[JSON]:
    """Have visitors rate as many answers, five to a conversation; returns the answers."""
    widget = make_widget(agent)
    answers: list[JSON] = []

    async def converse(questions: int) -> None:
        async with Visitor(server.url, widget.key) as visitor:
            here = await visitor.conversation()
            async with visitor.socket(here) as socket:
                for number in range(questions):
                    asked = await visitor.ask(here, f"Question {number}")
                    answers.append(await socket.final(asked["answer"]))
            for answer in answers_in(here):
                await visitor.vote(answer, **vote)

    def answers_in(conversation: str) -> list[JSON]:
        return [one for one in answers if one["conversation"] == conversation]

    await asyncio.gather(*(converse(min(5, count - done)) for done in range(0, count, 5)))
    await all_delivered(agent)
    return answers


async def all_delivered(agent: Agent) -> None:
    rows = Delivery.objects.filter(agent=agent).exclude(state=State.DELIVERED)
    await eventually(lambda: not rows.exists(), timeout_s=30)


def upstream_id(answer: JSON) -> str:
    return Message.objects.get(pk=answer["id"]).upstream_id


def held_by_raia(case: RaiaCase, answer: JSON) -> RaiaFeedback:
    wanted = upstream_id(answer)
    return next(one for one in case.simulator.feedbacks.values() if one.message_id == wanted)


async def test_all_of_twenty_planted_differences_are_found(
    server: Server, raia_case: RaiaCase, siteassist_case: SiteAssistCase
) -> None:
    """B7: ten at each vendor that can be asked, among votes that are as they were delivered."""
    at_raia, at_siteassist = agent_of(raia_case), agent_of(siteassist_case)
    raia, siteassist = raia_case.simulator, siteassist_case.simulator
    first, second = await asyncio.gather(
        rated(server, at_raia, 15, vote="down", comment="No", reasons=["wrong"]),
        rated(server, at_siteassist, 15, vote="up"),
    )
    planted: dict[str, str] = {}
    with raia.changing():
        for answer in first[:3]:  # lost
            held = held_by_raia(raia_case, answer)
            del raia.feedbacks[held.message_id, held.user_id]
            planted[answer["id"]] = "missing"
        for answer in first[3:6]:  # a colleague says otherwise
            held_by_raia(raia_case, answer).vote = "up"
            planted[answer["id"]] = "changed"
        for answer in first[6:8]:
            held_by_raia(raia_case, answer).comment = "Reviewed by Robin"
            planted[answer["id"]] = "changed"
        for answer in first[8:10]:
            gone = upstream_id(answer)
            for conversation in raia.conversations.values():
                conversation.messages = [one for one in conversation.messages if one.id != gone]
            planted[answer["id"]] = "gone"
    with siteassist.changing():
        for number, answer in enumerate(second[:10]):
            message = siteassist.message(upstream_id(answer))
            assert message is not None
            message.feedback = None if number % 2 else "dislike"
            planted[answer["id"]] = "missing" if number % 2 else "changed"
    found: dict[str, str] = {}
    for agent in (at_raia, at_siteassist):
        lines, told = reconcile(agent)
        found |= {line["message"]: line["found"] for line in lines}
        assert "15 votes compared: 5 same" in told
        assert not any(line["sent_again"] for line in lines)
    assert len(planted) == 20
    assert found == planted
    assert (
        Delivery.objects.filter(agent__in=(at_raia, at_siteassist), state="delivered").count() == 30
    )


async def test_what_is_missing_is_delivered_again_and_a_colleagues_vote_only_if_asked(
    server: Server, raia_case: RaiaCase
) -> None:
    agent = agent_of(raia_case)
    raia = raia_case.simulator
    missing, changed, sound = await rated(server, agent, 3, vote="down", comment="No")
    with raia.changing():
        lost = held_by_raia(raia_case, missing)
        del raia.feedbacks[lost.message_id, lost.user_id]
        held_by_raia(raia_case, changed).vote = "up"
    before = len(raia.calls("feedback"))

    reconcile(agent)
    assert "raia does not hold it" in delivery_of(missing).problem
    assert "raia holds up" in delivery_of(changed).problem
    assert delivery_of(changed).held_vote == "up"
    assert delivery_of(sound).problem == ""
    assert len(raia.calls("feedback")) == before

    lines, _ = reconcile(agent, "--deliver-again")
    assert [line["message"] for line in lines if line["sent_again"]] == [missing["id"]]
    await all_delivered(agent)
    assert held_by_raia(raia_case, missing).vote == "down"
    assert held_by_raia(raia_case, changed).vote == "up"

    lines, _ = reconcile(agent, "--deliver-again", "all")
    assert [line["message"] for line in lines if line["sent_again"]] == [changed["id"]]
    await all_delivered(agent)
    assert held_by_raia(raia_case, changed).vote == "down"
    assert len(raia.calls("feedback")) == before + 2

    lines, told = reconcile(agent)
    assert (lines, "3 same" in told) == ([], True)


async def test_a_vote_taken_back_here_and_held_there_is_found(
    server: Server, siteassist_case: SiteAssistCase
) -> None:
    agent = agent_of(siteassist_case)
    simulator = siteassist_case.simulator
    async with Visitor(server.url, make_widget(agent).key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        for vote in ("up", None):
            await visitor.vote(answer, vote=vote)
            await all_delivered(agent)
    message = simulator.message(upstream_id(answer))
    assert message is not None
    with simulator.changing():
        message.feedback = "like"
    [line], _ = reconcile(agent, "--deliver-again", "all")
    assert (line["here"], line["there"], line["sent_again"]) == (None, ["up"], True)
    await all_delivered(agent)
    assert message.feedback is None


async def test_an_operator_compares_chosen_votes_and_sees_what_a_colleague_changed(
    server: Server, raia_case: RaiaCase
) -> None:
    agent = agent_of(raia_case)
    answers = await rated(server, agent, 2, vote="down")
    with raia_case.simulator.changing():
        held_by_raia(raia_case, answers[0]).vote = "up"
    chosen = Feedback.objects.filter(message__in=[one["id"] for one in answers])

    def compare() -> str:
        client = Client()
        client.force_login(make_operator(f"operator {agent.pk}"))
        form = {"action": "compare", "_selected_action": list(chosen.values_list("pk", flat=True))}
        address = reverse("admin:feedback_feedback_changelist")
        return client.post(address, form, follow=True).content.decode()

    shown = await asyncio.to_thread(compare)
    assert "2 votes compared: 1 same, 1 changed." in shown
    assert "raia holds up" in shown
    assert held_by_raia(raia_case, answers[0]).vote == "up"


async def test_a_rating_that_is_neither_up_nor_down_is_none_and_costs_the_others_nothing(
    server: Server, raia_case: RaiaCase, siteassist_case: SiteAssistCase
) -> None:
    at_raia, at_siteassist = agent_of(raia_case), agent_of(siteassist_case)
    odd_at_raia, _ = await rated(server, at_raia, 2, vote="up")
    odd_at_siteassist, _ = await rated(server, at_siteassist, 2, vote="up")
    with raia_case.simulator.changing():
        held_by_raia(raia_case, odd_at_raia).vote = "sideways"
    message = siteassist_case.simulator.message(upstream_id(odd_at_siteassist))
    assert message is not None
    with siteassist_case.simulator.changing():
        message.feedback = "sideways"
    for agent, odd in ((at_raia, odd_at_raia), (at_siteassist, odd_at_siteassist)):
        lines, told = reconcile(agent)
        assert [(line["message"], line["found"]) for line in lines] == [(odd["id"], "missing")]
        assert "2 votes compared: 1 same, 1 missing" in told


async def test_a_conversation_that_cannot_be_read_is_its_own_trouble_alone(
    server: Server, raia_case: RaiaCase
) -> None:
    agent, raia = agent_of(raia_case), raia_case.simulator
    each = await asyncio.gather(*(rated(server, agent, 1, vote="up") for _ in range(6)))
    first = min(answer["conversation"] for [answer] in each)
    unreadable = Conversation.objects.get(pk=first).upstream["conversation"]

    def fault(had: Received) -> Fault:
        return Html(200) if unreadable in had.path else Stall(0.3)  # so it is the first to end

    raia.fail_always("list_messages", fault)
    lines, told = reconcile(agent, fails=True)
    assert lines == []
    assert "6 votes compared: 5 same, 1 not asked" in told
    assert "an answer that is not JSON" in told
    raia.heal()


@pytest.mark.parametrize("unknown", [400, 500])
async def test_a_conversation_deleted_at_raia_is_gone_and_the_others_are_compared(
    server: Server, raia_case: RaiaCase, unknown: Any
) -> None:
    agent = agent_of(raia_case)
    answers = await rated(server, agent, 6, vote="up")
    raia = raia_case.simulator
    raia.odd.unknown_id = unknown
    raia.delete_conversation(next(iter(raia.conversations)))
    lines, told = reconcile(agent)
    assert {line["found"] for line in lines} == {"gone"}
    assert len(lines) in (1, 5)
    assert f"6 votes compared: {len(answers) - len(lines)} same, {len(lines)} gone" in told


async def test_one_of_several_ratings_is_enough(server: Server, raia_case: RaiaCase) -> None:
    """raia does not tell whose a rating is: a colleague's beside ours is no difference."""
    agent = agent_of(raia_case)
    [answer] = await rated(server, agent, 1, vote="up")
    held = held_by_raia(raia_case, answer)
    with raia_case.simulator.changing():
        raia_case.simulator.feedbacks[held.message_id, "colleague"] = RaiaFeedback(
            held.message_id, "colleague", "down", "", created_at="", updated_at=""
        )
    lines, told = reconcile(agent)
    assert (lines, "1 same" in told) == ([], True)


async def test_a_vendor_that_fails_is_said_to_be_not_asked(
    server: Server, raia_case: RaiaCase
) -> None:
    agent = agent_of(raia_case)
    await rated(server, agent, 2, vote="up")
    raia_case.simulator.fail_always("list_messages", Status(403))
    lines, told = reconcile(agent, fails=True)
    assert lines == []
    assert "2 not asked" in told
    assert "refuses the key" in told
    raia_case.simulator.heal()


@pytest.mark.parametrize("provider", sorted(CASES))
async def test_a_vendor_tells_what_it_holds_or_says_that_it_cannot(
    server: Server, provider: str
) -> None:
    with under_test(CASES[provider]()) as case:
        case.answer_with("An answer.")
        agent = agent_of(case)
        async with Visitor(server.url, make_widget(agent).key) as visitor:
            answer = await visitor.ask_and_wait("Hello")
            unrated = await visitor.ask_and_wait("Hello again")
            await visitor.vote(answer, vote="down")
            if PROVIDERS[provider].takes_votes:
                await all_delivered(agent)
        lines, told = reconcile(agent)
        assert lines == []
        if PROVIDERS[provider].tells_votes:
            assert "1 votes compared: 1 same" in told
            held = await held_at(agent, unrated)
            assert held[upstream_id(unrated)] == []
        elif PROVIDERS[provider].takes_votes:
            assert "1 votes compared: 1 not told" in told
            with pytest.raises(Unsupported):
                await held_at(agent, answer)


async def held_at(agent: Agent, answer: JSON) -> Any:
    known = claims.known(Message.objects.get(pk=answer["id"]))
    provider = open_provider(agent)
    async with new_client() as http:
        return await drive(provider, provider.held(known), http)


@pytest.mark.parametrize(
    ("arguments", "told"), [(["--agent", "x"], "no agent x"), (["--since", "soon"], "--since")]
)
def test_a_wrong_argument_is_refused_in_plain_words(arguments: list[str], told: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
