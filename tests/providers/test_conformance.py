"""What every vendor must do, whoever it is: the same tests over all of `cases`.

What a provider declares decides what is expected; what the vendor's ledger says decides whether
it was kept. `test_fault_matrix.py` is the other half.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from chatwidget.connection_test import check_agent
from chatwidget.models import Agent, Widget
from chatwidget.providers import PROVIDERS, Provider
from tests.simulators.faults import Drop, DropAfter, Stall, Status

from ..cast import under_test
from ..feedback.conftest import settled
from ..server import Server
from ..visitor import JSON, Visitor
from ..waiting import eventually
from . import reshape
from .asking import completed, failure, row, set_options
from .cases import CASES, Case, Held
from .reshape import Reshape

TEXT = "An answer of **several** words, for the visitor."


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with under_test(CASES[request.param]()) as case:
        case.answer_with(TEXT)
        yield case


@pytest.fixture
async def visitor(server: Server, widget: Widget) -> AsyncIterator[Visitor]:
    async with Visitor(server.url, widget.key) as visitor:
        yield visitor


def adapter(case: Case) -> type[Provider]:
    return PROVIDERS[case.provider]


def test_every_vendor_of_the_registry_has_a_case() -> None:
    assert set(CASES) == set(PROVIDERS) - {"demo"}
    assert all(case.provider == key for key, case in CASES.items())


# --- the connection test --------------------------------------------------------------------------


async def test_the_connection_test_passes_and_tells_no_secret(case: Case, agent: Agent) -> None:
    steps = await check_agent(agent, rate=True)
    assert [step.note for step in steps if step.outcome == "failed"] == []
    by_name = {step.name: step for step in steps}
    assert TEXT[:20] in by_name["receive"].note
    assert (by_name["rate"].outcome == "passed") == adapter(case).takes_votes
    told = repr(steps)
    assert [secret for secret in agent.credentials.values() if secret in told] == []


# --- turns ----------------------------------------------------------------------------------------


async def test_a_question_is_answered(case: Case, visitor: Visitor) -> None:
    answer = await visitor.ask_and_wait("How are you?")
    assert (answer["status"], answer["text"], answer["error"]) == ("completed", TEXT, None)
    assert case.questions() == ["How are you?"]


async def test_a_second_question_goes_on_where_the_first_ended(
    case: Case, visitor: Visitor
) -> None:
    here = await visitor.conversation()
    async with visitor.socket(here) as socket:
        for text in ("How are you?", "And now?"):
            answer = await socket.final((await visitor.ask(here, text))["answer"])
            assert answer["text"] == TEXT
        assert socket.gaps == 0
    assert case.questions() == ["How are you?", "And now?"]
    if case.keeps_conversations:
        assert case.conversations() == 1


async def test_two_visitors_share_nothing_at_the_vendor(
    server: Server, case: Case, widget: Widget, visitor: Visitor
) -> None:
    async with Visitor(server.url, widget.key) as other:
        answers = await asyncio.gather(
            visitor.ask_and_wait("How am I?"), other.ask_and_wait("How is she?")
        )
    assert [answer["status"] for answer in answers] == ["completed"] * 2
    assert sorted(case.questions()) == ["How am I?", "How is she?"]
    if case.keeps_conversations:
        assert case.conversations() == 2


async def test_a_wait_that_the_vendor_asks_for_is_kept(case: Case, visitor: Visitor) -> None:
    reads = case.reads()
    if not reads:
        return
    if adapter(case).streams:
        case.simulator.fail_next(case.operations["receive"], Reshape(reshape.cut_within))
    wait = {"Retry-After": "1"}
    case.simulator.fail_next(reads, Status(429, headers=wait), Status(503, headers=wait))
    answer = await visitor.ask_and_wait("How are you?")
    assert (answer["status"], answer["text"]) == ("completed", TEXT)
    times = [one.at for one in case.simulator.calls(reads)[:3]]
    assert all(then - before >= 1 for before, then in pairwise(times)), times
    assert case.questions() == ["How are you?"]


async def test_stop_ends_the_answer_and_the_looking(case: Case, visitor: Visitor) -> None:
    case.hold()
    here = await visitor.conversation()
    async with visitor.socket(here) as socket:
        asked = await visitor.ask(here, "How are you?")
        await case.simulator.eventually(lambda: receives(case))
        await visitor.call("POST", f"/messages/{asked['answer']['id']}/stop", expect=202)
        answer = await socket.final(asked["answer"], timeout_s=2)
        assert answer["status"] == "stopped"
        seen = len(receives(case))
        case.release()
        assert not await happens(case, lambda: len(receives(case)) > seen + 1)
        again = await socket.sync(here)
        assert again["messages"][-1] == answer
    assert case.questions() == ["How are you?"]


async def test_a_retry_takes_the_answer_that_came_too_late(
    case: Case, server: Server, agent: Agent, widget: Widget
) -> None:
    set_options(agent, total_s=1)
    case.hold()
    async with Visitor(server.url, widget.key) as visitor:
        late = await visitor.ask_and_wait("How are you?")
        assert failure(late)[0] == "agent_timeout"
        case.release()
        answer = await visitor.retry_and_wait(late)
        assert completed(answer) == TEXT
        await visitor.vote(answer, vote="up")
        expect(case, await settled(visitor, answer), Held(vote="up"))
    # Others tell no id by which an answer could be found before it is there.
    asked_once = case.provider in ("raia", "clarityq", "moveworks")
    assert len(case.questions()) == (1 if asked_once else 2)


async def test_after_a_crash_nothing_is_sent_twice(case: Case, widget: Widget) -> None:
    case.hold()
    with Server() as server:
        async with Visitor(server.url, widget.key) as visitor:
            here = await visitor.conversation()
            asked = await visitor.ask(here, "How are you?")
            await case.simulator.eventually(lambda: case.questions() and receives(case))
            await stored(case, asked["answer"])
            server.kill()
            case.release()
            server.start()
            async with visitor.socket(here) as socket:
                answer = await socket.final(asked["answer"])
    if adapter(case).resumes:
        assert (answer["status"], answer["text"]) == ("completed", TEXT)
    else:
        assert (answer["status"], answer["error"]["code"]) == ("failed", "interrupted")
    assert case.questions() == ["How are you?"]


async def test_a_crash_while_sending_ends_openly(case: Case, widget: Widget) -> None:
    """Whether it arrived is not known to us. It did not, so no vendor can have an answer."""
    case.simulator.fail_next(case.operations["send"], Stall())
    with Server() as server:
        async with Visitor(server.url, widget.key) as visitor:
            here = await visitor.conversation()
            asked = await visitor.ask(here, "How are you?")
            await case.simulator.eventually(lambda: case.simulator.stalled)
            server.kill()
            server.start()
            async with visitor.socket(here) as socket:
                answer = await socket.final(asked["answer"])
    assert answer["status"] == "failed"
    assert answer["error"]["code"] in ("interrupted", "agent_unavailable")
    assert len(case.simulator.calls(case.operations["send"])) == 1


def receives(case: Case) -> list[Any]:
    return case.simulator.calls(case.operations["receive"])


async def happens(case: Case, what: Callable[[], object]) -> bool:
    """Whether it comes to pass within half a second."""
    try:
        await case.simulator.eventually(what, timeout=0.5)
    except AssertionError:
        return False
    return True


async def stored(case: Case, answer: JSON) -> None:
    """Wait until what a resumption needs is stored: the question is marked, ids are known."""

    def is_stored() -> bool:
        message = row(answer)
        known = message.upstream or message.conversation.upstream or not adapter(case).resumes
        return bool(message.sent_at and known)

    await eventually(is_stored)


# --- feedback -------------------------------------------------------------------------------------


def expect(case: Case, feedback: JSON, held: Held) -> None:
    """`delivered` exactly where the vendor takes votes, and then its ledger says the same."""
    provider = adapter(case)
    if not provider.takes_votes:
        assert feedback["delivery"] == "local"
        assert case.held() == []
        return
    assert feedback["delivery"] == "delivered"
    [found] = case.held()
    assert found.vote == held.vote
    assert found.comment == (held.comment if provider.takes_comments else "")


async def test_a_vote_arrives(case: Case, visitor: Visitor) -> None:
    answer = await visitor.ask_and_wait("How are you?")
    await visitor.vote(answer, vote="up")
    expect(case, await settled(visitor, answer), Held(vote="up"))


async def test_a_vote_with_a_comment_arrives(case: Case, visitor: Visitor) -> None:
    answer = await visitor.ask_and_wait("How are you?")
    await visitor.vote(answer, vote="down", comment="Not “good”,\nat all.")
    held = Held(vote="down", comment="Not “good”,\nat all.")
    expect(case, await settled(visitor, answer), held)


async def test_a_changed_mind_replaces_the_vote(case: Case, visitor: Visitor) -> None:
    answer = await visitor.ask_and_wait("How are you?")
    await visitor.vote(answer, vote="down", comment="No")
    await settled(visitor, answer)
    await visitor.vote(answer, vote="up")
    expect(case, await settled(visitor, answer), Held(vote="up"))


async def test_a_vote_taken_back_is_cleared_or_said_not_to_be(case: Case, visitor: Visitor) -> None:
    answer = await visitor.ask_and_wait("How are you?")
    await visitor.vote(answer, vote="down", comment="No")
    await settled(visitor, answer)
    before = case.held()
    await visitor.vote(answer, vote=None)
    feedback = await settled(visitor, answer)
    provider = adapter(case)
    if provider.takes_votes and not provider.clears_votes:
        assert feedback["delivery"] == "unsupported"
        assert case.held() == before
    else:
        expect(case, feedback, Held(vote=None))


async def test_a_comment_alone_goes_where_it_can(case: Case, visitor: Visitor) -> None:
    provider = adapter(case)
    answer = await visitor.ask_and_wait("How are you?")
    feedback = await visitor.vote(answer, vote=None, comment="Just saying")
    if not provider.takes_votes:
        assert feedback["delivery"] == "local"
    elif not provider.takes_comments:
        assert feedback["delivery"] == "delivered"  # it speaks of the vote: there is none
        assert case.held() == []
    elif provider.comment_needs_vote:
        assert feedback["delivery"] == "delivered"
        assert case.held() == []
        await visitor.vote(answer, vote="up", comment="Just saying")
        held = Held(vote="up", comment="Just saying")
        expect(case, await settled(visitor, answer), held)
    else:
        held = Held(vote=None, comment="Just saying")
        expect(case, await settled(visitor, answer), held)


async def test_each_answer_has_its_own_vote(case: Case, visitor: Visitor) -> None:
    here = await visitor.conversation()
    async with visitor.socket(here) as socket:
        answers = [
            await socket.final((await visitor.ask(here, text))["answer"])
            for text in ("How are you?", "And now?")
        ]
    for answer, vote in zip(answers, ("down", "up"), strict=True):
        await visitor.vote(answer, vote=vote)
        await settled(visitor, answer)
    wanted = [Held(vote="down"), Held(vote="up")] if adapter(case).takes_votes else []
    assert case.held() == wanted


async def test_a_vote_outlasts_a_failing_vendor(case: Case, visitor: Visitor) -> None:
    answer = await visitor.ask_and_wait("How are you?")
    if adapter(case).takes_votes:
        rate = case.operations["rate"]
        case.simulator.fail_next(rate, Status(500), Drop(), Drop(), DropAfter(), Status(503))
    await visitor.vote(answer, vote="down", comment="No")
    expect(case, await settled(visitor, answer), Held(vote="down", comment="No"))


async def test_a_refused_vote_is_not_called_delivered(case: Case, visitor: Visitor) -> None:
    answer = await visitor.ask_and_wait("How are you?")
    if not adapter(case).takes_votes:
        assert "rate" not in case.operations
        return
    case.simulator.fail_always(case.operations["rate"], Status(403))
    await visitor.vote(answer, vote="up")
    assert (await settled(visitor, answer))["delivery"] == "failed"
    assert case.held() == []
