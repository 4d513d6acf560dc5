"""Votes as a file: CSV for a spreadsheet, JSONL for a program, streamed whatever their number.

First the ids of all rows are read, eight bytes each, then the rows by their ids, some hundred at a
time. So a filter is evaluated once, however dear it is, no row comes twice or is left out while
visitors go on voting, and between two parts no connection to the database is held.

Whatever a visitor, an agent or a vendor wrote may be meant for the spreadsheet that opens the
file: a cell that begins as a formula does gets an apostrophe in front, which makes it text. JSONL
holds everything as it is.
"""

import csv
import io
import json
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections
from django.db.models import F, QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone

from chatwidget.models import Agent, Widget
from chatwidget.providers import PROVIDERS

from .models import Feedback, review_state

ROWS_AT_ONCE = 100
"""An answer may be long, so not more."""
IDS_AT_ONCE = 20_000
FORMULA = tuple("=+-@\t\r\n＝＋－＠")

READ = {
    name: F(path)
    for name, path in {
        "answer": "message__text",
        "citations": "message__citations",
        "answered_at": "message__completed_at",
        "upstream_id": "message__upstream_id",
        "upstream": "message__upstream",
        "conversation": "message__conversation",
        "upstream_conversation": "message__conversation__upstream",
        "visitor": "message__conversation__visitor",
        "question_id": "message__question",
        "question": "message__question__text",
        "asked_on": "message__question__page",
        "asked_at": "message__question__created_at",
        "delivery_state": "delivery__state",
        "delivery_problem": "delivery__problem",
        "delivered_at": "delivery__delivered_at",
        "owner_name": "owner__username",
    }.items()
}
OWN = (
    *("pk", "message_id", "vote", "reasons", "comment", "created_at", "updated_at"),
    *("agent_id", "widget_id", "review", "seen_at", "note", "resolved_at"),
)

Row = dict[str, Any]


# --- reading --------------------------------------------------------------------------------------


def read(votes: QuerySet[Feedback]) -> Iterator[list[Row]]:
    """Yield the votes, in their order, as the objects of JSONL, some hundred at a time."""
    ids = array("q", votes.values_list("pk", flat=True).iterator(chunk_size=IDS_AT_ONCE))
    agents = Agent.objects.in_bulk()
    widgets = Widget.objects.in_bulk()
    for start in range(0, len(ids), ROWS_AT_ONCE):
        part = ids[start : start + ROWS_AT_ONCE]
        found = Feedback.objects.order_by().filter(pk__in=list(part)).values(*OWN, **READ)
        rows = {row["pk"]: row for row in found}  # without what was erased meanwhile
        yield [
            as_object(row, agents.get(row["agent_id"]), widgets.get(row["widget_id"]))
            for pk in part
            if (row := rows.get(pk))
        ]


def as_object(row: Row, agent: Agent | None, widget: Widget | None) -> Row:
    """Return one rated answer as an object of JSONL."""
    labels = widget.reason_labels if widget else {}
    provider = PROVIDERS.get(agent.provider) if agent else None
    secret = provider.secret_ids if provider else frozenset()
    return {
        "vote": row["vote"],
        "reasons": [{"key": key, "label": labels.get(key, key)} for key in row["reasons"]],
        "comment": row["comment"],
        "question": row["question"] or "",
        "answer": row["answer"],
        "citations": row["citations"],
        "page": row["asked_on"] or {},
        "agent": {
            "id": str(row["agent_id"]),
            "name": agent.name if agent else "",
            "vendor": agent.provider if agent else "",
        },
        "widget": {"key": row["widget_id"], "name": widget.name if widget else ""},
        "ids": {
            "message": str(row["message_id"]),
            "question": str(row["question_id"] or ""),
            "conversation": str(row["conversation"]),
            "visitor": str(row["visitor"]),
        },
        "upstream": {
            "answer": row["upstream_id"],
            "turn": without(row["upstream"], secret),
            "conversation": without(row["upstream_conversation"], secret),
        },
        "delivery": {
            "state": row["delivery_state"] or "",
            "problem": row["delivery_problem"] or "",
            "delivered_at": iso(row["delivered_at"]),
        },
        "review": {
            "state": review_state(row["review"], row["seen_at"]),
            "owner": row["owner_name"] or "",
            "note": row["note"],
            "resolved_at": iso(row["resolved_at"]),
        },
        "times": {
            "asked": iso(row["asked_at"]),
            "answered": iso(row["answered_at"]),
            "first_vote": iso(row["created_at"]),
            "last_change": iso(row["updated_at"]),
        },
    }


def without(ids: Any, secret: frozenset[str]) -> dict[str, Any]:
    """Return upstream ids without those that open something."""
    return {name: value for name, value in dict(ids or {}).items() if name not in secret}


def iso(moment: datetime | None) -> str | None:
    """Return a time in the service's time zone, with its offset."""
    return timezone.localtime(moment).isoformat(timespec="seconds") if moment else None


# --- writing --------------------------------------------------------------------------------------

COLUMNS: dict[str, Callable[[Row], Any]] = {
    "last_change": lambda row: row["times"]["last_change"],
    "vote": lambda row: row["vote"],
    "reasons": lambda row: "; ".join(reason["label"] for reason in row["reasons"]),
    "comment": lambda row: row["comment"],
    "question": lambda row: row["question"],
    "answer": lambda row: row["answer"],
    "citations": lambda row: "\n".join(
        str(one.get("url") or one.get("title") or "")
        for one in row["citations"]
        if isinstance(one, dict)
    ),
    "page": lambda row: row["page"].get("url"),
    "agent": lambda row: row["agent"]["name"],
    "widget": lambda row: row["widget"]["name"],
    "delivery": lambda row: row["delivery"]["state"],
    "delivery_problem": lambda row: row["delivery"]["problem"],
    "delivered_at": lambda row: row["delivery"]["delivered_at"],
    "review": lambda row: row["review"]["state"],
    "owner": lambda row: row["review"]["owner"],
    "note": lambda row: row["review"]["note"],
    "resolved_at": lambda row: row["review"]["resolved_at"],
    "asked_at": lambda row: row["times"]["asked"],
    "answered_at": lambda row: row["times"]["answered"],
    "first_vote_at": lambda row: row["times"]["first_vote"],
    "message_id": lambda row: row["ids"]["message"],
    "conversation_id": lambda row: row["ids"]["conversation"],
    "visitor_id": lambda row: row["ids"]["visitor"],
    "upstream_id": lambda row: row["upstream"]["answer"],
}


def harmless(value: Any) -> str:
    """Return a cell's text, which no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def csv_parts(votes: QuerySet[Feedback]) -> Iterator[str]:
    """Yield a CSV file. It begins with the mark by which spreadsheets know UTF-8."""
    yield "\ufeff" + csv_lines([list(COLUMNS)])
    for rows in read(votes):
        yield csv_lines([[harmless(cell(row)) for cell in COLUMNS.values()] for row in rows])


def csv_lines(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def jsonl_parts(votes: QuerySet[Feedback]) -> Iterator[str]:
    """Yield a JSONL file: an object a line, in UTF-8."""
    for rows in read(votes):
        yield "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


FORMATS = {
    "csv": (csv_parts, "text/csv; charset=utf-8"),
    "jsonl": (jsonl_parts, "application/jsonl; charset=utf-8"),
}


# --- sending --------------------------------------------------------------------------------------


def response(request: HttpRequest, votes: QuerySet[Feedback], kind: str) -> StreamingHttpResponse:
    """Return the votes as a download that is made while it is read."""
    parts, content_type = FORMATS[kind]
    made = parts(votes)
    # An async server would collect what a plain iterator yields before it sent anything of it.
    content: Any = on_thread(made) if isinstance(request, ASGIRequest) else made
    name = f"feedback-{timezone.localdate()}.{kind}"
    return StreamingHttpResponse(
        content,
        content_type=content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            # Neither a proxy nor our server (`bounded.py`) is to gather what is not read yet.
            "X-Accel-Buffering": "no",
        },
    )


async def on_thread(made: Iterator[str]) -> AsyncIterator[str]:
    """Yield the same, each part made on the request's thread once the one before is sent."""

    def step() -> str | None:
        try:
            return next(made, None)
        finally:
            close_old_connections()  # where there is a pool, others have it meanwhile

    while (part := await sync_to_async(step)()) is not None:
        yield part
