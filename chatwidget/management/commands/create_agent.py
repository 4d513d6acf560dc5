"""`manage.py create_agent`: configure an upstream from a script."""

import json
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser

from chatwidget.admin.agents import OPTION, SECRET, form_for
from chatwidget.errors import UnknownProvider
from chatwidget.management.base import DatabaseCommand
from chatwidget.models import Agent
from chatwidget.providers import PROVIDERS, provider_class
from chatwidget.providers.base import Field

PREFIXES = {"credential": SECRET, "option": OPTION}
"""How the admin's form, which decides what is stored, calls what is given here."""


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
        data = {name: given[name] for name in ("name", "provider", "base_url", "answers_at_once")}
        if data["answers_at_once"] is None:
            data["answers_at_once"] = Agent._meta.get_field("answers_at_once").default
        fields = {
            "credential": provider.credential_fields,
            "option": [*provider.own_options(), *provider.deadlines()],
        }
        for kind, prefix in PREFIXES.items():
            values = self._values(kind, given[f"{kind}s"], fields[kind])
            data |= {prefix + name: value for name, value in values.items()}
        form = form_for(provider)(data)
        if not form.is_valid():
            name, errors = next(iter(form.errors.items()))
            raise CommandError(f"{self._argument(name)}: {' '.join(map(str, errors))}")
        self.stdout.write(json.dumps({"id": str(form.save().pk)}))

    def _values(self, kind: str, pairs: list[str], fields: Sequence[Field]) -> dict[str, str]:
        """Return NAME=VALUE pairs as a dict, checked against the provider's fields."""
        names = [field.name for field in fields]
        values: dict[str, str] = {}
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not equals or name not in names:  # nothing of it is repeated: it may be a secret
                allowed = ", ".join(dict.fromkeys(names)) or "none"
                raise CommandError(f"--{kind}: write NAME=VALUE; the names are: {allowed}")
            values[name] = value
        return values

    def _argument(self, field: str) -> str:
        """Return what a field of the form is called here."""
        for kind, prefix in PREFIXES.items():
            if field.startswith(prefix):
                return f"--{kind} {field.removeprefix(prefix)}"
        return f"--{field.replace('_', '-')}"
