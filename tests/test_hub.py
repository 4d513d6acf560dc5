"""Catching up with other processes: what was read may be older than what was told meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatwidget import hub as hub_module
from chatwidget.events import ConversationChanged, Frame, MessageChanged, Stored
from chatwidget.hub import Hub

ANSWER, CONVERSATION, VISITOR = "answer", "conversation", "visitor"


def message(status: str, version: str) -> MessageChanged:
    return MessageChanged(
        conversation=CONVERSATION, message=ANSWER, seq=0, version=version, body={"status": status}
    )


def conversation(unread: int) -> ConversationChanged:
    return ConversationChanged(conversation=CONVERSATION, body={"unread": unread})


class SlowStore:
    """A database whose answers come when the test says."""

    def __init__(self) -> None:
        self.reads: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()
        self.asked: list[tuple[Any, ...]] = []
        self.loaded = 0

    async def read(self, *asked: Any) -> Any:
        self.asked.append(asked)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.reads.put_nowait(answer)
        return await answer


class Tab:
    def __init__(self) -> None:
        self.told: list[Frame] = []

    def deliver(self, frame: Frame, text: str) -> None:
        self.told.append(frame)

    def revoke(self) -> None: ...

    def send_away(self, retry_in_s: float) -> None: ...


@pytest.fixture
async def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
async def tab() -> Tab:
    return Tab()


@pytest.fixture
async def hub(store: SlowStore, tab: Tab) -> AsyncIterator[Hub]:
    hub = Hub(store)  # type: ignore[arg-type]
    await hub.attach(VISITOR, tab)
    yield hub
    await hub.close()


async def sweep(hub: Hub, store: SlowStore, *stored: Stored, told: Stored | None = None) -> None:
    """Have the hub look at a database that holds this; `told` meanwhile."""
    looking = asyncio.create_task(hub._sweep())
    conversations = [(VISITOR, one) for one in stored if isinstance(one, ConversationChanged)]
    messages = [one for one in stored if isinstance(one, MessageChanged)]
    read = await store.reads.get()
    if told:
        hub.publish(VISITOR, told)
    read.set_result((conversations, [(one.message, one.version) for one in messages]))
    while not looking.done():
        await asyncio.sleep(0)
        if not store.reads.empty():
            store.loaded += len(messages)
            store.reads.get_nowait().set_result([(VISITOR, one) for one in messages])
    await looking


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (message("pending", "1"), message("completed", "2")),
        (message("completed", "1"), message("completed", "2")),
        (conversation(1), conversation(0)),
    ],
)
async def test_a_sweep_does_not_take_back_what_was_told_while_it_read(
    hub: Hub, store: SlowStore, tab: Tab, old: Stored, new: Stored
) -> None:
    await sweep(hub, store, old, told=new)
    assert tab.told == [new]
    await sweep(hub, store, message("completed", "3"))
    assert tab.told == [new, message("completed", "3")]


@pytest.mark.parametrize(
    "known", [message("completed", "1"), message("streaming", "1"), conversation(1)]
)
async def test_what_is_known_here_is_neither_loaded_nor_told_again(
    hub: Hub, store: SlowStore, tab: Tab, known: Stored
) -> None:
    hub.publish(VISITOR, known)
    for _ in range(2):
        await sweep(hub, store, known)
    assert tab.told == [known]
    assert store.loaded == 0


async def test_what_another_process_changed_is_told_once(
    hub: Hub, store: SlowStore, tab: Tab
) -> None:
    for _ in range(2):
        await sweep(hub, store, message("streaming", "1"), conversation(0))
    assert tab.told == [message("streaming", "1"), conversation(0)]
    await sweep(hub, store, message("streaming", "2"), conversation(1))
    assert tab.told[2:] == [message("streaming", "2"), conversation(1)]


async def test_a_sweep_that_fails_is_made_up_for_by_the_next(hub: Hub, store: SlowStore) -> None:
    failing = asyncio.create_task(hub._sweep())
    (await store.reads.get()).set_exception(OSError("the database is away"))
    with pytest.raises(OSError, match="away"):
        await failing
    for _ in range(2):
        await sweep(hub, store)
    failed, made_up, later = (since for _, _, since in store.asked)
    assert made_up == failed
    assert later > failed


async def test_what_was_told_is_not_remembered_for_longer_than_sweeps_look_back(
    hub: Hub, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub_module.OVERLAP.total_seconds() + hub_module.SWEEP_S < hub_module.REMEMBERED_S
    hub.publish(VISITOR, message("completed", "1"), conversation(1))
    await sweep(hub, store)
    assert len(hub._told) == 2
    monkeypatch.setattr(hub_module, "REMEMBERED_S", 0.0)
    await sweep(hub, store)
    assert not hub._told


async def test_a_bell_is_read_again_when_something_was_told_meanwhile(
    hub: Hub, store: SlowStore, tab: Tab
) -> None:
    hub._rung.add((VISITOR, ANSWER))
    reading = asyncio.create_task(hub._read_news())
    first = await store.reads.get()
    hub.publish(VISITOR, message("streaming", "2"))
    first.set_result([(VISITOR, message("pending", "1"))])
    (await store.reads.get()).set_result([(VISITOR, message("completed", "3"))])
    await reading
    assert tab.told == [message("streaming", "2"), message("completed", "3")]


async def test_what_rings_while_a_read_is_under_way_is_read_together(
    hub: Hub, store: SlowStore, tab: Tab
) -> None:
    hub._rung.add((VISITOR, ANSWER))
    reading = asyncio.create_task(hub._read_news())
    first = await store.reads.get()
    hub._rung |= {(VISITOR, ANSWER), (VISITOR, CONVERSATION)}
    first.set_result([(VISITOR, message("pending", "1"))])
    both = [(VISITOR, message("completed", "2")), (VISITOR, conversation(1))]
    (await store.reads.get()).set_result(both)
    await reading
    assert tab.told == [message("pending", "1"), message("completed", "2"), conversation(1)]
    assert store.reads.empty()
