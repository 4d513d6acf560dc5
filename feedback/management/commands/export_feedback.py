"""`manage.py export_feedback`: votes as a file, from a script."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.management.base import CommandError, CommandParser
from django.utils.dateparse import parse_date

from chatwidget.management.base import DatabaseCommand
from chatwidget.models import Agent, Widget
from feedback.days import midnight
from feedback.export import FORMATS
from feedback.models import Feedback, Vote


class Command(DatabaseCommand):
    """Write every vote, newest first, or those that the options leave."""

    help = "Export rated answers as JSONL or CSV."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=FORMATS, default="jsonl")
        parser.add_argument("--output", type=Path, metavar="FILE", help="Not to standard output.")
        parser.add_argument("--vote", choices=Vote.values)
        parser.add_argument("--agent", metavar="ID")
        parser.add_argument("--widget", metavar="KEY")
        parser.add_argument("--from", metavar="DATE", dest="first", help="As 2024-03-01.")
        parser.add_argument("--until", metavar="DATE", dest="last", help="Included.")

    def handle(self, *args: Any, **given: Any) -> None:
        """Write the file. Raises CommandError for options that mean nothing."""
        votes = Feedback.objects.order_by("-updated_at", "-pk")
        try:
            chosen = {"vote": given["vote"]}
            for model, option in ((Agent, "agent"), (Widget, "widget")):
                chosen[option] = model.objects.get(pk=given[option]) if given[option] else None
        except (ValidationError, ObjectDoesNotExist) as error:
            raise CommandError(f"there is no {option} {given[option]}") from error
        votes = votes.filter(**{name: value for name, value in chosen.items() if value})
        if first := self._day("--from", given["first"]):
            votes = votes.filter(updated_at__gte=midnight(first))
        if last := self._day("--until", given["last"]):
            votes = votes.filter(updated_at__lt=midnight(last + timedelta(days=1)))
        parts, _content_type = FORMATS[given["format"]]
        if given["output"] is None:
            for part in parts(votes):
                self.stdout.write(part, ending="")
            return
        try:
            with given["output"].open("w", encoding="utf-8", newline="") as file:
                for part in parts(votes):
                    file.write(part)
        except OSError as error:
            raise CommandError(f"{given['output']} cannot be written: {error.strerror}") from error

    def _day(self, option: str, given: str | None) -> date | None:
        try:
            day = parse_date(given) if given else None
        except ValueError:
            day = None
        # The days at either end of the calendar have no midnight in every time zone.
        if given and (day is None or not 1970 <= day.year <= 9998):
            raise CommandError(f"{option} is a day, as 2024-03-01")
        return day
