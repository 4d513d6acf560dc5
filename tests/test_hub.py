"""Catching up with other processes: what was read may be older than what was told meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

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

    async def read(self, *_: object) -> Any:
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
    sweep = asyncio.create_task(hub._sweep())
    read = await store.reads.get()
    hub.publish(VISITOR, new)
    read.set_result([(VISITOR, old)])
    await sweep
    assert tab.told == [new]
    sweep = asyncio.create_task(hub._sweep())
    (await store.reads.get()).set_result([(VISITOR, message("completed", "3"))])
    await sweep
    assert tab.told == [new, message("completed", "3")]


async def test_a_bell_is_read_again_when_something_was_told_meanwhile(
    hub: Hub, store: SlowStore, tab: Tab
) -> None:
    reading = asyncio.create_task(hub._read_news(VISITOR, ANSWER))
    first = await store.reads.get()
    hub.publish(VISITOR, message("streaming", "2"))
    first.set_result([message("pending", "1")])
    (await store.reads.get()).set_result([message("completed", "3")])
    await reading
    assert tab.told == [message("streaming", "2"), message("completed", "3")]
