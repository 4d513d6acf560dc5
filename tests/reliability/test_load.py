"""Many sockets: those who stream are on time, those who idle are cheap and leave nothing."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import websockets

from chatwidget import memory
from chatwidget.models import Conversation, Widget

from ..cast import add_message
from ..environment import OUTGROWN
from ..server import Server
from ..simulators.openai import OpenAISimulator
from ..test_slow_reader import StalledTab
from ..visitor import FINAL, Socket, Visitor
from ..vitals import Vitals
from .load import punctual
from .report import Report, percentile, sized

TOKEN = re.compile(r"(\d+)@([\d.]+) ")
PER_S = 10
AT_ONCE = 25
"""So many sockets are opened at the same time."""
SIZES = {"gate": (100, 10, 3), "full": (500, 50, 20) if OUTGROWN else (1000, 100, 30)}
"""Sockets that say nothing, answers that stream, seconds."""
ON_TIME_S = 0.25 if OUTGROWN else 0.15


@asynccontextmanager
async def idle_sockets(server: Server, key: str, count: int) -> AsyncIterator[None]:
    """Hold sockets of one visitor that nothing is said on."""
    address = server.url.replace("http", "ws", 1) + "/ws/v1/"
    turns = asyncio.Semaphore(AT_ONCE)
    async with AsyncExitStack() as stack, Visitor(server.url, key) as visitor:

        async def open_one() -> None:
            async with turns:
                connection = await stack.enter_async_context(
                    websockets.connect(address, compression=None, proxy=None)
                )
                await Socket(connection, visitor.token or "").hello()

        await asyncio.gather(*(open_one() for _ in range(count)))
        yield


async def listen(socket: Socket, answer: str, delays: list[float]) -> str:
    """Receive an answer whose tokens are `<number>@<when> `; returns its text as it was shown."""
    seen = 0
    while True:
        message = socket.messages.get(answer)
        if message is not None:
            now, tokens = time.monotonic(), TOKEN.findall(message["text"])
            delays += [now - float(stamp) for _, stamp in tokens[seen:]]
            seen = len(tokens)
            if message["status"] in FINAL:
                assert message["status"] == "completed", message["error"]
                return str(message["text"])
        await socket.next()


async def stream(
    server: Server, key: str, answers: int, *, within_s: float = 2
) -> tuple[list[float], list[str]]:
    """Have so many visitors ask one after the other. Returns tokens' delays, and the answers."""
    delays: list[float] = []

    async def one(number: int) -> str:
        await asyncio.sleep(within_s * number / answers)
        async with Visitor(server.url, key) as visitor:
            conversation = await visitor.conversation()
            async with visitor.socket(conversation) as socket:
                asked = await visitor.ask(conversation, "Hello")
                return await listen(socket, asked["answer"]["id"], delays)

    return delays, await asyncio.gather(*(one(number) for number in range(answers)))


@sized("size", gate="gate", full="full")
async def test_among_many_sockets_every_token_comes_and_in_time(
    server: Server, at_openai: Widget, openai: OpenAISimulator, report: Report, size: str
) -> None:
    """H1, H3: of many open sockets a tenth stream 10 tokens a second; none is lost or late."""
    idle, answers, seconds = SIZES[size]
    openai.stamped, openai.rate = True, PER_S
    openai.tokens = ["-"] * (seconds * PER_S)
    async with (
        idle_sockets(server, at_openai.key, idle - answers),
        punctual(report, full=size == "full"),
    ):
        delays, texts = await stream(server, at_openai.key, answers, within_s=seconds / 3)
    shown = [[int(number) for number, _ in TOKEN.findall(text)] for text in texts]
    report.tell("sockets", idle)
    report.tell("answers", answers)
    report.tell("tokens shown", sum(map(len, shown)))
    report.tell_times("tokens' delay", delays)
    assert shown == [list(range(seconds * PER_S))] * answers
    if size == "full":
        assert percentile(delays, 99) <= ON_TIME_S


@pytest.mark.default_stack("looks at one process")
@sized("number", gate=300, full=10_000)
async def test_sockets_that_come_and_go_leave_nothing(
    at_openai: Widget, report: Report, number: int
) -> None:
    """H2: memory, files and threads after many connections are those after as many before.

    What a rush leaves differs by megabytes from one to the next, up and down, by where the blocks
    lie that are still in use; so the lesser of two is held to the lesser of the two before.
    """
    with Server(EMBEDDED_WORKER="false") as server:
        vitals = Vitals(server.pid)
        address = server.url.replace("http", "ws", 1) + "/ws/v1/"
        async with Visitor(server.url, at_openai.key) as visitor:

            async def come_and_go(times: int) -> None:
                for _ in range(times):
                    async with websockets.connect(
                        address, compression=None, proxy=None
                    ) as connection:
                        await Socket(connection, visitor.token or "").hello()

            async def rush() -> tuple[int, int, int]:
                """What it has when all have been: memory is given back now and then."""
                await asyncio.gather(*(come_and_go(number // AT_ONCE) for _ in range(AT_ONCE)))
                resident = [vitals.resident]
                end = time.monotonic() + (memory.EVERY_S + 2 if number >= 10_000 else 0)
                while time.monotonic() < end:
                    await asyncio.sleep(1)
                    resident.append(vitals.resident)
                return min(resident), vitals.files, vitals.threads

            await rush()  # until then it takes the room that so many at once need
            before = [await rush(), await rush()]
            after = [await rush(), await rush()]
        assert "Traceback" not in server.log(), server.log()
    gained = min(after)[0] - min(before)[0]
    _, files, threads = before[-1]
    _, files_after, threads_after = after[-1]
    report.tell("connections", 2 * number)
    report.tell("memory gained, KiB", gained // 1024)
    report.tell("files gained", files_after - files)
    report.tell("threads gained", threads_after - threads)
    assert files_after <= files + 2  # the visitor's own connection may have been closed, or not
    assert threads_after <= threads + 2
    if number >= 10_000:
        assert gained <= 1024 * 1024


@pytest.mark.default_stack("looks at one process")
@sized("stalled_s", gate=2, full=60)
async def test_a_reader_that_stops_for_long_costs_its_neighbours_nothing(
    at_openai: Widget, openai: OpenAISimulator, report: Report, stalled_s: int
) -> None:
    """A9: memory grows by 2 MB at most, the neighbours' tokens come as they did before."""
    openai.stamped, openai.rate = True, 20
    openai.tokens = ["-"] * (20 * stalled_s)
    with Server(EMBEDDED_WORKER="false") as server:
        vitals = Vitals(server.pid)

        async def measure() -> tuple[list[float], list[str], int]:
            before = vitals.resident
            vitals.forget_peak()
            delays, texts = await stream(server, at_openai.key, 10)
            return delays, texts, vitals.peak - before

        await measure()  # what is kept for the next time
        alone, _, grown_alone = await measure()
        async with Visitor(server.url, at_openai.key) as slow:
            conversation = await slow.conversation()
            add_message(Conversation.objects.get(pk=conversation), "x" * 256 * 1024)
            tab = StalledTab(server.url)
            tab.send(f'{{"type": "hello", "token": "{slow.token}", "conversation": null}}')
            asked = await slow.ask(conversation, "Hello")
            for _ in range(8):
                tab.send(f'{{"type": "sync", "conversation": "{conversation}"}}')
            beside, texts, grown = await measure()
            async with slow.socket(conversation) as back:
                answer = await back.final(asked["answer"], timeout_s=120)
            tab.close()
    report.tell("stalled, s", stalled_s)
    report.tell("memory at its peak over before, KiB", grown // 1024)
    report.tell("the same without who stalls, KiB", grown_alone // 1024)
    report.tell_times("tokens' delay before", alone)
    report.tell_times("tokens' delay meanwhile", beside)
    assert len(TOKEN.findall(answer["text"])) == 20 * stalled_s
    assert all(len(TOKEN.findall(text)) == 20 * stalled_s for text in texts)
    if stalled_s >= 60:
        assert grown - max(0, grown_alone) <= 2 * 1024 * 1024
        assert percentile(beside, 99) <= 1.2 * percentile(alone, 99) + 0.002
