"""The vocabulary: what providers say of an answer, and what sockets are told of it.

Events go right (provider → turn → hub → socket), commands go left. Frozen, no imports of ours.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

Ids = Mapping[str, str]
"""Upstream ids by the vendor's own name for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A source the answer names. `url` is http(s), or empty where the source has no address."""

    title: str
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A button under the answer that opens a page. `url` is http(s)."""

    title: str
    url: str


class Finish(enum.Enum):
    """Why the vendor ended its answer."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"
    """The vendor's or our own length limit was reached; what came stands."""
    REFUSED = "refused"
    """The vendor's filter cut the answer."""
    HUMAN = "human"
    """A person has the conversation: the agent will not answer this one."""


# --- provider → turn ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """More text of the answer; append it."""

    text: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The whole text of the answer so far, in place of what came before."""

    text: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole text so far, of a vendor that repeats it; what extends the last one is appended."""

    text: str


@dataclass(frozen=True, slots=True)
class Working:
    """The agent is at work, with nothing to show of it: it thinks, say. It is not silent."""


@dataclass(frozen=True, slots=True)
class Offered:
    """The answer's links to open, all of them."""

    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Cited:
    """The answer's sources, all of them."""

    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class Sending:
    """The visitor's message goes out next. Stored before it does, so that nothing is sent twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Upstream ids, stored before the flow goes on."""

    visitor: Ids = field(default_factory=dict)
    conversation: Ids = field(default_factory=dict)
    answer: Ids = field(default_factory=dict)
    answer_id: str = ""
    """The vendor's id of the answer itself: what a vote is bound to."""
    rateable: bool | None = None
    """Whether the vendor takes a vote on this answer; None: as its other answers."""

    @property
    def ids(self) -> bool:
        """Whether there is something to store before the flow goes on; the rest is the answer's."""
        return bool(self.visitor or self.conversation or self.answer)


@dataclass(frozen=True, slots=True)
class HumanHas:
    """Whether a person has the conversation now."""

    human: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanSaid:
    """A person's reply. `id` is the vendor's, so that a reply read twice is stored once."""

    id: str
    text: str
    rateable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSaid:
    """What the agent says of its own accord, after its answer has ended. `id` as a person's."""

    id: str
    text: str
    citations: tuple[Citation, ...] = ()
    links: tuple[Link, ...] = ()
    answer: Ids = field(default_factory=dict)
    """Upstream ids, as of an answer."""
    rateable: bool = True


@dataclass(frozen=True, slots=True)
class Ended:
    """The vendor ended its answer."""

    finish: Finish


ProviderEvent = (
    Text
    | Rewritten
    | Snapshot
    | Working
    | Cited
    | Offered
    | Sending
    | Learned
    | HumanHas
    | HumanSaid
    | AgentSaid
    | Ended
)


# --- turn → hub → sockets -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """Text appended to a message; `seq` is the message's previous one plus one."""

    conversation: str
    message: str
    seq: int
    text: str

    @property
    def about(self) -> str:
        """The id of what has changed."""
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageChanged:
    """A message as it now stands. `body` is its JSON object, `version` its `changed_at`."""

    conversation: str
    message: str
    seq: int
    version: str
    body: Mapping[str, object]

    @property
    def about(self) -> str:
        """The id of what has changed."""
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationChanged:
    """A conversation as it now stands. `body` is its JSON object."""

    conversation: str
    body: Mapping[str, object]

    @property
    def about(self) -> str:
        """The id of what has changed."""
        return self.conversation


Stored = MessageChanged | ConversationChanged
"""What can be read from the database again."""
Frame = Delta | Stored
