"""Fan-out: who of this process must hear what, and how other processes are woken.

Frames go straight to the sockets of this process. The channel layer is only a doorbell: it may
drop, so it carries no content. A process that hears it reads what is stored; one that missed it
finds out by looking every `SWEEP_S` at the conversations its visitors have open.

Everything here runs on the event loop, and nothing here waits for a socket.
"""

import asyncio
import json
import logging
import random
import time
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Protocol, assert_never

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.db.models import QuerySet
from django.utils import timezone

from .events import ConversationChanged, Delta, Frame, MessageChanged, Stored
from .models import OPEN, Conversation, Message
from .prepared import Prepared
from .serializers import conversation_frame, message_frame
from .store import Store
from .turn import Turn

log = logging.getLogger(__name__)

SWEEP_S = 2.0
OVERLAP = timedelta(seconds=5)
"""How far back a sweep looks again: clocks differ, and commits come late."""
REJOIN_S = 20.0
"""The layer forgets a group's member that was slow to read for a minute."""
LAYER_S = 1.0
"""The layer may take so long, not longer: nothing depends on it."""
QUIET_S = 10.0
"""While the layer is away, the log says so this often."""
REMEMBERED_S = 30.0
"""What was told is remembered for longer than a sweep looks back. At worst it is told again."""
RETURNS_PER_S = 200
"""So many sockets that are sent away may come back in a second, to whoever takes them."""
LONGEST_SPREAD_S = 6.0
REVOKED = "revoked"
EVERYBODY = "processes"
"""The group that every process is in."""

Bell = tuple[str, str]
"""A visitor, and the id of what is new to them."""


class Listener(Protocol):
    """A socket. `deliver` must not wait; a text is sent after all that came before it."""

    def deliver(self, frame: Frame, text: str) -> None: ...

    def revoke(self) -> None:
        """The visitor is no more: close for good."""

    def send_away(self, retry_in_s: float) -> None:
        """This process ends: close, to be opened again elsewhere, that much later."""


as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(frame: Frame) -> str:
    """Return the JSON text of a frame."""
    match frame:
        case Delta():  # as many as there are tokens; its ids need no escape
            return (
                f'{{"type":"delta","conversation":"{frame.conversation}",'
                f'"message_id":"{frame.message}","seq":{frame.seq},"text":{as_json(frame.text)}}}'
            )
        case MessageChanged():
            return as_json({"type": "message", "message": frame.body})
        case ConversationChanged():
            return as_json({"type": "conversation", "conversation": frame.body})
        case _:
            assert_never(frame)


class Hub:
    """The sockets of this process by visitor, and the answers that are coming here."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._leaving = False
        self._turns: dict[str, Turn] = {}
        self._told: OrderedDict[str, tuple[str, float]] = OrderedDict()
        """What listeners here were told last of a message or conversation: its version, when.

        The oldest first."""
        self._shown: dict[str, float] = {}
        """When a socket of a visitor here was last sent a snapshot."""
        self._swept_until = timezone.now()
        self._layer = get_channel_layer()
        self._shared = not isinstance(self._layer, InMemoryChannelLayer)
        self._name = uuid.uuid4().hex
        self._channel = ""
        self._rung: set[Bell] = set()
        """Heard, and not read yet. What rings while a read is under way is read together."""
        self._reading = False
        self._quiet_until = 0.0
        self._tasks = [asyncio.create_task(self._sweep_always())]
        if self._shared:
            self._tasks.append(asyncio.create_task(self._hear_always()))

    async def close(self) -> None:
        """Stop listening for other processes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- sockets ----------------------------------------------------------------------------------

    async def attach(self, visitor: str, listener: Listener) -> None:
        """Deliver to `listener` everything of `visitor` from now on, wherever it happens."""
        self._listeners[visitor].add(listener)
        if self._leaving:
            listener.send_away(1.0)
            return
        if self._shared and len(self._listeners[visitor]) == 1:
            try:
                await self._join(visitor)
            except Exception as error:  # the sweep does it, only later
                self._note_loss(error)

    def detach(self, visitor: str, listener: Listener) -> None:
        """Undo `attach`."""
        self._listeners[visitor].discard(listener)
        if not self._listeners[visitor]:
            del self._listeners[visitor]
            self._shown.pop(visitor, None)
            if self._shared:
                self._background(self._leave(visitor))

    def shown(self, visitor: str) -> None:
        """A socket of this visitor is sent a snapshot: a read that began earlier may be older."""
        self._shown[visitor] = time.monotonic()

    def is_here(self, visitor: str) -> bool:
        """Whether the visitor has a socket here."""
        return visitor in self._listeners

    def may_watch(self, visitor: str) -> bool:
        """Whether the visitor has a socket here, or may have one in another process."""
        return self._shared or self.is_here(visitor)

    # --- answers ----------------------------------------------------------------------------------

    def open(self, turn: Turn) -> None:
        """An answer is coming in this process: snapshots show it as it stands."""
        self._turns[turn.message] = turn

    def end(self, turn: Turn) -> None:
        """It is no longer coming here."""
        self._turns.pop(turn.message, None)

    def as_it_stands(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a stored message's JSON object, newer where its answer is coming here."""
        turn = self._turns.get(body["id"])
        return turn.body if turn and body["status"] in OPEN else body

    # --- frames -----------------------------------------------------------------------------------

    def publish(self, visitor: str, *frames: Frame, ring: bool = True) -> None:
        """Tell the visitor's sockets here, and wake the processes that have others."""
        listeners = tuple(self._listeners.get(visitor, ()))
        for frame in frames:
            if not isinstance(frame, Delta):
                self._remember(frame)
            if listeners:
                text = encode(frame)
                for listener in listeners:
                    listener.deliver(frame, text)
        if ring:
            self.ring(visitor, *(one.about for one in frames))

    def ring(self, visitor: str, *about: str) -> None:
        """Wake the other processes: there is something new to read of a message, say."""
        if self._shared and about:
            bells = [(visitor, one) for one in about]
            self._background(self._send(f"visitor.{visitor}", bells))

    def ring_all(self, bells: Collection[Bell]) -> None:
        """Ring many bells by one message, which every process hears: texts grow many at a time."""
        if self._shared and bells:
            self._background(self._send(EVERYBODY, bells))

    def revoke(self, visitor: str) -> None:
        """Close the visitor's sockets here."""
        for listener in tuple(self._listeners.get(visitor, ())):
            listener.revoke()

    def send_away(self) -> None:
        """Close every socket here, and whichever comes late, with a spread for their return."""
        self._leaving = True
        sockets = [one for listeners in self._listeners.values() for one in listeners]
        spread_s = min(LONGEST_SPREAD_S, 1 + len(sockets) / RETURNS_PER_S)
        for listener in sockets:
            listener.send_away(random.uniform(0, spread_s))  # noqa: S311 (no secret)

    def _remember(self, frame: Stored) -> None:
        self._told[frame.about] = version_of(frame), time.monotonic()
        self._told.move_to_end(frame.about)

    def _forget(self) -> None:
        until = time.monotonic() - REMEMBERED_S
        while self._told and next(iter(self._told.values()))[1] < until:
            self._told.popitem(last=False)

    def _is_stale(self, visitor: str, about: str, read_at: float) -> bool:
        """Whether it was told of, or shown, while it was being read: what was read may be older."""
        _, told_at = self._told.get(about, ("", 0.0))
        return max(told_at, self._shown.get(visitor, 0.0)) >= read_at

    def _is_known(self, about: str, version: str) -> bool:
        """Whether the listeners here were told this version, or are told of it as it comes."""
        return about in self._turns or self._told.get(about, ("", 0))[0] == version

    # --- what other processes did -----------------------------------------------------------------

    async def _sweep_always(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self._sweep()
            except Exception:
                log.exception("sweep failed")

    async def _sweep(self) -> None:
        self._forget()
        began = timezone.now()
        if not self._listeners:
            self._swept_until = began
            return
        visitors, read_at = list(self._listeners), time.monotonic()
        conversations, versions = await self._store.read(
            changes, visitors, self._swept_until - OVERLAP
        )
        unknown = [one for one, version in versions if not self._is_known(str(one), version)]
        news: list[tuple[str, Stored]] = [*conversations]
        if unknown:
            news = [*await self._store.read(messages_of, unknown), *conversations]
        self._swept_until = began  # or the next one looks as far back as this one
        for visitor, frame in news:
            if not self._is_stale(visitor, frame.about, read_at):  # else the next sweep sees it
                self._tell(visitor, frame)

    def _tell(self, visitor: str, frame: Stored) -> None:
        if not self._is_known(frame.about, version_of(frame)):
            self.publish(visitor, frame, ring=False)

    async def _hear_always(self) -> None:
        while True:
            try:
                self._channel = await self._layer.new_channel()
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._rejoin_always())
                    group.create_task(self._hear())
            except Exception as error:  # Redis went away: the sweep carries on meanwhile
                self._note_loss(error)
                await asyncio.sleep(1)

    async def _rejoin_always(self) -> None:
        while True:
            await self._layer.group_add(EVERYBODY, self._channel)
            for visitor in list(self._listeners):
                await self._layer.group_add(f"visitor.{visitor}", self._channel)
            await asyncio.sleep(REJOIN_S)

    async def _hear(self) -> None:
        while True:
            message = await self._layer.receive(self._channel)
            if message["from"] == self._name:
                continue
            for visitor, about in message["bells"]:
                if about == REVOKED:
                    self.revoke(visitor)
                elif self.is_here(visitor):
                    self._rung.add((visitor, about))
            if self._rung and not self._reading:
                self._background(self._read_news())

    async def _read_news(self) -> None:
        self._reading = True
        try:
            while self._rung:
                rung, self._rung = self._rung, set()
                read_at = time.monotonic()
                for visitor, frame in await self._store.read(news_of, rung):
                    if self._is_stale(visitor, frame.about, read_at):
                        self._rung.add((visitor, frame.about))
                    else:
                        self._tell(visitor, frame)
        finally:
            self._reading = False

    async def _join(self, visitor: str) -> None:
        async with asyncio.timeout(LAYER_S):
            if self._channel:
                await self._layer.group_add(f"visitor.{visitor}", self._channel)

    async def _leave(self, visitor: str) -> None:
        async with asyncio.timeout(LAYER_S):
            await self._layer.group_discard(f"visitor.{visitor}", self._channel)

    async def _send(self, group: str, bells: Collection[Bell]) -> None:
        message = {"type": "bells", "from": self._name, "bells": [list(one) for one in bells]}
        async with asyncio.timeout(LAYER_S):
            await self._layer.group_send(group, message)

    def _background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.append(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.remove(task)
        if not task.cancelled() and (error := task.exception()):
            self._note_loss(error)

    def _note_loss(self, error: BaseException) -> None:
        if time.monotonic() > self._quiet_until:
            self._quiet_until = time.monotonic() + QUIET_S
            log.warning("the channel layer does not answer, so sockets hear later: %r", error)


def version_of(frame: Stored) -> str:
    """Return what differs between two frames that say different things of one message."""
    return frame.version if isinstance(frame, MessageChanged) else repr(frame.body)


def changes(
    visitors: list[str], since: datetime
) -> tuple[list[tuple[str, ConversationChanged]], list[tuple[uuid.UUID, str]]]:
    """Read what changed of these visitors: (visitor, conversation), and (message, version)."""
    conversations = list(
        Conversation.objects.filter(visitor_id__in=visitors, changed_at__gte=since)
    )
    messages = Message.objects.filter(conversation__in=conversations, changed_at__gte=since)
    return (
        [(str(one.visitor_id), conversation_frame(one)) for one in conversations],
        [(pk, version.isoformat()) for pk, version in messages.values_list("pk", "changed_at")],
    )


def messages_of(ids: list[uuid.UUID]) -> list[tuple[str, MessageChanged]]:
    """Read these messages: (visitor, message), each conversation's in its order."""
    found = _messages(*padded(ids))
    return [(str(one.conversation.visitor_id), message_frame(one)) for one in found]


def padded(ids: list[uuid.UUID]) -> list[uuid.UUID]:
    """Repeat the last id until they are a power of two: few numbers occur, so few queries."""
    return ids + ids[-1:] * ((1 << (len(ids) - 1).bit_length()) - len(ids))


@Prepared
def _messages(*ids: uuid.UUID) -> QuerySet[Message]:
    found = Message.objects.only_to_show().filter(pk__in=ids)
    return found.order_by("conversation", "position")


@Prepared
def _conversations(*ids: uuid.UUID) -> QuerySet[Conversation]:
    return Conversation.objects.filter(pk__in=ids)


def news_of(rung: Collection[Bell]) -> list[tuple[str, Stored]]:
    """Read the messages and conversations that bells told of, each if it is its visitor's."""
    messages = messages_of([uuid.UUID(about) for _, about in rung])
    found = {frame.message for _, frame in messages}
    rest = [uuid.UUID(about) for _, about in rung if about not in found]
    conversations = _conversations(*padded(rest)) if rest else []
    news: list[tuple[str, Stored]] = [
        *messages,
        *((str(one.visitor_id), conversation_frame(one)) for one in conversations),
    ]
    return [(visitor, frame) for visitor, frame in news if (visitor, frame.about) in rung]
