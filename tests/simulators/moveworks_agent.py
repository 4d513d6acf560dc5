"""One organisation at Moveworks: its users' conversations, how its assistant answers, its limits.

Everything here works without HTTP; `moveworks.py` puts the vendor's API in front of it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .base import Simulator
from .moveworks_ledger import (
    JSON,
    THUMBS,
    Conversation,
    Failure,
    Generation,
    Message,
    Reply,
    Response,
    Vote,
    content,
    new_id,
    now,
    sample,
)


@dataclass
class ApiError(Exception):
    """The API answers with this status and error."""

    status: int
    code: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> JSON:
        return {"error": {"code": self.code, "message": self.message}}


def not_found() -> ApiError:
    return ApiError(404, "NOT_FOUND", "not found")


@dataclass(slots=True)
class Pace:
    """Seconds that an answer takes. The vendor's own are 0.3, and 2 to 15."""

    start: float = 0.01
    """From `CREATED` to `IN_PROGRESS`."""
    step: float = 0.01
    """Before each snapshot."""


class MoveworksAgent(Simulator):
    """State and rules. Attributes are switches that a test may set at any time."""

    def __init__(self, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.assistant = "Website Bot"
        """The one `Assistant-Name` there is."""
        self.api_key = "moveworks-key"
        self.users = {self.api_key: "one@example.com"}
        """Whom each bearer stands for. Remove one to revoke it."""
        self.client = ("client-1", "client-secret-1")
        self.expires_in: int | None = 3600
        """Of a token; None leaves it out."""
        self.token_shape: Literal["nested", "flat"] = "nested"
        self.tokens: dict[str, float] = {}
        """Tokens issued, and when (`time.monotonic`) each ends."""
        self.enabled = True
        """False: the API is not there for the organisation, so everything is 404."""
        self.right_host = True
        """False: this is another data centre than the token's."""
        self.reads_left: int | None = None
        """Reads of lists, histories and events until the limit that they share; None: no limit."""
        self.answer: Callable[[str], str | Reply | Failure] = sample
        """Makes the answer from the question's text."""
        self.pace = Pace()
        self.misfiled = False
        """Responses complete without outputs; the reply is filed under an earlier one."""
        self.longer_ids = 0
        """Characters by which the ids of messages are longer than in the vendor's samples."""
        self.renew_on_read = False
        """Feedback ids are made anew each time a message is read."""
        self.sends: list[Message] = []
        """The questions as received."""
        self.conversations: dict[str, Conversation] = {}
        self.held = False
        self._working: set[asyncio.Task[None]] = set()

    # What the test does

    def hold(self) -> None:
        """Let answers get no further than `IN_PROGRESS` until `let_go`."""
        with self.changing():
            self.held = True

    def let_go(self) -> None:
        with self.changing():
            self.held = False

    def expire_tokens(self) -> None:
        """End every token issued so far, whatever was said of its life."""
        with self.changing():
            self.tokens = dict.fromkeys(self.tokens, 0.0)

    def renew_callbacks(self) -> None:
        """Let every feedback id given out so far go stale."""
        with self.changing():
            for message in self.messages():
                message.renew_callbacks()

    def say_later(
        self, conversation_id: str, text: str, *, actor: str = "ASSISTANT", name: str = ""
    ) -> Message:
        """Add a message nobody asked for: history and events have it."""
        with self.changing():
            conversation = self.conversations[conversation_id]
            under = next(reversed(conversation.responses), new_id("resp"))
            said = Message(conversation_id, under, actor, content(text))
            said.id += "x" * self.longer_ids
            said.sender = {"display_name": name} if name else None
            if actor == "ASSISTANT":
                said.callbacks = dict.fromkeys(THUMBS, "")
                said.renew_callbacks()
            conversation.messages.append(said)
            conversation.events.append(
                {
                    "event_id": new_id("evt"),
                    "conversation_id": conversation_id,
                    "created_at": said.created_at,
                    "event_payload": {"type": "MESSAGE_EVENT", "message": said},
                }
            )
            return said

    def messages(self) -> list[Message]:
        return [message for one in self.conversations.values() for message in one.messages]

    def votes(self) -> list[Vote]:
        """The votes held, oldest answer first."""
        return [message.vote for message in self.messages() if message.vote]

    # Rules, called with the lock held

    def issue(self) -> JSON:
        """The answer of the token endpoint."""
        bearer = secrets.token_urlsafe(24)
        lasts = 3600 if self.expires_in is None else self.expires_in
        self.tokens[bearer] = time.monotonic() + lasts
        granted: JSON = {"access_token": bearer, "token_type": "Bearer"}
        if self.expires_in is not None:
            granted["expires_in"] = self.expires_in
        return {"data": granted} if self.token_shape == "nested" else granted

    def user(self, authorization: str) -> str:
        """Whom the header stands for."""
        scheme, _, bearer = authorization.partition(" ")
        if not self.right_host:
            raise ApiError(401, "invalid_audience", "the token is not for this host")
        if scheme == "Bearer" and bearer in self.users:
            return self.users[bearer]
        if scheme == "Bearer" and self.tokens.get(bearer, 0.0) > time.monotonic():
            return self.client[0]
        raise ApiError(401, "UNAUTHORIZED", "token missing, invalid or expired")

    def spend_read(self) -> None:
        if self.reads_left is None:
            return
        if self.reads_left < 1:
            raise ApiError(429, "RATE_LIMIT_EXCEEDED", "too many reads", {"Retry-After": "1"})
        self.reads_left -= 1

    def known(self, user: str, conversation_id: str) -> Conversation:
        """A conversation is there for its own user only."""
        found = self.conversations.get(conversation_id)
        if found is None or found.user != user:
            raise not_found()
        return found

    def ask(self, conversation: Conversation, text: str, generation: Generation) -> Response:
        response_id = new_id("resp")
        question = Message(conversation.id, response_id, "USER", content(text, "PLAIN_TEXT"))
        response = Response(conversation.id, question, generation, response_id)
        response.tell("RESPONSE_CREATED", response=response.json())
        conversation.responses[response.id] = response
        conversation.messages.append(question)
        conversation.updated_at = question.created_at
        self.sends.append(question)
        task = asyncio.create_task(self._work(conversation, response))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return response

    def rate(self, message: Message, callback: str, comment: str) -> None:
        for thumb in THUMBS:
            if message.callbacks.get(thumb) == callback:
                message.vote = Vote(thumb, comment)
                return
        raise ApiError(400, "INVALID_REQUEST", "callback_id is not one of this message")

    # The assistant at work: CREATED, IN_PROGRESS, COMPLETED or FAILED, never backwards

    async def _work(self, conversation: Conversation, response: Response) -> None:
        await asyncio.sleep(self.pace.start)
        with self.changing():
            response.status = "IN_PROGRESS"
            response.tell("RESPONSE_IN_PROGRESS", response=response.json())
        reply = self.answer(response.question.text)
        reply = Reply(reply) if isinstance(reply, str) else reply
        await self._think(response)
        await self.until(lambda: not self.held)
        if isinstance(reply, Failure):
            with self.changing():
                response.status, response.error = "FAILED", reply.error
                response.completed_at = now()
                response.tell("RESPONSE_FAILED", response=response.json())
            return
        for one in (reply, *reply.more):
            await self._say(conversation, response, one)
        with self.changing():
            self._complete(conversation, response)

    async def _think(self, response: Response) -> None:
        steps = ["✓ Read the question", "→ Searched the knowledge base", "⌛ Writing"]
        for count in range(1, len(steps) + 1):
            await asyncio.sleep(self.pace.step)
            with self.changing():
                response.reasoning = {
                    "reasoning_message_id": f"rs_{response.id}",
                    "conversation_id": response.conversation_id,
                    "response_id": response.id,
                    "content": content("\n".join(steps[:count]), "COMMONMARK_TEXT"),
                    "created_at": response.created_at,
                }
                output = {"type": "REASONING_MESSAGE", "reasoning_message": response.reasoning}
                response.tell("RESPONSE_OUTPUT_DELTA", output=output)

    async def _say(self, conversation: Conversation, response: Response, reply: Reply) -> None:
        """Stream a message, snapshot by snapshot, and keep it."""
        message = Message(
            conversation.id, response.id, "ASSISTANT", content(reply.text, reply.kind)
        )
        message.reply = reply
        message.id += "x" * self.longer_ids
        if reply.rateable:
            message.callbacks = dict.fromkeys(THUMBS, "")
            message.renew_callbacks()
        response.messages.append(message)
        whole = message.json(response.generation, final=False)
        halfway = [reply.text[: len(reply.text) // 2], reply.text]
        for text in reply.snapshots if reply.snapshots is not None else halfway:
            await asyncio.sleep(self.pace.step)
            partial = whole | {"content": content(text, reply.kind)}
            for name in ("citations", "content_references"):  # offsets into a text to come
                partial.pop(name, None)
            with self.changing():
                output = {"type": "MESSAGE", "message": partial}
                response.tell("RESPONSE_OUTPUT_DELTA", output=output)

    def _complete(self, conversation: Conversation, response: Response) -> None:
        earlier = [one for one in conversation.responses if one != response.id]
        if self.misfiled:
            response.empty = True
            for message in response.messages:
                message.response_id = earlier[-1] if earlier else new_id("resp")
        conversation.messages.extend(response.messages)
        response.status, response.completed_at = "COMPLETED", now()
        conversation.updated_at = response.completed_at
        conversation.title = conversation.title or "A conversation"
        response.tell("RESPONSE_COMPLETED", response=response.json(final=False))


def page(items: list[Any], query: Any) -> tuple[list[Any], JSON]:
    """One page of a list and the metadata that leads to the next."""
    cursor, limit = query.get("cursor", "0"), int(query.get("limit", 20))
    if not cursor.isdecimal() or int(cursor) > len(items):
        raise ApiError(400, "INVALID_CURSOR", "cursor rejected")
    end = int(cursor) + limit
    return items[int(cursor) : end], {"next_cursor": str(end) if end < len(items) else None}
