"""Visitors come, ask, vote and go for half an hour: the process is then as it was before."""

import asyncio
import re
import time
from dataclasses import dataclass, field

import httpx
import pytest

from ..server import Server
from ..simulators.openai import OpenAISimulator
from ..visitor import CONTEXT, Visitor
from ..vitals import Vitals
from .database import Database
from .report import Report

pytestmark = pytest.mark.default_stack("looks at one process")

AT_ONCE = 20
EVERY_S = 2.0
"""So often each of them begins anew, if the one before is gone: a load, and no overload."""
WARM_S = 20.0
"""By then whatever is kept for the next time is there: threads, connections, code."""
LOOK_EVERY_S = 2.0
KEPT_S = 40
"""Longer than an idle connection to a vendor is kept."""
SLOPE = 1024 * 1024 / 600
"""Bytes a second: 1 MB in ten minutes."""


@dataclass
class Track:
    """The memory of a process over time."""

    vitals: Vitals
    seconds: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)

    async def follow(self) -> None:
        started = time.monotonic()
        while True:
            self.seconds.append(time.monotonic() - started)
            self.resident.append(self.vitals.resident)
            await asyncio.sleep(LOOK_EVERY_S)

    def slope(self) -> float:
        """Return bytes a second by least squares, over the second half: the first is warming up."""
        half = len(self.seconds) // 2
        times, sizes = self.seconds[half:], self.resident[half:]
        middle = sum(times) / len(times)
        spread = sum((one - middle) ** 2 for one in times)
        return sum((at - middle) * size for at, size in zip(times, sizes, strict=True)) / spread


async def tasks(server: Server) -> int:
    """How many tasks its event loop has."""
    async with httpx.AsyncClient(trust_env=False, verify=CONTEXT) as http:
        told = (await http.get(f"{server.url}/metrics")).text
    found = re.search(r"^chatwidget_tasks (\S+)", told, re.MULTILINE)
    assert found, told
    return int(float(found[1]))


async def come_and_go(server: Server, key: str, until: float) -> int:
    """Be one visitor after the other; every third leaves while the answer comes."""
    visits = 0
    while (started := time.monotonic()) < until:
        async with Visitor(server.url, key) as visitor:
            conversation = await visitor.conversation()
            async with visitor.socket(conversation) as socket:
                asked = await visitor.ask(conversation, "Hello")
                if visits % 3:
                    answer = await socket.final(asked["answer"], timeout_s=60)
                    await visitor.vote(answer, vote="up")
                else:
                    socket.connection.transport.abort()
        visits += 1
        await asyncio.sleep(started + EVERY_S - time.monotonic())
    return visits


async def visitors(server: Server, key: str, seconds: float) -> int:
    """Have AT_ONCE of them all the time; returns the visits."""
    until = time.monotonic() + seconds
    return sum(await asyncio.gather(*(come_and_go(server, key, until) for _ in range(AT_ONCE))))


async def lowest(server: Server, vitals: Vitals) -> tuple[int, int]:
    """Return the fewest open files and tasks seen while connections to vendors are given up."""
    found = []
    for _ in range(KEPT_S):
        found.append((vitals.files, await tasks(server)))
        await asyncio.sleep(1)
    return min(files for files, _ in found), min(count for _, count in found)


@pytest.mark.long
@pytest.mark.parametrize("minutes", [1, 30], ids=["smoke", "full"])
async def test_a_process_stays_as_it_was(
    sqlite: Database, openai: OpenAISimulator, report: Report, minutes: int
) -> None:
    """D4: memory rises by less than 1 MB in ten minutes; tasks and files are as before."""
    openai.tokens, openai.rate = [f"word{number} " for number in range(50)], 100
    key = sqlite.widget(
        *("--provider", "openai", "--base-url", openai.base_url),
        *("--credential", f"api_key={openai.key}", "--option", f"model={openai.model}"),
    )
    with Server(**sqlite.env) as server:
        vitals = Vitals(server.pid)
        await visitors(server, key, WARM_S)
        before = await lowest(server, vitals)
        track = Track(vitals)
        following = asyncio.create_task(track.follow())
        visits = await visitors(server, key, minutes * 60)
        following.cancel()
        after = await lowest(server, vitals)
        log = server.log()
    slope = track.slope()
    report.tell("minutes", minutes)
    report.tell("visits", visits)
    report.tell("memory at first, MB", track.resident[0] / 1e6)
    report.tell("memory at last, MB", track.resident[-1] / 1e6)
    report.tell("slope, MB in ten minutes", slope * 600 / 1e6)
    report.tell("open files before and after", f"{before[0]}, {after[0]}")
    report.tell("tasks before and after", f"{before[1]}, {after[1]}")
    assert after[0] <= before[0]
    assert after[1] <= before[1]
    assert "Traceback" not in log
    if minutes >= 30:
        assert slope <= SLOPE
