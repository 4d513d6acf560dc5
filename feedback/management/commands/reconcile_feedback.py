"""`manage.py reconcile_feedback`: is what vendors hold what visitors said?"""

import json
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from chatwidget.management.base import DatabaseCommand
from chatwidget.models import Agent
from feedback.models import Delivery
from feedback.reconciliation import Again, Compared, Outcome, compared, in_words


class Command(DatabaseCommand):
    """One JSON object a line for each vote that is not there as it was delivered; a sentence on
    standard error tells what came of all. Exit code 1 when a vendor could not be asked.
    """

    help = (
        "Compare delivered votes with what vendors hold, where they can be asked (as JSON lines)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--agent", metavar="ID", help="Only this agent's.")
        parser.add_argument(
            "--since", metavar="DATE", help="Only votes given since, such as 2026-11-01."
        )
        parser.add_argument(
            "--deliver-again",
            choices=[Again.MISSING, Again.ALL],
            nargs="?",
            const=Again.MISSING,
            default=Again.NOTHING,
            help="Send what the vendor does not hold; `all`: also overwrite what is another vote "
            "there, which may be a colleague's.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare and tell. Raises CommandError for an unknown agent and for what was not asked."""
        votes = Delivery.objects.all()
        if options["agent"]:
            votes = votes.filter(agent=self._agent(options["agent"]))
        if options["since"]:
            votes = votes.filter(feedback__updated_at__gte=self._moment(options["since"]))
        outcomes: Counter[Outcome] = Counter()
        problems: dict[str, None] = {}
        for one in compared(votes, again=Again(options["deliver_again"])):
            outcomes[one.outcome] += 1
            if one.problem:
                problems[f"{one.agent.name}: {one.problem}"] = None
            elif one.in_words():
                self.stdout.write(json.dumps(self._line(one)))
        self.stderr.write(in_words(outcomes))
        if problems:
            raise CommandError("not asked: " + "; ".join(problems))

    def _line(self, one: Compared) -> dict[str, Any]:
        return {
            "message": str(one.message),
            "agent": str(one.agent.pk),
            "found": one.outcome,
            "here": one.here or None,
            "there": list(one.there),
            "told": one.in_words(),
            "sent_again": one.sent_again,
        }

    def _agent(self, given: str) -> Agent:
        try:
            return Agent.objects.get(pk=UUID(given))
        except (ValueError, Agent.DoesNotExist) as error:
            raise CommandError(f"there is no agent {given}") from error

    def _moment(self, given: str) -> datetime:
        try:
            at = parse_datetime(given)
        except ValueError:
            at = None
        if at is None:
            raise CommandError("--since: write a date or time such as 2026-11-01T08:00")
        return at if at.tzinfo else timezone.make_aware(at)
