"""A vendor's socket makes the look for people's words come at once, and is never relied on."""

from collections.abc import Iterator

import pytest

from chatwidget.models import Conversation, Widget
from chatwidget.providers import siteassist as adapter

from .cast import make_agent, make_widget
from .providers.cases.siteassist import SiteAssistCase
from .server import Server, in_place_of
from .simulators.faults import Drop, Fault, Redirect, Status
from .simulators.siteassist import SiteAssistSimulator
from .visitor import Socket, Visitor
from .waiting import eventually


@pytest.fixture
def widget(siteassist_case: SiteAssistCase) -> Widget:
    settings = siteassist_case.agent()
    settings["options"]["human_socket"] = "on"
    return make_widget(make_agent("With a bell", **settings))


@pytest.fixture
def slow(server: Server) -> Iterator[Server]:
    """A server that looks for people's words once a minute only."""
    with in_place_of(server, HUMAN_POLL_S="60") as slow:
        yield slow


async def to_a_person(visitor: Visitor, siteassist: SiteAssistSimulator) -> tuple[str, str]:
    """Have a person take over. Returns the conversation's ids here and there."""
    first = await visitor.ask_and_wait("Are you open?")
    here, [there] = str(first["conversation"]), siteassist.conversations
    siteassist.take_over(there)
    await visitor.ask(here, "A person, please")
    return here, there


async def hears(siteassist: SiteAssistSimulator, socket: Socket, there: str, text: str) -> None:
    """Have the person say this, and the visitor see it."""
    siteassist.human_says(there, text)
    await socket.until_message(lambda one: bool(one["text"] == text), timeout_s=20)


async def test_what_a_person_says_is_there_before_the_next_look_was_due(
    slow: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(slow.url, widget.key) as visitor:
        here, there = await to_a_person(visitor, siteassist)
        await siteassist.eventually(lambda: siteassist.sockets == 1, timeout=20)
        async with visitor.socket(here) as socket:
            for text in ("Robin here.", "How can I help?"):
                await hears(siteassist, socket, there, text)
    assert len(siteassist.calls("socket")) == 1


@pytest.mark.parametrize(
    "fault", [Status(403), Drop(), Redirect("/v2/elsewhere")], ids=["403", "drop", "redirect"]
)
async def test_a_refused_socket_costs_nothing_and_is_left_alone(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, fault: Fault
) -> None:
    siteassist.fail_always("socket", fault)
    async with Visitor(server.url, widget.key) as visitor:
        here, there = await to_a_person(visitor, siteassist)
        await siteassist.eventually(lambda: siteassist.calls("socket"))
        async with visitor.socket(here) as socket:
            for text in ("Robin here.", "How can I help?"):
                await hears(siteassist, socket, there, text)
        looks = len(siteassist.calls("list_messages"))
        await siteassist.eventually(lambda: len(siteassist.calls("list_messages")) > looks + 10)
    assert len(siteassist.calls("socket")) <= 2  # aiohttp repeats a GET that was dropped
    assert siteassist.calls("unknown") == []


@pytest.mark.parametrize("silent", [False, True], ids=["closed", "silent"])
async def test_a_socket_that_is_lost_costs_nothing(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator, silent: bool
) -> None:
    siteassist.mute = silent
    async with Visitor(server.url, widget.key) as visitor:
        here, there = await to_a_person(visitor, siteassist)
        await siteassist.eventually(lambda: siteassist.sockets == 1)
        if not silent:
            siteassist.hang_up()
        await siteassist.eventually(lambda: siteassist.sockets == 0, timeout=20)
        async with visitor.socket(here) as socket:
            await hears(siteassist, socket, there, "Robin here.")


async def test_a_silent_socket_that_lives_is_kept_until_the_person_has_gone(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    async with Visitor(server.url, widget.key) as visitor:
        here, there = await to_a_person(visitor, siteassist)
        await siteassist.eventually(lambda: siteassist.sockets == 1)
        looks = len(siteassist.calls("list_messages"))
        await siteassist.eventually(
            lambda: len(siteassist.calls("list_messages")) > looks + 30, timeout=60
        )
        assert (siteassist.sockets, len(siteassist.calls("socket"))) == (1, 1)
        siteassist.hand_back(there)
        await eventually(lambda: Conversation.objects.get(pk=here).mode == "agent")
        await siteassist.eventually(lambda: siteassist.sockets == 0, timeout=20)


async def test_no_socket_is_opened_unless_switched_on(
    server: Server, widget: Widget, siteassist: SiteAssistSimulator
) -> None:
    widget.agent.options["human_socket"] = ""
    widget.agent.save()
    async with Visitor(server.url, widget.key) as visitor:
        _, there = await to_a_person(visitor, siteassist)
        siteassist.human_says(there, "Robin here.")
        looks = len(siteassist.calls("list_messages"))
        await siteassist.eventually(lambda: len(siteassist.calls("list_messages")) > looks + 10)
    assert siteassist.calls("socket") == []


@pytest.mark.parametrize(
    ("frame", "rings"),
    [
        ('{"type": "human_assigned"}', True),
        ('{"type": "new_message"}', True),
        ('{"type": "new_message", "message": {"role": "human_agent"}}', True),
        ('{"type": "new_message", "message": {"role": "user"}}', False),
        ('{"type": "typing"}', False),
        ("pong", False),
        ("[1]", False),
        ("[" * 100_000, False),
    ],
    ids=["assigned", "bare", "a person's", "the visitor's", "another", "pong", "a list", "deep"],
)
def test_only_what_a_person_did_rings(frame: str, rings: bool) -> None:
    assert adapter.of_a_person(frame) is rings
