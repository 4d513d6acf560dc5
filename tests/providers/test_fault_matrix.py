"""Whatever a vendor does, the answer ends as documented, by its deadline, asked once, in memory.

`fault_matrix.py` is the data. All cells of a vendor run side by side, each with a simulator of its
own; those that try to fill memory run alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import pytest

from chatwidget.models import Message
from chatwidget.providers import PROVIDERS
from tests.simulators.base import Received
from tests.simulators.faults import Fault

from ..cast import forget_agents, make_agent, make_widget
from ..certificates import AUTHORITY, ELSEWHERE, Authority, tls_server
from ..server import Server
from ..visitor import Visitor
from ..vitals import Vitals
from . import reshape
from .cases import CASES, Case
from .fault_matrix import (
    CATALOGUE,
    DEADLINES,
    FAULTS,
    NOT_A_STREAM,
    NOT_HERE,
    OTHER_TEXT,
    Cell,
    cells,
)
from .reshape import MARK, Reshape, asked_by_us

TEXT = f"Here is an answer with a {MARK}, of **several** words."
SIDE_BY_SIDE = 10
PATIENCE_S = 5.0
"""How much later than the deadline an ending may be seen: the machine is busy with the others."""
GROWTH = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one cell."""

    ending: str
    text: str
    words: str
    seconds: float
    questions: int
    """How often the vendor's ledger has the question."""
    sends: int
    """How often it was sent, received or not."""
    met: bool
    violations: list[str]


async def run(server: Server, cell: Cell) -> Outcome:
    """Ask one question with the fault in place."""
    case = cell.case()
    with ExitStack() as undo:
        try:
            case.answer_with(TEXT)
            settings = case.agent()
            settings["options"] |= DEADLINES
            plan(cell, case, settings, undo)
            widget = make_widget(make_agent(str(cell)[:100], **settings))
            undo.callback(forget_agents, str(settings["base_url"]))
            async with Visitor(server.url, widget.key) as visitor:
                started = time.monotonic()
                answer = await visitor.ask_and_wait("How are you?")
                seconds = time.monotonic() - started
            return Outcome(
                ending=str((answer["error"] or {}).get("code", answer["status"])),
                text=answer["text"],
                words=Message.objects.get(pk=answer["id"]).problem,
                seconds=seconds,
                questions=len(case.questions()),
                sends=sum(not asked_by_us(one) for one in sent(case)),
                met=cell.kind is None or bool(case.simulator.calls(case.operations[cell.place])),
                violations=list(case.simulator.violations),
            )
        finally:
            undo.close()
            case.release()
            await asyncio.to_thread(case.simulator.stop)


def sent(case: Case) -> list[Received]:
    return case.simulator.calls(case.operations["send"])


def plan(cell: Cell, case: Case, settings: dict[str, object], undo: ExitStack) -> None:
    """Put the fault in place."""
    match cell.fault:
        case "refused":
            case.simulator.stop()
        case "TLS by an unknown authority" | "TLS with a bad name" | "TLS expired":
            address, asked = undo.enter_context(tls_server(CERTIFICATES[cell.fault]()))
            settings["base_url"] = address + urlsplit(str(settings["base_url"])).path
            undo.callback(lambda: check_nothing_was_asked(asked))
        case "an answer that never comes":
            case.hold()
        case _:
            fault = cell.fault_here()

            def unless_ours(received: Received) -> Fault | None:
                return None if asked_by_us(received) else fault

            case.simulator.fail_always(case.operations[cell.place], unless_ours)
            if cell.after_a_cut:
                case.simulator.fail_always(
                    case.operations["receive"],
                    lambda one: None if asked_by_us(one) else Reshape(reshape.cut_within),
                )


CERTIFICATES: dict[str, Callable[[], bytes]] = {
    "TLS by an unknown authority": Authority().issue,
    "TLS with a bad name": partial(AUTHORITY.issue, ELSEWHERE),
    "TLS expired": partial(AUTHORITY.issue, days_left=-1),
}


def check_nothing_was_asked(asked: list[str]) -> None:
    assert asked == []


async def run_all(server: Server, todo: list[Cell]) -> dict[Cell, Outcome]:
    room = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(cell: Cell) -> Outcome:
        async with room:
            return await run(server, cell)

    return dict(zip(todo, await asyncio.gather(*map(one, todo)), strict=True))


APPLICABLE = [cell for cell in cells() if not cell.why_not]
LIGHT = [cell for cell in APPLICABLE if not (cell.kind and cell.kind.heavy)]
HEAVY = [cell for cell in APPLICABLE if cell.kind and cell.kind.heavy]


class Outcomes:
    """A vendor's outcomes, all of them found when the first is asked for."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._found: dict[Cell, Outcome] = {}
        self._grown: dict[str, int] = {}

    def __getitem__(self, cell: Cell) -> Outcome:
        self._find(cell.provider)
        return self._found[cell]

    def grown(self, provider: str) -> int:
        """Bytes that the server grew by at most while it met all of a vendor's faults."""
        self._find(provider)
        return self._grown[provider]

    def _find(self, provider: str) -> None:
        if provider in self._grown:
            return
        vitals = Vitals(self._server.pid)
        vitals.forget_peak()
        before = vitals.resident
        todo = [one for one in LIGHT if one.provider == provider]
        self._found |= asyncio.run(run_all(self._server, todo))
        self._grown[provider] = vitals.peak - before


@pytest.fixture(scope="module")
def outcomes(server: Server) -> Outcomes:
    return Outcomes(server)


def check(cell: Cell, outcome: Outcome) -> None:
    assert outcome.ending == cell.ending, outcome
    assert outcome.seconds < cell.deadline_s + PATIENCE_S, outcome
    assert outcome.questions <= 1, outcome
    assert outcome.sends <= 1, outcome
    assert outcome.met, "the fault was not met"
    assert outcome.violations == []
    if cell.fault in CERTIFICATES:
        assert "certificate" in outcome.words
    if cell.fault not in OTHER_TEXT and outcome.ending == "completed":
        assert outcome.text == TEXT


@pytest.mark.parametrize("cell", LIGHT, ids=str)
def test_a_fault_ends_as_documented(outcomes: Outcomes, cell: Cell) -> None:
    check(cell, outcomes[cell])


@pytest.mark.parametrize("provider", CASES)
def test_all_of_them_together_take_no_more_memory_than_one_may(
    outcomes: Outcomes, provider: str
) -> None:
    assert outcomes.grown(provider) < GROWTH


@pytest.mark.parametrize("cell", HEAVY, ids=str)
def test_what_would_fill_memory_does_not(server: Server, cell: Cell) -> None:
    vitals = Vitals(server.pid)
    vitals.forget_peak()
    before = vitals.resident
    outcome = asyncio.run(run(server, cell))
    check(cell, outcome)
    assert vitals.peak - before < GROWTH


def test_the_catalogue_is_tried_at_every_vendor() -> None:
    for provider in CASES:
        tried = {cell.fault for cell in APPLICABLE if cell.provider == provider}
        streams_only = {name for name, kind in FAULTS.items() if kind.streams_only}
        left_out = set() if PROVIDERS[provider].streams else streams_only
        assert CATALOGUE - tried - left_out == set(NOT_HERE)


def test_what_cannot_occur_has_a_reason() -> None:
    left_out = [cell for cell in cells() if cell not in APPLICABLE]
    assert {cell.why_not for cell in left_out} <= {NOT_A_STREAM}
    assert {cell.provider for cell in APPLICABLE} == set(CASES)
