"""B1: whoever carries a vote is killed anywhere on its way; the vote arrives, and arrives once.

One server without background work and one worker, each a process that SIGKILL ends, share a
database of their own. In each round all four vendors' visitors change their minds, and the kill
meets all four votes at the same point.
"""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from django.utils import timezone

from chatwidget.models import Agent, Widget
from feedback.models import Delivery, State

from ..pausing import Pause
from ..providers.cases import CASES, Case
from ..server import Server, worker
from ..simulators.base import Received
from ..simulators.faults import Stall, Withhold
from ..visitor import JSON, Visitor
from ..waiting import eventually
from .database import OWN, attached
from .report import Report, sized

pytestmark = pytest.mark.default_stack("runs on SQLite and on PostgreSQL in any case")

VENDORS = ("raia", "moveworks", "siteassist", "clarityq")
POINTS = (
    "before commit",
    "after commit",
    "after claim",
    "connecting",
    "body sent",
    "accepted, answer lost",
    "answered, not noted",
    "after acknowledgement",
)
OF_THE_SERVER = ("before commit", "after commit")
REPEATED = ("accepted, answer lost", "answered, not noted")
"""No vendor has an idempotency key that would prevent it: the same state goes out once more."""
PATIENCE_S = 60


@dataclass
class Voter:
    """A visitor at one vendor, who changes their mind about one answer again and again."""

    case: Case
    visitor: Visitor
    answer: JSON
    vote: str = "down"

    def calls(self) -> list[Received]:
        return self.case.simulator.calls(self.case.operations["rate"])

    async def change_mind(self) -> None:
        self.vote = "up" if self.vote == "down" else "down"
        await self.send()

    async def send(self) -> None:
        """Vote as the widget does, which sends again what it has no answer for."""
        with contextlib.suppress(httpx.TransportError):
            await self.visitor.vote(self.answer, vote=self.vote)

    def is_told(self) -> bool:
        """Whether the newest vote is stored and counts as delivered."""
        return (
            Delivery.objects.using(OWN)
            .filter(feedback__message=self.answer["id"], feedback__vote=self.vote)
            .filter(state=State.DELIVERED)
            .exists()
        )


class Scene:
    """The processes, the four voters, and the one point at which processes stop."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.pause = Pause(folder / "pause")
        self.pause.arm("")
        env = env | self.pause.env
        self.server = Server(EMBEDDED_WORKER="false", **env)
        self.worker_env = env
        self.voters: list[Voter] = []
        self._worker = ExitStack()

    def start_worker(self) -> None:
        self.carrier = self._worker.enter_context(worker(None, **self.worker_env))

    def kill(self, point: str) -> None:
        """SIGKILL whoever is at the point."""
        if point in OF_THE_SERVER:
            self.server.kill()
        else:
            self.carrier.kill()
            self._worker.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.server, self._worker:
            self.start_worker()
            yield

    async def reach(self, point: str) -> None:
        """Have all voters change their minds, and return when all four votes are at the point."""
        simulators = [one.case.simulator for one in self.voters]
        # While one waits to be noted nobody can claim: none is answered until all have called.
        faults = {"body sent": Stall} | dict.fromkeys(REPEATED, Withhold)
        if point in faults:
            for voter in self.voters:
                voter.case.simulator.fail_next(voter.case.operations["rate"], faults[point]())
        votes = [asyncio.create_task(voter.change_mind()) for voter in self.voters]
        if point == "connecting":
            ports = [simulator.port for simulator in simulators]
            await eventually(lambda: connecting(ports) == len(ports), timeout_s=PATIENCE_S)
        elif point in faults:
            held = [1] * len(simulators)
            await eventually(
                lambda: [one.stalled for one in simulators] == held, timeout_s=PATIENCE_S
            )
        else:
            # One transaction is open at a time: the other three wait behind it.
            due = 1 if point == "before commit" else len(simulators)
            await eventually(lambda: self.pause.reached >= due, timeout_s=PATIENCE_S)
        if point == "answered, not noted":
            for simulator in simulators:
                simulator.release()
            await eventually(lambda: self.pause.reached >= 1, timeout_s=PATIENCE_S)
        if point not in OF_THE_SERVER:
            await asyncio.gather(*votes)
        self.votes = votes

    def _end_leases(self) -> None:
        """They end by the clock (`test_feedback_workers.py` waits for it); here it is set forward.

        Not where the worker lives: it may be at work.
        """
        rows = Delivery.objects.using(OWN)
        for row in rows.values_list("pk", flat=True):  # one by one: the service locks some, too
            rows.filter(pk=row).update(lease_until=timezone.now())

    async def round(self, point: str) -> dict[str, int]:
        """Vote, kill at the point, start again. Returns how often each vendor was told."""
        before = {voter.case.provider: len(voter.calls()) for voter in self.voters}
        self.pause.arm(point)
        with unreachable(self.voters) if point == "connecting" else contextlib.nullcontext():
            await self.reach(point)
            self.kill(point)
        self.pause.arm("")
        await asyncio.gather(*self.votes)
        if point in OF_THE_SERVER:
            self.server.start()
        else:
            self._end_leases()
            self.start_worker()
        if point == "before commit":
            await asyncio.gather(*(voter.send() for voter in self.voters))
        for voter in self.voters:
            await eventually(voter.is_told, timeout_s=PATIENCE_S)
        told = {}
        for voter in self.voters:
            calls = voter.calls()[before[voter.case.provider] :]
            assert len({call.body for call in calls}) <= 1, "what is repeated is the same"
            # A body that was read and not worked on has told the vendor nothing.
            told[voter.case.provider] = len(calls) - (point == "body sent")
        return told


def connecting(ports: list[int]) -> int:
    """Return to how many of these ports somebody is just connecting (`SYN_SENT`)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    asked = {int(row[2].split(":")[1], 16) for row in rows if row[3] == "02"}
    return len(asked & set(ports))


@contextmanager
def unreachable(voters: list[Voter]) -> Iterator[None]:
    """Vendors that take no connection and refuse none."""
    with ExitStack() as stack:
        for voter in voters:
            simulator = voter.case.simulator
            simulator.stop()
            stack.callback(simulator.start)
            listening = stack.enter_context(socket.socket())
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", simulator.port))
            listening.listen(0)  # room for one, which is taken
            stack.enter_context(socket.create_connection(listening.getsockname()))
        yield


@asynccontextmanager
async def scene(database: dict[str, str], folder: Path) -> AsyncIterator[Scene]:
    """Everything runs, and each voter has an answer to vote on."""
    async with AsyncExitStack() as stack:
        cases = []
        for name in VENDORS:
            cases.append(CASES[name]())
            stack.callback(cases[-1].simulator.stop)
        made = Scene(database, folder)
        keys = [widget(case) for case in cases]
        stack.enter_context(made.running())

        async def voter(case: Case, key: str) -> Voter:
            visitor = await stack.enter_async_context(Visitor(made.server.url, key))
            answer = await visitor.ask_and_wait("Hello")
            assert answer["status"] == "completed", (case.provider, answer)
            return Voter(case, visitor, answer)

        made.voters = list(await asyncio.gather(*map(voter, cases, keys)))
        yield made
        assert [case.simulator.violations for case in cases] == [[]] * len(cases)


def widget(case: Case) -> str:
    """Make an agent and its widget in our database; returns the widget's key."""
    given = case.agent()
    agent = Agent(name=case.provider, **{k: v for k, v in given.items() if k != "credentials"})
    agent.credentials = given["credentials"]
    agent.save(using=OWN)
    return str(Widget.objects.using(OWN).create(name="Site", agent=agent).pk)


@pytest.fixture(params=["sqlite", "postgres"])
def own(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    with attached(request.param) as env:
        yield env


@sized("rounds", gate=0, full=25)
async def test_no_vote_is_lost_wherever_its_carrier_is_killed(
    own: dict[str, str],
    request: pytest.FixtureRequest,
    report: Report,
    tmp_path: Path,
    rounds: int,
) -> None:
    """B1: SIGKILL at each point of a vote's way, at four vendors: none lost, repeats where said."""
    # The gate kills once at each point, on one of the databases.
    half = POINTS[request.node.callspec.params["own"] == "postgres" :: 2]
    told: Counter[str] = Counter()
    async with scene(own, tmp_path) as on:
        for point in list(POINTS) * rounds or half:
            count = await on.round(point)
            told[point] += sum(count.values()) - len(count)
            lost = [
                voter.case.provider
                for voter in on.voters
                if voter.case.held()[-1].vote != voter.vote
            ]
            assert lost == []
            assert set(count.values()) == {2 if point in REPEATED else 1}, (point, count)
        kills = rounds * len(POINTS) or len(half)
    report.tell("kills", kills)
    report.tell("votes killed on their way", kills * len(VENDORS))
    report.tell("votes lost", 0)
    for point, repeats in told.items():
        report.tell(f"repeated when killed {point}", repeats)
