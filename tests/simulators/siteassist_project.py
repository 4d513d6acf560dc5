"""One project at SiteAssist: its visitors, their conversations, the assistant, the people.

Everything here works without HTTP; `siteassist.py` puts the vendor's API in front of it. What the
vendor does not document is decided as the harsher of the plausible ways, or is a switch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from .base import Simulator

JSON = dict[str, Any]
Role = Literal["user", "assistant", "human_agent"]


def new_id() -> str:
    return str(uuid4())


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the assistant says: text blocks, and buttons `(label, address)` after the first."""

    texts: tuple[str, ...]
    """Those of the last step."""
    links: tuple[tuple[str, str], ...] = ()
    earlier: tuple[str, ...] = ()
    """Text blocks of a step before it."""
    finish_reason: str | None = "stop"


@dataclass(frozen=True, slots=True)
class Failure:
    """Instead of an answer: an `error` part after as many pieces of text, and a stored error."""

    words: str = "The model did not answer."
    after: int = 0
    text: str = "Well, as far as I can see,"


def echo(question: str) -> str:
    """The default: some Markdown around the question."""
    return f"You wrote:\n\n> {question}\n\n- **one** thing\n- another thing"


@dataclass(slots=True)
class Message:
    conversation: str
    role: Role
    parts: list[JSON]
    status: str | None = "complete"
    error: str | None = None
    feedback: str | None = None
    feedback_at: str | None = None
    rated: int = 0
    """How often its rating was written."""
    human: JSON | None = None
    id: str = field(default_factory=new_id)
    created_at: str = field(default_factory=now)

    @property
    def text(self) -> str:
        return "\n\n".join(part["text"] for part in self.parts if part["type"] == "text")

    def json(self) -> JSON:
        return {
            "object": "message",
            "id": self.id,
            "createdAt": self.created_at,
            "chatId": self.conversation,
            "role": self.role,
            "parts": [
                {name: value for name, value in part.items() if name != "_block"}
                for part in self.parts
            ],
            "status": self.status,
            "error": self.error,
            "feedback": self.feedback,
            "feedbackAt": self.feedback_at,
            "metadata": None,
            "humanAgent": self.human,
        }


@dataclass(slots=True)
class Conversation:
    visitor: str
    """The visitor's `saVid`."""
    messages: list[Message] = field(default_factory=list)
    status: str = "open"
    closed_at: str | None = None
    close_reason: str | None = None
    human: JSON | None = None
    """The person who has it."""
    told: list[JSON] = field(default_factory=list)
    """The frames for those who listen at its socket."""
    id: str = field(default_factory=new_id)
    created_at: str = field(default_factory=now)

    def json(self, *, misspelt: bool, messages: bool = True) -> JSON:
        last = self.messages[-1] if self.messages else None
        at = last.created_at if last else self.created_at
        listed: JSON = {"lastMessage": last.json() if last else None}
        return {
            "object": "conversation",
            "id": self.id,
            "createdAt": self.created_at,
            "updatedAt": at,
            "title": None,
            "status": self.status,
            "closedAt": self.closed_at,
            "closeReason": self.close_reason,
            "lastInterationAt" if misspelt else "lastInteractionAt": at,
            "isHumanHandled": self.human is not None,
            "humanAgent": self.human,
            **({"messages": [one.json() for one in self.messages]} if messages else listed),
        }


@dataclass(slots=True)
class Generation:
    """An answer in the making: the message as it is stored, and its stream as it comes."""

    message: Message
    parts: list[JSON] = field(default_factory=list)
    """The stream so far."""
    over: bool = False
    work: asyncio.Task[None] | None = None


class SiteAssistProject(Simulator):
    """State and rules. Attributes are switches that a test may set at any time."""

    def __init__(self, *, key: str = "pk_siteassist_test", port: int = 0) -> None:
        super().__init__(port=port)
        self.key = key
        """The one publishable key; set another to revoke it."""
        self.origins: tuple[str, ...] | None = None
        """The key's allowed websites; None: any caller."""
        self.token_s = 3600.0
        """How long a token lives without being used."""
        self.first_gap_s, self.gap_s = 0.5, 0.02
        """Before the first part of an answer, and between its pieces of text."""
        self.answer: Callable[[str], str | Answer | Failure] = echo
        """Makes the answer from the question's text."""
        self.ends_when_left = False
        """A visitor who leaves a stream ends the answer, which is stored as an error."""
        self.misspelt = False
        """Older servers say `lastInterationAt`."""
        self.stall_after: int | None = None
        """Pieces of text after which nothing comes until `release`."""
        self.visitors: dict[str, str] = {}
        """Ids by `saVid`."""
        self.conversations: dict[str, Conversation] = {}
        self.sends: list[Message] = []
        """The visitors' messages as accepted, each time one was."""
        self.sockets = 0
        """Sockets that are open now."""
        self.mute = False
        """They say nothing, not even `pong`."""
        self.hung_up = 0
        self._tokens: dict[str, tuple[str, float]] = {}
        self._generations: list[Generation] = []
        self._held = False

    # What a test does with answers

    def hold(self) -> None:
        """Let no answer begin until `release`."""
        with self.changing():
            self._held = True

    def release(self) -> None:
        """Let answers begin and go on, also what a `Stall` holds."""
        with self.changing():
            self._held = False
        super().release()

    def start(self) -> None:
        super().start()
        with self.changing():  # what was under way at a stop has been written meanwhile
            for one in self._generations:
                if not one.over:
                    one.over, one.message.status = True, "complete"

    def lapse(self) -> None:
        """Let every token lapse now."""
        with self.changing():
            self._tokens.clear()

    # What people do in the vendor's dashboard

    def take_over(self, conversation_id: str, name: str = "Robin Reed") -> None:
        with self.changing():
            conversation = self.conversations[conversation_id]
            conversation.human = {"name": name, "image": None}
            conversation.told.append({"type": "human_assigned", "chatId": conversation_id})

    def hand_back(self, conversation_id: str) -> None:
        with self.changing():
            self.conversations[conversation_id].human = None

    def human_says(self, conversation_id: str, text: str) -> Message:
        with self.changing():
            conversation = self.conversations[conversation_id]
            if conversation.human is None:
                raise ValueError("take the conversation over first")
            parts = [{"type": "text", "text": text}]
            said = Message(conversation_id, "human_agent", parts, human=conversation.human)
            conversation.messages.append(said)
            conversation.told.append(new_message(said))
            return said

    def hang_up(self) -> None:
        """Close every open socket."""
        with self.changing():
            self.hung_up += 1

    def close(self, conversation_id: str, reason: str | None = None) -> None:
        """Close it for good; once more changes nothing. Visitors can do it, too."""
        with self.changing():
            conversation = self.conversations[conversation_id]
            if conversation.status == "open":
                conversation.status, conversation.closed_at = "closed", now()
                conversation.close_reason = reason

    # The ledger

    @property
    def messages(self) -> list[Message]:
        return [one for each in self.conversations.values() for one in each.messages]

    def message(self, message_id: str) -> Message | None:
        return next((one for one in self.messages if one.id == message_id), None)

    # Rules, called with the lock held

    def init(self, sa_vid: str) -> tuple[bool, str]:
        """Return whether the visitor is new, and a token; earlier tokens stay good."""
        made = sa_vid not in self.visitors
        self.visitors.setdefault(sa_vid, new_id())
        token = f"eyJhbGciOiJIUzI1NiJ9.{uuid4().hex}.{uuid4().hex}"
        self._tokens[token] = sa_vid, time.monotonic() + self.token_s
        return made, token

    def visitor_of(self, token: str) -> str | None:
        """Return whose token this is and push its end back; None if it is none or has lapsed."""
        sa_vid, until = self._tokens.get(token, ("", 0.0))
        if time.monotonic() >= until:
            return None
        self._tokens[token] = sa_vid, time.monotonic() + self.token_s
        return sa_vid

    def converse(self, visitor: str) -> Conversation:
        conversation = Conversation(visitor)
        self.conversations[conversation.id] = conversation
        return conversation

    def ask(self, conversation: Conversation, text: str) -> Generation | None:
        """Store the question and begin its answer, unless a person has the conversation."""
        question = Message(conversation.id, "user", [{"type": "text", "text": text}], status=None)
        conversation.messages.append(question)
        conversation.told.append(new_message(question))
        self.sends.append(question)
        if conversation.human is not None:
            return None
        message = Message(conversation.id, "assistant", [], status="streaming")
        conversation.messages.append(message)
        generation = Generation(message)
        self._generations.append(generation)
        generation.work = asyncio.get_running_loop().create_task(self._generate(generation, text))
        return generation

    def plan(self, message: Message, answer: Answer | Failure) -> list[JSON]:
        """Return the parts of the stream, from `start` to `finish` or `error`."""
        raise NotImplementedError

    async def _generate(self, generation: Generation, question: str) -> None:
        """Emit the parts one by one and store what they add up to, whoever listens."""
        message, answer = generation.message, self.answer(question)
        failure = answer if isinstance(answer, Failure) else None
        parts = self.plan(message, Answer((answer,)) if isinstance(answer, str) else answer)
        await asyncio.sleep(self.first_gap_s)
        await self.until(lambda: not self._held)
        said = 0
        for part in parts:
            if part["type"] == "text-delta":
                if said == self.stall_after:
                    await self.released()
                said += 1
            if part["type"] in ("text-delta", "reasoning-delta"):
                await asyncio.sleep(self.gap_s)
            with self.changing():
                generation.parts.append(part)
                store(message, part)
        with self.changing():
            message.status = "error" if failure else "complete"
            message.error = failure.words if failure else None
            generation.over = True

    def leave(self, generation: Generation) -> None:
        """The visitor has left the stream."""
        if self.ends_when_left and generation.work is not None and not generation.over:
            generation.work.cancel()
            with self.changing():
                generation.over, generation.message.status = True, "error"

    def rate(self, message: Message, value: str | None) -> None:
        message.feedback, message.feedback_at = value, now()
        message.rated += 1


def new_message(message: Message) -> JSON:
    """The socket's frame of a message, be it the visitor's own."""
    return {"type": "new_message", "chatId": message.conversation, "message": message.json()}


def store(message: Message, part: JSON) -> None:
    """Add a part of the stream to the stored message."""
    blocks = {one["_block"]: one for one in message.parts if "_block" in one}
    match part:
        case {"type": "start-step"}:
            message.parts.append({"type": "step-start"})
        case {"type": "text-start", "id": block}:
            message.parts.append({"type": "text", "text": "", "_block": block})
        case {"type": "text-delta", "id": block, "delta": delta}:
            blocks[block]["text"] += delta
        case {"type": "text-end", "id": block}:
            del blocks[block]["_block"]
        case {"type": "tool-input-available", "toolCallId": call, "toolName": name}:
            tool = {"type": f"tool-{name}", "toolCallId": call, "state": "input-available"}
            message.parts.append(tool)
        case {"type": "tool-output-available", "toolCallId": call, "output": output}:
            tool = next(one for one in message.parts if one.get("toolCallId") == call)
            tool |= {"state": "output-available", "output": output}
        case {"type": "reasoning-start"}:
            message.parts.append({"type": "reasoning", "text": "Let me think."})
        case {"type": str(kind), "state": _} if kind.startswith("tool-"):
            message.parts.append(part)
