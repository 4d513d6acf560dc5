"""B3: several workers share a backlog, and one that dies leaves nothing behind."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from chatwidget.lanes import WIDTH
from feedback.models import Delivery, State

from ..server import worker
from ..simulators.faults import Stall
from ..simulators.raia import RaiaSimulator
from ..waiting import eventually
from .database import OWN, attached
from .report import Report, sized
from .votes import raia_agent, waiting_at_raia

pytestmark = pytest.mark.default_stack("runs on SQLite and on PostgreSQL in any case")

WORKERS = 3
USUAL_S = "25"
"""The service's own lease: with the tests' 5 s a machine that pauses looks like a dead worker."""


@pytest.fixture(params=["sqlite", "postgres"])
def own(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    with attached(request.param) as env:
        yield env


def undelivered() -> int:
    return Delivery.objects.using(OWN).exclude(state=State.DELIVERED).count()


@sized("votes", gate=150, full=5000)
async def test_workers_share_a_backlog_and_each_vote_arrives_once(
    own: dict[str, str], raia: RaiaSimulator, report: Report, votes: int
) -> None:
    """B3: three workers, 5,000 votes at a healthy vendor: each is told exactly once."""
    waiting_at_raia(raia, raia_agent(raia, OWN), votes, using=OWN)
    with ExitStack() as stack:
        for _ in range(WORKERS):
            stack.enter_context(worker(None, **own, DELIVERY_LEASE_S=USUAL_S))
        await eventually(lambda: undelivered() == 0, timeout_s=600)
    calls = raia.calls("feedback")
    told = Counter(call.json["conversationMessageId"] for call in calls)
    rows = Delivery.objects.using(OWN)
    report.tell("workers", WORKERS)
    report.tell("votes", votes)
    report.tell("delivered", votes - undelivered())
    report.tell("calls", len(calls))
    report.tell("told more than once", sum(count > 1 for count in told.values()))
    report.tell("deliveries a second", round((len(calls) - 1) / (calls[-1].at - calls[0].at)))
    assert len(told) == votes
    assert set(told.values()) == {1}
    assert set(rows.values_list("attempts", flat=True)) == {1}


@sized("lease_s", gate=5, full=25)
async def test_what_a_killed_worker_held_is_taken_up_by_another(
    own: dict[str, str], raia: RaiaSimulator, report: Report, lease_s: int
) -> None:
    """B3: a worker is killed with a hundred votes in its hands: taken up within a lease."""
    agents = [raia_agent(raia, OWN, f"Agent {number}") for number in range(10)]
    for agent in agents:
        waiting_at_raia(raia, agent, 10, using=OWN)
    raia.fail_always("feedback", Stall())
    env = own | {"DELIVERY_LEASE_S": str(lease_s)}
    with ExitStack() as stack:
        first = stack.enter_context(worker(None, **env))
        await raia.eventually(lambda: raia.stalled == 100, timeout=60)
        held = dict(Delivery.objects.using(OWN).values_list("pk", "lease_token"))
        first.kill()
        killed = time.monotonic()
        stack.enter_context(worker(None, **env))
        # They are taken up where the lease has lapsed, all by other hands.
        await eventually(lambda: not held.items() & hands().items(), timeout_s=60)
        took_s = time.monotonic() - killed
        raia.heal()
        raia.release()
        await eventually(lambda: undelivered() == 0, timeout_s=60)
    told = Counter(call.json["conversationMessageId"] for call in raia.calls("feedback"))
    report.tell("held by the killed worker", len(held))
    report.tell("lease (s)", lease_s)
    report.tell("all in other hands after (s)", round(took_s, 1))
    report.tell("votes lost", 100 - len(raia.feedbacks))
    assert len(held) == len(raia.feedbacks) == len(told) == 100
    if lease_s == 25:
        assert took_s <= 30


def hands() -> dict[int, object]:
    """Return who has which delivery."""
    rows = Delivery.objects.using(OWN).exclude(lease_token=None)
    return dict(rows.values_list("pk", "lease_token"))


@sized("votes", gate=10, full=100)
async def test_a_dead_vendor_delays_no_other(
    own: dict[str, str], raia: RaiaSimulator, report: Report, votes: int
) -> None:
    """B5: beside twenty times as many votes at a vendor that hangs, others leave in a second."""
    waits: list[float] = []
    healthy = raia_agent(raia, OWN, "Healthy")
    with RaiaSimulator() as dead:
        dead.fail_always("feedback", Stall())
        waiting_at_raia(dead, raia_agent(dead, OWN, "Dead"), 20 * votes, using=OWN, age_s=3600)
        with worker(None, **own):
            await dead.eventually(lambda: dead.stalled == WIDTH, timeout=60)
            for number in range(1, votes + 1):
                given = time.monotonic()
                waiting_at_raia(raia, healthy, 1, using=OWN, age_s=0)
                await raia.eventually(lambda n=number: len(raia.calls("feedback")) >= n, timeout=60)  # type: ignore[misc]
                waits.append(raia.calls("feedback")[-1].at - given)
    report.tell("votes at a dead vendor", 20 * votes)
    report.tell("votes at a healthy one", votes)
    report.tell_times("from the vote to its call", waits)
    if votes >= 100:
        assert max(waits) <= 1


async def test_a_vote_that_cannot_be_read_delays_no_other(
    own: dict[str, str], raia: RaiaSimulator, tmp_path: Path
) -> None:
    """B5: one poison row, the first of all."""
    poison, *sound = waiting_at_raia(raia, raia_agent(raia, OWN), 20, using=OWN)
    poison.reasons = 7  # nobody could have chosen that
    poison.save(using=OWN)
    row = Delivery.objects.using(OWN).filter(feedback=poison)
    row.update(next_at=timezone.now() - timedelta(days=1))
    with (tmp_path / "log").open("w") as log, worker(log, **own):
        await eventually(lambda: len(raia.feedbacks) == len(sound), timeout_s=60)
        await eventually(lambda: bool(row.get().problem), timeout_s=60)
    assert row.get().state == State.PENDING
    assert "not iterable" in row.get().problem
    assert "met a bug" in (tmp_path / "log").read_text()


def freeze(process: subprocess.Popen[str]) -> None:
    """Stop a process between two writes: nobody could go on while it had SQLite's only lock."""
    own = connections[OWN]
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        if own.vendor != "sqlite":
            return
        with own.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout=0")
        try:
            with transaction.atomic(using=OWN):
                return
        except OperationalError:
            os.kill(process.pid, signal.SIGCONT)
        finally:
            with own.cursor() as cursor:
                cursor.execute("PRAGMA busy_timeout=20000")


async def test_a_worker_that_was_frozen_changes_nothing_any_more(
    own: dict[str, str], raia: RaiaSimulator
) -> None:
    """Fencing: its lease has lapsed, so what it comes to know later is not written."""
    [vote] = waiting_at_raia(raia, raia_agent(raia, OWN), 1, using=OWN)
    row = Delivery.objects.using(OWN).filter(feedback=vote)
    env = own | {"DELIVERY_LEASE_S": "3", "FEEDBACK_FIRST_RETRY_S": "600"}
    raia.fail_next("feedback", Stall())
    with ExitStack() as stack:
        frozen = stack.enter_context(worker(None, **env))
        await raia.eventually(lambda: raia.stalled == 1, timeout=60)
        freeze(frozen)
        stack.callback(os.kill, frozen.pid, signal.SIGCONT)
        stack.enter_context(worker(None, **env))
        await eventually(lambda: row.get().state == State.DELIVERED, timeout_s=60)
        delivered = row.values().get()
        os.kill(frozen.pid, signal.SIGCONT)
        await raia.eventually(lambda: raia.stalled == 0, timeout=60)  # its attempt has failed
    assert row.values().get() == delivered
