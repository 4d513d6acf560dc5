"""Moveworks' Conversations API, in its three generations, as its OpenAPI documents describe it.

First whether the API is there at all, then the bearer, the assistant's name, the request against
`moveworks.openapi.json`, and only then does anything happen. Not served, since a web chat has no
use for them: modals, handoff menus, the webhook.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from .base import Received
from .moveworks_agent import ApiError, MoveworksAgent, not_found, page
from .moveworks_ledger import JSON, Conversation, Generation, Message, Response
from .moveworks_stream import StreamOddities, write_stream
from .openapi import Document, Operation, form_fields

DOCUMENT = Document.load(Path(__file__).with_name("moveworks.openapi.json"))

GENERATIONS: tuple[Generation, ...] = ("rest/v1beta1", "rest/v1", "assistant/v1")
CONVERSATION = "/conversations/{conversation_id}"
RESPONSE = f"{CONVERSATION}/responses/{{response_id}}"
OPERATIONS = {
    ("POST", "/oauth/v1/token"): "token",
    ("GET", "/conversations"): "list_conversations",
    ("POST", "/conversations"): "create_conversation",
    ("GET", CONVERSATION): "get_conversation",
    ("PATCH", CONVERSATION): "update_conversation",
    ("POST", f"{CONVERSATION}/responses"): "send",
    ("POST", f"{CONVERSATION}/responses/stream"): "stream",
    ("GET", RESPONSE): "poll",
    ("GET", f"{RESPONSE}/messages"): "list_response_messages",
    ("GET", f"{CONVERSATION}/messages"): "list_messages",
    ("GET", f"{CONVERSATION}/events"): "events",
    ("POST", f"{RESPONSE}/messages/{{message_id}}/feedback"): "feedback",
}
"""Names for faults and for `Received.operation`; the method `on_<name>` answers."""
SHARING_A_LIMIT = ("list_conversations", "list_messages", "events")
TRACE_HEADERS = {"rest/v1beta1": "x-moveworks-root-uuid", "rest/v1": "x-trace-id"}

Answer = tuple[int, JSON]


class MoveworksSimulator(MoveworksAgent):
    """Serves one organisation. Switches and ledger: see `MoveworksAgent`."""

    def __init__(self, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.odd = StreamOddities()

    def operation(self, method: str, path: str) -> str:
        found = DOCUMENT.match(method, _split(path)[1])
        return OPERATIONS.get((method, found.template), "unknown") if found else "unknown"

    async def respond(self, received: Received, request: web.Request) -> web.StreamResponse:
        generation, path = _split(received.path)
        found = DOCUMENT.match(received.method, path)
        try:
            with self.changing():
                answer = self._answer(received, generation, path, found)
        except ApiError as error:
            status, body = error.status, error.body
            if received.operation == "token":
                body = body["error"]
            return web.json_response(body, status=status, headers=error.headers)
        headers = {TRACE_HEADERS[generation]: "trace-1"} if generation in TRACE_HEADERS else {}
        if isinstance(answer, Response):
            return await write_stream(self, answer, request, self.odd, headers)
        status, body = answer
        if found is not None:
            for problem in DOCUMENT.answer_problems(found, status, body):
                if "is not valid under any" not in problem:  # content of a type nobody knows
                    self.violate(f"the simulator's own answer to {received.operation}: {problem}")
        return web.json_response(body, status=status, headers=headers)

    def _answer(
        self, received: Received, generation: Generation | None, path: str, found: Operation | None
    ) -> Answer | Response:
        if not self.enabled:
            raise not_found()
        if received.operation == "token":
            return self._token(received, found)
        if generation is None or found is None or received.operation == "unknown":
            self.violate(f"{received.method} {received.path}: no such operation here")
            raise not_found()
        user = self.user(received.headers.get("Authorization", ""))
        if received.headers.get("Assistant-Name") != self.assistant:
            raise ApiError(403, "FORBIDDEN", "assistant not allowed")
        self._check(received, generation, found)
        if received.operation in SHARING_A_LIMIT:
            self.spend_read()
        ids = found.path_values(path)
        handler: Callable[..., Answer | Response] = getattr(self, f"on_{received.operation}")
        if "conversation_id" not in ids:
            return handler(received, user)
        if ids["conversation_id"] == "-" and received.operation == "events":
            own = [one for one in self.conversations.values() if one.user == user]
            return self._events(
                received, generation, [event for one in own for event in one.events]
            )
        conversation = self.known(user, ids["conversation_id"])
        if "message_id" in ids:
            return handler(received, conversation, ids["response_id"], ids["message_id"])
        if "response_id" not in ids:
            return handler(received, generation, conversation)
        response = conversation.responses.get(ids["response_id"])
        if response is None:
            raise not_found()
        return handler(received, generation, conversation, response)

    def _check(self, received: Received, generation: Generation, found: Operation) -> None:
        """Refuse what the document does not allow, and what another generation would take."""
        problems = DOCUMENT.request_problems(found, received.query, received.headers, received.body)
        if not problems and received.operation in ("send", "stream"):
            given = next(iter(received.json["input"]))
            allowed = {
                "rest/v1": ("chat", "callback_id"),
                "assistant/v1": ("text", "callback_id"),
                "rest/v1beta1": ("text",),
            }[generation]
            if given not in allowed:
                problems = [f"{generation} takes {' or '.join(allowed)} as input, not {given}"]
        for problem in problems:
            self.violate(problem)
        if problems:
            code = "INVALID_REQUEST" if received.operation == "feedback" else "INVALID_INPUT"
            raise ApiError(400, code, "; ".join(problems))

    def _token(self, received: Received, found: Operation | None) -> Answer:
        assert found is not None
        for problem in DOCUMENT.request_problems(
            found, received.query, received.headers, received.body
        ):
            self.violate(problem)
            raise ApiError(400, "INVALID_INPUT", problem)
        given = received.json or form_fields(received.body)
        if (given["client_id"], given["client_secret"]) != self.client:
            raise ApiError(401, "UNAUTHORIZED", "unknown client or wrong secret")
        return 200, self.issue()

    # Conversations

    def on_create_conversation(self, received: Received, user: str) -> Answer:
        conversation = Conversation(user, (received.json or {}).get("title", ""))
        self.conversations[conversation.id] = conversation
        return 201, conversation.json()

    def on_list_conversations(self, received: Received, user: str) -> Answer:
        archived = received.query.get("archived") == "true"
        found = [
            one
            for one in self.conversations.values()
            if one.user == user and one.archived == archived
        ]
        found.sort(key=lambda one: one.updated_at, reverse=True)
        shown, metadata = page(found, received.query)
        return 200, {"conversations": [one.json() for one in shown], "metadata": metadata}

    def on_get_conversation(
        self, received: Received, generation: Generation, conversation: Conversation
    ) -> Answer:
        return 200, conversation.json()

    def on_update_conversation(
        self, received: Received, generation: Generation, conversation: Conversation
    ) -> Answer:
        conversation.title = received.json.get("title", conversation.title)
        conversation.archived = received.json.get("archived", conversation.archived)
        return 200, conversation.json()

    # Responses

    def on_send(
        self, received: Received, generation: Generation, conversation: Conversation
    ) -> Answer:
        return 202, self._asked(received, generation, conversation).json()

    def on_stream(
        self, received: Received, generation: Generation, conversation: Conversation
    ) -> Response:
        return self._asked(received, generation, conversation)

    def _asked(
        self, received: Received, generation: Generation, conversation: Conversation
    ) -> Response:
        given = received.json["input"]
        text = str(given.get("chat", given).get("text", ""))
        if not text.strip():
            raise ApiError(400, "INVALID_INPUT", "input is empty")
        return self.ask(conversation, text, generation)

    def on_poll(
        self,
        received: Received,
        generation: Generation,
        conversation: Conversation,
        response: Response,
    ) -> Answer:
        self._read(response.messages)
        return 200, response.json()

    # Messages

    def on_list_messages(
        self, received: Received, generation: Generation, conversation: Conversation
    ) -> Answer:
        shown, metadata = page(conversation.messages[::-1], received.query)
        self._read(shown)
        return 200, {"messages": [one.json(generation) for one in shown], "metadata": metadata}

    def on_list_response_messages(
        self,
        received: Received,
        generation: Generation,
        conversation: Conversation,
        response: Response,
    ) -> Answer:
        found = [one for one in conversation.messages if one.response_id == response.id]
        self._read(found)
        return 200, {"messages": [one.json(generation) for one in found]}

    def _read(self, messages: list[Message]) -> None:
        for message in messages if self.renew_on_read else ():
            message.renew_callbacks()

    def on_events(
        self, received: Received, generation: Generation, conversation: Conversation
    ) -> Answer:
        return self._events(received, generation, conversation.events)

    def _events(self, received: Received, generation: Generation, events: list[JSON]) -> Answer:
        ids = [event["event_id"] for event in events]
        start, end = received.query.get("starting_after"), received.query.get("ending_at")
        first = ids.index(start) + 1 if start in ids else 0
        last = ids.index(end) + 1 if end in ids else len(ids)
        shown, metadata = page(events[first:last], received.query)
        return 200, {
            "events": [_event(event, generation) for event in shown],
            "metadata": metadata,
        }

    # Feedback

    def on_feedback(
        self, received: Received, conversation: Conversation, response_id: str, message_id: str
    ) -> Answer:
        for message in conversation.messages:
            if message.id == message_id and message.response_id == response_id:
                body = received.json
                self.rate(message, body["callback_id"], body.get("additional_feedback", ""))
                return 200, {"status": "SUBMITTED"}
        raise not_found()


def _event(event: JSON, generation: Generation) -> JSON:
    message: Message = event["event_payload"]["message"]
    shown = {
        **event,
        "event_payload": {"type": "MESSAGE_EVENT", "message": message.json(generation)},
    }
    if generation == "rest/v1beta1":
        del shown["created_at"]
    return shown


def _split(path: str) -> tuple[Any, str]:
    """The generation a path belongs to, None if to none, and the path below its base."""
    for generation in GENERATIONS:
        if path.startswith(f"/{generation}/"):
            return generation, path.removeprefix(f"/{generation}")
    return None, path if path.startswith("/oauth/") else ""
