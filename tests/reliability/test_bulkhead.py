"""A vendor that hangs takes nothing from the others."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager

import pytest

from chatwidget.models import Widget

from ..cast import make_widget, openai_agent
from ..server import Server
from ..simulators.openai import OpenAISimulator
from ..visitor import Visitor
from .database import Database
from .report import Report, percentile, sized


@pytest.fixture
def pair() -> Iterator[tuple[OpenAISimulator, OpenAISimulator]]:
    """Two vendors."""
    with ExitStack() as stack:
        hanging, well = (stack.enter_context(OpenAISimulator()) for _ in range(2))
        hanging.odd.stall_after = 1
        yield hanging, well
        hanging.release()
        assert hanging.violations == well.violations == []


def widget_at(simulator: OpenAISimulator) -> Widget:
    return make_widget(openai_agent(simulator))


def key_at(sqlite: Database, simulator: OpenAISimulator) -> str:
    return sqlite.widget(
        *("--provider", "openai", "--base-url", simulator.base_url),
        *("--credential", f"api_key={simulator.key}", "--option", f"model={simulator.model}"),
    )


async def ask(server: Server, key: str) -> None:
    async with Visitor(server.url, key) as visitor:
        await visitor.ask(await visitor.conversation(), "Hello")


async def times(server: Server, key: str, count: int) -> list[float]:
    """Ask one question after the other; return each one's seconds until its answer was whole."""
    seconds: list[float] = []
    async with Visitor(server.url, key) as visitor:
        for _ in range(count):
            conversation = await visitor.conversation()
            async with visitor.socket(conversation) as tab:
                started = time.monotonic()
                asked = await visitor.ask(conversation, "Hello")
                answer = await tab.final(asked["answer"])
                seconds.append(time.monotonic() - started)
            assert answer["status"] == "completed"
    return seconds


@asynccontextmanager
async def held_open(server: Server, hanging: OpenAISimulator, count: int) -> AsyncIterator[None]:
    """Have a vendor hold so many connections open, and say nothing."""
    key = widget_at(hanging).key
    for _ in range(0, count, 20):
        await asyncio.gather(*(ask(server, key) for _ in range(20)))
    await hanging.eventually(lambda: hanging.streaming == count, timeout=60)
    yield
    assert hanging.streaming == count


@sized("size", gate=(40, 30), full=(200, 500))
async def test_a_hanging_vendor_leaves_the_others_as_they_were(
    server: Server,
    pair: tuple[OpenAISimulator, OpenAISimulator],
    report: Report,
    size: tuple[int, int],
) -> None:
    """C5: one vendor holds 200 connections open; the others' p99 stays within 20 %."""
    connections, questions = size
    hanging, well = pair
    key = widget_at(well).key
    await times(server, key, 10)  # both measurements are to begin warm
    before = await times(server, key, questions)
    async with held_open(server, hanging, connections):
        meanwhile = await times(server, key, questions)
    report.tell("connections held open", connections)
    report.tell_times("answer before", before)
    report.tell_times("answer meanwhile", meanwhile)
    if connections >= 200:
        assert percentile(meanwhile, 99) <= 1.2 * percentile(before, 99)
    assert percentile(meanwhile, 50) <= 3 * percentile(before, 50) + 0.2


@pytest.mark.default_stack("brings a database of its own")
async def test_a_vendor_with_more_questions_than_room_leaves_the_others_theirs(
    sqlite: Database, pair: tuple[OpenAISimulator, OpenAISimulator]
) -> None:
    """One vendor is asked more than the whole process has room for, and hangs."""
    hanging, well = pair
    with Server(PROVIDER_CONNECTIONS="50", **sqlite.env) as server:
        key = key_at(sqlite, hanging)
        await asyncio.gather(*(ask(server, key) for _ in range(60)))
        await hanging.eventually(lambda: hanging.streaming == 20, timeout=30)
        await times(server, key_at(sqlite, well), 10)
        assert hanging.streaming == 20
