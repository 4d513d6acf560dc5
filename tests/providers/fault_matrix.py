"""The fault matrix as data: what can go wrong where, and how the answer must end then.

A *place* is one of a vendor's calls (send, receive, read) or the connection. Endings are a
completed answer or a visitor's error code. What cannot occur somewhere is listed with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from chatwidget.providers import PROVIDERS
from tests.simulators.faults import (
    Drop,
    DropAfter,
    Fault,
    GzipBomb,
    Html,
    RateLimited,
    Raw,
    Redirect,
    Stall,
    Status,
)

from . import reshape
from .cases import CASES, Case
from .reshape import Reshape

Ending = Literal[
    "completed",
    "interrupted",
    "agent_unavailable",
    "agent_timeout",
    "agent_misconfigured",
    "agent_rejected",
]
TOTAL_S, IDLE_S, CONNECT_S = 4.0, 0.8, 0.5
DEADLINES = {"total_s": TOTAL_S, "idle_s": IDLE_S, "connect_s": CONNECT_S}

DRIP = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: 5000\r\n\r\n"
SHORT = b'HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: 500\r\n\r\n{"half": '
STREAM, JSON = b"text/event-stream", b"application/json"
LATER = "Wed, 21 Oct 2099 07:28:00 GMT"


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault of the catalogue. `make` takes the body's media type there."""

    make: Callable[[bytes], Fault]
    ending: Ending
    streams_only: bool = False
    heavy: bool = False
    """It tries to fill memory: run alone, its growth measured."""


def shaped(shape: reshape.Shape) -> Callable[[bytes], Fault]:
    return lambda _: Reshape(shape)


FAULTS: dict[str, Kind] = {
    "stall": Kind(lambda _: Stall(), "agent_timeout"),
    "header drip": Kind(
        lambda _: Raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500, 0.02), "agent_timeout"
    ),
    "body drip": Kind(lambda kind: Raw(DRIP % kind + b"\n" * 500, 0.02), "agent_timeout"),
    "reset": Kind(lambda _: Drop(), "agent_unavailable"),
    "accepted, then lost": Kind(
        lambda kind: Reshape(reshape.lost) if kind == STREAM else DropAfter(), "agent_unavailable"
    ),
    "early EOF": Kind(lambda kind: Raw(SHORT % kind), "agent_unavailable"),
    "HTML 200": Kind(lambda _: Html(200), "agent_unavailable"),
    "wrong content type": Kind(lambda _: Reshape(reshape.whole, "text/plain"), "completed"),
    "gzip bomb": Kind(lambda _: GzipBomb(100), "agent_unavailable", heavy=True),
    "200 MB line": Kind(shaped(reshape.endless_line), "agent_unavailable", heavy=True),
    "redirect to http": Kind(lambda _: Redirect("http://example.test/"), "agent_misconfigured"),
    "redirect to a private address": Kind(
        lambda _: Redirect("http://169.254.169.254/latest/", 307), "agent_misconfigured"
    ),
    "429 in seconds": Kind(lambda _: RateLimited(3600), "agent_unavailable"),
    "429 with date": Kind(lambda _: RateLimited(LATER), "agent_unavailable"),
    "5xx burst": Kind(lambda _: Status(503), "agent_unavailable"),
    "byte by byte": Kind(shaped(reshape.bytewise), "completed"),
    "bad UTF-8": Kind(shaped(reshape.bad_utf8), "completed"),
    "BOM": Kind(shaped(reshape.bom), "completed"),
    "CR LF": Kind(shaped(reshape.crlf), "completed", streams_only=True),
    "CR only": Kind(shaped(reshape.cr_only), "completed", streams_only=True),
    "duplicate event": Kind(shaped(reshape.twice), "completed", streams_only=True),
    "re-ordered event": Kind(shaped(reshape.swapped), "completed", streams_only=True),
    "early EOF between events": Kind(shaped(reshape.cut_between), "interrupted", streams_only=True),
    "early EOF mid-event": Kind(shaped(reshape.cut_within), "interrupted", streams_only=True),
    "reset mid-event": Kind(shaped(reshape.reset_within), "agent_unavailable", streams_only=True),
    "stall mid-event": Kind(shaped(reshape.stall_within), "agent_timeout", streams_only=True),
    "endless heartbeats": Kind(shaped(reshape.heartbeats), "agent_timeout", streams_only=True),
    "event of 1 MiB + 1": Kind(shaped(reshape.oversize), "agent_unavailable", streams_only=True),
}
CONNECTION: dict[str, Ending] = {
    "refused": "agent_unavailable",
    "TLS by an unknown authority": "agent_unavailable",
    "TLS with a bad name": "agent_unavailable",
    "TLS expired": "agent_unavailable",
    "an answer that never comes": "agent_timeout",
}
OTHER_TEXT = {"bad UTF-8", "duplicate event", "re-ordered event"}
"""After these a completed answer need not be exactly what the vendor said."""

NOT_A_STREAM = "this call is answered by one JSON body: it has no events"
NOT_HERE = {
    "slow DNS": "names are looked up below every adapter, within `connect_s`: see test_drive.py",
}
"""Of the catalogue, what no vendor's case can bring about."""
CATALOGUE = {
    "slow DNS", "refused", "TLS with a bad name", "TLS expired", "header drip", "body drip",
    "stall mid-event", "reset mid-event", "early EOF", "duplicate event", "re-ordered event",
    "event of 1 MiB + 1", "200 MB line", "bad UTF-8", "BOM", "CR only", "wrong content type",
    "HTML 200", "gzip bomb", "redirect to http", "redirect to a private address", "429 with date",
    "5xx burst", "an answer that never comes", "endless heartbeats",
}  # fmt: skip
"""The faults that each vendor is promised to survive; what else is tried comes on top."""

STREAMED: dict[str, Ending] = {
    "wrong content type": "agent_unavailable",
    "early EOF": "agent_unavailable",
}
"""What ends otherwise where the answer is a stream, whose type is looked at."""
WHOLE: dict[str, Ending] = {"bad UTF-8": "agent_unavailable"}
"""And where it is one JSON body, which is read as a whole or not at all."""

AFTER_A_START = (
    "accepted, then lost",
    "wrong content type",
    "early EOF between events",
    "early EOF mid-event",
    "reset mid-event",
    "stall mid-event",
    "endless heartbeats",
    "event of 1 MiB + 1",
    "200 MB line",
)
"""What breaks a stream when the vendor has the question."""
UNREADABLE = (
    "stall",
    "reset",
    "accepted, then lost",
    "early EOF",
    "HTML 200",
    "5xx burst",
    "bad UTF-8",
    "gzip bomb",
    "200 MB line",
)
LISTED = "what was accepted is found in the message list"
DIFFERS: dict[tuple[str, str, str], tuple[Ending, str]] = {
    ("raia", "user", "bad UTF-8"): ("completed", "the status alone says that there is no user yet"),
    ("raia", "send", "accepted, then lost"): ("completed", LISTED),
    ("raia", "send", "bad UTF-8"): ("completed", LISTED),
    ("raia", "send", "200 MB line"): ("completed", LISTED),
    **{
        ("moveworks", "send", fault): ("completed", "the response is polled by its id, or found")
        for fault in AFTER_A_START
    },
    **{
        ("siteassist", "send", fault): ("completed", "the conversation's messages are read back")
        for fault in AFTER_A_START
    },
    **{
        ("siteassist", "read", fault): ("interrupted", "the cut is told, not what came after it")
        for fault in UNREADABLE
    },
}
"""By provider, place and fault: another ending, and why."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault at one place of one vendor."""

    provider: str
    place: str
    fault: str

    def __str__(self) -> str:
        return f"{self.provider}, {self.place}: {self.fault}"

    @property
    def case(self) -> type[Case]:
        return CASES[self.provider]

    @property
    def streamed(self) -> bool:
        """Whether this place answers with a stream."""
        operations = self.case.operations
        if not PROVIDERS[self.provider].streams or self.place not in operations:
            return False
        return operations[self.place] == operations["receive"]

    @property
    def after_a_cut(self) -> bool:
        """Whether this place is what a cut stream falls back on: then the stream is cut as well."""
        return self.place == "read" and PROVIDERS[self.provider].streams

    @property
    def kind(self) -> Kind | None:
        """None: a fault of the connection."""
        return FAULTS.get(self.fault)

    @property
    def ending(self) -> Ending:
        differs = DIFFERS.get((self.provider, self.place, self.fault))
        if differs:
            return differs[0]
        if self.kind is None:
            return CONNECTION[self.fault]
        return (STREAMED if self.streamed else WHOLE).get(self.fault, self.kind.ending)

    @property
    def why_not(self) -> str:
        """Why the fault cannot occur here; empty: it can."""
        streams_only = self.kind is not None and self.kind.streams_only
        return NOT_A_STREAM if streams_only and not self.streamed else ""

    @property
    def deadline_s(self) -> float:
        """By when it ends. A stream that falls silent is not waited for as long as an answer."""
        silent = self.kind is not None and self.kind.streams_only
        return IDLE_S if silent else TOTAL_S

    def fault_here(self) -> Fault:
        assert self.kind is not None
        return self.kind.make(STREAM if self.streamed else JSON)


def places(case: type[Case]) -> list[str]:
    """The calls of a turn, each once."""
    by_operation: dict[str, str] = {}
    for place, operation in case.operations.items():
        if place != "rate":
            by_operation.setdefault(operation, place)
    return list(by_operation.values())


def cells() -> Iterator[Cell]:
    """All of them, those that cannot occur included."""
    for provider, case in CASES.items():
        for place in places(case):
            for fault in FAULTS:
                yield Cell(provider, place, fault)
        for fault in CONNECTION:
            yield Cell(provider, "connection", fault)
