"""SQLite under load and under SIGKILL: nothing locked out, nothing half-written, copies that open.

Each test has a database file of its own. What it finds in there it reads with plain SQL.
"""

import asyncio
import sqlite3
import time
import uuid
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from ..server import Server, manage, worker
from ..simulators.openai import OpenAISimulator
from ..simulators.raia import RaiaSimulator
from ..visitor import JSON, Visitor
from ..waiting import eventually
from .database import Database
from .report import Report, percentile, sized

pytestmark = pytest.mark.default_stack("SQLite")

WRITERS = 8
OF_AN_ANSWER, OF_A_DELIVERY = 6, 2
"""Transactions: claimed, two ids, sent, the question's id, ended; claimed, delivered."""


def ask_sqlite(path: Path, *statements: str) -> list[Any]:
    """Return all rows of all statements."""
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        return [row for one in statements for row in connection.execute(one)]


def damage(path: Path) -> list[Any]:
    """Return what is wrong with a database; opening it is what recovers it after a crash."""
    found = ask_sqlite(path, "PRAGMA integrity_check", "PRAGMA foreign_key_check")
    return [row for row in found if row != ("ok",)]


HALF_WRITTEN = {
    "questions without an answer": """
        SELECT id FROM chatwidget_message AS question WHERE role = 'visitor'
        AND NOT EXISTS (SELECT 1 FROM chatwidget_message WHERE question_id = question.id)""",
    "answers without a question": """
        SELECT id FROM chatwidget_message WHERE role = 'agent' AND question_id IS NULL""",
    "ended answers that somebody holds": """
        SELECT id FROM chatwidget_message
        WHERE status NOT IN ('pending', 'streaming') AND lease_token IS NOT NULL""",
    "messages that are both open and ended": """
        SELECT id FROM chatwidget_message
        WHERE (status IN ('pending', 'streaming')) != (completed_at IS NULL)""",
    "answers nobody can claim within a lease": """
        SELECT id FROM chatwidget_message WHERE status IN ('pending', 'streaming')
        AND lease_until > strftime('%Y-%m-%d %H:%M:%f', 'now', '+3 seconds')""",
    "conversations that miscount": """
        SELECT id FROM chatwidget_conversation AS one WHERE last_position !=
        (SELECT COALESCE(MAX(position), 0) FROM chatwidget_message WHERE conversation_id = one.id)
        """,
    "votes without a delivery": """
        SELECT id FROM feedback_feedback AS one WHERE vote IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM feedback_delivery WHERE feedback_id = one.id)""",
}


def half_written(path: Path) -> dict[str, list[Any]]:
    """Return what breaks an invariant, by its name; no lease here is longer than 3 s."""
    found = {name: ask_sqlite(path, query) for name, query in HALF_WRITTEN.items()}
    return {name: rows for name, rows in found.items() if rows}


# --- many writers ---------------------------------------------------------------------------------


class Writer:
    """A visitor who does all that is stored, over and over, and takes the time of each request."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.seconds: list[float] = []
        self.transactions = 0
        """At least so many, with those of the answers and of the deliveries."""

    async def call(self, method: str, path: str, body: object, expect: int) -> Any:
        started = time.monotonic()
        answer = await self.visitor.call(method, path, body, expect=expect)
        self.seconds.append(time.monotonic() - started)
        self.transactions += 1
        return answer

    async def write(self, transactions: int) -> None:
        while self.transactions < transactions:
            conversation = (await self.call("POST", "/conversations", None, 201))["id"]
            path = f"/conversations/{conversation}"
            body = {"id": str(uuid.uuid4()), "text": "Hello"}
            async with self.visitor.socket(conversation) as socket:
                asked = await self.call("POST", f"{path}/messages", body, 201)
                answer = await socket.final(asked["answer"], timeout_s=60)
            assert answer["status"] == "completed"
            self.transactions += OF_AN_ANSWER + OF_A_DELIVERY
            vote = f"/messages/{answer['id']}/feedback"
            for number in range(4):
                await self.call("PUT", vote, {"vote": "down", "comment": f"No {number}"}, 200)
                await self.call("POST", f"{path}/read", None, 204)
                await self.call("PUT", vote, {"vote": "up"}, 200)


async def copies(database: Path, folder: Path) -> list[Path]:
    """Copy the database again and again, in both ways operators are told, until cancelled."""
    made: list[Path] = []

    def copy() -> None:
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            made.append(folder / f"{len(made)}.sqlite3")
            connection.execute("VACUUM INTO ?", (str(made[-1]),))
            made.append(folder / f"{len(made)}.sqlite3")
            with closing(sqlite3.connect(made[-1])) as backup:
                connection.backup(backup)

    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.to_thread(copy)
            await asyncio.sleep(3)
    return made


@sized("transactions", gate=1_000, full=10_000)
async def test_nobody_is_locked_out(
    sqlite: Database, raia: RaiaSimulator, report: Report, tmp_path: Path, transactions: int
) -> None:
    """D1: one process and a worker on SQLite, eight writers: nothing is locked; copies open."""
    raia.ripening = 0
    key = sqlite.widget(
        *("--provider", "raia", "--base-url", raia.url),
        *("--credential", f"secret_key={raia.key}"),
        *("--option", "poll_s=0.02"),
    )
    log = tmp_path / "worker.log"
    with (
        log.open("w") as worker_log,
        worker(worker_log, **sqlite.env),
        Server(EMBEDDED_WORKER="false", **sqlite.env) as server,
    ):
        copying = asyncio.create_task(copies(sqlite.path, tmp_path))
        async with AsyncExitStack() as stack:
            writers = [
                Writer(await stack.enter_async_context(Visitor(server.url, key)))
                for _ in range(WRITERS)
            ]
            started = time.monotonic()
            await asyncio.gather(*(one.write(transactions // WRITERS) for one in writers))
            lasted = time.monotonic() - started
        copying.cancel()
        made = await copying
        waiting = "SELECT id FROM feedback_delivery WHERE state != 'delivered'"
        await eventually(lambda: not ask_sqlite(sqlite.path, waiting), timeout_s=30)
        told = server.log() + log.read_text()
    seconds = [one for writer in writers for one in writer.seconds]
    count = sum(writer.transactions for writer in writers)
    report.tell("transactions", count)
    report.tell("transactions a second", round(count / lasted))
    report.tell_times("request", seconds)
    report.tell("copies made meanwhile", len(made))
    report.tell("locked", told.count("locked"))
    assert "locked" not in told
    assert "Traceback" not in told
    assert made
    for path in (sqlite.path, *made):
        assert damage(path) == []
        assert half_written(path) == {}
    manage("migrate", "--check", DATABASE_URL=f"sqlite:///{made[-1]}")
    if transactions >= 10_000:
        assert percentile(seconds, 99) <= 0.25


# --- killed ---------------------------------------------------------------------------------------

WORDS = [f"word{number} " for number in range(30)]


class Restless:
    """A visitor who asks without pause, and knows what the service has taken from them."""

    def __init__(self, server: Server, key: str) -> None:
        self.server, self.key = server, key
        self.taken: list[JSON] = []
        self.token: str | None = None

    async def ask_on(self) -> None:
        """Ask in new conversations until the service is gone."""
        with suppress(httpx.TransportError, OSError, websockets.WebSocketException):
            async with Visitor(self.server.url, self.key, token=self.token) as visitor:
                self.token = visitor.token
                while True:
                    conversation = await visitor.conversation()
                    async with visitor.socket(conversation) as socket:
                        asked = await visitor.ask(conversation, f"Question {uuid.uuid4()}")
                        self.taken.append(asked)
                        await socket.final(asked["answer"])


@sized("kills", gate=10, full=200)
async def test_a_kill_leaves_nothing_half_written(
    sqlite: Database, openai: OpenAISimulator, report: Report, kills: int
) -> None:
    """D2: SIGKILL at random moments while writing: the database opens, every answer goes on."""
    openai.tokens, openai.rate = WORDS, 100
    key = sqlite.widget(
        *("--provider", "openai", "--base-url", openai.base_url),
        *("--credential", f"api_key={openai.key}", "--option", f"model={openai.model}"),
    )
    with Server(LEASE_S="1", SAVE_EVERY_S="0.02", **sqlite.env) as server:
        visitors = [Restless(server, key) for _ in range(4)]
        for number in range(kills):
            before = len(taken(visitors))
            asking = [asyncio.create_task(one.ask_on()) for one in visitors]
            await eventually(lambda before=before: len(taken(visitors)) > before)  # type: ignore[misc]
            await asyncio.sleep(report.random.uniform(0, 0.5))  # the moment is to be random
            server.kill()
            await asyncio.gather(*asking)
            assert damage(sqlite.path) == []
            assert half_written(sqlite.path) == {}
            check_texts(sqlite.path)
            if number + 1 < kills:
                server.start()
        server.start()
        await eventually(lambda: not open_answers(sqlite.path), timeout_s=30)
    stored = {row[0] for row in ask_sqlite(sqlite.path, "SELECT id FROM chatwidget_message")}
    lost = [one for one in taken(visitors) if one["question"]["id"].replace("-", "") not in stored]
    check_texts(sqlite.path)
    ends = ask_sqlite(
        sqlite.path,
        "SELECT status || error, COUNT(*) FROM chatwidget_message WHERE role = 'agent' GROUP BY 1",
    )
    report.tell("kills", kills)
    report.tell("questions taken", len(taken(visitors)))
    report.tell("lost", len(lost))
    for end, count in ends:
        report.tell(end, count)
    assert lost == []
    asked = [body["messages"][-1]["content"] for body in openai.sends]
    assert len(asked) == len(set(asked))


def taken(visitors: list[Restless]) -> list[JSON]:
    return [one for visitor in visitors for one in visitor.taken]


def open_answers(path: Path) -> list[Any]:
    return ask_sqlite(
        path, "SELECT id FROM chatwidget_message WHERE status IN ('pending', 'streaming')"
    )


def check_texts(path: Path) -> None:
    """Every answer holds a beginning of what the vendor says, and a completed one all of it."""
    whole = "".join(WORDS)
    query = "SELECT status, text FROM chatwidget_message WHERE role = 'agent'"
    for status, text in ask_sqlite(path, query):
        assert whole.startswith(text)
        assert status != "completed" or text == whole
