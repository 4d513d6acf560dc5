"""ClarityQ's API: ask, status, feedback as documented; the way to read an answer is assumed.

The key is looked at first, then the ids in the path, then the request is checked against
`clarityq.openapi.json`.  Errors look as the framework does that its 422 gives away: `detail` is
text, or for a 422 a list.
"""

from __future__ import annotations

import re
from pathlib import Path
from uuid import UUID

from aiohttp import web

from .base import Received
from .clarityq_product import JSON, REMARK, ClarityQProduct, Conversation
from .openapi import Document

DOCUMENT = Document.load(Path(__file__).with_name("clarityq.openapi.json"))

CONVERSATION = "/api/v1/products/{product_id}/conversations/{conversation_id}"
OPERATIONS = {
    ("POST", "/api/v1/products/{product_id}/ask"): "ask",
    ("GET", f"{CONVERSATION}/status"): "status",
    ("GET", f"{CONVERSATION}/summary"): "answer",
    ("PUT", f"{CONVERSATION}/feedback"): "feedback",
}
"""Names for faults and for `Received.operation`; the method `on_<name>` answers."""


class ApiError(Exception):
    """The API answers with this status and `detail`."""

    def __init__(self, status: int, detail: str | list[JSON]) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def invalid(*problems: tuple[list[str], str]) -> ApiError:
    """422, with what is wrong where."""
    return ApiError(422, [{"loc": loc, "msg": msg, "type": "value_error"} for loc, msg in problems])


class ClarityQSimulator(ClarityQProduct):
    """Serves one product.  Switches and ledger: see `ClarityQProduct`."""

    def operation(self, method: str, path: str) -> str:
        if method == "GET" and self._answer_pattern.fullmatch(path):
            return "answer"
        found = DOCUMENT.match(method, path)
        return OPERATIONS.get((method, found.template), "unknown") if found else "unknown"

    @property
    def _answer_pattern(self) -> re.Pattern[str]:
        pattern = re.escape(self.answer_path)
        for name in ("product_id", "conversation_id"):
            pattern = pattern.replace(rf"\{{{name}\}}", f"(?P<{name}>[^/]+)")
        return re.compile(pattern)

    async def respond(self, received: Received, request: web.Request) -> web.StreamResponse:
        try:
            self._check_key(received)
            ids = self._ids(received)
            self._check(received)
            with self.changing():
                body = getattr(self, f"on_{received.operation}")(received, *ids)
        except ApiError as error:
            return web.json_response({"detail": error.detail}, status=error.status)
        return web.json_response(body)

    def _check_key(self, received: Received) -> None:
        key = received.headers.get("X-API-Key")
        if key == self.other_key:
            raise ApiError(403, "This key belongs to another product")
        if key != self.key:
            raise ApiError(401, "Invalid API key")

    def _ids(self, received: Received) -> list[Conversation]:
        """The conversation the path names, if it names one."""
        found = DOCUMENT.match(received.method, received.path)
        values = found.path_values(received.path) if found else {}
        if received.operation == "answer":
            match = self._answer_pattern.fullmatch(received.path)
            values = match.groupdict() if match else values
        for name, value in values.items():
            try:
                UUID(value)
            except ValueError:
                raise invalid((["path", name], "Input should be a valid UUID")) from None
        if values.get("product_id", self.product_id) != self.product_id:
            raise ApiError(403, "This key belongs to another product")
        if "conversation_id" not in values:
            return []
        if values["conversation_id"] not in self.conversations:
            raise ApiError(404, "Conversation not found")
        return [self.conversations[values["conversation_id"]]]

    def _check(self, received: Received) -> None:
        """Refuse what the document does not allow, and put it on record."""
        if received.operation == "answer":
            if self._answer_pattern.fullmatch(received.path) is None:
                raise ApiError(404, "Not Found")  # a guessed path is no offence
            return
        found = DOCUMENT.match(received.method, received.path)
        if found is None:
            self.violate(f"{received.method} {received.path}: no such operation here")
            raise ApiError(404, "Not Found")
        problems = DOCUMENT.request_problems(found, received.query, received.headers, received.body)
        body = received.json if isinstance(received.json, dict) else {}
        where = "body"
        if received.operation == "ask" and not body.get("prompt"):
            problems, where = ["ask: no prompt"], "prompt"
        if received.operation == "feedback" and not {"rating", "comment"} & set(body):
            problems = ["feedback: neither rating nor comment"]
        for problem in problems:
            self.violate(problem)
        if problems:
            loc = ["body", where] if where != "body" else ["body"]
            raise invalid(*((loc, problem) for problem in problems))

    # Operations

    def on_ask(self, received: Received) -> JSON:
        conversation = self.ask(received.json["prompt"])
        return {
            "status": conversation.status,
            "message": REMARK,
            "conversation_id": conversation.id,
        }

    def on_status(self, received: Received, conversation: Conversation) -> JSON:
        return {"status": conversation.status}

    def on_answer(self, received: Received, conversation: Conversation) -> JSON:
        if self.unfinished_reads or conversation.answer is None:
            self.unfinished_reads = max(0, self.unfinished_reads - 1)
            raise ApiError(409, "Conversation is not completed")
        return conversation.answer.json()

    def on_feedback(self, received: Received, conversation: Conversation) -> JSON:
        if conversation.status != "COMPLETED":
            raise ApiError(409, "Conversation is not completed")
        if not self.rate(conversation, received.json):
            raise invalid((["body"], "At least one of rating and comment is required"))
        return conversation.feedback_json()
