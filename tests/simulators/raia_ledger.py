"""What the raia simulator remembers, and how it looks on the wire.

Field names, types and which fields may be absent: the vendor's OpenAPI document, carried over in
`raia.openapi.json`; `Oddities` are the deviations worth testing against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

Role = Literal["conversation_user", "assistant", "manual_assistant"]
State = Literal["pending", "completed", "failed"]
JSON = dict[str, Any]


def new_id() -> str:
    return str(uuid4())


class Clock:
    """Time stamps in the vendor's shape, in milliseconds, each later than the one before."""

    def __init__(self) -> None:
        self._last = datetime.min.replace(tzinfo=UTC)

    def now(self) -> str:
        self._last = max(datetime.now(UTC), self._last + timedelta(milliseconds=1))
        return self._last.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Oddities:
    """Switches for what the vendor may do and its document does not say.  All off at first."""

    is_anonymized: bool = False
    """Newer servers add `isAnonymized` everywhere and `subagentId` to messages."""
    source: str | None = None
    """Any other word for a message's `source`, such as `ms_teams` or `pigeon`."""
    null_full_ai_response: bool = False
    """`fullAIResponse` is null."""
    null_citations: bool = False
    """The citation arrays are null."""
    marker: bool = False
    """A leftover `【4:0†source】` in the answer."""
    html: bool = False
    """HTML amid the answer's Markdown."""
    huge: bool = False
    """Answers are padded to 200,000 characters."""
    older_words: bool = False
    """`running` and `error` where the document says pending and failed."""
    send_returns_answer: bool = False
    """The other reading of the asynchronous send: it answers with the (still empty) agent's
    message, whose `conversationMessageId` is the question."""
    late_answers: bool = False
    """An answer that was pending when a human took over comes nevertheless."""
    omitted_comment_kept: bool = True
    """A feedback update without `comment` or `answer` leaves the old one; False empties it."""
    unknown_id: Literal[400, 404, 500] = 404
    """What an id that is not there gives, where the document has no 404."""
    feedback_on_question: bool = False
    """Feedback belongs to the question's id instead of the answer's."""


@dataclass(slots=True)
class User:
    body: JSON
    """The fields the user was created with."""
    id: str = field(default_factory=new_id)

    def json(self, odd: Oddities) -> JSON:
        shown = {
            name: value
            for name, value in self.body.items()
            if name not in ("customData", "skipEmailValidation", "skipPhoneNumberValidation")
        }
        if "customData" in self.body:
            shown["metadata"] = {"customData": self.body["customData"]}
        return {"id": self.id, **shown, **_anonymized(odd)}


@dataclass(slots=True)
class Feedback:
    message_id: str
    user_id: str
    vote: str
    question: str
    created_at: str
    updated_at: str
    answer: str | None = None
    comment: str | None = None
    id: str = field(default_factory=new_id)

    def json(self) -> JSON:
        """As listed under a message; `user_id` is never shown."""
        return {
            "id": self.id,
            "voteType": self.vote,
            "question": self.question,
            "answer": self.answer,
            "comment": self.comment,
        }

    def dated_json(self) -> JSON:
        return {**self.json(), "createdAt": self.created_at, "updatedAt": self.updated_at}


@dataclass(slots=True)
class Reply:
    """An agent's answer as a test wants it."""

    text: str
    url_citations: list[JSON] = field(default_factory=list)
    """`{"url": ..., "title": ...}` each."""
    file_citations: list[JSON] = field(default_factory=list)
    """`{"fileId": ..., "filename": ...}` each."""
    reasoning: list[str] | None = None


@dataclass(slots=True)
class Failure:
    """Instead of an answer: `response-on` says failed, with this error."""

    error: str = "The agent could not answer."


@dataclass(slots=True)
class Message:
    conversation_id: str
    text: str
    role: Role
    created_at: str
    id: str = field(default_factory=new_id)
    question_id: str = ""
    """Id of the question this belongs to; its own for a question."""
    reply: Reply | None = None
    author_id: str | None = None
    files: Sequence[str] = ()
    """Names of the files that came with it."""

    def json(self, odd: Oddities) -> JSON:
        shown: JSON = {
            "id": self.id,
            "conversationId": self.conversation_id,
            "message": self._dressed(odd) if self.role == "assistant" else self.text,
            "senderRole": self.role,
            "conversationMessageId": self.question_id or self.id,
            "source": odd.source or "api",
            "createdAt": self.created_at,
            **_anonymized(odd),
        }
        if odd.is_anonymized:
            shown["subagentId"] = None
        if self.files:
            shown["files"] = [self._file(name) for name in self.files]
        if self.reply is not None:
            shown["rawMessage"] = self.text
            shown["fullAIResponse"] = self._full(self.reply, odd)
        return shown

    def _file(self, name: str) -> JSON:
        at = {"createdAt": self.created_at, "updatedAt": self.created_at}
        return {"id": new_id(), "fileName": name, "openAIFileId": new_id(), **at}

    def _dressed(self, odd: Oddities) -> str:
        text = self.text
        if odd.marker:
            text += "【4:0†source】"
        if odd.html:
            text += "\n\n<b>bold</b> <img src=x onerror=alert(1)><script>alert(2)</script>"
        return text.ljust(200_000, "x") if odd.huge else text

    def _full(self, reply: Reply, odd: Oddities) -> JSON | None:
        if odd.null_full_ai_response:
            return None
        return {
            "outputText": self.text,
            "reasoning": reply.reasoning,
            "urlCitations": None if odd.null_citations else reply.url_citations,
            "fileCitations": None if odd.null_citations else reply.file_citations,
        }


@dataclass(slots=True)
class Question:
    """A visitor's message and what became of it."""

    message: Message
    state: State = "pending"
    answer: Message | None = None
    error: str | None = None
    abandoned: bool = False
    """Asked while a human was in charge, or pending when one took over: stays pending."""

    def json(self, odd: Oddities) -> JSON:
        """The answer of `response-on`."""
        older = {"pending": "running", "failed": "error"} if odd.older_words else {}
        return {
            "status": older.get(self.state, self.state),
            "message": self.answer.json(odd) if self.answer else None,
            "error": self.error,
        }


@dataclass(slots=True)
class Conversation:
    user: User
    body: JSON
    """The fields it was created with, as later updated."""
    created_at: str
    updated_at: str
    mode: str = "ai"
    assigned: JSON | None = None
    """The human who took over."""
    messages: list[Message] = field(default_factory=list)
    questions: dict[str, Question] = field(default_factory=dict)
    """By id of the visitor's message, in order of arrival."""
    id: str = field(default_factory=new_id)
    ai_id: str = field(default_factory=new_id)

    def json(self, odd: Oddities) -> JSON:
        shown: JSON = {
            "id": self.id,
            "conversationUserId": self.user.id,
            "aiConversationId": self.ai_id,
            "user": self.user.json(odd),
            "mode": self.mode,
            "assignedUser": self.assigned,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            **_anonymized(odd),
        }
        for name in ("title", "conversationStateId"):
            if name in self.body:
                shown[name] = self.body[name]
        if "customData" in self.body:
            shown["metadata"] = {"customData": self.body["customData"]}
        return shown


def _anonymized(odd: Oddities) -> JSON:
    return {"isAnonymized": False} if odd.is_anonymized else {}
