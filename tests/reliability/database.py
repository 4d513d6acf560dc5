"""A SQLite file of a test's own, where the session's server must not have a hand in."""

import json
from pathlib import Path

from ..server import manage


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
