"""Any server with OpenAI's chat-completions interface, streamed.

POST {base_url}/chat/completions with `stream: true`, key in `Authorization: Bearer`. Each `data:`
line is one chunk; text is in `choices[0].delta.content`. The last chunk of a choice has a
`finish_reason`, and the stream ends with `data: [DONE]`. A stream that closes before either is
cut. The interface keeps no conversation: its history goes along with every question, and a
broken stream cannot be taken up again.

Source: OpenAI API reference, "Chat completions" and "Streaming"; widely implemented by others,
who leave out what they do not have, so nothing beyond the above is relied on.
"""

import json
from collections.abc import Iterator
from itertools import dropwhile, groupby

from ..errors import Interrupted, Misconfigured, ProviderError, Unavailable
from ..events import Ended, Finish, ProviderEvent, Sending, Text, Working
from .base import (
    DEADLINES,
    JSON,
    Ask,
    Call,
    Field,
    Flow,
    Past,
    Provider,
    Reply,
    ServerEvent,
    Setup,
    Stream,
)
from .lenient import fields, objects, string
from .openai_thoughts import Thoughts

FINISH = {
    "stop": Finish.COMPLETE,
    "length": Finish.TRUNCATED,
    "content_filter": Finish.REFUSED,
    # Other servers' words for the same.
    "eos": Finish.COMPLETE,
    "eos_token": Finish.COMPLETE,
    "stop_sequence": Finish.COMPLETE,
    "end_turn": Finish.COMPLETE,
    "max_tokens": Finish.TRUNCATED,
    "model_length": Finish.TRUNCATED,
}
THOUGHTS = ("reasoning_content", "reasoning")
"""Where servers put what a model thinks before it answers, for minutes; it is not shown."""
ROLES = {"visitor": "user", "agent": "assistant", "human": "assistant"}


class OpenAI(Provider):
    """Chat completions of one model."""

    label = "OpenAI-compatible"
    default_base_url = "https://api.openai.com/v1"
    credential_fields = (
        Field(name="api_key", label="API key", help="Local servers often need none."),
    )
    option_fields = (
        Field(name="model", label="Model", required=True),
        Field(name="system_prompt", label="System prompt", kind="long"),
        Field(
            name="history_messages",
            label="Earlier messages sent along",
            kind="number",
            default=20.0,
        ),
        Field(
            name="history_chars",
            label="Earlier text sent along (characters)",
            kind="number",
            default=24_000.0,
        ),
        *DEADLINES,
    )
    streams = True
    stops_upstream = True  # closing the connection ends the generation

    reason = ""
    """The finish reason, once it came. Usage, `[DONE]` or the end of the stream may follow it; some
    proxies give it with every token."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._thoughts = Thoughts()

    def headers(self) -> dict[str, str]:
        key = self.setup.credentials.get("api_key")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def answer(self, ask: Ask) -> Flow:
        """One request, one stream."""
        if ask.sent_before:
            raise Interrupted("the answer was under way when its process ended")
        yield Sending()
        yield Stream(
            Call(
                method="POST",
                path="/chat/completions",
                json={
                    "model": self.option("model"),
                    "messages": self._messages(ask),
                    "stream": True,
                },
                headers={"Accept": "text/event-stream"},
            ),
            self.chunk,
            ending=lambda: bool(self.reason),
        )
        if not self.reason:  # nor [DONE]
            raise Interrupted("the stream ended before the answer did", provider=self.label)
        yield from self._end()

    def chunk(self, event: ServerEvent) -> Iterator[ProviderEvent]:
        """Read one chunk. Raises Unavailable for an error inside the stream."""
        if event.data.strip() == "[DONE]":
            self.reason = self.reason or "stop"
            yield from self._end()
            return
        chunk = self._decoded(event.data)
        if event.event == "error" or tells_error(chunk):
            raise self._error_in_stream(chunk)
        choice = first_choice(chunk)
        delta = fields(choice.get("delta"))
        content = written(delta.get("content"))
        # A model that refuses says so in a field of its own.
        text = self._thoughts.without(content) or written(delta.get("refusal"))
        if text:
            yield Text(text)
        elif thinks(delta) or (content and self._thoughts.thinking):
            yield Working()
            return  # some proxies give every thought a reason: it is not the answer's
        self.reason = str(choice.get("finish_reason") or "").lower() or self.reason

    def _end(self) -> Iterator[ProviderEvent]:
        """Say how the answer ended. Raises Interrupted for a reason that we do not know."""
        if self._thoughts.doubtful:
            yield Text(self._thoughts.doubtful)
        if self.reason and self.reason not in FINISH:  # tool_calls, say: there is more to come
            raise Interrupted(
                f"the answer ended for another reason: {self.reason[:40]}", provider=self.label
            )
        yield Ended(FINISH.get(self.reason, Finish.COMPLETE))

    def _decoded(self, data: str) -> dict[str, JSON]:
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            raise self.broken("a chunk that is not JSON") from None
        if chunk is None:  # some servers' way to say nothing
            return {}
        if not isinstance(chunk, dict):
            raise self.broken("a chunk that is no object")
        return chunk

    def error(self, reply: Reply, retry_after_s: float | None) -> ProviderError:
        """As of any vendor, but 404 is a model, or a base URL, that does not exist."""
        if reply.status == 404:
            words = self.vendor_words(reply.data)
            return Misconfigured(
                f"no such model or address (HTTP 404){words}", provider=self.label, status=404
            )
        return super().error(reply, retry_after_s)

    def _error_in_stream(self, chunk: dict[str, JSON]) -> ProviderError:
        words = self.vendor_words(chunk) or self.vendor_words(chunk.get("text"))
        return Unavailable(f"{self.label} broke off{words}", provider=self.label)

    def _messages(self, ask: Ask) -> list[dict[str, str]]:
        """The system prompt, what was said before, the question.

        Templates of some models refuse roles that do not alternate, from the user's on. So an
        answer whose question was cut off goes with it, and where no answer came between two
        questions they are one message.
        """
        past = dropwhile(lambda one: role(one) != "user", self._past(ask))
        said = groupby([*past, Past(role="visitor", text=ask.text)], role)
        system = self.option("system_prompt")
        return [
            *([{"role": "system", "content": system}] if system else []),
            *({"role": who, "content": "\n\n".join(one.text for one in run)} for who, run in said),
        ]

    def _past(self, ask: Ask) -> list[Past]:
        """As much of the newest history as its bounds allow."""
        room = int(self.number("history_chars"))
        kept: list[Past] = []
        newest = ask.history[-int(self.number("history_messages")) :]
        for past in reversed(newest if self.number("history_messages") >= 1 else ()):
            room -= len(past.text)
            if room < 0:
                break
            kept.insert(0, past)
        return kept


def role(past: Past) -> str:
    """Return who speaks, as the interface calls them."""
    return ROLES[past.role]


def tells_error(chunk: dict[str, JSON]) -> bool:
    """Whether a chunk is an error: the vendor's own, FastChat's, or that of older vLLM."""
    return bool(chunk.get("error") or chunk.get("error_code") or chunk.get("object") == "error")


def first_choice(chunk: dict[str, JSON]) -> dict[str, JSON]:
    """Return the choice with index 0, empty where there is none: usage has a chunk of its own."""
    return next((one for one in objects(chunk.get("choices")) if not one.get("index")), {})


def written(content: JSON) -> str:
    """Return text that comes as such or, from Mistral, in parts, some of which may be thoughts."""
    if isinstance(content, str):
        return content
    parts = (part for part in objects(content) if part.get("type") == "text")
    return "".join(string(part.get("text")) for part in parts)


def thinks(delta: dict[str, JSON]) -> bool:
    """Whether a delta brings something of what the model thinks."""
    parts = objects(delta.get("content"))
    return any(delta.get(name) for name in THOUGHTS) or any(part.get("thinking") for part in parts)
