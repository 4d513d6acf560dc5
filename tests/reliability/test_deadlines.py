"""Every wait for a vendor has an end, of the length that is set; so has looking for an answer."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager

import pytest

from chatwidget.providers import PROVIDERS

from ..providers.cases import CASES
from ..server import Server
from ..simulators.faults import Stall
from ..visitor import JSON, Visitor
from .report import Report, sized
from .vendors import TEXT, Vendor, vendor

POLLED = [key for key in CASES if not PROVIDERS[key].streams]
EXACT = 0.10
SLACK_S = 2.0
"""How much later a busy machine may see it in the gate; never earlier."""


def test_deadlines_are_data_with_these_defaults() -> None:
    """C4: connect 5 s, silence 30 s (Moveworks 120), whole 300 s (raia and Moveworks 120)."""
    found = {
        key: {
            field.name: field.default
            for field in PROVIDERS[key].option_fields
            if field.name in ("connect_s", "idle_s", "total_s")
        }
        for key in CASES
    }
    usual = {"connect_s": 5.0, "idle_s": 30.0, "total_s": 300.0}
    assert found == dict.fromkeys(CASES, usual) | {
        "raia": usual | {"total_s": 120.0},
        "moveworks": usual | {"idle_s": 120.0, "total_s": 120.0},
    }


# --- the waits ------------------------------------------------------------------------------------


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that takes no connection: its queue is full, and nobody empties it."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as deaf, ExitStack() as held:
        for _ in range(4):
            one = held.enter_context(closing(socket.socket()))
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        yield deaf.getsockname()[1]


async def time_to_fail(server: Server, at: Vendor) -> float:
    """Ask; return the seconds until the answer failed for want of time."""
    async with Visitor(server.url, at.widget.key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as tab:
            started = time.monotonic()
            asked = await visitor.ask(conversation, "Hello")
            answer = await tab.final(asked["answer"], timeout_s=120)
            lasted = time.monotonic() - started
    assert (answer["status"], answer["error"]["code"]) == ("failed", "agent_timeout"), at.provider
    return lasted


@pytest.mark.parametrize("which", ["connect_s", "idle_s", "total_s"])
@sized("limit_s", gate=0.8, full=20.0)
async def test_a_wait_ends_at_its_deadline(
    server: Server, report: Report, which: str, limit_s: float
) -> None:
    """C4: connecting, a silence and the whole end when they are set to, within a tenth."""
    deadlines = dict.fromkeys(("connect_s", "idle_s", "total_s"), limit_s * 4) | {which: limit_s}
    with ExitStack() as stack:
        vendors = [stack.enter_context(vendor(one, **deadlines)) for one in CASES]
        for one in vendors:
            match which:
                case "connect_s":
                    agent = one.widget.agent
                    port = stack.enter_context(deaf_port())
                    agent.base_url = agent.base_url.replace(str(one.case.simulator.port), str(port))
                    agent.save()
                case "idle_s":
                    one.case.simulator.fail_always(one.case.operations["send"], Stall())
                case _:
                    one.case.hold()
        lasted = await asyncio.gather(*(time_to_fail(server, one) for one in vendors))
        for one in vendors:
            one.case.simulator.heal()
            one.case.release()
    full = limit_s >= 20
    report.tell("set to", limit_s)
    for one, seconds in zip(vendors, lasted, strict=True):
        report.tell(one.provider, round(seconds, 2))
    for seconds in lasted:
        assert limit_s * (1 - EXACT) <= seconds
        assert seconds <= limit_s * (1 + EXACT) + (0 if full else SLACK_S)


# --- polling --------------------------------------------------------------------------------------


@asynccontextmanager
async def asked(
    server: Server, at: Vendor, times: int
) -> AsyncIterator[list[tuple[Visitor, JSON]]]:
    """Have several visitors ask one question each."""
    visitors = [Visitor(server.url, at.widget.key) for _ in range(times)]
    try:
        found: list[tuple[Visitor, JSON]] = []
        for visitor in visitors:
            await visitor.enter()
            pending = await visitor.ask(await visitor.conversation(), "Hello")
            found.append((visitor, pending["answer"]))
        yield found
    finally:
        for visitor in visitors:
            await visitor.http.aclose()


async def final(visitor: Visitor, answer: JSON) -> JSON:
    async with visitor.socket(answer["conversation"]) as tab:
        return await tab.final(answer)


@pytest.mark.parametrize("provider", POLLED)
async def test_a_turn_has_one_poll_in_flight(server: Server, provider: str) -> None:
    """C4: however long a poll takes, the next waits for it."""
    with vendor(provider) as at:
        at.case.hold()
        at.case.simulator.fail_always(at.case.operations["receive"], Stall())
        async with asked(server, at, 5) as answers:
            await at.case.simulator.eventually(lambda: at.case.simulator.stalled == 5)
            with pytest.raises(AssertionError):  # twenty polls' time
                await at.case.simulator.eventually(lambda: len(at.receives()) > 5, timeout=1)
            at.case.simulator.heal()
            at.case.release()
            for visitor, answer in answers:
                assert (await final(visitor, answer))["text"] == TEXT


@pytest.mark.parametrize("provider", POLLED)
async def test_no_poll_comes_a_second_after_a_stop(server: Server, provider: str) -> None:
    """C4: 0 polls from 1 s after the stop."""
    with vendor(provider) as at:
        at.case.hold()
        async with asked(server, at, 5) as answers:
            await at.case.simulator.eventually(lambda: len(at.receives()) >= 10)
            for visitor, answer in answers:
                await visitor.call("POST", f"/messages/{answer['id']}/stop", expect=202)
            stopped = time.monotonic()
            for visitor, answer in answers:
                assert (await final(visitor, answer))["status"] == "stopped"
            with pytest.raises(AssertionError):  # what else it is asked are people's replies
                await at.case.simulator.eventually(
                    lambda: at.receives()[-1].at > stopped + 1, timeout=2
                )
