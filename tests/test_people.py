"""People at the vendor are looked for often, and a vendor that fails or is busy is not pressed."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from chatwidget.models import Widget

from .cast import make_agent, make_widget
from .providers.cases.siteassist import SiteAssistCase
from .server import Server, in_place_of
from .simulators.base import Received
from .simulators.faults import Fault, Status
from .simulators.siteassist import Refused, SiteAssistSimulator
from .visitor import Visitor

POLL_S = 0.05
"""As often as a person's conversation is looked at here."""
SLOW_S = 20 * POLL_S
"""As seldom as one that has fallen asleep."""


@pytest.fixture
def widget(siteassist_case: SiteAssistCase) -> Widget:
    return make_widget(make_agent("With people", **siteassist_case.agent()))


@pytest.fixture
def quick(server: Server) -> Iterator[Server]:
    """A server that looks for people's words every POLL_S."""
    with in_place_of(server, HUMAN_POLL_S=str(POLL_S)) as quick:
        yield quick


async def to_a_person(visitor: Visitor, siteassist: SiteAssistSimulator) -> str:
    """Have a person take over a new conversation. Returns its id there."""
    first = await visitor.ask_and_wait("Are you open?")
    there = [*siteassist.conversations][-1]
    siteassist.take_over(there)
    await visitor.ask(first["conversation"], "A person, please")
    return there


def looks(siteassist: SiteAssistSimulator, there: str) -> list[Received]:
    """The looks at a conversation: each begins so."""
    return [one for one in siteassist.calls("get_conversation") if there in one.path]


async def test_a_look_that_fails_is_soon_followed_by_another_and_then_less_and_less_soon(
    quick: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(quick.url, widget.key) as visitor:
        there = await to_a_person(visitor, siteassist)
        await siteassist.eventually(lambda: looks(siteassist, there))
        siteassist.fail_always("get_conversation", Status(500))
        before = len(looks(siteassist, there))
        await siteassist.eventually(lambda: len(looks(siteassist, there)) >= before + 5)
        siteassist.heal()
        healed = len(looks(siteassist, there)) + 1
        await siteassist.eventually(lambda: len(looks(siteassist, there)) > healed)
        siteassist.fail_next("get_conversation", Status(500))
        await siteassist.eventually(lambda: len(looks(siteassist, there)) > healed + 3)
    failed = [one.at for one in looks(siteassist, there)][before : before + 5]
    waits = [second - first for first, second in pairwise(failed)]
    assert waits[0] < SLOW_S
    assert all(wait >= POLL_S * 2**number for number, wait in enumerate(waits))
    later = [one.at for one in looks(siteassist, there)][healed:]
    assert all(second - first < SLOW_S for first, second in pairwise(later))


@pytest.mark.parametrize(
    ("fault", "wait_s"),
    [(Refused(429, retryAfter=2 * SLOW_S), 2 * SLOW_S), (Status(429), SLOW_S)],
    ids=["told how long", "not told"],
)
async def test_a_vendor_who_asks_for_a_wait_is_asked_after_nobodys_person_until_it_is_over(
    quick: Server, widget: Widget, siteassist: SiteAssistSimulator, fault: Fault, wait_s: float
) -> None:
    refused: list[float] = []

    def refuse(had: Received) -> Fault | None:
        if busy not in had.path:
            return None
        refused.append(had.at)
        return fault

    async with Visitor(quick.url, widget.key) as one, Visitor(quick.url, widget.key) as other:
        busy, others = [await to_a_person(visitor, siteassist) for visitor in (one, other)]
        seen = len(looks(siteassist, others))
        await siteassist.eventually(lambda: len(looks(siteassist, others)) > seen)
        siteassist.fail_always("get_conversation", refuse)
        await siteassist.eventually(lambda: len(refused) > 1)
    first, second = refused[:2]
    assert second - first >= wait_s
    meanwhile = [one for one in looks(siteassist, others) if first < one.at < first + wait_s]
    assert len(meanwhile) <= 1  # which had begun before the word was heard
