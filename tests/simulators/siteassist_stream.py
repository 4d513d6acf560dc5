"""How the SiteAssist simulator writes a stream, properly or oddly.

Proper: the UI message stream protocol of the `ai` package 5.x. One JSON object in each `data:`
line, no event names, `[DONE]` at the end. Text is cut at odd places, and so are the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Literal
from uuid import uuid4

from .siteassist_project import JSON, Answer, Failure, Message

SIZES = (1, 3, 2, 7, 5, 11, 4)
"""Characters in the pieces of a text: they end within words, links and citations."""
HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "x-accel-buffering": "no",
    "x-vercel-ai-ui-message-stream": "v1",
}


@dataclass(slots=True)
class StreamOddities:
    """Switches for what a stream holds and how it is written. All off at first."""

    message_id: Literal["uuid", "absent", "another"] = "uuid"
    """What `start` says of the message's id; `another` is one that is no uuid."""
    reasoning: int = 0
    """So many pieces of reasoning come first, at the text's pace."""
    unknown: bool = False
    """Parts of kinds that nobody documented come first and in between."""
    interleaved: bool = False
    """The pieces of several text blocks take turns."""
    block_ids: Literal["items", "counted"] = "items"
    """What names a text block: an item of the model's provider; or its number in its step, so that
    the same ids come again in the next one."""
    stored_link: bool = False
    """Buttons come in the stream as they are stored."""
    newline: Literal["\n", "\r\n"] = "\n"
    writes: Literal["odd", "whole", "bytewise"] = "odd"
    """`odd`: two events in one write, then one event over two writes."""
    done: bool = True
    """`[DONE]` comes."""
    finish: bool = True
    """The `finish` part comes."""
    cut_after: int | None = None
    """Parts after which the stream ends without a word; the answer is finished all the same."""
    cut: Literal["eof", "mid_event", "reset", "abort"] = "eof"
    bad_json: bool = False
    """A part that is not JSON follows the second one."""


def pieces(text: str) -> Iterator[str]:
    """Cut a text at odd places."""
    sizes, at = cycle(SIZES), 0
    while at < len(text):
        size = next(sizes)
        yield text[at : at + size]
        at += size


def parts_of(message: Message, answer: Answer, odd: StreamOddities) -> list[JSON]:
    """Return the parts of a whole answer."""
    blocks = _blocks(answer.texts, odd)
    links = [part for label, href in answer.links for part in _link(label, href, odd)]
    if odd.interleaved:
        longest = max(map(len, blocks))
        said = [block[at] for at in range(longest) for block in blocks if at < len(block)]
    else:
        said = [part for block in blocks[:1] for part in block]
        said += links
        said += [part for block in blocks[1:] for part in block]
    earlier = [part for block in _blocks(answer.earlier, odd) for part in block]
    if earlier:
        earlier += [{"type": "finish-step"}, {"type": "start-step"}]
    end: JSON = {"type": "finish"}
    if answer.finish_reason:
        end["finishReason"] = answer.finish_reason
    return [
        *_opening(message, odd),
        *earlier,
        *said,
        *(links if odd.interleaved else ()),
        {"type": "finish-step"},
        *([end] if odd.finish else ()),
    ]


def _blocks(texts: Iterable[str], odd: StreamOddities) -> list[list[JSON]]:
    """Return the parts of each of a step's text blocks."""
    blocks = []
    for number, text in enumerate(texts):
        item = f"msg_{uuid4().hex}"  # as the model's provider names its items: no message id
        block = item if odd.block_ids == "items" else str(number)
        meta = {"openai": {"itemId": item}}
        begin: JSON = {"type": "text-start", "id": block, "providerMetadata": meta}
        deltas = [{"type": "text-delta", "id": block, "delta": piece} for piece in pieces(text)]
        blocks.append([begin, *deltas, {"type": "text-end", "id": block}])
    return blocks


def parts_of_failure(message: Message, failure: Failure, odd: StreamOddities) -> list[JSON]:
    """Return the parts of an answer that breaks off."""
    block = f"msg_{uuid4().hex}"
    said = [
        {"type": "text-delta", "id": block, "delta": piece}
        for piece in list(pieces(failure.text))[: failure.after]
    ]
    begin = [{"type": "text-start", "id": block}] if said else []
    return [
        *_opening(message, odd),
        *begin,
        *said,
        {"type": "error", "errorText": failure.words},
    ]


def _opening(message: Message, odd: StreamOddities) -> list[JSON]:
    start: JSON = {"type": "start"}
    if odd.message_id != "absent":
        start["messageId"] = message.id if odd.message_id == "uuid" else "msg_68a1b2c3"
    opening: list[JSON] = [start, {"type": "start-step"}]
    if odd.reasoning:
        thought = {"type": "reasoning-delta", "id": "rs_1", "delta": "Hm, secret thoughts."}
        opening += [
            {"type": "reasoning-start", "id": "rs_1"},
            *[thought] * odd.reasoning,
            {"type": "reasoning-end", "id": "rs_1"},
        ]
    if odd.unknown:
        opening += [
            {"type": "data-weather", "data": {"sun": True}, "transient": True},
            {"type": "hologram", "id": "h1", "delta": "not text", "text": "nor this"},
            {"type": "source-url", "sourceId": "s1", "url": "https://source.example"},
        ]
    return opening


def _link(label: str, href: str, odd: StreamOddities) -> list[JSON]:
    name, call = "action_display-link_42", f"call_{uuid4().hex}"
    output = {"buttonLabel": label, "href": href, "buttonVariant": "default"}
    if odd.stored_link:
        kind, state = f"tool-{name}", "output-available"
        return [{"type": kind, "toolCallId": call, "state": state, "output": output}]
    available = {"type": "tool-input-available", "toolCallId": call, "toolName": name, "input": {}}
    return [
        {"type": "tool-input-start", "toolCallId": call, "toolName": name},
        available,
        {"type": "tool-output-available", "toolCallId": call, "output": output},
    ]


class Wire:
    """Makes bytes of events, in writes as odd as asked for."""

    def __init__(self, odd: StreamOddities) -> None:
        self._odd = odd
        self._kept = b""
        self._turn = 0

    def event(self, data: str) -> bytes:
        return f"data: {data}{self._odd.newline * 2}".encode()

    def part(self, part: JSON) -> bytes:
        return self.event(json.dumps(part, ensure_ascii=False))

    def writes(self, event: bytes) -> Iterator[bytes]:
        """Return what to write now that this event comes."""
        if self._odd.writes == "bytewise":
            yield from (event[at : at + 1] for at in range(len(event)))
        elif self._odd.writes == "whole":
            yield event
        else:
            self._turn = (self._turn + 1) % 4
            if self._turn == 1:
                self._kept = event  # it waits for the next one
                return
            middle = len(event) // 2 if self._turn == 3 else len(event)
            yield from filter(None, (self._kept + event[:middle], event[middle:]))
            self._kept = b""

    def rest(self) -> bytes:
        kept, self._kept = self._kept, b""
        return kept


def whole_of(message: Message, parts: list[JSON]) -> JSON:
    """Return the JSON answer: the steps, of which the last one has the text, and no id."""
    usage = {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30}
    usage |= {"reasoningTokens": 0, "cachedInputTokens": 0}
    looked: JSON = {
        "content": [{"type": "text", "text": "Let me look."}, {"type": "tool-call"}],
        "finishReason": "tool-calls",
        "usage": usage,
    }
    steps = [at for at, part in enumerate(message.parts) if part["type"] == "step-start"]
    texts = [part["text"] for part in message.parts[steps[-1] :] if part["type"] == "text"]
    reason = parts[-1].get("finishReason", "stop")
    last: JSON = {
        "content": [{"type": "text", "text": text} for text in texts],
        "finishReason": reason,
        "usage": usage,
    }
    return {"steps": [looked, last]}
