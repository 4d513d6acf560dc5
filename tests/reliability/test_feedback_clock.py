"""B2: a vendor is away for days. The clock is moved; the job and the calls are the real ones.

The job runs in this process, on a clock that begins tomorrow: so nothing here is due for the
session's server, which shares the database.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import time_machine
from django.db import connections, transaction
from django.db.models import Max, Min, QuerySet
from django.utils import timezone

from chatwidget import process
from chatwidget.errors import RateLimited
from chatwidget.process import Process
from feedback import delivery
from feedback.models import Delivery, State

from ..simulators.faults import Status
from ..simulators.raia import RaiaSimulator
from ..waiting import eventually
from .report import Report, sized
from .votes import raia_agent, waiting_at_raia

HOUR = timedelta(hours=1)


@pytest.fixture
async def here() -> AsyncIterator[Process]:
    """This process does background work, when it is told to."""
    yield process.start(background=False)
    await process.stop()
    connections.close_all()


@pytest.fixture(autouse=True)
def as_in_production(settings: pytest.FixtureRequest) -> None:
    settings.FEEDBACK_FIRST_RETRY_S = 5.0  # type: ignore[attr-defined]


def waiting(raia: RaiaSimulator, count: int, begin: datetime) -> QuerySet[Delivery]:
    """Make votes that are due at `begin`, and at no moment before: the server would take them."""
    agent = raia_agent(raia, "default")
    early_s = (begin - timezone.now()).total_seconds()
    waiting_at_raia(raia, agent, count, using="default", age_s=-early_s)
    rows = Delivery.objects.filter(agent=agent)
    rows.update(next_at=begin)
    return rows


async def attempt_all(rows: QuerySet[Delivery]) -> None:
    """Run the job until nothing of it is due."""
    due = rows.filter(state=State.PENDING, next_at__lte=timezone.now())
    held = rows.exclude(lease_token=None)
    while due.exists():
        await delivery.drain()
        await eventually(lambda: not held.exists(), timeout_s=60)


async def pass_by(rows: QuerySet[Delivery], until: datetime, clock: time_machine.Traveller) -> int:
    """Let time pass from attempt to attempt; returns how many one vote has had at most."""
    while (now := timezone.now()) < until:
        await attempt_all(rows)
        soonest = rows.filter(state=State.PENDING).aggregate(at=Min("next_at"))["at"]
        clock.move_to(max(min(soonest or until, until), now + timedelta(seconds=1)))
    return int(rows.aggregate(most=Max("attempts"))["most"])


@pytest.mark.parametrize("away", [72 * HOUR, 165.6 * HOUR], ids=["72 hours", "6.9 days"])
@sized("votes", gate=2, full=50)
async def test_votes_arrive_after_days_without_their_vendor(
    here: Process, raia: RaiaSimulator, report: Report, away: timedelta, votes: int
) -> None:
    """B2: a vendor is down for 72 hours, and for 6.9 days; then all votes arrive."""
    begin = timezone.now() + timedelta(days=1)
    rows = waiting(raia, votes, begin)
    raia.fail_always("feedback", Status(503))
    with time_machine.travel(begin, tick=False) as clock:
        attempts = await pass_by(rows, begin + away, clock)
        assert set(rows.values_list("state", flat=True)) == {State.PENDING}
        assert raia.feedbacks == {}
        raia.heal()
        back = timezone.now()
        longest = timedelta(seconds=delivery.LONGEST_WAIT_S)
        await pass_by(rows, back + longest + HOUR, clock)
    assert set(rows.values_list("state", flat=True)) == {State.DELIVERED}
    assert len(raia.feedbacks) == votes
    late = [at - back for at in rows.values_list("delivered_at", flat=True) if at]
    report.tell("votes", votes)
    report.tell("delivered", len(late))
    report.tell("most attempts of one vote meanwhile", attempts)
    report.tell("the last one arrived after, in hours", max(late) / HOUR)
    report.tell("calls", len(raia.calls("feedback")))


@sized("votes", gate=50, full=1000)
async def test_what_is_parked_after_a_week_is_sent_again_by_one_action(
    here: Process, raia: RaiaSimulator, report: Report, votes: int
) -> None:
    """B2: given up after a week with at least twelve attempts, kept, and all sent again at once."""
    begin = timezone.now() + timedelta(days=1)
    rows = waiting(raia, votes, begin)
    tried = rows[0]
    rows.exclude(pk=tried.pk).update(state=State.FAILED, next_at=None)
    raia.fail_always("feedback", Status(503))
    with time_machine.travel(begin, tick=False) as clock:
        await pass_by(rows, begin + timedelta(days=8), clock)
        tried.refresh_from_db()
        assert (tried.state, tried.problem) == (State.FAILED, "HTTP 503 from raia")
        assert tried.attempts >= delivery.LEAST_ATTEMPTS
        raia.heal()
        assert delivery.resend(rows) == votes
        await attempt_all(rows)
    assert rows.filter(state=State.DELIVERED).count() == votes == len(raia.feedbacks)
    report.tell("attempts in the week", tried.attempts)
    report.tell("sent again by one action", votes)


@pytest.mark.parametrize(
    ("asked_s", "waits_s"),
    [(600, 600), (3600, 3600), (7 * 86400, delivery.LONGEST_WAIT_S)],
    ids=["ten minutes", "an hour", "a week"],
)
def test_retry_after_is_kept_to_the_second_up_to_half_a_day(
    raia: RaiaSimulator, asked_s: float, waits_s: float
) -> None:
    begin = timezone.now() + timedelta(days=1)
    row = waiting(raia, 1, begin).get()
    with time_machine.travel(begin, tick=False), transaction.atomic():
        [due] = delivery.claim([row.pk], begin)
        delivery.settle(due, RateLimited("slow down", retry_after_s=asked_s))
    row.refresh_from_db()
    assert row.next_at is not None
    assert abs((row.next_at - begin).total_seconds() - waits_s) <= 1
    Delivery.objects.filter(pk=row.pk).update(state=State.LOCAL)
