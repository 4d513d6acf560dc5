"""What a Moveworks response says to the visitor, event by event while it streams, or whole.

Source: as `moveworks.py`: the schema of `ResponseStreamEvent`; that a delta is the whole message
so far, and replaces, is shown by the demo application only.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import ProviderError
from ..events import Learned, ProviderEvent, Snapshot, Working
from .base import JSON, ServerEvent
from .lenient import fields, objects
from .moveworks_api import MoveworksAPI
from .moveworks_text import Sources, markdown

THUMBS = ("helpful", "unhelpful")

Message = Mapping[str, JSON]


class ResponseStream:
    """Reads the events of one response and remembers what they told."""

    def __init__(self, api: MoveworksAPI) -> None:
        self._api = api
        self.response_id = ""
        self.response: dict[str, JSON] | None = None
        """The response as the stream completed it."""
        self.failure: ProviderError | None = None
        """What the vendor itself said went wrong: nothing is asked for after that."""
        self.shown = ""
        self._newest = 0
        """The highest sequence number of a delta."""
        self._messages: dict[str, Message] = {}

    def over(self) -> bool:
        """Whether the stream has completed the response; that it closes then is not documented."""
        return self.response is not None

    def event(self, event: ServerEvent) -> Iterator[ProviderEvent]:
        """Read one event. Raises what the vendor says went wrong. Unknown kinds are skipped."""
        kind, data = self._named(event)
        match kind:
            case "RESPONSE_CREATED" | "RESPONSE_IN_PROGRESS":
                yield from self._learned(data)
            case "RESPONSE_OUTPUT_DELTA":
                yield from self._delta(data)
            case "RESPONSE_COMPLETED":
                yield from self._learned(data)
                self.response = data["response"]
            case "RESPONSE_FAILED":
                self.failure = self._api.error_told(data.get("response"))
                raise self.failure
            case "ERROR":
                self.failure = self._api.error_told(data)
                raise self.failure

    def _named(self, event: ServerEvent) -> tuple[str, dict[str, Any]]:
        """The frame's layout is inferred: the kind may be SSE's own, in the data, or around it."""
        try:
            data = json.loads(event.data)
        except (ValueError, RecursionError):
            raise self._api.broken("an event that is not JSON") from None
        kind = "" if event.event == "message" else event.event
        if isinstance(data, dict) and isinstance(data.get("data"), dict):
            kind, data = kind or str(data.get("event")), data["data"]
        if not isinstance(data, dict):
            raise self._api.broken("an event that is no object")
        return str(kind or data.get("event_type") or ("ERROR" if "error" in data else "")), data

    def _learned(self, data: Mapping[str, JSON]) -> Iterator[ProviderEvent]:
        found = self._api.id(data.get("response"), "response_id")
        if found != self.response_id:
            self.response_id = found
            yield Learned(answer={"question": found})

    def _delta(self, data: Mapping[str, JSON]) -> Iterator[ProviderEvent]:
        """A message as it stands now; one that was overtaken says nothing. Reasoning stays away."""
        number = data.get("sequence_number")
        if isinstance(number, int):
            if number <= self._newest:
                return
            self._newest = number
        yield Working()
        for message in messages({"outputs": [data.get("output")]}):
            self._messages[str(message.get("message_id"))] = message
            self.shown = written(self._messages.values(), Sources(), whole=False)
            if self.shown:
                yield Snapshot(self.shown)


def messages(response: JSON) -> list[Message]:
    """Return what a response's outputs say to the visitor; the others are reasoning."""
    found = [one.get("message") for one in objects(fields(response).get("outputs"))]
    return [one for one in found if isinstance(one, dict) and one.get("actor") != "USER"]


def written(said: Iterable[Message], sources: Sources, *, whole: bool = True) -> str:
    """Return messages as one text."""
    return "\n\n".join(filter(None, (markdown(one, sources, whole=whole) for one in said)))


def callbacks(message: Message) -> dict[str, str]:
    """Return the ids by which a message is rated; either or both may be missing."""
    options = fields(message.get("feedback"))
    found = {thumb: options.get(thumb) for thumb in THUMBS}
    return {
        thumb: option["callback_id"]
        for thumb, option in found.items()
        if isinstance(option, dict) and isinstance(option.get("callback_id"), str)
    }
