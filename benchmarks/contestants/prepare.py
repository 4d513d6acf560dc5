"""Lay out this project's database: an agent, a widget, visitors who have been there before.

    python -m benchmarks.contestants.prepare --upstream URL --visitors N

Prints the visitors as JSON: `[{"token", "conversation"}]`.
"""

import argparse
import json
import os

import django
from django.core.management import call_command
from django.db import transaction


def visitors(upstream: str, count: int) -> list[dict[str, str]]:
    """Store everything and return how each visitor is known."""
    from chatwidget import tokens
    from chatwidget.models import Agent, Conversation, Visitor, Widget

    agent = Agent(
        name="Clock", provider="openai", base_url=f"{upstream}/v1", options={"model": "clock"}
    )
    agent.credentials = {"api_key": "benchmark"}
    agent.save()
    widget = Widget.objects.create(name="Benchmark", agent=agent)
    known = []
    for _ in range(count):
        visitor = Visitor.objects.create(widget=widget)
        conversation = Conversation.objects.create(visitor=visitor, agent=agent)
        known.append({"token": tokens.issue(visitor), "conversation": str(conversation.pk)})
    return known


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--visitors", type=int, required=True)
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatwidget.settings")
    django.setup()
    call_command("migrate", verbosity=0)
    with transaction.atomic():
        print(json.dumps(visitors(given.upstream, given.visitors)))


if __name__ == "__main__":
    main()
