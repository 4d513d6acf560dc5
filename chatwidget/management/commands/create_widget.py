"""`manage.py create_widget`: make an embed from a script."""

import json
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from chatwidget.embed import snippet
from chatwidget.management.base import DatabaseCommand
from chatwidget.models import Agent, Widget


class Command(DatabaseCommand):
    """Print `{"key": "pk_…", "snippet": "<script …>"}` and nothing else."""

    help = "Create a widget and print its key and snippet as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument("--agent", required=True, metavar="ID")
        parser.add_argument("--origin", action="append", default=[], metavar="URL", dest="origins")
        parser.add_argument("--answers-at-once", type=int, metavar="N")

    def handle(self, *args: Any, **given: Any) -> None:
        """Store the widget. Raises CommandError for an unknown agent or what is no origin."""
        try:
            agent = Agent.objects.get(pk=UUID(given["agent"]))
        except (ValueError, Agent.DoesNotExist) as error:
            raise CommandError(f"there is no agent {given['agent']}") from error
        widget = Widget(name=given["name"], agent=agent, origins=given["origins"])
        if given["answers_at_once"] is not None:
            widget.answers_at_once = given["answers_at_once"]
        try:
            widget.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        widget.save()
        base_url = settings.PUBLIC_URL or "http://127.0.0.1:8000"
        self.stdout.write(json.dumps({"key": widget.key, "snippet": snippet(widget, base_url)}))
