"""Stop, reload, second tab and lost network in any order: one end, the same everywhere."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from chatwidget.models import Message, Widget

from ..server import Server
from ..simulators.openai import OpenAISimulator
from ..visitor import FINAL, JSON, Visitor
from .load import Tab, punctual
from .report import Report, percentile, sized

AT_ONCE = 20
TOKENS, PER_S = 40, 20.0
ACTIONS = ("stop", "reload", "second tab", "cut")


@dataclass(frozen=True, kw_only=True)
class Cases:
    count: int
    full: bool = False


@dataclass
class Case:
    """One answer, the tabs that showed it, and what was done to them."""

    rng: random.Random
    visitor: Visitor
    text: str
    open: AsyncExitStack
    tabs: list[Tab] = field(default_factory=list)
    ends: set[tuple[str, str]] = field(default_factory=set)
    """All final states that any tab ever showed."""
    asked_to_stop: list[float] = field(default_factory=list)
    stop_took: list[float] = field(default_factory=list)
    answer: str = ""

    async def new_tab(self, conversation: str) -> Tab:
        tab = Tab(self.visitor, conversation, pace=0.2)
        tab.watch = lambda: self.watch(tab)
        self.tabs.append(await self.open.enter_async_context(tab))
        return tab

    def watch(self, tab: Tab) -> None:
        message = tab.messages.get(self.answer, {})
        if message.get("status") in FINAL:
            self.ends.add((message["status"], message["text"]))

    async def play(self) -> JSON:
        """Ask, do a few things in a random order, and return the answer as it is fetched."""
        conversation = await self.visitor.conversation()
        await self.new_tab(conversation)
        asked = await self.visitor.ask(conversation, self.text)
        self.answer = asked["answer"]["id"]
        await self.tabs[0].until(lambda: self.tabs[0].messages.get(self.answer, {}).get("text"))
        for _ in range(self.rng.randint(2, 6)):
            await getattr(self, "_" + self.rng.choice(ACTIONS).replace(" ", "_"))(conversation)
            await asyncio.sleep(self.rng.choice((0, 0, self.rng.uniform(0, 0.2))))
        await asyncio.gather(*(tab.until_ended(self.answer) for tab in self.tabs))
        fetched: JSON = (await self.visitor.messages(conversation))[-1]
        return fetched

    async def _stop(self, conversation: str) -> None:
        asked_at = time.monotonic()
        await self.visitor.call("POST", f"/messages/{self.answer}/stop", expect=202)
        self.asked_to_stop.append(asked_at)
        self.stop_took.append(time.monotonic() - asked_at)

    async def _reload(self, conversation: str) -> None:
        tab = self.tabs.pop(self.rng.randrange(len(self.tabs)))
        await tab.__aexit__()
        await self.new_tab(conversation)

    async def _second_tab(self, conversation: str) -> None:
        await self.new_tab(conversation)

    async def _cut(self, conversation: str) -> None:
        await self.rng.choice(self.tabs).lose_network(self.rng.uniform(0, 0.2))


@sized("cases", gate=Cases(count=60), full=Cases(count=200, full=True))
async def test_any_order_of_stop_reload_second_tab_and_cut_has_one_end(
    server: Server, at_openai: Widget, openai: OpenAISimulator, report: Report, cases: Cases
) -> None:
    """Random orders of stop, reload, second tab and cut while an answer streams"""
    openai.tokens, openai.rate = [f"token{number} " for number in range(TOKENS)], PER_S
    doorway = asyncio.Semaphore(AT_ONCE)
    played: list[tuple[Case, JSON]] = []

    async def play(number: int) -> None:
        rng = random.Random(f"{report.seed} {number}")
        async with (
            doorway,
            Visitor(server.url, at_openai.key) as visitor,
            AsyncExitStack() as stack,
        ):
            case = Case(rng, visitor, f"Question {number}", stack)
            fetched = await case.play()
            for tab in case.tabs:
                assert tab.messages[case.answer] == fetched, report.seed
            played.append((case, fetched))

    async with punctual(report, full=cases.full), asyncio.TaskGroup() as group:
        for number in range(cases.count):
            group.create_task(play(number))

    closed = []
    for case, fetched in played:
        assert case.ends == {(fetched["status"], fetched["text"])}, "one end, never another"
        stored = Message.objects.get(pk=case.answer)
        assert (stored.status, stored.text) == (fetched["status"], fetched["text"])
        assert "".join(openai.tokens).startswith(fetched["text"])
        if fetched["status"] == "stopped":
            await openai.eventually(lambda text=case.text: text in openai.over_at)  # type: ignore[misc]
            closed.append(openai.over_at[case.text] - case.asked_to_stop[0])
        else:
            assert fetched["status"] == "completed"
            assert fetched["text"] == "".join(openai.tokens)
    took = [seconds for case, _ in played for seconds in case.stop_took]
    report.tell("orders played", len(played))
    report.tell("stopped", len(closed))
    report.tell_times("stop answered", took)
    report.tell_times("from stop to the vendor's stream closed", closed)
    assert closed
    assert len(openai.sends) == cases.count
    if cases.full:
        assert percentile(took, 99) <= 0.2
        assert max(closed) <= 1.0
