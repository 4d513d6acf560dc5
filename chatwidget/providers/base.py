"""The seam to a vendor: what an adapter declares, is asked, and says. No I/O in here.

An adapter is written as a *flow*: a generator that yields what should happen next and is sent what
came of it. `drive.py` does the network; an adapter only reads like the vendor's page.

    yields Call(…)          is sent a Reply (statuses outside `accept` are raised into the flow)
    yields Stream(…)        each server-sent event goes to its `on_event`; resumes at the end, and
                            is sent a Reply if a status in `accept` came in place of a stream
    yields Upload(url, …)   resumes when the file is where the vendor wants it
    yields Pause(seconds)   resumes after the wait, or is raised the error that was to be waited out
    yields a ProviderEvent  resumes when it has been handled: what must be stored is stored

Errors of the network and of HTTP are raised at the `yield` as a ProviderError; a flow that can do
something about one catches it there.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, ClassVar, Literal

from ..errors import (
    Broken,
    Misconfigured,
    ProviderError,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
    Unsupported,
)
from ..events import ProviderEvent
from ..polling import Pace

JSON = Any
"""A decoded JSON value, straight from a vendor: trust nothing about it."""


StepName = Literal["authenticate", "start", "ask", "receive", "rate"]

# --- what an adapter yields -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request below the base URL.

    Statuses in `accept` come back as they are; of the others, those below 300 must be JSON or
    empty, and the rest are raised.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    json: JSON = None
    form: Mapping[str, str] | None = None
    """A body of form fields, in place of `json`."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    accept: tuple[int, ...] = ()
    within_s: float | None = None
    """How long the whole answer may take, where that is less than the flow may."""
    step: StepName = "ask"
    """What the call is for, as the connection test names it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a Call. `data` is the decoded JSON body, None where there is none."""

    status: int
    data: JSON


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event: its type (`message` unless named) and its data lines, joined."""

    event: str
    data: str


@dataclass(frozen=True, slots=True)
class Stream:
    """A request whose answer is server-sent events, each handed to `on_event` as it comes."""

    call: Call
    on_event: Callable[[ServerEvent], Iterable[ProviderEvent]]
    over: Callable[[], bool] = bool
    """Whether enough was heard: a server that does not close behind its last event is left."""
    ending: Callable[[], bool] = bool
    """Whether the end was told, though more may follow: whatever breaks the stream then just ends
    it, and so does a silence shorter than before it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before going on."""

    seconds: float
    after: ProviderError | None = None
    """What is waited out. It is raised at once where the flow's deadline would come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A file that came with the question. Its bytes are read when it is uploaded."""

    id: str
    name: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    """PUT a file to an address that the vendor gave for it. Nothing else goes there, above all no
    key, and what is answered does not matter."""

    url: str = field(repr=False)
    """Whoever has it can write there."""
    file: Attached


Step = Call | Stream | Upload | Pause | ProviderEvent
Flow = Generator[Step, Any, None]
Steps = Generator[Any, Any, Any]
"""A part of a flow, which returns what it found."""

READ_TRIES = 5
"""What is on its way is not given up because one look for it failed."""
LONGEST_READ_WAIT_S = 15.0
"""Between such looks, unless the vendor or the operator asks for more."""


# --- what an adapter is given ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """An agent's settings, opened for use. Its representation never shows a credential."""

    base_url: str = ""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Upstream ids stored so far, by the vendor's own names for them."""

    visitor: Mapping[str, str] = field(default_factory=dict)
    conversation: Mapping[str, str] = field(default_factory=dict)
    answer: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """An earlier message of the conversation, as a language model wants it."""

    role: Literal["visitor", "agent", "human"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question to answer, or, where `sent_before`, to find the answer of."""

    visitor: str
    conversation: str
    text: str = field(repr=False)
    title: str = ""
    history: tuple[Past, ...] = field(default=(), repr=False)
    known: Known = Known()
    sent_before: bool = False
    """The question may have gone out already: it must not be sent again."""
    human: bool = False
    """A person had the conversation when last heard."""
    other_questions: frozenset[str] = frozenset()
    """Upstream ids of the conversation's other questions."""
    attachments: tuple[Attached, ...] = ()
    """The files that came with it; for those who declare `takes_attachments`."""
    pace: Pace = field(default_factory=Pace, repr=False, compare=False)
    """Where the answer is polled: asked before each look how long to wait, `pace.next()`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """The visitor's last word on an answer. `vote` is None where there is none any more."""

    question: str = field(repr=False)
    answer: str = field(repr=False)
    vote: Literal["up", "down"] | None
    comment: str = field(default="", repr=False)
    reasons: tuple[str, ...] = ()
    """The labels of the chosen reasons."""
    answer_id: str = ""
    known: Known = Known()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A rating as the vendor holds it. `comment` is None where the vendor keeps none."""

    vote: Literal["up", "down"]
    comment: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bell:
    """A WebSocket below the base URL that tells when `follow` has something to read."""

    path: str
    rings: Callable[[str], bool]
    """Whether this text frame is a reason to look."""
    ping: str
    """The text that asks for a sign of life."""
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


# --- what an adapter declares ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One setting of a provider, as the admin and `create_agent` ask for it."""

    name: str
    label: str
    help: str = ""
    required: bool = False
    kind: Literal["text", "number", "choice", "long"] = "text"
    default: str | float = ""
    choices: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        """The label as it stands within a sentence: "API key" as it is, "client id" in small."""
        is_short_form = self.label[1:2].isupper()
        return self.label if is_short_form else self.label[:1].lower() + self.label[1:]


DEADLINES = (
    Field(name="connect_s", label="Connect within (s)", kind="number", default=5.0),
    Field(name="idle_s", label="Longest silence of a stream (s)", kind="number", default=30.0),
    Field(name="total_s", label="Whole answer within (s)", kind="number", default=300.0),
)

POLL = Field(
    name="poll_s",
    label="Look for an answer every (s)",
    kind="number",
    default=0.0,
    help="0: when the agent's last answers suggest it. Another number where the vendor wants one.",
)
"""For those whose answers are polled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A call that was carried out, for who watches it. Bodies are as sent and got: redact them."""

    call: Call
    status: int | None
    """None: no answer came."""
    data: JSON
    seconds: float
    error: ProviderError | None = None


class Provider(ABC):
    """The adapter of one vendor: one instance per flow, so it may remember."""

    label: ClassVar[str]
    """The vendor's name, for people."""
    default_base_url: ClassVar[str] = ""
    """Where the vendor answers unless the operator says otherwise; empty: there is no default."""
    needs_base_url: ClassVar[bool] = True
    """The vendor is reached over the network."""
    credential_fields: ClassVar[tuple[Field, ...]] = ()
    credential_sets: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Where any of several will do: the names of the credentials of each, one of which is whole."""
    option_fields: ClassVar[tuple[Field, ...]] = ()

    streams: ClassVar[bool] = False
    """Answers come piece by piece; otherwise whole."""
    takes_votes: ClassVar[bool] = False
    """A vote can be brought to the vendor; otherwise feedback stays here."""
    clears_votes: ClassVar[bool] = False
    """A vote can be taken back at the vendor."""
    takes_comments: ClassVar[bool] = False
    """A comment can be brought to the vendor, together with its vote."""
    comment_needs_vote: ClassVar[bool] = True
    """A comment cannot be brought there alone; it waits for a vote."""
    comment_limit: ClassVar[int | None] = None
    """The longest comment the vendor takes, in characters."""
    tells_votes: ClassVar[bool] = False
    """The vendor can be asked which ratings it holds; `held` does it."""
    has_humans: ClassVar[bool] = False
    """A person can take over; `follow` reads what they say."""
    takes_attachments: ClassVar[bool] = False
    """Files can be brought to the vendor, together with a question."""
    resumes: ClassVar[bool] = False
    """A question once sent can be asked after again, by stored ids or by looking it up."""
    stops_upstream: ClassVar[bool] = False
    """Stopping also ends the work at the vendor; otherwise we only stop listening."""
    erases: ClassVar[bool] = False
    """The vendor can be asked to erase a visitor; `forget` does it."""
    closes: ClassVar[bool] = False
    """It erases nothing, but can be asked to end conversations for good; `forget` does that."""
    secret_ids: ClassVar[frozenset[str]] = frozenset()
    """Upstream ids by which anybody could be the visitor: stored, and never shown."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.watch: Callable[[Exchange], None] | None = None
        """Told of every call as it ends; for the connection test."""

    @classmethod
    def own_options(cls) -> tuple[Field, ...]:
        """The provider's options without the deadlines, which all have."""
        deadlines = {field.name for field in DEADLINES}
        return tuple(field for field in cls.option_fields if field.name not in deadlines)

    @classmethod
    def deadlines(cls) -> tuple[Field, ...]:
        """The deadlines, with the provider's own defaults."""
        own = {field.name: field for field in cls.option_fields}
        return tuple(own.get(field.name, field) for field in DEADLINES)

    @classmethod
    def follows(cls, options: Mapping[str, object]) -> bool:
        """Whether conversations of an agent with these options are looked at by `follow`."""
        return cls.has_humans

    @classmethod
    def rings(cls, options: Mapping[str, object]) -> bool:
        """Whether a socket tells when there is something to `follow`; `bell` says which."""
        return False

    @abstractmethod
    def answer(self, ask: Ask) -> Flow:
        """Send the question unless it was sent before, and tell of the answer to its end."""

    def follow(self, ask: Ask) -> Flow:
        """Tell who has the conversation, and what was said in it outside answers so far."""
        raise Unsupported(f"{self.label} has no human replies")
        yield

    def bell(self, known: Known) -> Bell:
        """Return the socket that rings for this conversation while a person has it."""
        raise Unsupported(f"{self.label} has no socket")

    def rate(self, rating: Rating) -> Flow:
        """Make `rating` what the vendor holds about that answer. Raises Unsupported."""
        raise Unsupported(f"{self.label} takes no feedback")
        yield

    @classmethod
    def kept(cls, rating: Rating) -> Held | None:
        """Return what the vendor holds once it has taken `rating`; None: no rating."""
        return Held(vote=rating.vote) if rating.vote else None

    def held(self, known: Known) -> Steps:
        """Return the ratings the vendor holds in this conversation, `{id of the answer: [Held]}`.

        An answer that is not there has no entry, one that nobody has rated an empty one.
        """
        raise Unsupported(f"{self.label} does not tell what it holds")
        yield

    def forget(self, ids: Mapping[str, str]) -> Flow:
        """Have the vendor erase the user with these upstream ids, or else close what is open.

        Where it only closes, ids may name a conversation, too: then that one alone.
        """
        raise Unsupported(f"{self.label} cannot be asked to forget")
        yield

    def send(self, step: Call | Stream) -> Steps:
        """Make a call. Adapters that sign in first do so here."""
        return (yield step)

    def read(self, call: Call, wait_s: float) -> Steps:
        """Make a call that changes nothing, again while the vendor fails, READ_TRIES times in all.

        The waits between grow from `wait_s` to LONGEST_READ_WAIT_S. A wait that the vendor asks for
        is kept. Neither it nor being limited is counted: a limit of so many a minute passes. A wait
        that would outlast the deadline is not begun, and the vendor's error raised.
        """
        untold = failures = 0
        while True:
            try:
                return (yield from self.send(call))
            except (Unavailable, TimedOut) as failed:
                if failed.retry_after_s is None:
                    untold += 1
                    failures += not isinstance(failed, RateLimited)
                if failures == READ_TRIES:
                    raise
                longest = max(wait_s, LONGEST_READ_WAIT_S)
                wait = min(wait_s * max(1, untold), longest)
                yield Pause(max(wait, failed.retry_after_s or 0.0), after=failed)

    def headers(self) -> dict[str, str]:
        """Return the headers of every call: the key, usually."""
        return {}

    def error(self, reply: Reply, retry_after_s: float | None) -> ProviderError:
        """Return the error that a status outside `accept` means, in the vendor's words if safe."""
        status = reply.status
        where: dict[str, Any] = {"provider": self.label, "status": status}
        if status == 429:
            return RateLimited(f"HTTP 429 from {self.label}", retry_after_s=retry_after_s, **where)
        if status in (401, 402, 403):
            words = self.vendor_words(reply.data)
            return Misconfigured(f"{self.label} refuses the key (HTTP {status}){words}", **where)
        if 300 <= status < 400:
            return Misconfigured(f"{self.label} redirects elsewhere (HTTP {status})", **where)
        if status in (408, 504):
            return TimedOut(f"HTTP {status} from {self.label}", **where)
        if status >= 500:
            return Unavailable(
                f"HTTP {status} from {self.label}", retry_after_s=retry_after_s, **where
            )
        return Rejected(f"{self.label} refuses the request (HTTP {status})", **where)

    def vendor_words(self, data: JSON) -> str:
        """Return the vendor's own message, short and without our key, for the operator."""
        error = data.get("error", data) if isinstance(data, dict) else data
        message = error.get("message") if isinstance(error, dict) else error
        if not isinstance(message, str) or not message:
            return ""
        for secret in self.secrets():
            message = message.replace(secret, "…")
        return f": {message[:200]}"

    def secrets(self) -> list[str]:
        """Return what must not be seen of the calls made so far."""
        return [value for value in self.setup.credentials.values() if value]

    def broken(self, what: str) -> Broken:
        """Return the error for an answer outside the vendor's contract."""
        return Broken(f"{self.label}: {what}", provider=self.label)

    def option(self, name: str) -> str:
        """Return an option as text, its default where it is not set."""
        return str(self._value(name))

    def number(self, name: str) -> float:
        """Return an option as a number, its default where it is not set or makes no sense."""
        with suppress(ValueError):
            number = float(str(self._value(name)))
            if isfinite(number):  # a timer that is set to NaN stops every other one
                return number
        return float(str(self._field(name).default))

    def _value(self, name: str) -> object:
        value = self.setup.options.get(name, "")
        return value if value not in ("", None) else self._field(name).default

    def _field(self, name: str) -> Field:
        return next(one for one in [*self.option_fields, *DEADLINES, POLL] if one.name == name)

    @property
    def base_url(self) -> str:
        return (self.setup.base_url or self.default_base_url).rstrip("/")
