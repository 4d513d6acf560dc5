"""Databases of a test's own, where the session's server must not have a hand in."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import environ
from django.core.management import call_command
from django.db import connections

from .. import stack
from ..server import manage

OWN = "own"
"""The alias under which tests see the database that `attached` made: `….using(OWN)`."""


class Database:
    """A SQLite file of our own, and what the service is told to use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {"DATABASE_URL": f"sqlite:///{path}"}
        manage("migrate", "-v0", **self.env)

    def widget(self, *agent: str) -> str:
        """Make an agent and its widget as an operator does; returns the widget's key."""
        made = json.loads(manage("create_agent", "--name", "An agent", *agent, **self.env))
        command = ("create_widget", "--name", "Site", "--agent", made["id"])
        return str(json.loads(manage(*command, **self.env))["key"])


@contextmanager
def attached(kind: str) -> Iterator[dict[str, str]]:
    """A database of our own of this kind, `sqlite` or `postgres`, that this process sees as OWN.

    Yields what the service is told to use it.
    """
    with tempfile.TemporaryDirectory(prefix="chatwidget-own-") as name:
        folder = Path(name)
        if kind == "sqlite":
            yield from _under_alias(f"sqlite:///{folder / 'db.sqlite3'}")
        else:
            with stack.postgres(folder / "postgres") as address:
                yield from _under_alias(address)


def _under_alias(address: str) -> Iterator[dict[str, str]]:
    config = environ.Env.db_url_config(address)
    on_sqlite = config["ENGINE"].endswith("sqlite3")
    if on_sqlite:
        config["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 20}
    else:  # each task of a test has a connection of its own, and gives none back
        config["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 1000}
    connections.databases[OWN] = connections.configure_settings({"default": {}, OWN: config})[OWN]
    try:
        call_command("migrate", database=OWN, verbosity=0)
        yield {"DATABASE_URL": address}
    finally:
        connections[OWN].close()
        if not on_sqlite:
            connections[OWN].close_pool()  # type: ignore[attr-defined]
        del connections[OWN], connections.databases[OWN]
