"""`manage.py create_agent`: configure an upstream from a script."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.core.validators import URLValidator

from chatwidget.errors import UnknownProvider
from chatwidget.management.base import DatabaseCommand
from chatwidget.models import Agent
from chatwidget.providers import PROVIDERS, provider_class


class Command(DatabaseCommand):
    """Print one JSON object, `{"id": …}`, and nothing else."""

    help = "Create an agent and print its id as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument("--provider", required=True, help=", ".join(PROVIDERS))
        parser.add_argument("--base-url", default="")
        parser.add_argument("--answers-at-once", type=int, metavar="N")
        for kind in ("credential", "option"):
            parser.add_argument(
                f"--{kind}", action="append", default=[], metavar="NAME=VALUE", dest=f"{kind}s"
            )

    def handle(self, *args: Any, **given: Any) -> None:
        """Store the agent. Raises CommandError for what the provider does not know or lacks."""
        try:
            provider = provider_class(given["provider"])
        except UnknownProvider as error:
            raise CommandError(str(error)) from error
        options = [*provider.own_options(), *provider.deadlines()]
        agent = Agent(
            name=given["name"],
            provider=given["provider"],
            base_url=self._base_url(given["base_url"]),
            options=self._values("option", given["options"], options),
        )
        agent.credentials = self._values(
            "credential", given["credentials"], provider.credential_fields
        )
        if given["answers_at_once"] is not None:
            agent.answers_at_once = given["answers_at_once"]
        try:
            agent.clean_fields()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        agent.save()
        self.stdout.write(json.dumps({"id": str(agent.pk)}))

    def _base_url(self, url: str) -> str:
        try:
            if url:
                URLValidator(schemes=["http", "https"])(url)
        except ValidationError as error:
            raise CommandError("--base-url must be an http or https address") from error
        if "@" in url:  # it would be stored and shown as plain text
            raise CommandError("--base-url must not hold a password: use --credential")
        return url.rstrip("/")

    def _values(self, kind: str, pairs: list[str], fields: Any) -> dict[str, str]:
        """Return NAME=VALUE pairs as a dict, checked against the provider's fields."""
        names = [field.name for field in fields]
        values: dict[str, str] = {}
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not equals or name not in names:  # nothing of it is repeated: it may be a secret
                allowed = ", ".join(dict.fromkeys(names)) or "none"
                raise CommandError(f"--{kind}: write NAME=VALUE; the names are: {allowed}")
            values[name] = value
        missing = [field.name for field in fields if field.required and not values.get(field.name)]
        if missing:
            raise CommandError(f"this provider needs --{kind} {missing[0]}=…")
        return values
