"""SiteAssist Developer API v2: a visitor's own session, streamed answers, people who can step in.

Source: the vendor's reference of "Submit feedback for a message" and the pages of
docs.siteassist.io, read in July 2026; for what they leave open, the source of the vendor's own
widget (siteassist/siteassist-widgets, MIT). docs/providers/siteassist.md tells which facts are
inferred. The publishable key opens visitor sessions only; all else carries a session's token.

A turn: `identity/init` makes the visitor (by `saVid`, which we choose) and gives a token, the
visitor starts a conversation, the question is sent, and its answer comes on that request, streamed
or whole. There is no idempotency key, but every message is kept: an answer that broke off, and a
send whose fate is unknown, are read back from the conversation's messages and never sent again.
"""

import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from ..errors import (
    Interrupted,
    Misconfigured,
    ProviderError,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
)
from ..events import Ended, Finish, HumanHas, HumanSaid, Learned, ProviderEvent, Sending
from .base import (
    DEADLINES,
    JSON,
    Ask,
    Bell,
    Call,
    Field,
    Flow,
    Held,
    Known,
    Pause,
    Rating,
    Reply,
    ServerEvent,
    Steps,
    Stream,
)
from .lenient import fields, objects
from .siteassist_api import SiteAssistApi
from .siteassist_stream import Incoming, ended_by, learned, so_far, whole
from .siteassist_text import cleaned, links_of, stored, text_of

VOTES = {"up": "like", "down": "dislike", None: None}
RATINGS = {"like": [Held(vote="up")], "dislike": [Held(vote="down")]}
# A message may be listed a moment after it was sent; a look that fails is repeated as often.
LOOKS = 3
MAYBE_CLOSED = (400, 403, 404, 409, 422)


class SiteAssist(SiteAssistApi):
    """One assistant, named by its publishable key."""

    option_fields = (
        Field(
            name="origin",
            label="Origin",
            help="One of the key's allowed websites, such as https://www.example.com, sent along "
            "with every call. That SiteAssist judges a server's calls by it is inferred.",
        ),
        Field(
            name="streaming",
            label="Stream answers",
            kind="choice",
            choices=("yes", "no"),
            default="yes",
        ),
        Field(
            name="answer_id_from",
            label="An answer's id is taken from",
            kind="choice",
            choices=("stream", "list"),
            default="stream",
            help="What votes are bound to. That the stream begins with it is inferred; where it "
            "does not, the list of messages is read. `list`: always.",
        ),
        Field(name="look_s", label="Look at a broken answer every (s)", kind="number", default=1.5),
        Field(
            name="human_socket",
            label="Hear of people by WebSocket",
            kind="choice",
            choices=("off", "on"),
            default="off",
            help="What a person writes is looked for every few seconds. With the socket that look "
            "comes at once. No page documents it; the vendor's own widget uses it.",
        ),
        *DEADLINES,
    )
    streams = True
    takes_votes = True
    clears_votes = True
    takes_comments = False  # there is no field for one
    tells_votes = True
    has_humans = True
    resumes = True
    stops_upstream = False  # whether leaving a stream ends the work is not documented
    closes = True  # and nothing can be deleted

    # --- a turn -----------------------------------------------------------------------------------

    def answer(self, ask: Ask) -> Flow:
        """Visitor, conversation, send; or, where it was sent before, look what became of it."""
        self.sa_vid = ask.known.visitor.get("sa_vid", "")
        if not self.sa_vid:
            self.sa_vid = self.new_sa_vid(ask.visitor)
            yield Learned(visitor={"sa_vid": self.sa_vid})
        conversation = ask.known.conversation.get("conversation", "")
        if ask.sent_before:
            unknown = Unavailable(
                "it is not known whether the question reached SiteAssist", provider=self.label
            )
            yield from self._read_back(
                ask, conversation, ask.known.answer.get("answer", ""), unknown
            )
            return
        fresh = not conversation
        conversation = conversation or (yield from self._start())
        yield Sending()
        yield from self._ask(ask, conversation, fresh=fresh)

    def _start(self) -> Steps:
        made: Reply = yield from self.send(Call(method="POST", path="/conversations", step="start"))
        conversation = self.id_of(made.data)
        yield Learned(conversation={"conversation": conversation})
        return conversation

    def _ask(self, ask: Ask, conversation: str, *, fresh: bool) -> Steps:
        """Send, and tell of the answer. A conversation that takes no more is left for a new one."""
        trusted = self.option("answer_id_from") == "stream"
        incoming = Incoming(human=ask.human, trusts_start=trusted)
        reply: Reply | None = None
        lost: ProviderError = Interrupted(
            "the stream ended before the answer did", provider=self.label
        )
        try:
            reply = yield from self.send(self._question(ask, conversation, incoming))
        except ProviderError as error:
            # What a send to a closed conversation answers is not documented, so it is looked at.
            maybe_closed = not fresh and error.status in MAYBE_CLOSED
            if maybe_closed and not (yield from self.is_open(conversation)):
                yield from self._ask(ask, (yield from self._start()), fresh=True)
                return
            if refused(error):
                raise
            lost = error
        if reply is not None and reply.status == 202:
            yield HumanHas(True)
            yield Ended(Finish.HUMAN)
        elif reply is not None:
            yield from self._whole(ask, conversation, reply)
        elif incoming.failure is not None:
            words = self.vendor_words({"message": incoming.failure})
            raise Unavailable(f"SiteAssist broke off{words}", provider=self.label)
        elif not incoming.ended:
            yield from self._read_back(ask, conversation, incoming.answer_id, lost)
        elif not incoming.told:
            if not incoming.answer_id:
                yield from self._identify(ask, conversation)
            yield from incoming.close()

    def _question(self, ask: Ask, conversation: str, incoming: Incoming) -> Call | Stream:
        streaming = self.option("streaming") == "yes"
        call = Call(
            method="POST",
            path=f"{self.path(conversation)}/messages",
            json={"content": ask.text, "stream": streaming},
            accept=(202,),
        )

        def on_event(event: ServerEvent) -> Iterator[ProviderEvent]:
            try:
                yield from incoming.take(event)
            except (ValueError, RecursionError):
                raise self.broken("a part that is not JSON") from None

        return Stream(call, on_event) if streaming else call

    def _whole(self, ask: Ask, conversation: str, reply: Reply) -> Steps:
        """The JSON answer: text of the last step; the steps before it called tools. It holds no
        id and no buttons, which the stored message has.
        """
        steps = objects(fields(reply.data).get("steps"))
        last = steps[-1] if steps else {}
        if ask.human:
            yield HumanHas(False)
        message = yield from self._identify(ask, conversation)
        if last.get("finishReason") == "error" or message.get("status") == "error":
            raise self._failed()
        text = text_of(last.get("content")) or text_of(message.get("parts"))
        why = ended_by(last.get("finishReason"))
        yield from whole(text, links_of(message.get("parts")), why)

    # --- reading back -----------------------------------------------------------------------------

    def _read_back(self, ask: Ask, conversation: str, answer_id: str, lost: ProviderError) -> Steps:
        """Tell of the answer as it is stored, waiting for it while it is still being written.

        Raises `lost` if the question is not found there.
        """
        waited = 0.0
        question: dict[str, JSON] = {}
        while True:
            try:
                found, answer, human = yield from self._look(ask, conversation, answer_id)
            except Misconfigured:
                raise
            except ProviderError as failed:  # the next look may go better
                found, answer, human = {}, {}, False
                yield Pause(failed.retry_after_s or 0.0, after=failed)
            question = found or question
            if answer:
                waited = 0.0
                yield learned(self.id_of(answer), question=str(question.get("id") or ""))
                text, status = text_of(answer.get("parts")), answer.get("status")
                if status not in ("streaming", "error"):
                    if ask.human:
                        yield HumanHas(False)
                    yield from whole(text, links_of(answer.get("parts")), Finish.COMPLETE)
                    return
                yield so_far(text)
                if status == "error":
                    raise self._failed()
            elif human:
                yield HumanHas(True)
                yield Ended(Finish.HUMAN)
                return
            elif question and waited > self.number("idle_s"):
                raise TimedOut(
                    "SiteAssist has the question and no answer to it", provider=self.label
                )
            elif not question and waited >= (LOOKS - 1) * self.number("look_s"):
                raise lost
            yield Pause(self.number("look_s"))
            waited += self.number("look_s")

    def _identify(self, ask: Ask, conversation: str) -> Steps:
        """Tell the id of an answer that came without one. Returns the stored message, or {}."""
        for look in range(LOOKS):
            if look:
                yield Pause(self.number("look_s"))
            try:
                question, answer, _ = yield from self._look(ask, conversation)
            except ProviderError:  # it may cost the answer its vote, and no more
                continue
            if answer:
                yield learned(self.id_of(answer), question=str(question.get("id") or ""))
                return answer
        yield Learned(rateable=False)  # there is nothing that a vote could name
        return {}

    def _look(self, ask: Ask, conversation: str, answer_id: str = "") -> Steps:
        """Return the stored question, its answer, {} for what is not there, and whether a person
        has the conversation, so that no answer will come.
        """
        if not conversation:
            return {}, {}, False
        messages = yield from self.messages(conversation)
        question, answer = stored(ask, messages, answer_id)
        waiting = question and not answer
        human = waiting and (yield from self.is_human(conversation))
        return question, answer, bool(human)

    def _failed(self) -> Unavailable:
        return Unavailable("SiteAssist says that the answer failed", provider=self.label)

    # --- people -----------------------------------------------------------------------------------

    def follow(self, ask: Ask) -> Flow:
        """Read who has the conversation, and every human message; the caller knows the new ones."""
        conversation = ask.known.conversation.get("conversation")
        self.sa_vid = ask.known.visitor.get("sa_vid", "")
        if not conversation or not self.sa_vid:
            return
        human = yield from self.is_human(conversation)
        for message in (yield from self.messages(conversation, role="human_agent")):
            text = cleaned(text_of(message.get("parts"))).linked
            if message.get("role") == "human_agent" and text:
                yield HumanSaid(id=self.id_of(message), text=text)
        if human is not None:
            yield HumanHas(human)

    @classmethod
    def rings(cls, options: Mapping[str, object]) -> bool:
        return options.get("human_socket") == "on"

    def bell(self, known: Known) -> Bell:
        """The socket of the vendor's own widget: the key opens it, without a visitor's token."""
        return Bell(
            path=f"{self.path(known.conversation.get('conversation', ''))}/ws",
            query={"apiKey": self.key},
            headers=self.origin(),
            rings=of_a_person,
            ping="ping",
        )

    # --- rating -----------------------------------------------------------------------------------

    def rate(self, rating: Rating) -> Flow:
        """Set or remove the rating, as the visitor who owns the conversation: nobody else may."""
        self._be_visitor(rating.known)
        wanted = VOTES[rating.vote]
        reply: Reply = yield from self.send(
            Call(
                method="POST",
                path=f"/messages/{quote(rating.answer_id, safe='')}/feedback",
                json={"feedback": wanted},  # null removes it; the key must be there
                step="rate",
            )
        )
        if fields(reply.data).get("feedback", wanted) != wanted:
            raise self.broken("a rating that is not the one it was given")

    def _be_visitor(self, known: Known) -> None:
        self.sa_vid = known.visitor.get("sa_vid", "")
        if not self.sa_vid:
            raise Rejected("it is not known which SiteAssist visitor this was", provider=self.label)

    def held(self, known: Known) -> Steps:
        """Read them with the messages. There is one rating of a message, whoever gave it."""
        self._be_visitor(known)
        try:
            messages = yield from self.messages(known.conversation.get("conversation", ""))
        except Rejected as refused:
            if refused.status != 404:
                raise
            return {}
        return {self.id_of(one): RATINGS.get(str(one.get("feedback")), []) for one in messages}

    # --- closing ----------------------------------------------------------------------------------

    def forget(self, ids: Mapping[str, str]) -> Flow:
        """Close what is open, as the visitor. What is not listed is not the visitor's."""
        self.sa_vid = ids.get("sa_vid", "")
        if not self.sa_vid:
            return
        wanted = ids.get("conversation")
        for conversation in (yield from self.open_conversations()):
            if wanted in (None, conversation):
                yield from self.send(Call(method="POST", path=f"{self.path(conversation)}/close"))


def refused(error: ProviderError) -> bool:
    """Whether a send was certainly not accepted, so that there is nothing to look for.

    A gateway that does not know may also say when to come back, so that alone proves nothing.
    """
    told_to_wait = error.status == 503 and error.retry_after_s is not None
    return error.permanent or isinstance(error, RateLimited) or told_to_wait


def of_a_person(frame: str) -> bool:
    """Whether a socket's frame tells of a person. The visitor's own messages come there, too."""
    try:
        told = fields(json.loads(frame))
    except (ValueError, RecursionError):  # `pong`, for one
        return False
    role = fields(told.get("message")).get("role", "human_agent")
    kind = told.get("type")
    return kind == "human_assigned" or (kind == "new_message" and role == "human_agent")
