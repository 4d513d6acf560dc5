"""How the OpenAI-compatible simulator writes a stream, properly or oddly.

Proper: chat-completions over server-sent events (WHATWG HTML, 9.2).  A chunk with the role, one
per token, one with the finish reason, one with usage and empty choices if asked, then `[DONE]`.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

EarlyEnding = Literal["early_eof", "mid_event", "reset", "error"]
LateEnding = Literal["no_done", "late_reset", "late_error", "left_open"]
Ending = Literal["done"] | EarlyEnding | LateEnding
ThoughtsIn = Literal["reasoning_content", "reasoning", "content"]
"""The field of DeepSeek, vLLM and many others, that of OpenRouter, Groq and newer vLLM, and that of
Mistral, among the parts of the text."""
ErrorShape = Literal["object", "old_vllm", "named", "fastchat"]
"""The vendor's own; a flat one; an event named `error`; text and a code, with `[DONE]` behind."""


@dataclass(slots=True)
class StreamOddities:
    """Switches for the bytes of a stream.  All off at first."""

    newline: Literal["\n", "\r\n", "\r"] = "\n"
    heartbeat: bool = False
    """A comment line before each token; all the time while stalled."""
    multiline: bool = False
    """Each chunk's JSON spread over several `data:` lines."""
    bytewise: bool = False
    """Every byte written by itself."""
    bom: bool = False
    """A byte order mark in front, which clients must ignore."""
    bad_utf8: bool = False
    """The first token has bytes that are not UTF-8."""
    oversize: int = 0
    """Bytes of padding in the first token's event: 1 << 20 for one above 1 MiB."""
    twice: bool = False
    """Each token's event comes twice."""
    swapped: bool = False
    """The events of the first and second token change places."""
    unknown_event: bool = False
    """An `event:` and a chunk of a kind that nobody documented come first."""
    content_type: str = "text/event-stream; charset=utf-8"
    error_shape: ErrorShape = "object"
    """How an error object in the stream looks."""
    parts: bool = False
    """Each token's content is a list of one part."""
    spare_choice: bool = False
    """Each chunk comes behind one of another choice, and has that one as well."""
    early_reason: bool = False
    """The finish reason comes with every token and thought, as from some proxies."""
    stall_after: int | None = None
    """Tokens after which nothing comes until `release()`."""
    ending: Ending = "done"
    """An early one comes after `after` tokens: the stream ends between two events, ends within an
    event, is reset, or an error object comes and the stream ends. A late one comes in place of
    `[DONE]`: the stream just ends, is reset, has an error object, or is open until `release()`."""
    after: int = 3


class Chunks:
    """Makes the chunks of one answer; the constant part is rendered once, as streams are many."""

    def __init__(self, id: str, created: int, model: str, odd: StreamOddities) -> None:  # noqa: A002
        self._odd = odd
        self._head = {
            "id": id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        content: Any = [{"type": "text", "text": "@"}] if odd.parts else "@"
        token = self.choice({"content": content}, "stop" if odd.early_reason else None)
        before, _, after = token.partition(b'"@"')
        self._token = before, after

    def role(self) -> bytes:
        return self.choice({"role": "assistant", "content": ""})

    def token(self, text: str, padding: int = 0, *, bad_utf8: bool = False) -> bytes:
        if padding:
            return self.choice({"content": text}, padding="x" * padding)
        content = json.dumps(text).encode()
        if bad_utf8:
            content = content[:-1] + b'\xff\xfe"'
        return content.join(self._token)

    def thought(self, text: str, where: ThoughtsIn) -> bytes:
        thought: Any = text
        if where == "content":
            thought = [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]
        return self.choice({where: thought}, "stop" if self._odd.early_reason else None)

    def finish(self, reason: str) -> bytes:
        return self.choice({}, reason)

    def usage(self, prompt: int, completion: int) -> bytes:
        return self._event({**self._head, "choices": [], "usage": usage(prompt, completion)})

    def error(self) -> bytes:
        message = "The server had an error while processing your request"
        match self._odd.error_shape:
            case "old_vllm":
                return self._event({"object": "error", "message": message, "code": 500})
            case "named":
                named = f"event: error{self._odd.newline}".encode()
                return named + self._event({"code": 500, "message": message})
            case "fastchat":
                return self._event({"text": message, "error_code": 50001}) + self.done()
        return self._event(error(message, "server_error"))

    def choice(self, delta: Any, finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        if not self._odd.spare_choice:
            return self._event({**self._head, "choices": [choice], **more})
        spare = {**choice, "index": 1, "delta": {"content": "spare"}, "finish_reason": "length"}
        alone = self._event({**self._head, "choices": [spare]})
        return alone + self._event({**self._head, "choices": [spare, choice], **more})

    def unknown(self) -> bytes:
        newline = self._odd.newline.encode()
        return newline.join(
            [b"event: weather", b'data: {"object": "weather", "sun": true}', b"", b""]
        )

    def done(self) -> bytes:
        return b"data: [DONE]" + 2 * self._odd.newline.encode()

    def comment(self) -> bytes:
        return b": keep-alive" + 2 * self._odd.newline.encode()

    def _event(self, chunk: Any) -> bytes:
        text = json.dumps(chunk, indent=1 if self._odd.multiline else None)
        newline = self._odd.newline
        lines = newline.join(f"data: {line}" for line in text.split("\n"))
        return (lines + 2 * newline).encode()


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def error(message: str, kind: str, code: str | None = None) -> Any:
    """The vendor's error body."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


class Wire:
    """Writes to the client, all at once or byte by byte."""

    def __init__(self, response: web.StreamResponse, odd: StreamOddities) -> None:
        self._response = response
        self._bytewise = odd.bytewise

    async def write(self, data: bytes) -> None:
        if not self._bytewise:
            await self._response.write(data)
            return
        for value in data:
            await self._response.write(bytes((value,)))
            await asyncio.sleep(0)
