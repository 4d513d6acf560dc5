"""`manage.py check_agent ID`: the connection test, in a terminal."""

import asyncio
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from chatwidget.connection_test import Step, check_agent
from chatwidget.logs import escape_controls
from chatwidget.management.base import DatabaseCommand
from chatwidget.models import Agent

MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "  - "}


class Command(DatabaseCommand):
    """Exit code 0 when every step that was tried passed."""

    help = "Ask an agent a question and show how each step went."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id")
        parser.add_argument("--rate", action="store_true", help="Also rate the answer.")
        parser.add_argument("--calls", action="store_true", help="Show what was sent and got.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the steps. Raises CommandError when one failed."""
        try:
            agent = Agent.objects.get(pk=UUID(options["id"]))
        except (ValueError, Agent.DoesNotExist) as error:
            raise CommandError(f"there is no agent {options['id']}") from error
        steps = asyncio.run(check_agent(agent, rate=options["rate"]))
        for step in steps:
            self._print(step, calls=options["calls"])
        if any(step.outcome == "failed" for step in steps):
            raise CommandError("the agent cannot answer yet")

    def _print(self, step: Step, *, calls: bool) -> None:
        line = f"{MARKS[step.outcome]} {step.title:<22} {step.seconds:6.2f} s  {step.note}"
        self.stdout.write(escape_controls(line))
        for call in step.calls if calls else ():
            self.stdout.write(escape_controls(f"       {call.request} → {call.status}"))
            for body in filter(None, [call.sent, call.got]):
                self.stdout.write(
                    escape_controls("\n".join(f"         {line}" for line in body.splitlines()))
                )
