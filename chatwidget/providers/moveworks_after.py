"""What may follow an answer at Moveworks: the visitor's vote, and messages that nobody asked for.

Source: as `moveworks.py`: "Submit feedback", "List events". A vote is told by which of a message's
two ids is sent back; an event holds a message of the assistant's own, or of a live agent.
"""

from collections.abc import Mapping

from ..errors import Unsupported
from ..events import AgentSaid, HumanSaid
from .base import Ask, Call, Field, Flow, Rating, Reply, Steps
from .lenient import fields, objects, string
from .moveworks_api import MoveworksAPI
from .moveworks_stream import Message, callbacks, written
from .moveworks_text import Sources, links

THUMBS = {"up": "helpful", "down": "unhelpful"}
COMMENT_LIMIT = 1000
MOST_PAGES = 10
"""Of events, in one look."""


class AfterTheAnswer(MoveworksAPI):
    """Votes and late messages."""

    after_fields = (
        Field(
            name="late_messages",
            label="Late messages",
            kind="choice",
            choices=("off", "on"),
            default="off",
            help="Show what the assistant, or a live agent, says after an answer has ended. Each "
            "look costs a read, of which the organisation has only so many a minute.",
        ),
    )
    takes_votes = True
    clears_votes = False  # a vote is one of two ids, and no call takes it back
    takes_comments = True
    comment_limit = COMMENT_LIMIT

    # --- late messages ----------------------------------------------------------------------------

    @classmethod
    def follows(cls, options: Mapping[str, object]) -> bool:
        return options.get("late_messages") == "on"

    def follow(self, ask: Ask) -> Flow:
        """Read what nobody asked for, all of it each time: the caller knows which is new.

        One bearer is one user for all visitors, so only this conversation's events are read.
        """
        if not self.follows(self.setup.options):
            raise Unsupported("Moveworks' late messages are switched off")
        self.conversation = ask.known.conversation.get("conversation", "")
        if not self.conversation:
            return
        query = {"limit": "100"}
        for _ in range(MOST_PAGES):
            page: Reply = yield from self.get(self.path("events"), query=query, again=False)
            for event in objects(fields(page.data).get("events")):
                message = fields(event.get("event_payload")).get("message")
                if isinstance(message, dict) and event.get("conversation_id") == self.conversation:
                    yield from self._said(message)
            metadata = fields(fields(page.data).get("metadata"))
            cursor = string(metadata.get("next_cursor"))
            if cursor in ("", query.get("cursor")):
                return
            query = query | {"cursor": cursor}

    def _said(self, message: Message) -> Flow:
        sources = Sources()
        text = written([message], sources)
        if not text or message.get("actor") == "USER":
            return
        found, ids = self.id(message, "message_id"), callbacks(message)
        if message.get("actor") == "LIVE_AGENT":
            yield HumanSaid(id=found, text=text, rateable=False)
            return
        yield AgentSaid(
            id=found,
            text=text,
            citations=sources.citations,
            links=tuple(links(message)),
            answer={"response": self.id(message, "response_id"), **ids},
            rateable=bool(ids),
        )

    # --- rating -----------------------------------------------------------------------------------

    def rate(self, rating: Rating) -> Flow:
        """Send the id that stands for the thumb. Ids may go stale: one fresh read, one retry."""
        if rating.vote is None:
            raise Unsupported("Moveworks cannot take back a vote")
        self.conversation = rating.known.conversation.get("conversation", "")
        thumb = THUMBS[rating.vote]
        stored = rating.known.answer.get(thumb, "")
        refused: Reply | None = None
        if stored:
            refused = yield from self._submit(rating, stored, accept=(400,))
            if refused is not None and refused.status != 400:
                return
        fresh = yield from self._fresh(rating, thumb)
        if fresh and fresh != stored:
            yield from self._submit(rating, fresh)
        elif refused is not None:
            raise self.error(refused, None)
        else:
            raise Unsupported("Moveworks takes no such vote on this answer")

    def _submit(self, rating: Rating, callback: str, *, accept: tuple[int, ...] = ()) -> Steps:
        said = comment(rating)
        call = Call(
            method="POST",
            path=self._rated(rating, rating.answer_id, "feedback"),
            json={"callback_id": callback} | ({"additional_feedback": said} if said else {}),
            accept=accept,
            step="rate",
        )
        return (yield from self.send(call))

    def _fresh(self, rating: Rating, thumb: str) -> Steps:
        """Return the id that stands for this thumb now, "" if there is none."""
        listed: Reply = yield from self.get(self._rated(rating), step="rate", again=False)
        for message in objects(fields(listed.data).get("messages")):
            if message.get("message_id") == rating.answer_id:
                return callbacks(message).get(thumb, "")
        return ""

    def _rated(self, rating: Rating, *below: str) -> str:
        """The messages of the rated answer's response, which need not be the one we asked for."""
        response = rating.known.answer.get("response", "")
        return self.path("responses", response, "messages", *below)


def comment(rating: Rating) -> str:
    """Return the chosen reasons and the visitor's words; in want of room the reasons give way."""
    room = COMMENT_LIMIT - len(rating.comment) - len("\n\n")
    reasons = ", ".join(rating.reasons)[: max(0, room)]
    return "\n\n".join(filter(None, [reasons, rating.comment]))[:COMMENT_LIMIT]
