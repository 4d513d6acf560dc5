"""Everybody comes back at once: after a crash, after a restart, and at what price each."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.db import connections
from django.db.backends.signals import connection_created

from chatwidget import process, tokens
from chatwidget.consumers import VisitorSocket
from chatwidget.models import Widget

from ..cast import make_conversation, make_visitor, make_widget
from ..server import Server
from ..visitor import Visitor
from .load import Tab, punctual
from .report import Report, percentile, sized

QUERIES_PER_RETURN = 2


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """How many sockets, and how much faster than the widget they come back."""

    sockets: int
    pace: float
    full: bool = False


@pytest.fixture
def widget() -> Widget:
    return make_widget()


@pytest.mark.usefixtures("up_again")
@pytest.mark.parametrize("way", ["killed", "stopped"])
@sized("crowd", gate=Crowd(sockets=100, pace=0.1), full=Crowd(sockets=1000, pace=1, full=True))
async def test_everybody_comes_back_after_a_restart(
    server: Server, widget: Widget, report: Report, crowd: Crowd, way: str
) -> None:
    """Every socket lost at once: all come back, spread by their own jitter"""
    async with AsyncExitStack() as stack:
        tabs = await enter(stack, server, widget, crowd)
        async with punctual(report, full=crowd.full):
            down = time.monotonic()
            await asyncio.to_thread(server.kill if way == "killed" else server.stop)
            await asyncio.gather(*(tab.until_lost() for tab in tabs))
            await asyncio.to_thread(server.start)
            up = time.monotonic()
            await asyncio.gather(*(tab.until_ready() for tab in tabs))
        back = [tab.returned[-1] for tab in tabs]
        codes = {code for tab in tabs for _, code in tab.lost}
    report.tell("sockets", crowd.sockets)
    report.tell("came back", sum(tab.ready for tab in tabs))
    report.tell("server away, s", up - down)
    report.tell_times("from the server's start to back", [at - up for at in back])
    report.tell_times("from its end to back", [at - down for at in back])
    assert codes == ({1006} if way == "killed" else {4503})
    if crowd.full:
        assert percentile([at - up for at in back], 95) <= 10


async def enter(stack: AsyncExitStack, server: Server, widget: Widget, crowd: Crowd) -> list[Tab]:
    """Open the crowd's tabs, some at a time."""
    doorway = asyncio.Semaphore(20)

    async def one() -> Tab:
        async with doorway:
            visitor = Visitor(server.url, widget.key)
            await visitor.enter()
            tab = Tab(visitor, await visitor.conversation(), pace=crowd.pace)
            await visitor.http.aclose()
            await stack.enter_async_context(tab)
            return tab

    return await asyncio.gather(*(one() for _ in range(crowd.sockets)))


def test_all_are_let_in_who_knock_in_one_moment(database: None) -> None:
    with Server(EMBEDDED_WORKER="false") as own, ExitStack() as knocking:
        os.kill(own.pid, signal.SIGSTOP)  # as busy as can be
        try:
            for _ in range(500):
                visitor = knocking.enter_context(socket.socket())
                visitor.settimeout(5)
                visitor.connect(("127.0.0.1", own.port))
        finally:
            os.kill(own.pid, signal.SIGCONT)


# --- what a return costs --------------------------------------------------------------------------


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    """Collect the statements that threads of this process send over new connections."""
    statements: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql)
        return execute(sql, params, many, context)

    def wrap(connection: Any, **_: Any) -> None:
        if note not in connection.execute_wrappers:  # a pool's connections come again
            connection.execute_wrappers.append(note)

    connection_created.connect(wrap)
    try:
        yield statements
    finally:
        connection_created.disconnect(wrap)


@pytest.fixture
async def running() -> AsyncIterator[process.Process]:
    """This service's parts, in the test's own process."""
    yield process.start(background=False)
    await process.stop()
    connections.close_all()


async def test_a_return_costs_two_queries(running: process.Process) -> None:
    visitor = make_visitor()
    conversation = make_conversation([("visitor", "Hello"), ("agent", "Hi.")] * 3, visitor=visitor)
    hello = {
        "type": "hello",
        "token": tokens.issue(visitor),
        "conversation": str(conversation.pk),
    }
    with counted_queries() as statements:
        for _ in range(3):
            tab = WebsocketCommunicator(VisitorSocket.as_asgi(), "/ws/v1/")
            await tab.connect()
            statements.clear()
            await tab.send_to(text_data=json.dumps(hello))
            ready = json.loads(await tab.receive_from(timeout=10))
            assert len(ready["messages"]) == 6
            await tab.disconnect()
    reading = [one for one in statements if not one.startswith(("BEGIN", "PRAGMA", "SET "))]
    assert len(reading) <= QUERIES_PER_RETURN, reading
