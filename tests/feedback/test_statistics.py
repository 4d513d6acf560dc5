"""The dashboard's arithmetic, and that its tallies are what is stored, whatever happened since."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from chatwidget.erasure import erase_visitor, retain
from chatwidget.models import Conversation, Message, Role, Status, Widget
from feedback import tallies, views
from feedback.models import Census, Recount, Tally
from feedback.statistics import (
    Times,
    bucket_of,
    difference,
    level_of_each,
    start_of,
    wilson,
)

from ..cast import add_message, make_agent, make_conversation, make_feedback, make_widget

NOON = datetime(2024, 3, 15, 12, tzinfo=UTC)


@pytest.fixture
def nothing_yet(undone: None) -> None:
    """Begin with nothing to count."""
    Conversation.objects.all().delete()
    Census.objects.all().delete()


# --- arithmetic -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilsons_interval_has_its_published_values(
    hits: int, of: int, low: float, high: float
) -> None:
    interval = wilson(hits, of)
    assert interval is not None
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_interval_of_a_difference_has_its_published_values(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    found = difference(*one, *other)
    assert found is not None
    assert (round(found.interval.low, 4), round(found.interval.high, 4)) == (low, high)


def test_a_difference_is_clear_only_where_its_interval_leaves_out_zero() -> None:
    clear, unclear = difference(56, 70, 48, 80), difference(6, 10, 5, 10)
    assert clear is not None
    assert clear.is_clear
    assert unclear is not None
    assert not unclear.is_clear
    # Wilson's intervals of these two overlap, and yet they differ.
    one, other = wilson(56, 70), wilson(48, 80)
    assert one is not None
    assert other is not None
    assert one.low < other.high


def test_nothing_has_no_interval() -> None:
    assert wilson(0, 0) is None
    assert difference(1, 2, 0, 0) is None
    assert Times().quantile(0.5) is None
    assert Times().interval(0.5) is None


def test_several_comparisons_are_each_held_to_more() -> None:
    assert level_of_each(1) == pytest.approx(0.95)
    assert level_of_each(5) == pytest.approx(0.99)
    # With a twentieth of all comparisons clear by accident, of twenty about one would be.
    alone, among_many = difference(60, 100, 45, 100), difference(60, 100, 45, 100, 0.9975)
    assert alone is not None
    assert alone.is_clear
    assert among_many is not None
    assert not among_many.is_clear


def test_a_percentile_of_buckets_is_that_of_the_answers_to_within_a_twentieth() -> None:
    chance = random.Random(7)
    seconds = sorted(chance.lognormvariate(1, 0.8) for _ in range(5000))
    times = Times.of(seconds)
    for share in (0.05, 0.5, 0.9, 0.95, 0.99):
        exact = seconds[int(share * len(seconds))]
        assert times.quantile(share) == pytest.approx(exact, rel=0.05)
    interval = times.interval(0.5)
    assert interval is not None
    assert interval.low < seconds[2500] < interval.high
    assert interval.high / interval.low < 1.1


def test_buckets_begin_where_the_one_before_ends() -> None:
    for bucket in (0, 1, 17, 90):
        assert bucket_of(start_of(bucket) * 1.0001) == bucket
    assert bucket_of(0) == bucket_of(0.05) == 0


# --- counting -------------------------------------------------------------------------------------


def make_day(day: datetime, widget: Widget, took_s: list[float], **fields: Any) -> Conversation:
    """Make a conversation of that moment, with an answer for each number of seconds."""
    talk = make_conversation(widget=widget, created_at=day, updated_at=day)
    for number, seconds in enumerate(took_s):
        asked = add_message(talk, "Are you open?", created_at=day)
        add_message(
            talk,
            "Yes.",
            role=Role.AGENT,
            question=asked,
            created_at=day,
            sent_at=day,
            completed_at=day + timedelta(seconds=seconds),
            **fields.get(f"answer_{number}", {}),
        )
    return talk


def count_all() -> None:
    """What the job does, until nothing is left to count."""
    while True:
        plan = tallies.plan_count()
        if plan is None:
            tallies.start_over()
            continue
        found = [one for day in plan.days for one in tallies.count_day(day)]
        if tallies.is_news(plan, found):
            assert tallies.keep(plan, found)
        if not plan.more:
            return


def answers_of(talk: Conversation) -> list[Message]:
    return list(talk.messages.filter(role=Role.AGENT).order_by("position"))


def test_a_tally_is_what_is_stored_of_the_day(nothing_yet: None) -> None:
    widget = make_widget()
    failed = {"status": Status.FAILED}
    talk = make_day(NOON, widget, [2, 4, 300], answer_2=failed)
    first, second, _ = answers_of(talk)
    make_feedback(first, "up")
    make_feedback(second, "down")
    person = add_message(talk, "I am a person", role=Role.HUMAN, created_at=NOON)
    make_feedback(person, "up")  # says nothing of the agent
    count_all()
    tally = Tally.objects.get()
    assert (tally.day, tally.agent_id, tally.widget_id) == (
        NOON.date(),
        widget.agent_id,
        widget.pk,
    )
    assert (tally.conversations, tally.answers, tally.failed) == (1, 3, 1)
    assert (tally.up, tally.down) == (1, 1)
    times = Times()
    times.add(tally.times)
    assert times.total == 2
    assert times.quantile(1.0) == pytest.approx(4, rel=0.1)


def test_the_database_and_python_put_a_time_into_the_same_bucket(nothing_yet: None) -> None:
    chance = random.Random(3)
    seconds = [round(chance.uniform(0, 1) ** 4 * 400, 3) for _ in range(60)]
    make_day(NOON, make_widget(), seconds)
    [tally] = tallies.count_day(NOON.date())
    assert {int(bucket): count for bucket, count in tally.times.items()} == Times.of(seconds).counts


def test_a_late_vote_is_counted_on_the_day_of_its_answer(nothing_yet: None) -> None:
    talk = make_day(NOON, make_widget(), [2])
    count_all()
    assert Tally.objects.get().down == 0
    [answer] = answers_of(talk)
    views.store(answer, vote="down", comment="", reasons=[])
    count_all()
    assert Tally.objects.get().down == 1
    views.store(answer, vote="up", comment="", reasons=[])
    views.store(answer, vote=None, comment="", reasons=[])
    count_all()
    tally = Tally.objects.get()
    assert (tally.up, tally.down) == (0, 0)


def test_what_is_erased_leaves_the_tallies(nothing_yet: None) -> None:
    widget = make_widget(retention_days=30)
    kept = make_day(NOON, widget, [2, 3])
    gone = make_day(NOON - timedelta(days=1), widget, [2])
    count_all()
    assert Tally.objects.count() == 2
    erase_visitor(gone.visitor)
    count_all()
    assert Tally.objects.get().day == NOON.date()
    Conversation.objects.filter(pk=kept.pk).update(updated_at=NOON)
    retain(widget)
    count_all()
    assert not Tally.objects.exists()


def test_days_are_those_of_the_operators_time_zone(nothing_yet: None, settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"
    evening = datetime(2024, 3, 15, 22, tzinfo=ZoneInfo("UTC"))
    make_day(evening, make_widget(), [2])
    count_all()
    assert Tally.objects.get().day == date(2024, 3, 16)
    settings.TIME_ZONE = "UTC"
    count_all()
    assert Tally.objects.get().day == date(2024, 3, 15)


def test_of_two_that_count_at_once_one_is_heard(nothing_yet: None) -> None:
    talk = make_day(NOON, make_widget(), [2])
    count_all()
    [answer] = answers_of(talk)
    views.store(answer, vote="down", comment="", reasons=[])
    slow = tallies.plan_count()
    assert slow is not None
    early = [one for day in slow.days for one in tallies.count_day(day)]
    views.store(answer, vote="up", comment="", reasons=[])
    count_all()
    assert not tallies.keep(slow, early)
    tally = Tally.objects.get()
    assert (tally.up, tally.down) == (1, 0)


def test_what_changes_while_it_is_counted_is_counted_again(nothing_yet: None) -> None:
    talk = make_day(NOON, make_widget(), [2])
    count_all()
    [answer] = answers_of(talk)
    views.store(answer, vote="down", comment="", reasons=[])
    plan = tallies.plan_count()
    assert plan is not None
    found = [one for day in plan.days for one in tallies.count_day(day)]
    views.store(answer, vote="up", comment="", reasons=[])
    assert tallies.keep(plan, found)
    assert Tally.objects.get().down == 1
    count_all()
    tally = Tally.objects.get()
    assert (tally.up, tally.down) == (1, 0)


def test_a_quiet_service_writes_nothing(nothing_yet: None) -> None:
    make_day(timezone.now(), make_widget(make_agent()), [2])
    count_all()
    plan = tallies.plan_count()
    assert plan is not None
    found = [one for day in plan.days for one in tallies.count_day(day)]
    assert found
    assert not tallies.is_news(plan, found)
    assert not Recount.objects.exists()
