"""A SiteAssist answer as it arrives: the parts of its stream, or all of it at once.

The stream is the UI message stream protocol of the `ai` package 5.x: each `data:` line is one part,
and `[DONE]` is the last. Kinds that we do not know are passed over.
"""

import json
from collections.abc import Iterator, Sequence

from ..events import (
    Cited,
    Ended,
    Finish,
    HumanHas,
    Learned,
    Link,
    Offered,
    ProviderEvent,
    Rewritten,
    Snapshot,
    Text,
    Working,
)
from .base import JSON, ServerEvent
from .siteassist_text import LINK_ACTION, Shown, cleaned, link, links_of, uuid_of

FINISH = {
    "stop": Finish.COMPLETE,
    "length": Finish.TRUNCATED,
    "content-filter": Finish.REFUSED,
}


class Incoming:
    """One answer's stream, part by part."""

    def __init__(self, *, human: bool, trusts_start: bool) -> None:
        self.answer_id = ""
        self.failure: str | None = None
        """The words of an `error` part."""
        self.links: list[Link] = []
        self._news = [HumanHas(False)] if human else []
        self._trusts_start = trusts_start
        self._blocks: list[str] = []
        """Texts in order of appearance."""
        self._open: dict[str, int] = {}
        """Which of them an id stands for now: ids begin again with each step."""
        self._shown = Shown()
        self._tools: dict[str, str] = {}
        self._finish: Finish | None = None
        self._aborted = False
        self._done = False
        self.told = False
        """Everything was said, up to the end."""

    @property
    def ended(self) -> bool:
        """Whether the answer came to its proper end: `finish` or `[DONE]`."""
        return (self._finish is not None or self._done) and not self._aborted

    def take(self, event: ServerEvent) -> Iterator[ProviderEvent]:
        """Read one event. Raises ValueError for one that is not JSON."""
        if event.data == "[DONE]":
            self._done = True
            if self.answer_id and self.ended and self.failure is None:
                yield from self.close()
            return
        part = json.loads(event.data)
        if not isinstance(part, dict) or self.failure is not None:
            return
        yield from self._news  # an answer is on its way, so nobody else has the conversation
        self._news = []
        yield from self._part(part)

    def _part(self, part: dict[str, JSON]) -> Iterator[ProviderEvent]:
        match part:
            case {"type": "start", "messageId": given} if self._trusts_start:
                self.answer_id = uuid_of(given)
                if self.answer_id:
                    yield learned(self.answer_id)
            case {"type": "text-start" | "text-end"}:
                self._open.pop(str(part.get("id")), None)
            case {"type": "finish-step"}:
                self._open.clear()
            case {"type": "text-delta", "delta": str(delta)} if delta:
                yield from self._text(str(part.get("id")), delta)
            case {"type": "reasoning-delta"}:
                yield Working()
            case {"type": "tool-input-start" | "tool-input-available", "toolCallId": call}:
                self._tools[str(call)] = str(part.get("toolName"))
                yield Working()
            case {"type": "tool-output-available", "toolCallId": call}:
                name = self._tools.get(str(call), "")
                if name.startswith(LINK_ACTION) and not part.get("preliminary"):
                    self.links += filter(None, [link(part.get("output"))])
            case {"type": "error"}:
                self.failure = str(part.get("errorText") or "")
            case {"type": "abort"}:
                self._aborted = True
            case {"type": "finish"}:
                self._finish = ended_by(part.get("finishReason"))
                if part.get("finishReason") == "error":
                    self.failure = ""
            case _:
                self.links += links_of([part])  # as it is stored, should they send it so

    def _text(self, block: str, delta: str) -> Iterator[ProviderEvent]:
        newest = len(self._blocks) - 1
        at = self._open.setdefault(block, newest + 1)
        begins = at > newest
        if begins:
            self._blocks.append("")
        self._blocks[at] += delta
        if at >= newest:
            new = self._shown.feed(("\n\n" if begins and at else "") + delta)
            if new:
                yield Text(new)
        else:  # an earlier block goes on while a later one is there already
            self._shown = Shown()
            yield Rewritten(self._shown.feed("\n\n".join(self._blocks)))

    def close(self) -> Iterator[ProviderEvent]:
        """Tell of the end."""
        yield Text(self._shown.end())
        if self._shown.linked != self._shown.text:
            yield Rewritten(self._shown.linked)
        self.told = True
        yield from closing(self._shown, self.links, self._finish or Finish.COMPLETE)


def learned(answer: str, *, question: str = "") -> Learned:
    """Tell an answer's id: for votes, for finding it again, and to look only behind it later."""
    ids = {"answer": answer} | ({"question": question} if question else {})
    return Learned(answer=ids, conversation={"newest_answer": answer}, answer_id=answer)


# --- what is said of any answer -------------------------------------------------------------------


def ended_by(reason: JSON) -> Finish:
    """Return why an answer ended; a reason that we do not know is no complete answer."""
    return FINISH.get(str(reason or "stop"), Finish.TRUNCATED)


def closing(shown: Shown, links: Sequence[Link], finish: Finish) -> Iterator[ProviderEvent]:
    """Tell of an answer's end: sources, buttons, and why it ended."""
    yield Cited(shown.citations)
    if links:
        yield Offered(tuple(links))
    yield Ended(finish)


def whole(text: str, links: Sequence[Link], finish: Finish) -> Iterator[ProviderEvent]:
    """Tell of a whole answer, some of which may have been shown before."""
    shown = cleaned(text)
    yield Snapshot(shown.linked)
    yield from closing(shown, links, finish)


def so_far(text: str) -> Snapshot:
    """Tell of what is there of an answer that is still being written."""
    shown = Shown()
    shown.feed(text)
    return Snapshot(shown.text)
