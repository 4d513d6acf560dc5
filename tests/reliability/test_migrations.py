"""From every released version to this one, with 100,000 messages, while visitors go on.

At a release its line is added to RELEASES: docs/operations.md, "Releasing", says how.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from ..server import ROOT, manage
from ..stack import postgres
from .report import Report

pytestmark = pytest.mark.default_stack("brings databases of its own")

RELEASES: dict[str, dict[str, str]] = {}
"""By version: the newest migration of each application in it."""

MESSAGES = 100_000
LONGEST_WAIT_S = 2.0
"""On PostgreSQL. SQLite writes a changed table anew, and only reads go on meanwhile."""

FILL = """
import sys
import django
django.setup()
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

# Models as they were then, not as they are now.
targets = [tuple(one.split(".")) for one in sys.argv[2:]]
models = MigrationExecutor(connection).loader.project_state(targets).apps.get_app_config
model = models("chatwidget").get_model
Conversation, Message = model("Conversation"), model("Message")
now = timezone.now()
agent = model("Agent").objects.create(name="A", provider="demo")
widget = model("Widget").objects.create(name="W", agent=agent)
visitor = model("Visitor").objects.create(widget=widget)
for _ in range(int(sys.argv[1]) // 1000):
    conversation = Conversation.objects.create(visitor=visitor, agent=agent, last_position=1000)
    questions, answers = [], []
    for position in range(1, 1000, 2):
        said = {"conversation": conversation, "completed_at": now}
        question = Message(position=position, role="visitor", text=f"Question {position}", **said)
        text = f"Answer {position} " * 20
        answer = Message(position=position + 1, role="agent", text=text, question=question, **said)
        questions.append(question)
        answers.append(answer)
    Message.objects.bulk_create(questions)
    Message.objects.bulk_create(answers)
"""

VISIT = (
    "UPDATE chatwidget_conversation SET unread = 0 WHERE last_position = 1000",
    "SELECT COUNT(*) FROM chatwidget_message WHERE position = 1",
)
"""What a visitor who goes on needs of the tables: a write here, a read there."""
CONTENT = "SELECT role, COUNT(*), SUM(LENGTH(text)) FROM chatwidget_message GROUP BY role"


@dataclass
class Empty:
    """A database with nothing in it."""

    kind: str
    env: dict[str, str]
    connect: Callable[[], Any]

    def rows(self, query: str) -> list[Any]:
        with closing(self.connect()) as found:
            return sorted(found.execute(query).fetchall())


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def empty(request: pytest.FixtureRequest) -> Iterator[Empty]:
    with tempfile.TemporaryDirectory(prefix="chatwidget-migrate-") as folder:
        if request.param == "SQLite":
            path = Path(folder) / "db.sqlite3"
            env = {"DATABASE_URL": f"sqlite:///{path}"}
            yield Empty(
                "SQLite", env, lambda: sqlite3.connect(path, timeout=20, isolation_level=None)
            )
            return
        with postgres(Path(folder) / "postgres") as uri:
            env = {"DATABASE_URL": uri}
            yield Empty("PostgreSQL", env, lambda: psycopg.connect(uri, autocommit=True))


class Visits:
    """Somebody who goes on meanwhile, on a thread; `longest` is the longest they had to wait."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._visit)
        self.longest, self.count = 0.0, 0

    def _visit(self) -> None:
        with closing(self._connect()) as connection:
            while not self._ended.wait(0.02):
                started = time.monotonic()
                for statement in VISIT:
                    connection.execute(statement).close()
                self.longest = max(self.longest, time.monotonic() - started)
                self.count += 1

    def __enter__(self) -> "Visits":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()


def carry_over(empty: Empty, release: dict[str, str], report: Report, **settings: str) -> float:
    """Fill a database as that release would have, and migrate it.

    Returns the longest that a visitor had to wait. `settings` is environment for the migration.
    """
    for app, migration in release.items():
        manage("migrate", "-v0", app, migration, **empty.env)
    targets = [f"{app}.{migration}" for app, migration in release.items()]
    subprocess.run(
        [sys.executable, "-c", FILL, str(MESSAGES), *targets],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "chatwidget.settings"} | empty.env,
        check=True,
    )
    before = empty.rows(CONTENT)
    assert sum(row[1] for row in before) == MESSAGES
    with Visits(empty.connect) as visits:
        started = time.monotonic()
        manage("migrate", "-v0", **empty.env, **settings)
        lasted = time.monotonic() - started
    manage("migrate", "--check", **empty.env, **settings)
    assert empty.rows(CONTENT) == before
    report.tell("messages", MESSAGES)
    report.tell("migration, s", round(lasted, 1))
    report.tell("visits meanwhile", visits.count)
    report.tell("longest wait of a visitor, s", round(visits.longest, 2))
    return visits.longest


@pytest.mark.long
@pytest.mark.parametrize("version", RELEASES)
def test_a_release_is_carried_over(empty: Empty, report: Report, version: str) -> None:
    """D6: 100,000 messages of a released version are carried over, with no long lock."""
    longest = carry_over(empty, RELEASES[version], report)
    assert empty.kind == "SQLite" or longest <= LONGEST_WAIT_S


# --- that the above would notice ------------------------------------------------------------------

NEXT = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("chatwidget", {last!r})]
    operations = [
        migrations.AddField("message", "tomorrow", models.TextField(null=True)),
        {more}
    ]
"""
HELD = """
        migrations.RunSQL("LOCK TABLE chatwidget_message"),
        migrations.RunSQL("SELECT pg_sleep(3)"),
"""


def newest() -> dict[str, str]:
    """Return this version's line, as RELEASES would have it."""
    leaves = MigrationLoader(connection).graph.leaf_nodes()
    return {app: name for app, name in leaves if app in ("chatwidget", "feedback")}


def settings_of_tomorrow(folder: Path, more: str = "") -> dict[str, str]:
    """Write a version that has one more migration; returns its environment."""
    package = folder / "tomorrow"
    package.mkdir()
    for path in (ROOT / "chatwidget/migrations").glob("*.py"):
        (package / path.name).write_text(path.read_text())
    last = newest()["chatwidget"]
    (package / "9999_next.py").write_text(NEXT.format(last=last, more=more))
    (folder / "settings_of_tomorrow.py").write_text(
        "from chatwidget.settings import *\nMIGRATION_MODULES = {'chatwidget': 'tomorrow'}\n"
    )
    return {"DJANGO_SETTINGS_MODULE": "settings_of_tomorrow", "PYTHONPATH": str(folder)}


@pytest.mark.long
def test_todays_schema_would_be_carried_over(empty: Empty, report: Report, tmp_path: Path) -> None:
    """D6: one more migration on top of today's schema, with 100,000 messages."""
    longest = carry_over(empty, newest(), report, **settings_of_tomorrow(tmp_path))
    assert ("tomorrow",) in columns(empty)
    assert empty.kind == "SQLite" or longest <= LONGEST_WAIT_S


@pytest.mark.long
@pytest.mark.parametrize("empty", ["PostgreSQL"], indirect=True)
def test_a_migration_that_locks_visitors_out_is_noticed(
    empty: Empty, report: Report, tmp_path: Path
) -> None:
    """D6: a migration that holds the messages for three seconds is told as such."""
    longest = carry_over(empty, newest(), report, **settings_of_tomorrow(tmp_path, HELD))
    assert longest > LONGEST_WAIT_S


def columns(empty: Empty) -> list[Any]:
    if empty.kind == "SQLite":
        return empty.rows("SELECT name FROM pragma_table_info('chatwidget_message')")
    return empty.rows(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'chatwidget_message'"
    )
