"""One answer on its way, as a state machine without I/O.

    pending ──text──> streaming ──> completed | failed | stopped       (the last three are final)
       └──────────────────────────────^

Provider events go in, frames come out; deltas are numbered from 1 within the answer. The runner
stores and publishes; this only knows what the answer looks like now.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .events import (
    AgentSaid,
    Citation,
    Cited,
    Delta,
    Ended,
    Finish,
    Frame,
    HumanHas,
    HumanSaid,
    Learned,
    Link,
    MessageChanged,
    Offered,
    ProviderEvent,
    Rewritten,
    Sending,
    Snapshot,
    Text,
    Working,
)

MAX_ANSWER_CHARS = 256 * 1024
"""A longer answer is cut here and ends as truncated."""

HIGH_SURROGATES = ("\ud800", "\udbff")


class Turn:
    """What one answer looks like now.

    `shown` is the message's JSON object as it was when the turn was claimed; `body` is the same
    with everything that came since.
    """

    def __init__(self, shown: Mapping[str, Any], *, version: str) -> None:
        self.message: str = shown["id"]
        self.conversation: str = shown["conversation"]
        self.seq: int = shown["seq"]
        self.status: str = shown["status"]
        self.citations: list[dict[str, str]] = list(shown["citations"])
        self.links: list[dict[str, str]] = list(shown["links"])
        self.answer_id = ""
        self.rateable = True
        self.finish: Finish | None = None
        """Why the vendor ended the answer; None while it has not."""
        self._shown = dict(shown)
        self._version = version
        self._pieces: list[str] = [shown["text"]] if shown["text"] else []
        self._length = len(shown["text"])
        self._half = ""
        """A high surrogate at the end of a piece: its other half is in the next one."""

    @property
    def text(self) -> str:
        """The whole text so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def body(self) -> dict[str, Any]:
        """The message's JSON object as it stands."""
        return {
            **self._shown,
            "status": self.status,
            "text": self.text,
            "seq": self.seq,
            "citations": self.citations,
            "links": self.links,
        }

    def take(self, events: Sequence[ProviderEvent]) -> Frame | None:
        """Apply events that came together. Returns the one frame that tells of them, if any.

        Text joins into one delta; a rewrite becomes the whole message. After the answer's limit
        everything else is ignored and `finish` says so.
        """
        added: list[str] = []
        rewritten = False
        for event in events:
            if self.finish is not None:
                break
            match event:
                case Text(text):
                    added.append(self._fit(text))
                case Rewritten(text):
                    added.clear()
                    rewritten = rewritten or bool(self._length)
                    self._pieces, self._length, self._half = [], 0, ""
                    added.append(self._fit(text))
                case Snapshot(text):
                    self._half, text = "", whole(text)
                    so_far = self.text + "".join(added)
                    if text.startswith(so_far):
                        added.append(self._fit(text[len(so_far) :]))
                    elif not so_far.startswith(text):  # one that lags behind says nothing new
                        added.clear()
                        rewritten = rewritten or bool(self._length)
                        self._pieces, self._length, self._half = [], 0, ""
                        added.append(self._fit(text))
                case Cited(citations):
                    self.citations = [titled(one) for one in citations]
                case Offered(links):
                    self.links = [titled(one) for one in links]
                case Learned():
                    self.answer_id = event.answer_id or self.answer_id
                    if event.rateable is not None:
                        self.rateable = event.rateable
                case Ended(finish):
                    self.finish = finish
                case Working() | Sending() | HumanHas() | HumanSaid() | AgentSaid():
                    pass  # the business of those who drive and run it
        text = "".join(added)
        if not text and not rewritten:
            return None
        if text:
            self._pieces.append(text)
        self.seq += 1
        self.status = "streaming"
        if rewritten:
            return MessageChanged(
                conversation=self.conversation,
                message=self.message,
                seq=self.seq,
                version=self._version,
                body=self.body,
            )
        return Delta(conversation=self.conversation, message=self.message, seq=self.seq, text=text)

    def _fit(self, text: str) -> str:
        """Return what of `text` can be stored and shown: within the limit, in whole characters."""
        text = self._half + text
        self._half = ""
        if text and HIGH_SURROGATES[0] <= text[-1] <= HIGH_SURROGATES[1]:
            text, self._half = text[:-1], text[-1]
        text = whole(text)
        room = MAX_ANSWER_CHARS - self._length
        if len(text) > room:
            text, self.finish = text[:room], Finish.TRUNCATED
        self._length += len(text)
        return text


def whole(text: str) -> str:
    """Return `text` as it can be stored: pairs of escapes joined, lone ones and NUL replaced."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\x00", "\ufffd")


def titled(page: Citation | Link) -> dict[str, str]:
    """Return the JSON object of a source or a link."""
    return {"title": whole(page.title), "url": whole(page.url)}
