"""Telling operators: by e-mail, and by webhook as the Standard Webhooks say.

An alert is stored in the transaction of what it tells, one row a channel. A job gathers what waits
into a notice, of one kind, widget and channel: the first at once, what comes after it together,
`ALERT_EVERY_S` later. A notice is sent under a lease and again until it got through, with one id,
so two processes do not send it twice, and who gets it twice after a crash can tell.

Neither holds a visitor's words: they are read when a notice is sent. docs/alerts.md has the forms.
"""

import asyncio
import json
import logging
import random
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from smtplib import SMTPRecipientsRefused, SMTPResponseException
from typing import Any

import httpx
from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone
from standardwebhooks import Webhook

from chatwidget import process
from chatwidget.errors import (
    ChatWidgetError,
    Misconfigured,
    ProviderError,
    Rejected,
    Unavailable,
    VaultError,
)
from chatwidget.lanes import Room
from chatwidget.providers.http import mapped_errors, new_client

from . import mail
from .alert_words import Message, compose, trial_message
from .models import (
    Alert,
    AlertKind,
    AlertSettings,
    Channel,
    Delivery,
    Feedback,
    Notice,
    Vote,
)

log = logging.getLogger(__name__)

JOB = "tell operators"
LOOK_S = 10.0
"""At least this often it is looked for what is to be told."""
FORGET_JOB = "forget old alerts"
BATCH = 50
LEASE = timedelta(minutes=2)
"""Longer than any attempt takes."""
WEBHOOK_S = 20.0
LONGEST_RETRY_S = 3600.0
GIVE_UP = timedelta(days=3)
KEEP = timedelta(days=30)


# --- what happened, told in its transaction -------------------------------------------------------


def commented(feedback: Feedback) -> None:
    """A visitor has said something: tell it if it is a thumbs down with a comment."""
    if worth_telling(feedback):
        _note(AlertKind.COMMENT, feedback)


def failed(delivery: Delivery) -> None:
    """A vote will not be sent any more, unless somebody asks for it."""
    _note(AlertKind.FAILED, delivery.feedback)


def worth_telling(feedback: Feedback) -> bool:
    return feedback.vote == Vote.DOWN and bool(feedback.comment.strip())


def _note(kind: AlertKind, feedback: Feedback) -> None:
    wanted = AlertSettings.objects.filter(widget=feedback.widget_id, **{f"on_{kind}": True})
    for one in wanted:
        _add(one, kind, feedback)


def _add(one: AlertSettings, kind: AlertKind, feedback: Feedback | None = None) -> None:
    """Store an alert for each channel, unless the same waits there already."""
    rows = [Alert(settings=one, channel=way, kind=kind, feedback=feedback) for way in one.channels]
    Alert.objects.bulk_create(rows, ignore_conflicts=True)


# --- the job --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A notice that is ours until its lease ends."""

    pk: uuid.UUID
    token: uuid.UUID
    attempts: int
    created_at: datetime


async def tell() -> bool:
    """Job: gather what waits into notices, and start sending those that are due."""
    running = process.running()
    late = await running.store.read(late_widgets)
    await running.store.write(gather, late)
    due = await running.store.write(claim_due, running.lanes.room(JOB))
    for one, lane in due:
        running.lanes.start(JOB, lane, _send(one))
    return len(due) == BATCH


def late_widgets() -> set[str]:
    """Return the keys of the widgets with votes that are late, as far as somebody wants to know."""
    late = Exists(Delivery.objects.late().filter(feedback__widget=OuterRef("widget")))
    return set(AlertSettings.objects.filter(late, on_late=True).values_list("widget_id", flat=True))


def gather(late: Collection[str]) -> None:
    """Note what agents and backlogs have come to, and make notices of what waits.

    Each widget's settings are one process's meanwhile; another passes over them.
    """
    mine = AlertSettings.objects.select_for_update(of=("self",), skip_locked=True, no_key=True)
    found = list(mine.select_related("widget__agent").order_by("pk"))
    for one in found:
        _look_at_agent(one)
        _look_at_backlog(one, is_late=one.widget_id in late)
    now = timezone.now()
    recently = now - timedelta(seconds=settings.ALERT_EVERY_S)
    untold = Alert.objects.filter(settings__in=found, notice=None)
    for pk, channel, kind in untold.values_list("settings", "channel", "kind").distinct():
        group: dict[str, Any] = {"settings_id": pk, "channel": channel, "kind": kind}
        if Notice.objects.filter(**group, created_at__gt=recently).exists():
            continue  # it waits, and is told together with what comes meanwhile
        notice = Notice.objects.create(**group, created_at=now, next_at=now)
        untold.filter(**group).update(notice=notice)


def _look_at_agent(one: AlertSettings) -> None:
    """Tell once of each problem that an agent's vendor has named."""
    at = one.widget.agent.problem_at if one.widget.agent.problem else None
    if at == one.refusal_told:
        return
    if at and one.on_refused:
        _add(one, AlertKind.REFUSED)
    AlertSettings.objects.filter(pk=one.pk).update(refusal_told=at)


def _look_at_backlog(one: AlertSettings, *, is_late: bool) -> None:
    """Tell once that votes are late, and again after a time in which none was."""
    if is_late == bool(one.late_told):
        return
    if is_late:
        _add(one, AlertKind.LATE)
    told = timezone.now() if is_late else None
    AlertSettings.objects.filter(pk=one.pk).update(late_told=told)


def claim_due(room: Room) -> list[tuple[Due, int]]:
    """Take notices that are due, as far as lanes have room; each with its lane, the settings."""
    now = timezone.now()
    free = Notice.objects.filter(Q(lease_until=None) | Q(lease_until__lt=now), next_at__lte=now)
    found = free.exclude(settings__in=room.full).order_by("next_at")[:BATCH]
    mine = []
    for notice in found:
        if not room.take(notice.settings_id):
            continue
        token = uuid.uuid4()
        if free.filter(pk=notice.pk).update(
            lease_token=token, lease_until=now + LEASE, attempts=F("attempts") + 1
        ):
            due = Due(
                pk=notice.pk,
                token=token,
                attempts=notice.attempts + 1,
                created_at=notice.created_at,
            )
            mine.append((due, notice.settings_id))
    return mine


async def _send(due: Due) -> None:
    """One attempt; whatever comes of it is written down."""
    running = process.running()
    error: Exception | None = None
    remark = ""
    try:
        message = await running.store.read(compose, due.pk)
        remark = await deliver(message, running.http) if message else "nothing was left to tell"
    except asyncio.CancelledError:  # the process ends: another one may go on at once
        await asyncio.shield(running.store.write(release, due))
        raise
    except (ChatWidgetError, OSError) as raised:
        error = raised
    except Exception as raised:
        log.exception("alert %s met a bug", due.pk)
        error = raised
    await running.store.write(settle, due, error, remark)


def release(due: Due) -> None:
    """Give a notice back, if still ours."""
    mine = Notice.objects.filter(pk=due.pk, lease_token=due.token)
    mine.update(lease_token=None, lease_until=None)


def settle(due: Due, error: Exception | None, remark: str = "") -> None:
    """Write an attempt's outcome, if the lease is still ours."""
    now = timezone.now()
    outcome: dict[str, Any] = {"problem": remark[:500], "next_at": None}
    if error is None:
        outcome["sent_at"] = now
    else:
        outcome["problem"] = in_words(error)[:500]
        permanent = isinstance(error, ProviderError) and error.permanent
        if not permanent and now - due.created_at < GIVE_UP:
            outcome["next_at"] = now + timedelta(seconds=wait_s(due.attempts))
    mine = Notice.objects.filter(pk=due.pk, lease_token=due.token)
    mine.update(lease_token=None, lease_until=None, **outcome)


def wait_s(attempts: int) -> float:
    """Return the seconds before the next attempt: doubling up to an hour, spread a little."""
    doubled: float = settings.ALERT_RETRY_S * 2.0 ** min(attempts - 1, 64)
    longest = min(doubled, LONGEST_RETRY_S)
    return longest * random.uniform(0.8, 1.2)  # noqa: S311


def in_words(error: Exception) -> str:
    """Return what went wrong, for the operator."""
    match error:
        case ChatWidgetError():
            return str(error)
        case SMTPRecipientsRefused():
            return f"the mail server refused {', '.join(error.recipients)}"
        case SMTPResponseException():
            words = error.smtp_error
            said = words.decode(errors="replace") if isinstance(words, bytes) else words
            return f"the mail server said {error.smtp_code} {said}"
        case OSError():
            return f"the mail server: {error.strerror or error}"
        case _:
            return f"our bug: {type(error).__name__}"


async def forget() -> bool:
    """Job: drop notices that were sent, or given up, a month ago."""
    await process.running().store.write(_drop_old)
    return False


def _drop_old() -> None:
    Notice.objects.filter(next_at=None, created_at__lt=timezone.now() - KEEP).delete()


# --- the ways -------------------------------------------------------------------------------------


async def deliver(message: Message, http: httpx.AsyncClient) -> str:
    """Send it. Returns what is to be noted beside. Raises ChatWidgetError or OSError."""
    if message.channel == Channel.WEBHOOK:
        await _post(message, http)
        return ""
    if not settings.EMAIL_URL:
        raise Misconfigured("no mail server is set (EMAIL_URL)")
    refused = await asyncio.to_thread(
        mail.send, message.to, message.subject, message.text, message_id=message.id
    )
    return f"the mail server refused {', '.join(refused)}" if refused else ""


async def _post(message: Message, http: httpx.AsyncClient) -> None:
    """Send the payload, signed. What the receiver says beyond its status is not read."""
    body = json.dumps(message.payload, ensure_ascii=False)
    now = timezone.now()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "chatwidget",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(message.secret).sign(message.id, now, body),
    }
    with mapped_errors("the webhook"):
        async with asyncio.timeout(WEBHOOK_S):
            sending = http.stream("POST", message.url, content=body.encode(), headers=headers)
            async with sending as response:
                status = response.status_code
    if status == 410:
        raise Rejected("the webhook is gone for good (HTTP 410)")
    if not 200 <= status < 300:
        raise Unavailable(f"the webhook answered HTTP {status}")


def try_now(one: AlertSettings) -> dict[Channel, str]:
    """Send a test on each channel. Returns what went wrong on it, empty where nothing did."""
    try:
        messages = {channel: trial_message(one, channel) for channel in one.channels}
    except VaultError as error:
        return {Channel.WEBHOOK: str(error)}
    return asyncio.run(_try(messages))


async def _try(messages: dict[Channel, Message]) -> dict[Channel, str]:
    outcome = {}
    async with new_client() as http:
        for channel, message in messages.items():
            try:
                outcome[channel] = await deliver(message, http)
            except (ChatWidgetError, OSError) as error:
                outcome[channel] = in_words(error)
    return outcome
