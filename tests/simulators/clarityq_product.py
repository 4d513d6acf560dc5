"""One product at ClarityQ: the questions it was asked, what became of them, how they were rated.

Everything here works without HTTP; `clarityq.py` puts the vendor's API in front of it.  What the
vendor does not document is decided as the harsher of the plausible ways, or is a switch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from .base import Simulator

JSON = dict[str, Any]
Status = Literal["IN_PROGRESS", "COMPLETED", "ERROR"]
REMARK = "Your question is being processed."
"""The `message` of an ask: it is not the answer and must never be shown."""
SECRET_SQL = "SELECT region, revenue FROM ledger.secret_orders"
"""The query behind the default answer: a visitor must never see it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the agent came to.  `results` are the entries of its one SQL asset."""

    summary: str | None
    results: tuple[JSON, ...] = ()

    def json(self) -> JSON:
        assets = [{"asset_type": "SQL", "data": list(self.results)}] if self.results else []
        return {"summary": self.summary, "assets": assets}


@dataclass(frozen=True, slots=True)
class Failure:
    """Instead of an answer: the conversation ends as ERROR."""


def rows(*found: JSON, title: str = "", **more: Any) -> JSON:
    """One query's result, as the vendor lists it."""
    return {
        "query": SECRET_SQL,
        "title": title,
        "result_count": len(found),
        "result_rows": list(found),
        "error": None,
        **more,
    }


def echo(prompt: str) -> Answer:
    """The default: some Markdown around the question, a table in it, one query with rows."""
    summary = f"You asked:\n\n> {prompt}\n\n| Region | Revenue |\n|---|---|\n| North | 10 |"
    return Answer(summary, (rows({"region": "North", "revenue": 10}, title="By region"),))


@dataclass(slots=True)
class Conversation:
    """One question.  `rating` and `comment` are the one record of feedback on its answer."""

    prompt: str
    status: Status = "IN_PROGRESS"
    answer: Answer | None = None
    rating: str | None = None
    comment: str | None = None
    rated: int = 0
    """How often the record was replaced."""
    id: str = field(default_factory=lambda: str(uuid4()))

    def feedback_json(self) -> JSON:
        return {
            "conversation_id": self.id,
            "rating": self.rating,
            "comment": self.comment,
            "updated_at": datetime.now(UTC).isoformat(),
        }


class ClarityQProduct(Simulator):
    """State and rules.  Attributes are switches that a test may set at any time."""

    def __init__(self, *, key: str = "clarityq-key", port: int = 0) -> None:
        super().__init__(port=port)
        self.key = key
        """The key of this product; set another to revoke it."""
        self.other_key = "key-of-another-product"
        """A key that exists and may not be used here: 403 instead of 401."""
        self.product_id = str(uuid4())
        self.ripening = 0.2
        """Seconds from a question to its answer; 0 ends it before the ask is answered."""
        self.answer: Callable[[str], str | Answer | Failure] = echo
        """Makes the answer from the prompt."""
        self.answer_path = "/api/v1/products/{product_id}/conversations/{conversation_id}/summary"
        """Where answers are read; at any other path there is nothing."""
        self.unfinished_reads = 0
        """So many reads of an answer say 409 although the status says COMPLETED."""
        self.clearing: Literal["nulls", "empty_comment", "no"] = "nulls"
        """What withdraws feedback: two nulls; a null rating with an empty comment; nothing."""
        self.conversations: dict[str, Conversation] = {}
        """By id, in order of asking: every ask makes one."""
        self._held = False

    @property
    def asked(self) -> list[str]:
        """The prompts, each time one arrived."""
        return [one.prompt for one in self.conversations.values()]

    def hold(self) -> None:
        """Let all questions stay in progress until `release`."""
        with self.changing():
            self._held = True

    def release(self) -> None:
        """Answer all questions now, and let go on what a `Stall` holds."""
        with self.changing():
            self._held = False
            self._ripen_all()
        super().release()

    def start(self) -> None:
        super().start()
        with self.changing():  # what was in progress at a stop has been answered meanwhile
            self._ripen_all()

    # Rules, called with the lock held

    def ask(self, prompt: str) -> Conversation:
        conversation = Conversation(prompt)
        self.conversations[conversation.id] = conversation
        if self.ripening == 0:
            self._ripen(conversation)
        elif self._loop is not None:
            self._loop.call_later(self.ripening, self._ripen, conversation)
        return conversation

    def rate(self, conversation: Conversation, body: JSON) -> bool:
        """Replace the whole record; what is left out is erased.  False: refused."""
        rating, comment = body.get("rating"), body.get("comment")
        withdrawn = {None: "nulls", "": "empty_comment"}.get(comment)
        if rating is None and withdrawn and self.clearing not in ("nulls", withdrawn):
            return False
        conversation.rating, conversation.comment = rating, comment
        conversation.rated += 1
        return True

    def _ripen_all(self) -> None:
        for conversation in self.conversations.values():
            self._ripen(conversation)

    def _ripen(self, conversation: Conversation) -> None:
        with self.changing():
            if self._held or conversation.status != "IN_PROGRESS":
                return
            answer = self.answer(conversation.prompt)
            if isinstance(answer, Failure):
                conversation.status = "ERROR"
                return
            conversation.answer = Answer(answer) if isinstance(answer, str) else answer
            conversation.status = "COMPLETED"
