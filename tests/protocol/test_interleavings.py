"""State, then changes, for every order in which reading, storing and telling can happen.

The real socket, turn and hub, without their event loop: hypothesis moves one step at a time.
"""

import json
import uuid
from collections.abc import Callable, Coroutine, Generator
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chatwidget.consumers import VisitorSocket
from chatwidget.events import Frame, MessageChanged, Rewritten, Text
from chatwidget.hub import Hub, encode
from chatwidget.turn import Turn

from ..visitor import JSON

CONVERSATION = str(uuid.uuid4())
MESSAGE = str(uuid.uuid4())
PENDING = {
    "id": MESSAGE,
    "conversation": CONVERSATION,
    "status": "pending",
    "text": "",
    "seq": 0,
    "citations": [],
    "links": [],
}


class Later:
    """Something to wait for: whoever drives the coroutine says when it has come."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Tab(VisitorSocket):
    """The socket with its frames kept instead of sent."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._visitor = "visitor"
        self._process = SimpleNamespace(store=world, hub=world)  # type: ignore[assignment]
        self.frames: list[JSON] = []

    def _queue(self, text: str) -> None:
        self.frames.append(json.loads(text))


class World:
    """One answer: what the turn has, what is stored, and a tab that may be reading it."""

    def __init__(self) -> None:
        self.version = 0
        self.stored = dict(PENDING)
        self.turn = Turn(PENDING, version=self.now())
        self._turns = {MESSAGE: self.turn}
        self.saving: JSON | None = None
        self.final: JSON | None = None
        self.told = False
        self.tab = Tab(self)
        self.reading: Coroutine[Any, Any, None] | None = None
        self.listening = False

    def now(self) -> str:
        return f"{self.version:06}"

    # what the socket uses

    async def read(self, *_: object) -> list[tuple[str, JSON]]:
        found = [(self.now(), dict(self.stored))]
        await Later()
        return found

    def as_it_stands(self, body: JSON) -> JSON:
        return Hub.as_it_stands(self, body)  # type: ignore[arg-type]  # it needs the turns only

    # what may happen

    def say(self, text: str) -> None:
        if self.final is None:
            self.publish(self.turn.take([Text(text)]))

    def rewrite(self, text: str) -> None:
        if self.final is None:
            self.publish(self.turn.take([Rewritten(text)]))

    def begin_save(self) -> None:
        if self.final is None and self.saving is None:
            self.saving = dict(self.turn.body)

    def end_save(self) -> None:
        if self.saving is not None:
            self.store(self.saving)
            self.saving = None

    def store_final(self) -> None:
        self.end_save()
        if self.final is None:
            self.final = {**self.turn.body, "status": "completed"}
            self.store(self.final)

    def tell_final(self) -> None:
        self.store_final()
        assert self.final is not None
        if not self.told:
            self.told = True
            self._turns.clear()
            self.publish(
                MessageChanged(
                    conversation=CONVERSATION,
                    message=MESSAGE,
                    seq=self.final["seq"],
                    version=self.now(),
                    body=self.final,
                )
            )

    def begin_read(self) -> None:
        if self.reading is None:
            self.listening = True
            self.reading = self.tab._catch_up({"conversation": CONVERSATION})
            self.reading.send(None)

    def end_read(self) -> None:
        if self.reading is not None:
            reading, self.reading = self.reading, None
            try:
                reading.send(None)
            except StopIteration:
                return
            raise AssertionError("the snapshot waits for something else")

    def store(self, body: JSON) -> None:
        self.version += 1
        self.stored = dict(body)

    def publish(self, frame: Frame | None) -> None:
        if frame is not None and self.listening:
            self.tab.deliver(frame, encode(frame))


STEPS: list[Callable[[World], None]] = [
    lambda world: world.say("a"),
    lambda world: world.say("🚲 "),
    lambda world: world.rewrite("b"),
    lambda world: world.rewrite(""),
    World.begin_save,
    World.end_save,
    World.begin_read,
    World.begin_read,
    World.end_read,
    World.end_read,
    World.store_final,
    World.tell_final,
]


@settings(max_examples=2000, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=40))
def test_every_interleaving_ends_with_exactly_the_servers_text(
    steps: list[Callable[[World], None]],
) -> None:
    world = World()
    for step in [*steps, World.begin_read, World.end_read, World.tell_final]:
        step(world)
    text, seq, status = "", -1, ""
    for frame in world.tab.frames:
        if frame["type"] == "delta":
            assert frame["seq"] == seq + 1
            text, seq = text + frame["text"], frame["seq"]
        else:
            message = frame["messages"][0] if frame["type"] == "ready" else frame["message"]
            assert frame["type"] == "ready" or message["seq"] >= seq, "nothing is taken back"
            text, seq, status = message["text"], message["seq"], message["status"]
    assert world.final is not None
    assert (text, seq, status) == (world.final["text"], world.final["seq"], "completed")
