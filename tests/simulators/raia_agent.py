"""One agent at raia: what it knows, how it answers, and what its people do in the console.

Everything here works without HTTP; `raia.py` puts the vendor's API in front of it.  What the
vendor does not document is decided as the harsher of the plausible ways, or is a switch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .base import Simulator
from .raia_ledger import (
    JSON,
    Clock,
    Conversation,
    Failure,
    Feedback,
    Message,
    Oddities,
    Question,
    Reply,
    Role,
    User,
    new_id,
)

UNIQUE = ("fkId", "email", "phoneNumber")
"""What a user is found by, and what no two users share."""


@dataclass
class ApiError(Exception):
    """The API answers with this status; the body is None where the vendor documents none."""

    status: int
    body: JSON | None = field(default_factory=dict)


def bad_request(*details: str) -> ApiError:
    problems = [{"message": detail} for detail in details]
    return ApiError(400, _error(400, "BAD_REQUEST", "INVALID_REQUEST", problems))


def not_found() -> ApiError:
    return ApiError(404, _error(404, "ENTITY_NOT_FOUND_ERROR", "ENTITY_NOT_FOUND", []))


def forbidden() -> ApiError:
    return ApiError(403, _error(403, "FORBIDDEN_ERROR", "INVALID_CREDENTIALS", []))


def failed() -> ApiError:
    return ApiError(500, {"status": 500, "message": "INTERNAL_SERVER_ERROR"})


def _error(status: int, name: str, message: str, details: list[JSON]) -> JSON:
    return {"status": status, "name": name, "message": message, "details": details}


def echo(question: str) -> str:
    """The default answer: some Markdown around the question."""
    return f"You wrote:\n\n> {question}\n\n- **one** thing\n- another thing"


class RaiaAgent(Simulator):
    """State and rules.  Attributes are switches that a test may set at any time."""

    def __init__(self, *, key: str = "raia-key", port: int = 0) -> None:
        super().__init__(port=port)
        self.key = key
        """The one `Agent-Secret-Key` that works; set another to revoke it."""
        self.ripening = 0.2
        """Seconds from a question to its answer; 0 answers before the send is answered."""
        self.answer: Callable[[str], str | Reply | Failure] = echo
        """Makes the answer from the question's text."""
        self.odd = Oddities()
        self.loopback_webhooks = False
        """Let webhooks be registered for plain http and loopback addresses."""
        self.sends: list[Message] = []
        """The visitors' messages as received, also those in manual mode."""
        self.users: dict[str, User] = {}
        self.conversations: dict[str, Conversation] = {}
        self.feedbacks: dict[tuple[str, str], Feedback] = {}
        """By ids of the rated message and of the user."""
        self.webhooks: list[JSON] = []
        self.signed: dict[str, tuple[str, str]] = {}
        """Addresses to upload to, by signature: where the file will lie, and its type."""
        self.stored: dict[str, bytes] = {}
        """Uploaded files, by where they lie."""
        self._held = False
        self._clock = Clock()

    # What a test does with answers

    def hold(self) -> None:
        """Let all answers stay pending until `release`."""
        with self.changing():
            self._held = True

    def release(self) -> None:
        """Give all pending answers now, and let go on what a `Stall` holds."""
        with self.changing():
            self._held = False
            self._ripen_all()
        super().release()

    def start(self) -> None:
        super().start()
        with self.changing():  # what was pending at a stop has been answered meanwhile
            self._ripen_all()

    # What people do in the vendor's console

    def take_over(self, conversation_id: str, name: str = "Robin Reed") -> None:
        """A human takes the conversation: manual mode, and `assignedUser` is set."""
        first, _, last = name.partition(" ")
        email = f"{first.lower()}@example.test"
        with self.changing():
            conversation = self.conversations[conversation_id]
            self.set_mode(conversation, "manual")
            conversation.assigned = {
                "id": new_id(),
                "firstName": first,
                "lastName": last,
                "email": email,
            }

    def hand_back(self, conversation_id: str) -> None:
        """The agent answers new messages again, and only those."""
        with self.changing():
            self.set_mode(self.conversations[conversation_id], "ai")

    def human_says(self, conversation_id: str, text: str, *files: str) -> Message:
        """The human who took over writes to the visitor."""
        with self.changing():
            conversation = self.conversations[conversation_id]
            if conversation.mode != "manual":
                raise ValueError("take the conversation over first")
            author = conversation.assigned["id"] if conversation.assigned else None
            said = self.say_as_human(conversation, text, author_id=author)
            said.files = files
            return said

    def delete_conversation(self, conversation_id: str) -> None:
        """An administrator deletes it; the API can only delete all of a user's."""
        with self.changing():
            conversation = self.conversations.pop(conversation_id)
            gone = {message.id for message in conversation.messages}
            for key in [key for key in self.feedbacks if key[0] in gone]:
                del self.feedbacks[key]

    # Rules, called with the lock held

    def add_user(self, body: JSON) -> User:
        for name in UNIQUE:
            taken = {user.body.get(name) for user in self.users.values()}
            if name in body and body[name] in taken:
                raise bad_request(f"a user with this {name} exists")
        user = User(body)
        self.users[user.id] = user
        return user

    def find_user(self, contacts: Mapping[str, str]) -> User:
        if not contacts:
            raise bad_request("give one of " + ", ".join(UNIQUE))
        for user in self.users.values():
            if all(user.body.get(name) == value for name, value in contacts.items()):
                return user
        raise not_found()

    def delete_conversations(self, user_id: str) -> None:
        for conversation in [*self.conversations.values()]:
            if conversation.user.id == user_id:
                self.delete_conversation(conversation.id)

    def add_conversation(self, user: User, body: JSON) -> Conversation:
        now = self._clock.now()
        conversation = Conversation(user, body, created_at=now, updated_at=now)
        self.conversations[conversation.id] = conversation
        return conversation

    def set_mode(self, conversation: Conversation, mode: str) -> None:
        """Questions that are pending when a human takes over are never answered."""
        if mode == "manual" and not self.odd.late_answers:
            for question in conversation.questions.values():
                question.abandoned = question.state == "pending"
        if mode == "ai":
            conversation.assigned = None
        conversation.mode = mode
        conversation.updated_at = self._clock.now()

    def ask(self, conversation: Conversation, text: str) -> Question:
        """Store the visitor's message and see to its answer, unless a human is in charge."""
        question = Question(self._add(conversation, text, "conversation_user"))
        question.abandoned = conversation.mode == "manual"
        conversation.questions[question.message.id] = question
        self.sends.append(question.message)
        if self.ripening == 0:
            self._ripen(conversation, question)
        elif self._loop is not None:
            self._loop.call_later(self.ripening, self._ripen, conversation, question)
        return question

    def say_as_human(
        self,
        conversation: Conversation,
        text: str,
        *,
        question_id: str | None = None,
        author_id: str | None = None,
    ) -> Message:
        question_id = question_id or next(reversed(conversation.questions), "")
        message = self._add(conversation, text, "manual_assistant", question_id=question_id)
        message.author_id = author_id
        return message

    def rate(self, body: JSON) -> Feedback:
        """Create or update the feedback of this user on this message."""
        message_id, user_id = body["conversationMessageId"], body["userId"]
        conversation = self._conversation_with(message_id)
        if conversation.user.id != user_id:
            raise not_found()
        if (message_id in conversation.questions) != self.odd.feedback_on_question:
            raise not_found()
        now = self._clock.now()
        old = self.feedbacks.get((message_id, user_id))
        feedback = Feedback(
            message_id, user_id, body["voteType"], body["question"], created_at=now, updated_at=now
        )
        if old is not None:
            feedback.id, feedback.created_at = old.id, old.created_at
            if self.odd.omitted_comment_kept:
                feedback.answer, feedback.comment = old.answer, old.comment
        feedback.answer = body.get("answer", feedback.answer)
        feedback.comment = body.get("comment", feedback.comment)
        self.feedbacks[message_id, user_id] = feedback
        return feedback

    def _conversation_with(self, message_id: str) -> Conversation:
        for conversation in self.conversations.values():
            if any(message.id == message_id for message in conversation.messages):
                return conversation
        raise not_found()

    def _add(self, conversation: Conversation, text: str, role: Role, **more: Any) -> Message:
        message = Message(conversation.id, text, role, created_at=self._clock.now(), **more)
        conversation.messages.append(message)
        conversation.updated_at = message.created_at
        return message

    def _ripen_all(self) -> None:
        for conversation in self.conversations.values():
            for question in conversation.questions.values():
                self._ripen(conversation, question)

    def _ripen(self, conversation: Conversation, question: Question) -> None:
        with self.changing():
            if self._held or question.abandoned or question.state != "pending":
                return
            reply = self.answer(question.message.text)
            if isinstance(reply, Failure):
                question.state, question.error = "failed", reply.error
                return
            reply = Reply(reply) if isinstance(reply, str) else reply
            asked = question.message.id
            question.answer = self._add(
                conversation, reply.text, "assistant", question_id=asked, reply=reply
            )
            question.state = "completed"
