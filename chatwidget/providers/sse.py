"""Server-sent events from bytes, without I/O.

Source: HTML Living Standard, 9.2.5 and 9.2.6 (parsing and interpreting an event stream). The
fields are httpx-sse's work; what it lacks is a limit, so lines are split and counted here.
"""

import codecs

from httpx_sse._decoders import SSEDecoder  # not exported; pinned below 0.5 for it

from ..errors import Broken
from .base import ServerEvent

MAX_EVENT_BYTES = 1024 * 1024


class EventReader:
    """Feed it bytes as they come, get the events that they complete, but for those without data."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._fields = SSEDecoder()
        self._tail: list[str] = []
        """The pieces of a line that has not ended."""
        self._after_cr = False
        self._size = 0
        """Bytes since the last blank line."""

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Return the events completed by `chunk`. Raises Broken for one over MAX_EVENT_BYTES."""
        text = self._decode(chunk)
        if self._after_cr and text:  # a CR ended the last chunk; its LF belongs to it
            text = text.removeprefix("\n")
            self._after_cr = False
        if "\r" in text:
            self._after_cr = text.endswith("\r")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        first, *rest = text.split("\n")
        self._tail.append(first)
        self._count(first)
        events = []
        for following in rest:
            line, self._tail = "".join(self._tail), [following]
            if not line:
                self._size = 0
            self._count(following)
            found = self._fields.decode(line)
            if found is not None and found.data:
                events.append(ServerEvent(found.event or "message", found.data))
        return events

    def _count(self, text: str) -> None:
        self._size += len(text) if text.isascii() else len(text.encode())
        if self._size > MAX_EVENT_BYTES:
            raise Broken(f"an event of more than {MAX_EVENT_BYTES} bytes")
