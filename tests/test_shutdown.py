"""A process that is told to end does so, whatever it is in the middle of."""

import asyncio
import contextlib
import json
import re
import sqlite3
import threading
import time
from contextlib import AsyncExitStack, closing
from pathlib import Path

import httpx
import pytest
import websockets
from django.test import Client

from chatwidget.models import Widget

from .cast import make_agent, make_operator, make_widget, openai_agent
from .server import Server, manage
from .simulators.base import ANY
from .simulators.faults import Stall
from .simulators.openai import OpenAISimulator
from .simulators.raia import RaiaSimulator
from .visitor import CONTEXT, Socket, Visitor
from .waiting import eventually

EXIT_S = 15
SOCKETS, STREAMS = 40, 8


@pytest.fixture
def widget(openai: OpenAISimulator) -> Widget:
    return make_widget(openai_agent(openai))


async def test_sockets_are_sent_away_with_a_spread_and_leases_released(
    tmp_path: Path, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.rate = ["word "] * 10_000, 20
    # A database of its own: others would take up at once what is given back.
    own = {"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3", "EMBEDDED_WORKER": "false"}
    manage("migrate", "-v0", **own)
    agent = ["create_agent", "--name", "Model", "--provider", "openai"]
    agent += ["--base-url", openai.base_url, "--credential", f"api_key={openai.key}"]
    made = json.loads(manage(*agent, "--option", f"model={openai.model}", **own))
    shown = manage("create_widget", "--name", "Site", "--agent", made["id"], **own)
    key = json.loads(shown)["key"]
    with Server(**own) as server:
        async with AsyncExitStack() as stack:
            visitors = [
                await stack.enter_async_context(Visitor(server.url, key)) for _ in range(STREAMS)
            ]
            sockets = [
                await stack.enter_async_context(visitor.socket())
                for visitor in visitors
                for _ in range(SOCKETS // STREAMS)
            ]
            for visitor in visitors:
                await visitor.ask(await visitor.conversation(), "Hello")
            await eventually(lambda: openai.streaming == STREAMS)
            asked = time.monotonic()
            stopped = asyncio.create_task(asyncio.to_thread(server.stop))
            closed = [await _closed(socket) for socket in sockets]
            assert await stopped == 0
            assert time.monotonic() - asked < EXIT_S
        assert "Traceback" not in server.log(), server.log()
    assert {code for code, _ in closed} == {4503}
    waits = [float(re.fullmatch(r"retry_in=(\d+\.\d)", reason)[1]) for _, reason in closed]  # type: ignore[index]
    assert max(waits) <= 1 + SOCKETS / 100
    assert len(set(waits)) >= 5, "they do not all come back at once"
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
        leases = "SELECT lease_until FROM chatwidget_message WHERE status = 'streaming'"
        assert database.execute(leases).fetchall() == [(None,)] * STREAMS


async def _closed(socket: Socket) -> tuple[int, str]:
    code = await socket.close_code()
    return code, socket.connection.close_reason or ""


async def test_while_it_lingers_it_is_not_ready_and_takes_no_sockets(widget: Widget) -> None:
    with Server(EMBEDDED_WORKER="false", LINGER_S="3") as server:
        async with Visitor(server.url, widget.key) as visitor, visitor.socket() as socket:
            stopped = asyncio.create_task(asyncio.to_thread(server.stop))
            assert await socket.close_code() == 4503
            async with httpx.AsyncClient(base_url=server.url, verify=CONTEXT) as proxy:
                ready = await proxy.get("/readyz")
            assert (ready.status_code, ready.json()["failing"]) == (503, ["draining"])
            await visitor.conversation()  # whoever has not heard yet is still served
            async with visitor.socket(hello=False) as late:
                assert await late.close_code() == 4503
            assert await stopped == 0
            with pytest.raises((OSError, websockets.InvalidHandshake)):
                async with visitor.socket(hello=False):
                    pass
        assert "Traceback" not in server.log(), server.log()


def test_a_request_under_way_is_answered(raia: RaiaSimulator) -> None:
    agent = make_agent("Slow", "raia", base_url=raia.url, credentials={"secret_key": raia.key})
    raia.fail_next(ANY, Stall())
    with Server(EMBEDDED_WORKER="false") as server, _operator(server, "day-shift") as operator:
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=_test_agent, args=(operator, agent.pk, answers))
        asking.start()
        raia.wait_for(lambda: raia.stalled == 1)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        asyncio.run(eventually(lambda: _refuses(server)))
        raia.release()
        asking.join(timeout=10)
        stopping.join(timeout=EXIT_S)
    assert [answer.status_code for answer in answers] == [200]


def test_a_request_that_hangs_does_not_keep_the_process(raia: RaiaSimulator) -> None:
    agent = make_agent("Slow", "raia", base_url=raia.url, credentials={"secret_key": raia.key})
    raia.fail_always(ANY, Stall())
    with Server() as server, _operator(server, "night-shift") as operator:
        hanging = threading.Thread(target=_test_agent, args=(operator, agent.pk, []))
        hanging.start()
        raia.wait_for(lambda: raia.stalled == 1)
        asked = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - asked < EXIT_S
        raia.release()
        hanging.join(timeout=5)


def _operator(server: Server, name: str) -> httpx.Client:
    client = Client()
    client.force_login(make_operator(name))
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
    return httpx.Client(base_url=server.url, cookies=cookies, verify=CONTEXT)


def _test_agent(operator: httpx.Client, agent: object, answers: list[httpx.Response]) -> None:
    """Press "test connection", as the operator does."""
    address = f"/admin/chatwidget/agent/{agent}/test/"
    operator.get(address)  # for the form's token
    form = {"csrfmiddlewaretoken": operator.cookies["csrftoken"]}
    with contextlib.suppress(httpx.HTTPError):  # the process may end, as it should
        answers.append(operator.post(address, data=form, timeout=30))


def _refuses(server: Server) -> bool:
    """Whether it no longer listens."""
    try:
        httpx.get(f"{server.url}/healthz", verify=CONTEXT)
    except httpx.TransportError:
        return True
    return False
