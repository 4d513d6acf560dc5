"""The demo that `make run` shows: an agent without a vendor, its widget, an operator."""

import uuid
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction

from . import settings
from .models import Agent, Widget

# Fixed, so that a second start finds them, and a renamed one stays renamed.
AGENT_ID = uuid.UUID("de300000-0000-4000-8000-000000000001")
WIDGET_KEY = "pk_demo"
USERNAME = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoAccess:
    """What to open, and how to sign in. `password` may be a remark instead of a password."""

    widget: Widget
    username: str
    password: str


def prepare() -> DemoAccess:
    """Make what the demo lacks and touch nothing that is there.

    An operator is only made in a database that has no superuser yet: a password in a file must
    never open somebody's real service.
    """
    with transaction.atomic():
        widget = _widget()
        username, password = _operator()
    return DemoAccess(widget=widget, username=username, password=password)


def _widget() -> Widget:
    if (widget := Widget.objects.filter(pk=WIDGET_KEY).first()) is not None:
        return widget
    agent, _ = Agent.objects.get_or_create(
        pk=AGENT_ID, defaults={"name": "Demo agent", "provider": "demo"}
    )
    return Widget.objects.create(
        pk=WIDGET_KEY,
        name="Otterbridge Cycles (demo)",
        agent=agent,
        color="#b5482f",  # stands out from the page, whose buttons are green
        title="Otterbridge Cycles",
        subtitle="Ask the workshop",
        greeting="Hello! Ask about repairs, prices or our bikes.\n\n"
        "This is a demo: the prompts below show what an answer can look like.",
        label="Chat with the workshop",
        attachments_enabled=True,
        disclaimer="Demo answers are made up.",
        starters=[
            "When are you open on Saturday?",
            "Show me Markdown",
            "Cite your sources",
            "Answer slowly",
            "Fail, please",
        ],
    )


def _operator() -> tuple[str, str]:
    operator = User.objects.filter(username=USERNAME).first()
    if operator is None:
        other = User.objects.filter(is_superuser=True).order_by("pk").first()
        if other is not None:
            return other.get_username(), "(yours)"
        password = settings.kept_secret("demo-password", length=12)
        operator = User.objects.create_superuser(USERNAME, password=password)
        return USERNAME, password
    kept = settings.DATA_DIR / "demo-password"
    password = kept.read_text().strip() if kept.exists() else ""
    return USERNAME, password if operator.check_password(password) else "(changed by you)"
