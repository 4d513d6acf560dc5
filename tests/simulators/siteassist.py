"""SiteAssist's Developer API v2, as its pages and the source of its own widget describe it.

The website is looked at first, then the token, then the ids in the path, then the request is
checked against `siteassist.openapi.json`, and only then does anything happen. Not served, since a
relay has no use for them: project settings, stateless completions. The WebSocket is on no page; it
is served as the widget uses it, in `siteassist_socket.py`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from aiohttp import web

from .base import Received
from .faults import Status
from .openapi import Document
from .siteassist_project import (
    JSON,
    Answer,
    Conversation,
    Failure,
    Generation,
    Message,
    SiteAssistProject,
)
from .siteassist_socket import PATH, serve_socket
from .siteassist_stream import (
    HEADERS,
    StreamOddities,
    Wire,
    parts_of,
    parts_of_failure,
    whole_of,
)

DOCUMENT = Document.load(Path(__file__).with_name("siteassist.openapi.json"))

BASE = "/v2"
CONVERSATION = "/conversations/{conversationId}"
OPERATIONS = {
    ("POST", "/identity/init"): "init",
    ("GET", "/identity/me"): "me",
    ("POST", "/conversations"): "start",
    ("GET", "/conversations"): "list_conversations",
    ("GET", CONVERSATION): "get_conversation",
    ("POST", f"{CONVERSATION}/close"): "close",
    ("POST", f"{CONVERSATION}/messages"): "send",
    ("GET", f"{CONVERSATION}/messages"): "list_messages",
    ("POST", "/messages/{messageId}/feedback"): "feedback",
}
"""Names for faults and for `Received.operation`; the method `on_<name>` answers."""

CATALOGUE: dict[int, tuple[str, JSON]] = {
    400: ("INVALID_REQUEST_BODY", {"field": "content"}),
    401: ("UNAUTHORIZED", {}),
    402: (
        "PAYMENT_REQUIRED",
        {"currentPlan": "free", "requiredPlan": "pro", "feature": "advanced_ai_models"},
    ),
    403: ("FORBIDDEN", {}),
    404: ("CONVERSATION_NOT_FOUND", {}),
    409: ("CONFLICT", {"resource": "conversation", "conflictingField": "status"}),
    422: ("VALIDATION_ERROR", {"field": "content", "reason": "not as documented"}),
    429: ("RATE_LIMIT_EXCEEDED", {"retryAfter": 60}),
    500: ("INTERNAL_SERVER_ERROR", {}),
    502: ("BAD_GATEWAY", {"service": "ai_model_service"}),
    503: ("SERVICE_UNAVAILABLE", {"retryAfter": 30}),
}
"""The codes and details that the vendor's pages show for each status."""

Lost = Literal["", "502", "502 for now", "drop"]


class ApiError(Exception):
    """The API answers with this status."""

    def __init__(self, status: int, message: str = "refused") -> None:
        super().__init__(message)
        self.status, self.body = status, error(status, message)


def error(status: int, message: str, **details: Any) -> JSON:
    code, usual = CATALOGUE[status]
    return {"error": {"message": message, "code": code, "details": details or usual}}


def Refused(status: int, message: str = "refused", **details: Any) -> Status:  # noqa: N802
    """A fault: the vendor's own error of this status, `details` in place of the usual ones."""
    return Status(status, error(status, message, **details))


class SiteAssistSimulator(SiteAssistProject):
    """Serves one project. Switches and ledger: see `SiteAssistProject`; `odd`: of the stream."""

    def __init__(self, *, key: str = "pk_siteassist_test", port: int = 0) -> None:
        super().__init__(key=key, port=port)
        self.odd = StreamOddities()
        self.lost: Lost = ""
        """Sends are accepted and their answer is lost: a gateway's 502, which may say when to come
        back, or a broken connection."""
        self.empty_steps = False
        """The JSON answer has no steps; what was said is stored all the same."""
        self.left = 0
        """Streams whose client left before the end."""

    @property
    def base_url(self) -> str:
        """What a client is given."""
        return self.url + BASE

    def plan(self, message: Message, answer: Answer | Failure) -> list[JSON]:
        if isinstance(answer, Failure):
            return parts_of_failure(message, answer, self.odd)
        return parts_of(message, answer, self.odd)

    def operation(self, method: str, path: str) -> str:
        if method == "GET" and PATH.fullmatch(path):
            return "socket"
        found = DOCUMENT.match(method, path.removeprefix(BASE)) if path.startswith(BASE) else None
        return OPERATIONS.get((method, found.template), "unknown") if found else "unknown"

    async def respond(self, received: Received, request: web.Request) -> web.StreamResponse:
        if received.operation == "socket":
            return await serve_socket(self, received, request)
        try:
            if self.origins is not None and received.headers.get("Origin") not in self.origins:
                raise ApiError(403, "this website is not allowed")
            visitor = "" if received.operation == "init" else self._visitor(received)
            things = self._check(received, visitor)
            with self.changing():
                answer = getattr(self, f"on_{received.operation}")(received, visitor, *things)
        except ApiError as refused:
            return web.json_response(refused.body, status=refused.status)
        if isinstance(answer, Generation):
            return await self._answer(answer, received, request)
        status, body = answer
        if isinstance(body, str):
            return web.Response(status=status, text=body)
        return web.json_response(body, status=status)

    def _visitor(self, received: Received) -> str:
        scheme, _, token = received.headers.get("Authorization", "").partition(" ")
        visitor = self.visitor_of(token) if scheme == "Bearer" else None
        if visitor is None:
            raise ApiError(401, "no valid token")
        return visitor

    def _check(self, received: Received, visitor: str) -> list[Conversation | Message]:
        """What the path names. Refuses, and puts on record, what the document does not allow."""
        path = received.path.removeprefix(BASE)
        found = DOCUMENT.match(received.method, path)
        if found is None or received.operation == "unknown":
            self.violate(f"{received.method} {received.path}: no such operation here")
            raise ApiError(404)
        things = [self._known(name, key) for name, key in found.path_values(path).items()]
        for thing in things:
            place = thing.id if isinstance(thing, Conversation) else thing.conversation
            if self.conversations[place].visitor != visitor:
                raise ApiError(403, "another visitor's")
        problems = DOCUMENT.request_problems(found, received.query, received.headers, received.body)
        for problem in problems:
            self.violate(problem)
        if problems:
            raise ApiError(422, "; ".join(problems))
        return things

    def _known(self, name: str, key: str) -> Conversation | Message:
        try:
            UUID(key)
        except ValueError:
            self.violate(f"{name} is not a uuid: {key}")
            raise ApiError(422, f"{name} is not a uuid") from None
        thing = self.conversations.get(key) if name == "conversationId" else self.message(key)
        if thing is None:
            raise ApiError(404)
        return thing

    # Visitors

    def on_init(self, received: Received, _: str) -> tuple[int, JSON]:
        if received.json["apiKey"] != self.key:
            raise ApiError(401, f"no project has the key {received.json['apiKey']}")
        made, token = self.init(received.json["saVid"])
        shown = self._shown_visitor(received.json["saVid"])
        return (201 if made else 200), {"sessionToken": token, "visitor": shown}

    def on_me(self, received: Received, visitor: str) -> tuple[int, JSON]:
        return 200, self._shown_visitor(visitor)

    def _shown_visitor(self, sa_vid: str) -> JSON:
        return {
            "object": "visitor",
            "id": self.visitors[sa_vid],
            "type": "anonymous",
            "externalId": None,
            "name": None,
            "avatarUrl": None,
        }

    # Conversations

    def on_start(self, received: Received, visitor: str) -> tuple[int, JSON]:
        return 201, self.converse(visitor).json(misspelt=self.misspelt)

    def on_list_conversations(self, received: Received, visitor: str) -> tuple[int, JSON]:
        query = received.query
        found = [one for one in self.conversations.values() if one.visitor == visitor]
        if "status" in query:
            found = [one for one in found if one.status == query["status"]]
        limit, offset = int(query.get("limit", 10)), int(query.get("offset", 0))
        shown = [one.json(misspelt=self.misspelt, messages=False) for one in reversed(found)]
        page = {"total": len(found), "limit": limit, "offset": offset}
        return 200, {"object": "list", **page, "data": shown[offset : offset + limit]}

    def on_get_conversation(
        self, received: Received, visitor: str, conversation: Conversation
    ) -> tuple[int, JSON]:
        return 200, conversation.json(misspelt=self.misspelt)

    def on_close(
        self, received: Received, visitor: str, conversation: Conversation
    ) -> tuple[int, JSON]:
        self.close(conversation.id, (received.json or {}).get("closeReason"))
        return 200, {"success": True}

    # Messages

    def on_list_messages(
        self, received: Received, visitor: str, conversation: Conversation
    ) -> tuple[int, JSON]:
        query, found = received.query, list(conversation.messages)
        for name in ("role", "status"):
            if name in query:
                found = [one for one in found if getattr(one, name) == query[name]]
        offset = int(query.get("offset", 0))
        limit = int(query.get("limit", len(found)))
        page = found[offset : offset + limit]
        return 200, {"object": "list", "data": [one.json() for one in page]}

    def on_send(
        self, received: Received, visitor: str, conversation: Conversation
    ) -> Generation | tuple[int, str]:
        if conversation.status == "closed":
            raise ApiError(409, "the conversation is closed")
        return self.ask(conversation, received.json["content"]) or (202, "Message sent")

    def on_feedback(self, received: Received, visitor: str, message: Message) -> tuple[int, JSON]:
        self.rate(message, received.json["feedback"])
        return 200, {"feedback": message.feedback}

    # The assistant's answer

    async def _answer(
        self, generation: Generation, received: Received, request: web.Request
    ) -> web.StreamResponse:
        if self.lost.startswith("502"):
            page = "<html><h1>502 Bad Gateway</h1></html>"
            later = {"Retry-After": "1"} if self.lost == "502 for now" else {}
            return web.Response(status=502, text=page, content_type="text/html", headers=later)
        if self.lost == "drop":
            return _abort(request)
        try:
            if received.json.get("stream"):
                return await self._stream(generation, request)
            await self.until(lambda: generation.over)
        except BaseException:  # whoever leaves cancels this
            with self.changing():
                self.left += not self.stopping
            self.leave(generation)
            raise
        if generation.message.status == "error":
            return web.json_response(error(502, "model service failed"), status=502)
        steps: JSON = {"steps": []}
        if not self.empty_steps:
            steps = whole_of(generation.message, generation.parts)
        return web.json_response(steps)

    async def _stream(self, generation: Generation, request: web.Request) -> web.StreamResponse:
        odd, wire = self.odd, Wire(self.odd)
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        sent = 0
        while True:
            while sent < len(generation.parts):
                if sent == odd.cut_after:
                    return await self._cut(wire, generation.parts[sent], response, request)
                for data in wire.writes(wire.part(generation.parts[sent])):
                    await response.write(data)
                sent += 1
                if odd.bad_json and sent == 2:
                    await response.write(wire.rest() + wire.event('{"type": "text-'))
            if rest := wire.rest():
                await response.write(rest)
            if generation.over and sent == len(generation.parts):
                break
            await self.until(partial(more, generation, sent))
        if odd.done:
            await response.write(wire.event("[DONE]"))
        return response

    async def _cut(
        self, wire: Wire, part: JSON, response: web.StreamResponse, request: web.Request
    ) -> web.StreamResponse:
        """End a stream before its end."""
        await response.write(wire.rest())
        match self.odd.cut:
            case "mid_event":
                event = wire.part(part)
                await response.write(event[: len(event) // 2])
            case "abort":
                await response.write(wire.part({"type": "abort"}) + wire.event("[DONE]"))
            case "reset":
                _abort(request)
            case "eof":
                pass
        return response


def more(generation: Generation, sent: int) -> bool:
    """Whether there is something to send behind the first `sent` parts, be it the end."""
    return len(generation.parts) > sent or generation.over


def _abort(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
