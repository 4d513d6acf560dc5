"""Moveworks Conversations API: an organisation's assistant, streamed, with polling behind it.

Source: the vendor's OpenAPI documents for v1beta1 and assistant/v1 (July 2026), its pages on
help.moveworks.com, and its public demo application for what they do not say; docs/providers/
moveworks.md tells which facts are inferred. Address, bearer, errors: `moveworks_api.py`; votes
and late messages: `moveworks_after.py`.

A turn: a conversation, the question into `responses/stream`, and when that has ended well the
response once more by GET, since actions and feedback ids are certain only there. Each delta is a
whole message so far. A stream may close early: the response is then polled. There is no
idempotency key: a send whose fate is unknown is looked up in the history, never repeated.
"""

from typing import Any

from ..errors import (
    Broken,
    Interrupted,
    ProviderError,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
)
from ..events import Cited, Ended, Finish, Learned, Offered, Rewritten, Sending, Snapshot
from .base import DEADLINES, POLL, Ask, Call, Field, Flow, Pause, Reply, Setup, Steps, Stream
from .lenient import fields, objects
from .moveworks_after import AfterTheAnswer
from .moveworks_api import MoveworksAPI
from .moveworks_stream import Message, ResponseStream, callbacks, messages, written
from .moveworks_text import Sources, links, plain

TITLE_LIMIT = 256
LOOK_UP_WAITS_S = (0.0, 1.0)
# A completed response may be without outputs, its reply coming a moment later (demo application).
LATE_REPLY_WAITS_S = (0.0, 1.5)


class Moveworks(AfterTheAnswer):
    """One assistant, named by `Assistant-Name`, asked as the one user that the key stands for."""

    option_fields = (
        *MoveworksAPI.api_fields,
        *AfterTheAnswer.after_fields,
        POLL,
        Field(
            name="read_back_s",
            label="Wait for feedback ids (s)",
            kind="number",
            default=5.0,
            help="They are certain only in a read behind the stream; without them no thumbs.",
        ),
        DEADLINES[0],
        Field(name="idle_s", label=DEADLINES[1].label, kind="number", default=120.0),
        Field(name="total_s", label=DEADLINES[2].label, kind="number", default=120.0),
    )
    streams = True
    resumes = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.stream = ResponseStream(self)
        self._may_have_ids = False
        """The read that has the ids for feedback failed: a vote reads again."""

    # --- a turn -----------------------------------------------------------------------------------

    def answer(self, ask: Ask) -> Flow:
        """Conversation, stream, and the response as it finally stands."""
        self.conversation = ask.known.conversation.get("conversation", "")
        self.stream.response_id = ask.known.answer.get("question", "")
        if not self.stream.response_id and ask.sent_before:
            yield from self._look_up(ask)
        elif not self.stream.response_id:
            yield from self._ask(ask)
        response = (yield from self._read_back()) or (yield from self._poll(ask))
        yield from self._tell(messages(response) or (yield from self._late_reply()))

    def _ask(self, ask: Ask) -> Steps:
        """Send the question once and listen to the answer as far as the stream brings it."""
        known = bool(self.conversation)
        if not known:
            yield from self._begin(ask)
        yield Sending()
        try:
            yield from self._listen(ask)
        except Rejected as gone:
            # A conversation is its user's: for another user's key there is none, and nothing was
            # taken. Where the API itself is not there, beginning another one says so.
            if gone.status != 404 or not known:
                raise
            yield from self._begin(ask)
            yield from self._listen(ask)

    def _begin(self, ask: Ask) -> Steps:
        title = {"title": ask.title[:TITLE_LIMIT]} if ask.title else {}
        made: Reply = yield from self.send(
            Call(method="POST", path=self.path(), json=title, step="start")
        )
        self.conversation = self.id(made.data, "conversation_id")
        yield Learned(conversation={"conversation": self.conversation})

    def _listen(self, ask: Ask) -> Steps:
        text = {"text": ask.text}
        call = Call(
            method="POST",
            path=self.path("responses", "stream"),
            json={"input": {"chat": text} if self.option("api_version") == "rest/v1" else text},
            headers={"Accept": "text/event-stream"},
        )
        lost: ProviderError | None = None
        try:
            yield from self.send(Stream(call, self.stream.event, self.stream.over))
        except (Unavailable, TimedOut, Broken) as error:
            if error is self.stream.failure or isinstance(error, RateLimited):
                raise
            lost = error
        if not self.stream.response_id:
            yield from self._look_up(ask, after=lost)
        elif lost is not None:  # an id that came in the same read as the end is not stored yet
            yield Learned(answer={"question": self.stream.response_id})

    def _look_up(self, ask: Ask, *, after: ProviderError | None = None) -> Steps:
        """Find the question in the latest history. Raises what brought us here if it is not."""
        question = " ".join(ask.text.split())
        for wait in LOOK_UP_WAITS_S if self.conversation else ():
            yield Pause(wait)
            try:
                history = yield from self._history()
            except ProviderError as failed:
                raise after or failed from None
            for message in history:
                if (
                    message.get("actor") == "USER"
                    and plain(message.get("content")) == question
                    and str(message.get("response_id")) not in ask.other_questions
                ):
                    self.stream.response_id = self.id(message, "response_id")
                    yield Learned(answer={"question": self.stream.response_id})
                    return
        raise after or Interrupted(
            "it is not known whether the question reached Moveworks", provider=self.label
        )

    # --- the response -----------------------------------------------------------------------------

    def _read_back(self) -> Steps:
        """Return the response that the stream completed, as a read tells it where one succeeds."""
        if self.stream.response is None:
            return None
        try:
            read = yield from self._read_response(again=False, within_s=self.number("read_back_s"))
        except ProviderError:
            read = None
        self._may_have_ids = not messages(read)
        return read if messages(read) else self.stream.response

    def _poll(self, ask: Ask) -> Steps:
        """Read the response, at once and then at the agent's pace; the deadline ends the looks."""
        while True:
            response = yield from self._read_response()
            if response is not None:
                return response
            yield Pause(ask.pace.next())

    def _read_response(self, **how: Any) -> Steps:
        """Return the response if it is completed, None if it is not. Raises if it has failed."""
        path = self.path("responses", self.stream.response_id)
        reply: Reply = yield from self.get(path, **how)
        response = fields(reply.data)
        if response.get("status") == "FAILED":
            raise self.error_told(response)
        return response if response.get("status") == "COMPLETED" else None

    def _late_reply(self) -> Steps:
        """A reply may be filed under an earlier response: it then stands behind our question."""
        for wait in LATE_REPLY_WAITS_S:
            yield Pause(wait)
            replies: list[Message] = []
            for message in (yield from self._history()):
                if message.get("actor") != "USER":
                    replies.insert(0, message)
                    continue
                if replies and message.get("response_id") == self.stream.response_id:
                    return replies
                break
        raise Unavailable("Moveworks completed the answer without a reply", provider=self.label)

    def _history(self) -> Steps:
        """The newest messages of the conversation, newest first."""
        reply: Reply = yield from self.get(self.path("messages"))
        return objects(fields(reply.data).get("messages"))

    def _tell(self, said: list[Message]) -> Flow:
        """Say what the answer is, and where its votes go: the newest message that takes any."""
        sources = Sources()
        text = written(said, sources)
        if not text:
            raise Unavailable("Moveworks completed the answer without text", provider=self.label)
        rated = next((one for one in reversed(said) if callbacks(one)), said[-1])
        yield Learned(
            answer={"response": self.id(rated, "response_id"), **callbacks(rated)},
            answer_id=self.id(rated, "message_id"),
            rateable=bool(callbacks(rated)) or self._may_have_ids,
        )
        extends = self.stream.shown and text.startswith(self.stream.shown)
        yield Snapshot(text) if extends else Rewritten(text)
        yield Cited(sources.citations)
        yield Offered(tuple(link for one in said for link in links(one)))
        yield Ended(Finish.COMPLETE)
