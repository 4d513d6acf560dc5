"""What alerts say: the e-mail's text, and the webhook's payload (docs/alerts.md has its forms).

Both are made when a notice is sent, of what is stored then: what a visitor has taken back
meanwhile, and what was erased, is not told.
"""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Min
from django.urls import reverse
from django.utils import timezone

from chatwidget.admin.text import INVISIBLE, shorten

from .models import AlertKind, AlertSettings, Channel, Delivery, Feedback, Notice, State, Vote

TOLD = 5
"""So many of a notice's alerts are told in full; the rest are counted."""
AT_MOST = 1000
QUOTED = 1000
"""Characters of a question, an answer or a comment in an e-mail."""

TYPES = {
    AlertKind.COMMENT: "feedback.commented",
    AlertKind.FAILED: "feedback.failed",
    AlertKind.REFUSED: "agent.refused",
    AlertKind.LATE: "feedback.late",
}
TEST = "alert.test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent, in the words of one channel."""

    id: str
    channel: str
    to: list[str]
    url: str = field(repr=False)
    secret: str = field(repr=False)
    subject: str
    text: str = field(repr=False)
    payload: dict[str, Any] = field(repr=False)


def compose(pk: uuid.UUID) -> Message | None:
    """Return a notice as it is to be sent; None when nothing of it is left or wanted.

    Raises VaultError when the webhook's secret cannot be opened.
    """
    notice = Notice.objects.select_related("settings__widget__agent").filter(pk=pk).first()
    if notice is None:
        return None
    one, kind = notice.settings, AlertKind(notice.kind)
    if notice.channel not in one.channels or not getattr(one, f"on_{kind}"):
        return None
    items, more = _items(notice, kind)
    if not items:
        return None
    data = {"widget": _widget(one), "items": items, "more": more}
    count = len(items) + more
    return Message(
        id=str(notice.pk),
        channel=notice.channel,
        to=one.emails,
        url=one.webhook_url,
        secret=_secret(one, notice.channel),
        subject=f"{clean(shorten(one.widget.name, 60))}: {_subject(kind, count)}",
        text=_text(kind, items, more),
        payload={"type": TYPES[kind], "timestamp": _iso(timezone.now()), "data": data},
    )


def trial_message(one: AlertSettings, channel: Channel) -> Message:
    words = "This is a test. Alerts of this widget will reach you here."
    return Message(
        id=str(uuid.uuid4()),
        channel=channel,
        to=one.emails,
        url=one.webhook_url,
        secret=_secret(one, channel),
        subject=f"{clean(shorten(one.widget.name, 60))}: a test alert",
        text=f"{words}\n",
        payload={
            "type": TEST,
            "timestamp": _iso(timezone.now()),
            "data": {"widget": _widget(one), "items": [], "more": 0},
        },
    )


def _secret(one: AlertSettings, channel: str) -> str:
    return one.secret if channel == Channel.WEBHOOK else ""


def _widget(one: AlertSettings) -> dict[str, str]:
    return {"key": one.widget_id, "name": one.widget.name}


def _items(notice: Notice, kind: AlertKind) -> tuple[list[dict[str, Any]], int]:
    """Return what is told in full, newest first, and how many more there are."""
    if kind == AlertKind.REFUSED:
        agent = notice.settings.widget.agent
        page = _link("admin:chatwidget_agent_change", agent.pk)
        known = {"agent": agent.name, "problem": agent.problem, "url": page}
        return [known] if agent.problem else [], 0
    if kind == AlertKind.LATE:
        late = Delivery.objects.late().filter(feedback__widget=notice.settings.widget_id)
        oldest = late.aggregate(oldest=Min("feedback__updated_at"))["oldest"]
        if oldest is None:
            return [], 0
        count = late.values("pk")[: AT_MOST + 1].count()
        page = _link("admin:feedback_feedback_changelist", query="?show=all&delivery=pending")
        return [{"waiting": min(count, AT_MOST), "oldest_at": _iso(oldest), "url": page}], 0
    told = Feedback.objects.filter(pk__in=notice.alerts.values("feedback"))
    told = told.select_related("message__question", "widget", "agent", "delivery")
    if kind == AlertKind.COMMENT:
        told = told.filter(vote=Vote.DOWN).exclude(comment="")
    else:
        told = told.filter(delivery__state=State.FAILED)
    rows = list(told.order_by("-updated_at", "-pk")[: AT_MOST + TOLD])
    return [_vote(one) for one in rows[:TOLD]], len(rows[TOLD:])


def _vote(feedback: Feedback) -> dict[str, Any]:
    message, delivery = feedback.message, getattr(feedback, "delivery", None)
    return {
        "vote": feedback.vote,
        "comment": feedback.comment,
        "reasons": feedback.widget.reasons_in_words(feedback.reasons),
        "question": message.question.text if message.question else "",
        "answer": message.text,
        "agent": feedback.agent.name,
        "page": feedback.page,
        "message": str(message.pk),
        "conversation": str(message.conversation_id),
        "delivery": delivery.state if delivery else "",
        "problem": delivery.problem if delivery else "",
        "at": _iso(feedback.updated_at),
        "url": _link("admin:feedback_feedback_change", feedback.pk),
    }


def _subject(kind: AlertKind, count: int) -> str:
    many = count > 1
    return {
        AlertKind.COMMENT: f"{count} thumbs down with comments"
        if many
        else "a thumbs down with a comment",
        AlertKind.FAILED: f"{count} votes cannot be delivered"
        if many
        else "a vote cannot be delivered",
        AlertKind.REFUSED: "the agent refuses us",
        AlertKind.LATE: "votes are late at the vendor",
    }[kind]


def _text(kind: AlertKind, items: list[dict[str, Any]], more: int) -> str:
    """Return the e-mail: our words plain, everybody else's quoted, so that none passes for ours."""
    parts = [_item_text(kind, item) for item in items]
    if more:
        rest = f"And {more} more." if more < AT_MOST else f"And more than {AT_MOST} more."
        page = _link("admin:feedback_feedback_changelist")
        parts.append("\n".join(filter(None, [rest, page])))
    return f"\n\n{'-' * 40}\n\n".join(parts) + "\n"


def _item_text(kind: AlertKind, item: dict[str, Any]) -> str:
    if kind == AlertKind.LATE:
        minutes = settings.ALERT_LATE_S / 60
        count = f"{item['waiting']}{'+' if item['waiting'] == AT_MOST else ''}"
        lines = [
            f"Votes that the vendor does not have after {minutes:g} minutes: {count}.",
            f"The oldest is of {item['oldest_at']}. They are sent once the vendor takes them.",
        ]
    elif kind == AlertKind.REFUSED:
        lines = ["The vendor refuses our key or address:", *quoted(item["problem"])]
        lines.append(f"Agent: {clean(shorten(item['agent'], 100))}")
    else:
        lines = []
        if kind == AlertKind.FAILED:
            lines += ["The vendor does not take a vote:", *quoted(item["problem"])]
        for name in ("comment", "question", "answer"):
            if item[name]:
                lines += [f"{name.capitalize()}:", *quoted(item[name])]
        if item["reasons"]:
            lines.append(f"Reasons: {clean(shorten(', '.join(item['reasons']), 300))}")
        if item["page"]:
            lines.append(f"Page: {clean(shorten(item['page'], 300))}")
        lines.append(f"Agent: {clean(shorten(item['agent'], 100))}")
    return "\n".join([*lines, *filter(None, [item["url"]])])


def quoted(text: str) -> list[str]:
    """Return what somebody else wrote as lines that are seen to be theirs."""
    cut = text if len(text) <= QUOTED else f"{text[: QUOTED - 1]}…"
    return [f"> {line}" for line in clean(cut).splitlines()]


def clean(text: str) -> str:
    """Return `text` with every character named that hides or reorders others."""
    return INVISIBLE.sub(lambda found: f"[U+{ord(found[0]):04X}]", text.replace("\r\n", "\n"))


def _link(name: str, *args: Any, query: str = "") -> str:
    """Return the address of an operator's page; empty where our own is not known."""
    return f"{settings.PUBLIC_URL}{reverse(name, args=args)}{query}" if settings.PUBLIC_URL else ""


def _iso(when: datetime) -> str:
    return when.isoformat(timespec="seconds")
