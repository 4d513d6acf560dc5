"""Whatever comes between snapshot, chunks, cuts, returns and tabs: what is shown is what is stored.

The real socket, hub, turn and statements, with two tabs and two processes. Only time is not real:
hypothesis says when a statement is carried out, when its result is back, what the network still
delivers, and when a process hears of another's work.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwidget import claims, consumers, hub, tokens
from chatwidget.claims import Claimed, Final
from chatwidget.consumers import VisitorSocket
from chatwidget.events import MessageChanged, Rewritten, Text
from chatwidget.models import Message, Status
from chatwidget.serializers import MessageOut
from chatwidget.turn import Turn

from ..cast import claimed_turn, make_conversation
from ..visitor import FINAL, JSON, Screen

Work = Callable[..., Any]
A_LONG_TIME = timedelta(days=1)
"""The answer's lease, so that no server of other tests takes it up."""


@dataclass(frozen=True)
class Stored:
    """One conversation with one open answer, as the real database keeps it."""

    hello: JSON
    claimed: Claimed

    def reset(self) -> Claimed:
        """Make the answer pending again, claimed by the first process."""
        now = timezone.now()
        Message.objects.filter(pk=self.claimed.answer).update(
            status=Status.PENDING,
            text="",
            seq=0,
            completed_at=None,
            changed_at=now,
            lease_token=self.claimed.token,
            lease_until=now + A_LONG_TIME,
        )
        return replace(self.claimed, version=now.isoformat())

    def run(self, work: Work, *args: Any) -> Any:
        """Carry out what the service gave to its store."""
        with transaction.atomic():
            return work(*args)

    def fetched(self) -> list[JSON]:
        """The conversation as a fresh client gets it."""
        messages = Message.objects.to_show().filter(conversation=self.claimed.conversation)
        return [dict(MessageOut(one).data) for one in messages.order_by("position")]


class Remembered:
    """The same without a database, for thousands of cases."""

    def __init__(self, real: Stored) -> None:
        self.hello, self._claimed = real.hello, real.claimed
        self._question = real.fetched()[0]
        self._entered: Any = None
        self.reset()

    def reset(self) -> Claimed:
        self._version = 0
        self._answer = dict(self._claimed.shown)
        return replace(self._claimed, version=self._now())

    def fetched(self) -> list[JSON]:
        return [self._question, self._answer]

    def run(self, work: Work, *args: Any) -> Any:
        match work:
            case consumers._enter:
                self._entered = self._entered or work(*args)
                return self._entered
            case consumers.newest_page:
                return [("", self._question), (self._now(), self._answer)]
            case hub.news_of:
                return [(self._claimed.visitor, self._frame())]
            case hub.changes:
                return [], [(self._claimed.answer, self._now())]
            case hub.messages_of:
                return [(self._claimed.visitor, self._frame())]
            case claims.save_texts:
                ((_, text, seq),) = args[0]
                if self._answer["status"] not in FINAL:
                    self._store(text=text, seq=seq, status="streaming" if seq else "pending")
                return None
            case claims.finish:
                final: Final = args[1]
                self._store(text=final.text, seq=final.seq, status=final.status.value)
                return [self._frame()]
            case _:
                raise NotImplementedError(work)

    def _now(self) -> str:
        return f"{self._version:06}"

    def _store(self, **change: Any) -> None:
        self._version += 1
        self._answer = self._answer | change

    def _frame(self) -> MessageChanged:
        return MessageChanged(
            conversation=self._answer["conversation"],
            message=self._answer["id"],
            seq=self._answer["seq"],
            version=self._now(),
            body=self._answer,
        )


Scene = Stored | Remembered


class SlowStore:
    """One process's way to what is stored; statements and results wait for their step."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._reads: list[tuple[asyncio.Future[Any], Any]] = []
        self._queued: deque[tuple[asyncio.Future[Any], Work, tuple[Any, ...]]] = deque()
        self._written: deque[tuple[asyncio.Future[Any], Any]] = deque()

    async def read(self, work: Work, *args: Any) -> Any:
        done = asyncio.get_running_loop().create_future()
        self._reads.append((done, self._scene.run(work, *args)))
        return await done

    async def write(self, work: Work, *args: Any) -> Any:
        done = asyncio.get_running_loop().create_future()
        self._queued.append((done, work, args))
        return await done

    def commit(self) -> None:
        """Carry out the write that waits longest."""
        if self._queued:
            done, work, args = self._queued.popleft()
            self._written.append((done, self._scene.run(work, *args)))

    def answer(self, which: int) -> None:
        """Give back what a read found, or what a write returned."""
        if self._reads and (which % 2 or not self._written):
            settle(*self._reads.pop(which % len(self._reads)))
        elif self._written:
            settle(*self._written.popleft())

    @property
    def is_quiet(self) -> bool:
        return not (self._reads or self._queued or self._written)


def settle(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


class Connection:
    """One socket between a tab and a process; its frames are on the wire until delivered."""

    def __init__(self, process: "Process", hello: JSON) -> None:
        self.wire: deque[str] = deque()
        self.seq = -1
        """Of the newest frame delivered about the answer."""
        self._socket = VisitorSocket()
        self._socket.scope = {"headers": [], "client": ["127.0.0.1", 1]}
        self._socket._process = SimpleNamespace(store=process.store, hub=process.hub)  # type: ignore[assignment]
        self._socket.base_send = self._send
        self._inbox: asyncio.Queue[str] = asyncio.Queue()
        self._serving = asyncio.create_task(self._serve())
        self.say(hello)

    async def _send(self, event: JSON) -> None:
        self.wire.append(event["text"])

    async def _serve(self) -> None:
        while True:
            await self._socket.receive(text_data=await self._inbox.get())

    def say(self, frame: JSON) -> None:
        self._inbox.put_nowait(json.dumps(frame))

    async def close(self) -> None:
        if self._serving.done():
            self._serving.result()
        self._serving.cancel()
        await self._socket.disconnect(1006)


class Process:
    """A server process: its hub, and its own way to the database."""

    def __init__(self, scene: Scene) -> None:
        self.store = SlowStore(scene)
        self.hub = hub.Hub(self.store)  # type: ignore[arg-type]


@dataclass
class Seat:
    """A tab: its screen outlives its connections."""

    screen: Screen = field(default_factory=Screen)
    connection: Connection | None = None
    has_ended: bool = False


class World:
    """One answer in the first of two processes, and two tabs that come and go at both."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.claimed = scene.reset()
        self.processes = [Process(scene), Process(scene)]
        self.hub = self.processes[0].hub
        self.turn = Turn(self.claimed.shown, version=self.claimed.version)
        self.hub.open(self.turn)
        self.seats = [Seat(), Seat()]
        self.finishing = False
        self.tasks: list[asyncio.Task[None]] = []
        self.left: list[Connection] = []

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    # the turn, as its runner drives it

    def say(self, n: int) -> None:
        if not self.finishing:
            event = Rewritten("🚲" * n) if n == 7 else Text(f"{n}é ")
            if frame := self.turn.take([event]):
                self.hub.publish(self.claimed.visitor, frame, ring=False)

    def save(self, n: int) -> None:
        if not self.finishing:
            self.start(self._save(self.turn.text, self.turn.seq, is_heard=n % 4 > 0))

    async def _save(self, text: str, seq: int, *, is_heard: bool) -> None:
        await self.processes[0].store.write(claims.save_texts, [(self.claimed, text, seq)])
        if is_heard:
            self.bell()

    def finish(self, n: int) -> None:
        if not self.finishing:
            self.finishing = True
            self.start(self._finish(is_heard=n % 4 > 0))

    async def _finish(self, *, is_heard: bool) -> None:
        final = Final(status=Status.COMPLETED, text=self.turn.text, seq=self.turn.seq, citations=[])
        store = self.processes[0].store
        frames = await store.write(claims.finish, self.claimed, final)
        self.hub.end(self.turn)
        self.hub.publish(self.claimed.visitor, *frames, ring=False)
        if is_heard:
            self.bell()

    # the database and what processes hear

    def commit(self, n: int) -> None:
        self.processes[n % 2].store.commit()

    def answer(self, n: int) -> None:
        self.processes[n % 2].store.answer(n // 2)

    async def catch_up(self, n: int) -> None:
        """One process is given everything that it waits for."""
        while not self.processes[n % 2].store.is_quiet:
            self.commit(n % 2)
            self.answer(n % 2)
            self.answer(n % 2 + 2)
            await self.rest()

    def bell(self, n: int = 0) -> None:
        other = self.processes[1].hub
        other._rung.add((self.claimed.visitor, str(self.claimed.answer)))
        if not other._reading:
            self.start(other._read_news())

    def sweep(self, n: int) -> None:
        self.start(self.processes[n % 2].hub._sweep())

    # tabs and network

    def connect(self, n: int) -> None:
        seat, process = self.seats[n % 2], self.processes[n // 2 % 2]
        if seat.connection is None:
            seat.connection = Connection(process, self.scene.hello)

    def cut(self, n: int) -> None:
        seat = self.seats[n % 2]
        if seat.connection is not None:
            self.left.append(seat.connection)
            seat.connection = None

    async def notice(self, n: int = 0) -> None:
        """The servers notice who is gone."""
        while self.left:
            await self.left.pop().close()

    def sync(self, n: int) -> None:
        connection = self.seats[n % 2].connection
        if connection is not None:
            connection.say({"type": "sync", "conversation": self.scene.hello["conversation"]})

    def deliver(self, n: int) -> None:
        """The network brings one frame, or all that are on the way."""
        seat = self.seats[n % 2]
        for _ in range(1 if n < 4 else 1000):
            if seat.connection is None or not seat.connection.wire:
                return
            self._show(seat, seat.connection, json.loads(seat.connection.wire.popleft()))

    def _show(self, seat: Seat, connection: Connection, frame: JSON) -> None:
        assert frame["type"] != "error", frame
        if frame["type"] == "delta":
            assert frame["seq"] == connection.seq + 1, "each delta once, and none left out"
        seat.screen.show(frame)
        message = seat.screen.messages.get(str(self.claimed.answer))
        if message is None:
            return
        if frame["type"] != "conversation":
            assert frame["type"] == "ready" or message["seq"] >= connection.seq, "taken back"
            connection.seq = message["seq"]
        has_ended = message["status"] in FINAL
        assert has_ended or not seat.has_ended, "an end is an end"
        seat.has_ended = has_ended

    # a case

    async def play(self, steps: list[tuple[str, int]]) -> None:
        for name, n in steps:
            if (waited := getattr(self, name)(n)) is not None:
                await waited
            await self.rest()
        self.finish(0)
        for n in range(4):  # whoever is not there comes back
            self.connect(n)
        for _ in range(3):
            await self.calm_down()
            self.bell(0)
            self.sweep(0)
            self.sweep(1)
        await self.calm_down()

    async def calm_down(self) -> None:
        """Let everything happen that can."""
        await self.rest()
        for n in (0, 1, 0, 1):
            await self.catch_up(n)
        for n in (4, 5):
            self.deliver(n)

    async def rest(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for seat in self.seats:
            if seat.connection is not None:
                self.left.append(seat.connection)
        await self.notice()
        for task in self.tasks:
            task.cancel()
        for process in self.processes:
            await process.hub.close()
        for result in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


STEPS = (
    *("say",) * 5, *("save",) * 2, "finish", "commit", *("answer",) * 2, *("catch_up",) * 3,
    "bell", "sweep", *("connect",) * 2, "cut", "notice", "sync", *("deliver",) * 3,
)  # fmt: skip


@pytest.fixture(scope="module")
def stored(database: None, django_db_blocker: Any) -> Iterator[Stored]:
    """A question and its pending answer, and one process's channel layer."""
    layer = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    with override_settings(CHANNEL_LAYERS=layer):
        conversation = make_conversation([("visitor", "Hello")])
        claimed = claimed_turn(conversation)
        hello = {
            "type": "hello",
            "token": tokens.issue(conversation.visitor),
            "conversation": str(conversation.pk),
        }
        yield Stored(hello, claimed)
        conversation.delete()


@pytest.fixture(scope="module")
def remembered(stored: Stored) -> Remembered:
    return Remembered(stored)


def play(scene: Scene, steps: list[tuple[str, int]]) -> None:
    """Play one case and compare every screen with a fresh fetch."""

    async def case() -> None:
        world = World(scene)
        try:
            await world.play(steps)
            fetched = scene.fetched()
            for seat in world.seats:
                assert list(seat.screen.messages.values()) == fetched
        finally:
            await world.end()

    asyncio.run(case())


interleavings = given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), min_size=10, max_size=60)
)


@pytest.mark.default_stack("no server and no database takes part")
@pytest.mark.timeout(300)
@settings(max_examples=2000, deadline=None)
@interleavings
def test_every_interleaving_shows_what_a_fresh_fetch_has(
    remembered: Remembered, steps: list[tuple[str, int]]
) -> None:
    play(remembered, steps)


@settings(max_examples=20, deadline=None)
@interleavings
def test_every_interleaving_shows_what_the_database_has(
    stored: Stored, steps: list[tuple[str, int]]
) -> None:
    play(stored, steps)
