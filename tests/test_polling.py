"""Polling learns: fewer polls at the delay of one a second, and never the wrong ones."""

import math
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from benchmarks.polling import LAWS, Figures, Growing, Learned, lognormal, simulate, times
from chatwidget import paces
from chatwidget.models import Agent, AnswerTime
from chatwidget.polling import (
    KEPT,
    LAST_S,
    LEAST,
    LONGEST_WAIT_S,
    SHORTEST_WAIT_S,
    UNWATCHED_S,
    Pace,
    Span,
    first_wait,
    learn,
)

from .cast import make_agent, make_widget
from .server import Server
from .simulators.raia import RaiaSimulator
from .visitor import Visitor

LATE_S = 0.5
SIMULATED = pytest.mark.default_stack("needs no server")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def waits(pace: Pace, clock: Clock, looks: int) -> list[float]:
    """Return the waits before so many looks that find nothing."""
    found = []
    for _ in range(looks):
        found.append(pace.next())
        clock.now += found[-1]
    return found


def spans_around(seconds: float, spread: float = 0.1, count: int = 30) -> list[Span]:
    """Answers that came a little before or after this."""
    middles = [seconds * (1 + spread * (2 * i / count - 1)) for i in range(count)]
    return [(middle - 0.1, middle + 0.1) for middle in middles]


# --- what it costs --------------------------------------------------------------------------------


@SIMULATED
@pytest.mark.parametrize(
    ("law", "most"),
    [("wide: 6 s, sigma .5", 0.75), ("narrow: 6 s, sigma .25", 0.5)],
    ids=["wide", "narrow"],
)
def test_fewer_polls_notice_answers_as_early_as_one_a_second(law: str, most: float) -> None:
    answer_times = times(LAWS[law], 700)
    fixed = Figures.of([*simulate(Growing(1.0), answer_times)])
    learned = Figures.of([*simulate(Learned(LATE_S), answer_times)])
    assert learned.polls <= most * fixed.polls
    assert learned.mean_s <= fixed.mean_s + 0.03
    assert learned.p95_s <= 1.15


@SIMULATED
@pytest.mark.parametrize("sigma", [0.5, 0.25], ids=["wide", "narrow"])
@pytest.mark.parametrize("changed_s", [18, 2], ids=["slower", "faster"])
def test_it_adapts_within_twenty_answers(changed_s: float, sigma: float) -> None:
    """The next twenty cost little more than where nothing changed; a poll counts like 0.1 s."""
    before, after = lognormal(6, sigma), lognormal(changed_s, sigma)

    def cost(history: list[float], answer_times: list[float]) -> float:
        policy = Learned(LATE_S, [(max(0.0, takes - 0.5), takes + 0.5) for takes in history])
        looks = [*simulate(policy, answer_times)]
        return sum(look.late_s + 0.1 * look.polls for look in looks[20:])

    adapted = settled = 0.0
    for seed in range(5):
        answer_times = times(after, 40, seed)
        adapted += cost(times(before, KEPT, seed + 100), answer_times)
        settled += cost(times(after, KEPT, seed + 100), answer_times)
    assert adapted <= 1.4 * settled


def test_learning_takes_little() -> None:
    began = time.thread_time()
    learn([(takes, takes + 1) for takes in times(LAWS["wide: 6 s, sigma .5"], KEPT)], LATE_S)
    assert time.thread_time() - began < 0.25


# --- whatever is known ----------------------------------------------------------------------------


def test_before_there_is_history_it_looks_each_second_and_then_ever_more_slowly() -> None:
    clock = Clock()
    found = waits(Pace(clock=clock), clock, 60)
    assert found[:10] == [1.0] * 10
    assert all(later <= 1.1 * earlier + 1e-9 for earlier, later in pairwise(found))
    assert found[-1] == max(found) == 5.0
    assert learn([(1.0, 2.0)] * (LEAST - 1), LATE_S) is None


@settings(deadline=None, max_examples=50)
@given(
    some.lists(some.tuples(some.floats(), some.floats()), max_size=2 * KEPT),
    some.lists(some.floats(-10, 1e6), min_size=1, max_size=20),
)
def test_nonsense_in_the_history_is_harmless(spans: list[Span], elapsed: list[float]) -> None:
    plan = learn(spans, LATE_S)
    for at in elapsed:
        wait = plan.wait(at) if plan else first_wait(at)
        assert SHORTEST_WAIT_S <= wait <= LONGEST_WAIT_S


@pytest.mark.parametrize(
    "span",
    [(0.0, 0.0), (1e9, 1e12), (0.0, LAST_S), (math.nan, 1.0), (5.0, 1.0), (-3.0, -1.0)],
    ids=str,
)
def test_one_absurd_span_changes_little(span: Span) -> None:
    sane = spans_around(6)
    plan, odd = learn(sane, LATE_S), learn([*sane, span], LATE_S)
    assert plan is not None
    assert odd is not None
    assert odd.wait(5.8) == pytest.approx(plan.wait(5.8), abs=0.3)


def test_spans_that_cannot_be_teach_nothing() -> None:
    assert learn([(5.0, 1.0), (-3.0, -1.0), (math.nan, 1.0)] * LEAST, LATE_S) is None


def test_an_answer_that_takes_long_is_still_looked_for() -> None:
    """Long after all others came, the looks go on, at most ten seconds apart."""
    clock, plan = Clock(), learn(spans_around(6), LATE_S)
    found = waits(Pace(lambda: plan, clock=clock), clock, 50)
    assert max(found[1:]) <= LONGEST_WAIT_S
    assert clock.now > 200


def test_a_late_look_changes_nothing_for_the_next() -> None:
    plan = learn(spans_around(6), LATE_S)
    assert plan is not None
    early, late = 4.0 + plan.wait(4.0), 4.3 + plan.wait(4.3)
    assert late == pytest.approx(early, abs=0.3)


# --- one answer -----------------------------------------------------------------------------------


def test_a_turn_that_is_taken_up_again_looks_at_once_and_teaches_nothing() -> None:
    clock, plan = Clock(), learn(spans_around(30), LATE_S)
    pace = Pace(lambda: plan, since_s=29.0, clock=clock)
    assert pace.next() == 0.0
    assert pace.next() < 3.0, "as half a minute after the question"
    assert pace.span is None


def test_the_span_reaches_from_the_last_look_in_vain_to_the_one_that_found_it() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    assert pace.span is None
    waits(pace, clock, 3)
    assert pace.span == (2.0, 3.0)


def test_a_pace_that_the_operator_sets_is_kept_and_teaches_nothing() -> None:
    clock, plan = Clock(), learn(spans_around(6), LATE_S)
    pace = Pace(lambda: plan, every_s=2.5, watched=lambda: False, clock=clock)
    assert waits(pace, clock, 20) == [2.5] * 20
    assert pace.span is None


def test_looks_are_rare_while_the_visitor_is_away_and_never_stop() -> None:
    clock, here = Clock(), True
    pace = Pace(watched=lambda: here, clock=clock)
    assert waits(pace, clock, 2) == [1.0, 1.0]
    here = False
    assert waits(pace, clock, 20) == [UNWATCHED_S] * 20
    here = True
    assert pace.next() == 5.0, "a tenth of the time waited, at most 5 s"


def test_a_visitor_who_never_had_a_socket_is_not_taken_to_be_away() -> None:
    clock = Clock()
    assert waits(Pace(watched=lambda: False, clock=clock), clock, 5) == [1.0] * 5


# --- in the service -------------------------------------------------------------------------------


@pytest.fixture
def agent(raia: RaiaSimulator) -> Iterator[Agent]:
    """An agent at raia without a pace of its own."""
    agent = make_agent("At raia", "raia", base_url=raia.url, credentials={"secret_key": raia.key})
    yield agent
    AnswerTime.objects.filter(agent=agent).delete()


def poll_times(raia: RaiaSimulator) -> list[float]:
    """When it was looked for the last answer, in seconds after the question."""
    asked = raia.calls("send")[-1].at
    return [poll.at - asked for poll in raia.calls("poll") if poll.at > asked]


async def test_each_answer_leaves_its_span(
    server: Server, agent: Agent, raia: RaiaSimulator
) -> None:
    raia.ripening = 1.5
    async with Visitor(server.url, make_widget(agent).key) as visitor:
        assert (await visitor.ask_and_wait("Hello"))["status"] == "completed"
    stored = AnswerTime.objects.get(agent=agent)
    assert 0.9 <= stored.after_s <= 1.6 <= stored.by_s + 0.2


async def test_what_was_learned_outlives_a_restart(agent: Agent, raia: RaiaSimulator) -> None:
    """Where answers take three seconds, nobody looks after one; not at the first start either."""
    for span in spans_around(3):
        paces.note(agent.pk, span)
    widget = make_widget(agent)
    raia.ripening = 3
    with Server(EMBEDDED_WORKER="false") as server:
        async with Visitor(server.url, widget.key) as visitor:
            await visitor.ask_and_wait("The plan is made meanwhile")
            assert (await visitor.ask_and_wait("Hello"))["status"] == "completed"
    assert min(poll_times(raia)) > 2
    assert AnswerTime.objects.filter(agent=agent).count() == 32


async def test_it_learns_while_it_runs(server: Server, agent: Agent, raia: RaiaSimulator) -> None:
    """Answers that come at once are looked for ever sooner than a second after the question."""
    raia.ripening = 0.01
    widget = make_widget(agent)
    async with Visitor(server.url, widget.key) as visitor:
        for _ in range(5 * LEAST):  # more than enough where several processes share the answers
            await visitor.ask_and_wait("Hello")
            if min(poll_times(raia)) < 0.95:
                return
    raise AssertionError("it did not learn")


@pytest.mark.default_stack("one of several processes does not know who has left")
async def test_a_visitor_who_leaves_is_polled_for_slowly_and_has_the_answer_all_the_same(
    server: Server, agent: Agent, raia: RaiaSimulator
) -> None:
    raia.hold()
    async with Visitor(server.url, make_widget(agent).key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation):
            asked = await visitor.ask(conversation, "Hello")
            await raia.eventually(lambda: raia.calls("poll"))
        before = len(raia.calls("poll"))
        await raia.eventually(lambda: len(raia.calls("poll")) >= before + 2, timeout=30)
        raia.release()
        async with visitor.socket(conversation) as socket:
            answer = await socket.final(asked["answer"])
    assert answer["status"] == "completed"
    times_after = poll_times(raia)[before - 1 :]
    assert max(later - earlier for earlier, later in pairwise(times_after)) > UNWATCHED_S - 0.5


def test_no_more_is_kept_than_is_learned_from(agent: Agent) -> None:
    other = make_agent()
    for number in range(KEPT + 10):
        paces.note(agent.pk, (number, number + 1.0))
    paces.note(other.pk, (1.0, 2.0))
    before = paces.spans(agent.pk)
    paces.forget(agent.pk)
    assert paces.spans(agent.pk) == before == [(n, n + 1.0) for n in range(10, KEPT + 10)]
    assert AnswerTime.objects.filter(agent=agent).count() == KEPT
    assert len(paces.spans(other.pk)) == 1
