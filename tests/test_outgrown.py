"""What only several processes can get wrong, and docs/nginx.conf in front of them.

Every other test runs on this stack as well; these know its parts.
"""

import asyncio
import json
import os
import re
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.db import connection
from django.utils import timezone

from chatwidget.handler import Handler
from chatwidget.models import Message, Widget

from .cast import make_agent, make_widget, openai_agent
from .feedback.conftest import raia_agent
from .nginx import Nginx
from .reliability.load import Tab, insist
from .reliability.report import sized
from .server import ROOT, Server, manage
from .simulators.openai import OpenAISimulator
from .simulators.raia import RaiaSimulator
from .stack import Stack
from .visitor import JSON, Visitor
from .waiting import eventually

OPERATIONS = ROOT / "docs/operations.md"

pytestmark = pytest.mark.outgrown_stack("the default has one process and no proxy")


@pytest.fixture
def stack(server: Server) -> Stack:
    assert isinstance(server, Stack)
    return server


@pytest.fixture
def at_openai(openai: OpenAISimulator) -> Widget:
    return make_widget(openai_agent(openai))


@pytest.fixture
def at_raia(raia: RaiaSimulator) -> Widget:
    return make_widget(raia_agent(raia))


# --- one service in several processes -------------------------------------------------------------


async def test_a_socket_on_one_process_sees_what_another_streams(
    stack: Stack, at_openai: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens = [f"word{n} " for n in range(100)]
    openai.rate = 100
    async with Visitor(stack.first.url, at_openai.key) as asking:
        conversation = await asking.conversation()
        watching = Visitor(stack.second.url, at_openai.key, token=asking.token)
        async with watching, watching.socket(conversation) as tab:
            asked = await asking.ask(conversation, "Hello")
            answer = await tab.final(asked["answer"])
            seen = {
                frame["message"]["seq"]
                for frame in tab.frames
                if frame["type"] == "message" and frame["message"]["status"] == "streaming"
            }
    assert answer["text"] == "".join(openai.tokens)
    assert len(seen) > 1, "it was seen coming, not only at its end"


async def test_stop_on_one_process_is_heard_by_the_other(
    stack: Stack, at_openai: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 3
    async with Visitor(stack.first.url, at_openai.key) as asking:
        conversation = await asking.conversation()
        async with asking.socket(conversation) as tab:
            asked = await asking.ask(conversation, "Hello")
            await tab.until(lambda frame: frame["type"] == "delta")
            async with Visitor(stack.second.url, at_openai.key, token=asking.token) as other:
                path = f"/messages/{asked['answer']['id']}/stop"
                await other.call("POST", path, expect=202)
            answer = await tab.final(asked["answer"], timeout_s=5)
    assert answer["status"] == "stopped"


async def test_the_worker_delivers_and_the_socket_hears_of_it(
    stack: Stack, at_raia: Widget, raia: RaiaSimulator
) -> None:
    async with Visitor(stack.first.url, at_raia.key) as visitor:
        answer = await visitor.ask_and_wait("Hello")
        async with visitor.socket(answer["conversation"]) as tab:
            await visitor.vote(answer, vote="down", comment="Not quite")
            rated = await tab.until_message(
                lambda one: bool(one["feedback"]) and one["feedback"]["delivery"] == "delivered"
            )
    assert rated["feedback"]["vote"] == "down"
    assert [one.comment for one in raia.feedbacks.values()] == ["Not quite"]


async def test_an_answer_of_a_killed_process_is_taken_up_by_another(
    stack: Stack, at_raia: Widget, raia: RaiaSimulator
) -> None:
    raia.hold()
    async with Visitor(stack.second.url, at_raia.key) as visitor:
        conversation = await visitor.conversation()
        with Server(EMBEDDED_WORKER="false") as third:
            async with Visitor(third.url, at_raia.key, token=visitor.token) as asking:
                asked = await asking.ask(conversation, "Hello")
                await raia.eventually(lambda: bool(raia.calls("poll")))
            third.kill()
        raia.release()
        async with visitor.socket(conversation) as tab:
            answer = await tab.final(asked["answer"])
    assert answer["status"] == "completed"
    assert len(raia.sends) == 1


async def test_visitors_erased_while_they_are_answered_block_nobody(
    stack: Stack, at_openai: Widget, openai: OpenAISimulator
) -> None:
    """PostgreSQL fails one of two that wait for each other; whichever it is, it is tried again."""
    openai.tokens, openai.rate = [f"word{n} " for n in range(100)], 100

    async def ask_and_be_erased(pause_s: float) -> None:
        async with Visitor(stack.url, at_openai.key) as visitor:
            await visitor.ask(await visitor.conversation(), "Hello")
            await asyncio.sleep(pause_s)  # to meet the answer anywhere
            await visitor.call("DELETE", "/visitor", expect=204)

    for _ in range(2):
        await asyncio.gather(*(ask_and_be_erased(number / 15) for number in range(20)))


async def test_a_request_that_is_cut_short_gives_its_connection_back(stack: Stack) -> None:
    """Daphne cuts those whose clients have left. A pool that never gets them back runs dry."""
    widget = make_widget()
    scope: JSON = {"type": "http", "method": "GET", "path": f"/api/v1/widgets/{widget.key}"}
    scope |= {"headers": [(b"host", b"localhost")], "query_string": b"", "root_path": ""}
    asked = asyncio.Event()

    async def receive() -> JSON:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": b""}
        await asyncio.Event().wait()
        raise AssertionError("for ever is over")

    async def send(_: JSON) -> None:
        pass

    handler, pool = Handler(), connection.pool  # type: ignore[attr-defined]
    taken = in_use(pool)
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:
        other.execute("LOCK TABLE chatwidget_widget")
        request = asyncio.create_task(handler(scope, receive, send))
        await eventually(lambda: in_use(pool) > taken)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    await eventually(lambda: in_use(pool) == taken)


def in_use(pool: Any) -> int:
    stats = pool.get_stats()
    return int(stats["pool_size"] - stats["pool_available"])


# --- rolling restart ------------------------------------------------------------------------------


@sized("at_once", gate=20, full=100)
async def test_a_rolling_restart_under_streams_loses_none(
    stack: Stack,
    at_openai: Widget,
    openai: OpenAISimulator,
    at_raia: Widget,
    raia: RaiaSimulator,
    at_once: int,
) -> None:
    """D4: one server after the other is restarted. Half of the answers stream, half are polled for.

    What can be taken up elsewhere is; a model's stream cannot, and comes to its end where it is.
    """
    openai.tokens, openai.rate = [f"word{n} " for n in range(100)], 40
    raia.hold()
    async with AsyncExitStack() as tabs:

        async def arrive(widget: Widget) -> tuple[Tab, JSON]:
            visitor = await tabs.enter_async_context(Visitor(stack.url, widget.key))
            conversation = await visitor.conversation()
            tab = await tabs.enter_async_context(Tab(visitor, conversation, pace=0.2))
            body = {"id": str(uuid.uuid4()), "text": "Hello"}
            path = f"/conversations/{conversation}/messages"
            return tab, (await insist(visitor, "POST", path, body))["answer"]

        asked = await asyncio.gather(
            *(arrive(widget) for widget in (at_openai, at_raia) for _ in range(at_once // 2))
        )
        for restarted in (stack.first, stack.second):
            assert await asyncio.to_thread(restarted.stop) == 0
            await asyncio.gather(*(tab.until_ready() for tab, _ in asked))
            await asyncio.to_thread(restarted.start)
        raia.release()
        for tab, answer in asked:
            shown = await tab.until_ended(answer["id"])
            stored = Message.objects.get(pk=answer["id"])
            assert (shown["status"], shown["text"]) == ("completed", stored.text), stored.problem
        streamed = [tab.messages[answer["id"]]["text"] for tab, answer in asked[: at_once // 2]]
        assert set(streamed) == {"".join(openai.tokens)}
        assert all(tab.lost for tab, _ in asked), "each was on a server that was restarted"
    assert (len(openai.sends), len(raia.sends)) == (at_once // 2, at_once // 2)


# --- the proxy ------------------------------------------------------------------------------------


def test_with_one_server_down_the_other_answers_everything(stack: Stack) -> None:
    stack.first.stop()
    try:
        with httpx.Client(base_url=stack.url, trust_env=False) as client:
            for _ in range(20):
                assert client.get("/healthz").status_code == 200
                assert client.post("/api/v1/conversations").status_code == 401
    finally:
        stack.first.start()


@contextmanager
def closing_server() -> Iterator[tuple[int, list[str]]]:
    """A server that reads each request and dies over it. Yields its port and what was asked."""
    asked = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            while True:
                connection, _ = listening.accept()
                with connection:
                    request = connection.recv(65536).decode()
                    if request.startswith("END"):
                        return
                    asked.append(request.partition(" ")[0])

        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        yield port, asked
        with closing(socket.create_connection(("127.0.0.1", port))) as last:
            last.send(b"END")
        thread.join()


def test_what_a_process_may_have_begun_is_not_given_to_another() -> None:
    with (
        closing_server() as (one, asked_one),
        closing_server() as (other, asked_other),
        Nginx(one, other) as nginx,
        httpx.Client(base_url=f"http://127.0.0.1:{nginx.port}", trust_env=False) as client,
    ):
        assert client.post("/api/v1/conversations", json={}).status_code == 502
        assert sorted(asked_one + asked_other) == ["POST"]
        assert client.get("/api/v1/conversations").status_code == 502
        assert sorted(asked_one + asked_other) == ["GET", "GET", "POST"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for this machine, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = timezone.now()
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


async def test_behind_tls_the_service_knows_its_own_address(
    stack: Stack, certificate: Path
) -> None:
    """Its own origin is let in without being on any list, so scheme, host and port came through."""
    trusting = ssl.create_default_context(cafile=certificate)
    widget = make_widget(make_agent(options={"think_s": 0}))
    with Nginx(stack.first.port, stack.second.port, certificate=certificate) as nginx:
        own = f"localhost:{nginx.port}"
        origin = {"Origin": f"https://{own}"}
        async with httpx.AsyncClient(verify=trusting, trust_env=False, headers=origin) as client:
            address = f"https://{own}/api/v1/widgets/{widget.key}/sessions"
            session = (await client.post(address, json={})).json()
        async with websockets.connect(
            f"wss://{own}/ws/v1/", ssl=trusting, proxy=None, additional_headers=origin
        ) as connection:
            hello = {"type": "hello", "token": session["token"], "conversation": None}
            await connection.send(json.dumps(hello))
            assert json.loads(await connection.recv())["type"] == "ready"


def test_without_tls_it_sends_browsers_to_where_there_is(stack: Stack, certificate: Path) -> None:
    with (
        Nginx(stack.first.port, certificate=certificate) as nginx,
        httpx.Client(transport=httpx.HTTPTransport(uds=nginx.plain_socket)) as client,
    ):
        moved = client.get("http://chat.example.com/widget.js?x=1")
    assert moved.status_code == 301
    assert moved.headers["location"] == "https://chat.example.com/widget.js?x=1"


# --- the move -------------------------------------------------------------------------------------


async def test_everything_moves_from_sqlite_as_the_docs_say(
    stack: Stack, tmp_path: Path, raia: RaiaSimulator
) -> None:
    old = {"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3", "REDIS_URL": ""}
    manage("migrate", "-v0", **old)
    secret = ("--base-url", raia.url, "--credential", f"secret_key={raia.key}")
    agent = manage("create_agent", "--name", "Sam", "--provider", "raia", *secret, **old)
    widget = manage("create_widget", "--name", "W", "--agent", json.loads(agent)["id"], **old)
    key = json.loads(widget)["key"]
    with Server(**old) as server:
        async with Visitor(server.url, key) as visitor:
            answer = await visitor.ask_and_wait("Hello")
            await visitor.vote(answer, vote="up", comment="Good")
            before = await visitor.messages(answer["conversation"])

    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as postgres:
        postgres.execute("CREATE DATABASE moved")
    new = {"DATABASE_URL": os.environ["DATABASE_URL"].replace("/postgres?", "/moved?")}
    manage("migrate", "-v0", **new)
    [command] = re.findall(r"chatwidget (dumpdata[^:]*?\.jsonl)\n", OPERATIONS.read_text())
    dump = command.replace("\\\n", " ").replace("everything.jsonl", f"{tmp_path}/all.jsonl").split()
    manage(*dump, **old)
    manage("loaddata", f"{tmp_path}/all.jsonl", **new)

    with Server(**new) as server:
        async with Visitor(server.url, key, token=visitor.token) as back:
            assert back.id == visitor.id
            after = await back.messages(answer["conversation"])
            assert [one["text"] for one in after] == [one["text"] for one in before]
            assert after[1]["feedback"]["comment"] == "Good"
            asked = await back.ask(answer["conversation"], "And now?")
            async with back.socket(answer["conversation"]) as tab:
                assert (await tab.final(asked["answer"]))["status"] == "completed"
