"""What keeps a widget from being shown, or from answering, as far as the service can see."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.urls import reverse
from django.utils.timesince import timesince

from ..models import Message, Role, Widget
from ..origins import normalise_origin

NEWEST_VISITORS = 50
"""Among these the last question is looked for, however many have come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. The texts are plain, and may hold what visitors have sent."""

    good: bool
    words: str
    advice: str = ""
    """What to do."""
    url: str = ""
    """Where to do it; empty: on the widget's own page."""


def examine(widget: Widget, own_origin: str) -> Iterator[Finding]:
    """Look at what has to be right, in the order in which a visitor meets it."""
    if widget.paused:
        yield Finding(
            good=False,
            words="It is paused: visitors can read, and ask nothing.",
            advice="Switch it on again below.",
        )
    else:
        yield Finding(good=True, words="It is switched on.")
    if sites := widget.allowed_origins:
        named = ", ".join(sites[:3]) + (f" and {len(sites) - 3} more" if len(sites) > 3 else "")
        yield Finding(good=True, words=f"May be shown on {named}.")
    else:
        yield Finding(
            good=False,
            words="No site is allowed to show it yet.",
            advice="Add yours under “Where it may be shown”.",
        )
    if widget.agent.problem:
        yield Finding(
            good=False,
            words=f"Its agent needs you: {widget.agent.problem}",
            advice="See to the agent",
            url=reverse("admin:chatwidget_agent_change", args=[widget.agent_id]),
        )
    else:
        yield Finding(good=True, words=f"Its agent, {widget.agent.name}, reports no problem.")
    yield last_question(widget, own_origin)


def last_question(widget: Widget, own_origin: str) -> Finding:
    """Say where the newest question with an address was asked."""
    newest = widget.visitors.order_by("-seen_at").values("pk")[:NEWEST_VISITORS]
    question = (
        Message.objects.filter(
            conversation__visitor__in=[row["pk"] for row in newest],
            role=Role.VISITOR,
            page__url__isnull=False,
        )
        .order_by("-created_at")
        .first()
    )
    if question is None:
        return Finding(
            good=False,
            words="No question has come from a page yet.",
            advice="Where the bubble is missing, or stays empty, the browser's console on that "
            "page says why: look for [chatwidget].",
        )
    seen, when = origin_of(question.page["url"]), timesince(question.created_at, depth=1)
    if seen in (*widget.allowed_origins, normalise_origin(own_origin)):
        return Finding(good=True, words=f"Last asked on {seen}, {when} ago.")
    return Finding(
        good=False,
        words=f"Last asked on {seen or 'an unknown site'}, {when} ago, which may not show it.",
        advice="Add it under “Where it may be shown”, if it is yours.",
    )


def origin_of(url: str) -> str | None:
    """Return the origin of an address that a visitor has sent, or None if it has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return normalise_origin(f"{parts.scheme}://{parts.netloc}")
