"""What the Moveworks simulator remembers, and how it looks on the wire.

Field names, types and which fields may be absent: the vendor's OpenAPI documents, carried over in
`moveworks.openapi.json`.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

JSON = dict[str, Any]
Generation = Literal["rest/v1", "assistant/v1", "rest/v1beta1"]
Status = Literal["CREATED", "IN_PROGRESS", "COMPLETED", "FAILED"]

ALPHABET = string.ascii_letters + string.digits
THUMBS = ("helpful", "unhelpful")


def new_id(prefix: str) -> str:
    """An id as the vendor's samples look: a short prefix and 21 letters and digits."""
    return f"{prefix}_" + "".join(secrets.choice(ALPHABET) for _ in range(21))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def content(text: str, kind: str = "MARKDOWN_TEXT") -> JSON:
    return {"type": kind, kind.lower(): {"text": text}}


def citation(id: str, title: str, url: str = "") -> JSON:  # noqa: A002
    """A source as messages carry it."""
    shown: JSON = {"citation_id": id, "display": {"title": content(title, "COMMONMARK_TEXT")}}
    return shown | ({"url": url} if url else {})


def reference(id: str, offset: int) -> JSON:  # noqa: A002
    """A place in the text that names a source. `offset` counts characters."""
    return {"citation_id": id, "offset": offset}


@dataclass(slots=True)
class Reply:
    """An assistant's answer as a test wants it."""

    text: str
    kind: str = "MARKDOWN_TEXT"
    citations: list[JSON] = field(default_factory=list)
    references: list[JSON] = field(default_factory=list)
    actions: list[JSON] = field(default_factory=list)
    rateable: bool = True
    """False: the message has no `feedback`."""
    snapshots: list[str] | None = None
    """The texts that are streamed on the way; None: half of it, then all of it."""
    more: list[Reply] = field(default_factory=list)
    """Further messages of the same response."""


@dataclass(slots=True)
class Failure:
    """Instead of an answer: the response fails."""

    error: JSON | None = None
    """An older edition had `error{code, message}` on a failed response."""


def sample(question: str) -> Reply:
    """The default answer: the vendor's own way of links and emoji, two sources at one place."""
    text = (
        f"You asked: {question}\n\n:point_right: See <https://example.com/help|the help page>. "
        "It\u2019s open all day ."
    )
    return Reply(
        text,
        citations=[
            citation("cite_a", "Opening hours", "https://example.com/hours"),
            citation("cite_b", "Holidays", "https://example.com/holidays"),
        ],
        references=[reference("cite_a", len(text) - 1), reference("cite_b", len(text) - 1)],
    )


@dataclass(slots=True)
class Vote:
    """A rating as the vendor holds it."""

    thumb: str
    comment: str = ""


@dataclass(slots=True)
class Message:
    conversation_id: str
    response_id: str
    actor: str
    content: JSON
    reply: Reply | None = None
    vote: Vote | None = None
    sender: JSON | None = None
    id: str = field(default_factory=lambda: new_id("msg"))
    created_at: str = field(default_factory=now)
    callbacks: dict[str, str] = field(default_factory=dict)
    """The ids that stand for the thumbs; empty where it cannot be rated."""

    @property
    def text(self) -> str:
        kind = self.content["type"].lower()
        return str(self.content.get(kind, {}).get("text", ""))

    def renew_callbacks(self) -> None:
        """Let earlier ids go stale."""
        if self.callbacks:
            self.callbacks = {thumb: secrets.token_urlsafe(32) for thumb in THUMBS}

    def json(self, generation: Generation, *, final: bool = True) -> JSON:
        """`final`: with what is certain only once the answer is complete and read by GET."""
        shown: JSON = {
            "message_id": self.id,
            "conversation_id": self.conversation_id,
            "response_id": self.response_id,
            "actor": self.actor,
            "content": self.content,
            "created_at": self.created_at,
        }
        if self.sender:
            shown["sender_info"] = self.sender
        if self.reply:
            shown["citations"] = self.reply.citations or None
            shown["content_references"] = self.reply.references or None
            if final and self.reply.actions and generation != "rest/v1beta1":
                shown["actions"] = self.reply.actions
        if final and self.callbacks:
            shown["feedback"] = {
                thumb: {"callback_id": callback} for thumb, callback in self.callbacks.items()
            }
        return shown


@dataclass(slots=True)
class Response:
    """A question and what becomes of it. `events` is its stream, heard or not."""

    conversation_id: str
    question: Message
    generation: Generation
    id: str
    status: Status = "CREATED"
    created_at: str = field(default_factory=now)
    completed_at: str | None = None
    reasoning: JSON | None = None
    messages: list[Message] = field(default_factory=list)
    empty: bool = False
    """Completed without outputs; the reply is filed elsewhere."""
    error: JSON | None = None
    events: list[tuple[str, JSON]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return self.status in ("COMPLETED", "FAILED")

    def json(self, *, final: bool = True) -> JSON:
        shown: JSON = {
            "response_id": self.id,
            "conversation_id": self.conversation_id,
            "status": self.status,
            "created_at": self.created_at,
            "completed_at": self.completed_at,
        }
        if self.error:
            shown["error"] = self.error
        reasoning = [{"type": "REASONING_MESSAGE", "reasoning_message": self.reasoning}]
        outputs = [
            {"type": "MESSAGE", "message": message.json(self.generation, final=final)}
            for message in self.messages
        ]
        if self.status == "COMPLETED":
            shown["outputs"] = [] if self.empty else [*reasoning, *outputs]
        elif self.reasoning:
            shown["outputs"] = reasoning
        return shown

    def tell(self, kind: str, **data: Any) -> None:
        """Put an event on the stream."""
        numbered = {"event_type": kind, "sequence_number": len(self.events) + 1, **data}
        self.events.append((kind, data if kind == "ERROR" else numbered))


@dataclass(slots=True)
class Conversation:
    user: str
    title: str = ""
    archived: bool = False
    id: str = field(default_factory=lambda: new_id("conv"))
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)
    messages: list[Message] = field(default_factory=list)
    """In order of their appearance."""
    responses: dict[str, Response] = field(default_factory=dict)
    events: list[JSON] = field(default_factory=list)
    """Messages that the vendor sent of its own accord."""

    def json(self) -> JSON:
        shown: JSON = {
            "conversation_id": self.id,
            "archived": self.archived,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }
        return shown | ({"title": self.title} if self.title else {})
