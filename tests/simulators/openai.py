"""A server compatible with OpenAI's chat completions, streaming and whole.

Source: platform.openai.com/docs/api-reference/chat.  Requests are checked against
`openai.schema.json`.  For load it also runs as a process of its own:

    python -m tests.simulators.openai --port 8099 --tokens 200 --rate 50 --key K

which prints its address, and answers `GET /_stats` with what a load test needs to know.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

from aiohttp import web
from jsonschema import Draft202012Validator

from .base import Received, Simulator
from .openai_stream import Chunks, EarlyEnding, StreamOddities, ThoughtsIn, Wire, error, usage
from .openapi import told

REQUEST = Draft202012Validator(
    json.loads(Path(__file__).with_name("openai.schema.json").read_text())
)
OPERATIONS = {
    ("POST", "/v1/chat/completions"): "send",
    ("GET", "/v1/models"): "models",
    ("GET", "/_stats"): "stats",
}

Messages = list[dict[str, Any]]


class OpenAISimulator(Simulator):
    """Attributes are switches that a test may set at any time; `odd` has those of the stream."""

    def __init__(self, *, key: str = "openai-key", port: int = 0) -> None:
        super().__init__(port=port)
        self.key = key
        """The one bearer key that works."""
        self.model = "sim-1"
        """The one model there is; others answer 404."""
        self.tokens: Sequence[str] | Callable[[Messages], Sequence[str]] = (
            "Hello", ",", " how", " can", " I", " help", "?",
        )  # fmt: skip
        """The answer in pieces, or what makes it from the messages."""
        self.thoughts: Sequence[str] = ()
        """A reasoning model's thoughts in pieces, which come before the answer, at its rate."""
        self.thoughts_in: ThoughtsIn = "reasoning_content"
        """Where in a chunk's delta they are."""
        self.rate = 0.0
        """Tokens per second, kept against the clock; 0 is as fast as they are taken."""
        self.stamped = False
        """Each token is `<number>@<time.monotonic()> ` instead, numbers from 0.  On Linux that
        clock is the same in all processes."""
        self.finish_reason = "stop"
        """Also `length` or `content_filter`."""
        self.alternating = False
        """The model's template refuses roles that do not alternate, beginning with the user's."""
        self.odd = StreamOddities()
        self.sends: list[Any] = []
        """The accepted requests' bodies."""
        self.streaming = 0
        """Streams open now."""
        self.finished = 0
        """Streams that came to the end they were meant to have."""
        self.aborted = 0
        """Streams whose client left before that."""
        self.over_at: dict[str, float] = {}
        """When a question's stream was over, by its text; `time.monotonic()`."""
        self.lateness: deque[float] = deque(maxlen=200_000)
        """Seconds that each token was sent after it was due."""

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given."""
        return f"{self.url}/v1"

    def operation(self, method: str, path: str) -> str:
        return OPERATIONS.get((method, path), "unknown")

    async def respond(self, received: Received, request: web.Request) -> web.StreamResponse:
        if received.operation == "stats":
            return web.json_response(self.stats())
        if received.headers.get("Authorization") != f"Bearer {self.key}":
            body = error("Incorrect API key provided", "invalid_request_error", "invalid_api_key")
            return web.json_response(body, status=401)
        if received.operation == "models":
            model = {"id": self.model, "object": "model", "created": 0, "owned_by": "tests"}
            return web.json_response({"object": "list", "data": [model]})
        if problems := self._problems(received):
            for problem in problems:
                self.violate(problem)
            return web.json_response(
                error("; ".join(problems), "invalid_request_error"), status=400
            )
        return await self._complete(received.json, request)

    def stats(self) -> dict[str, float]:
        late = sorted(self.lateness) or [0.0]
        return {
            "sends": len(self.sends),
            "streaming": self.streaming,
            "finished": self.finished,
            "aborted": self.aborted,
            "violations": len(self.violations),
            "late_p99_s": late[len(late) * 99 // 100],
            "late_max_s": late[-1],
        }

    def _problems(self, received: Received) -> list[str]:
        if received.operation == "unknown":
            return [f"{received.method} {received.path}: no such operation here"]
        if not received.headers.get("Content-Type", "").startswith("application/json"):
            return ["send: the body is not declared as application/json"]
        return [
            f"send: {problem.json_path}: {told(problem)}"
            for problem in REQUEST.iter_errors(received.json)
        ]

    async def _complete(self, body: Any, request: web.Request) -> web.StreamResponse:
        if body["model"] != self.model:
            text = f"The model `{body['model']}` does not exist"
            missing = error(text, "invalid_request_error", "model_not_found")
            return web.json_response(missing, status=404)
        if self.alternating and not alternate(body["messages"]):
            text = "Conversation roles must alternate user/assistant/user/assistant/..."
            return web.json_response(error(text, "BadRequestError"), status=400)
        with self.changing():
            self.sends.append(body)
            tokens = self.tokens(body["messages"]) if callable(self.tokens) else self.tokens
        if body.get("stream"):
            return await self._stream(body, list(tokens), request)
        message = {"role": "assistant", "content": "".join(tokens), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return web.json_response(
            {
                "id": f"chatcmpl-{uuid4().hex}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": self.model,
                "choices": [choice],
                "usage": usage(_words(body), len(tokens)),
            }
        )

    # Streaming

    async def _stream(
        self, body: Any, tokens: list[str], request: web.Request
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": self.odd.content_type, "Cache-Control": "no-cache"}
        )
        chunks = Chunks(f"chatcmpl-{uuid4().hex}", int(time.time()), self.model, self.odd)
        with self.changing():
            self.streaming += 1
        completed = False
        try:
            await response.prepare(request)
            wire = Wire(response, self.odd)
            if await self._write_tokens(tokens, chunks, wire):
                await self._write_end(body, len(tokens), chunks, wire)
            completed = True
        finally:
            with self.changing():
                self.streaming -= 1
                self.finished += completed
                self.aborted += not completed and not self.stopping
                self.over_at[body["messages"][-1]["content"]] = time.monotonic()
        if self.odd.ending in ("reset", "late_reset") and request.transport is not None:
            request.transport.abort()
        return response

    async def _write_tokens(self, tokens: list[str], chunks: Chunks, wire: Wire) -> bool:
        """Write the answer's text; False if it was to end early, and did."""
        odd = self.odd
        opening = (b"\xef\xbb\xbf" if odd.bom else b"") + chunks.role()
        await wire.write(opening + (chunks.unknown() if odd.unknown_event else b""))
        await self._write_thoughts(chunks, wire)
        if odd.swapped:
            tokens[:2] = tokens[1::-1]
        start = time.monotonic()
        for number, text in enumerate(tokens):
            if number == odd.stall_after:
                await self._stalled(chunks, wire)
                start = time.monotonic() - number / (self.rate or 1)
            if number == odd.after and odd.ending in get_args(EarlyEnding):
                await self._write_early_end(text, chunks, wire)
                return False
            await self._due(start, number)
            if self.stamped:
                text = f"{number}@{time.monotonic():.6f} "
            first = number == 0
            event = chunks.token(
                text, odd.oversize if first else 0, bad_utf8=odd.bad_utf8 and first
            )
            heartbeat = chunks.comment() if odd.heartbeat else b""
            await wire.write(heartbeat + (event * 2 if odd.twice else event))
        return True

    async def _write_thoughts(self, chunks: Chunks, wire: Wire) -> None:
        start = time.monotonic()
        for number, text in enumerate(self.thoughts):
            await self._due(start, number)
            await wire.write(chunks.thought(text, self.thoughts_in))

    async def _due(self, start: float, number: int) -> None:
        """Wait until it is this token's turn."""
        if not self.rate:
            return
        due = start + number / self.rate
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        self.lateness.append(time.monotonic() - due)

    async def _stalled(self, chunks: Chunks, wire: Wire) -> None:
        release = asyncio.ensure_future(self.released())
        try:
            while not release.done():
                if self.odd.heartbeat:
                    await wire.write(chunks.comment())
                await asyncio.wait([release], timeout=0.05 if self.odd.heartbeat else None)
        finally:
            release.cancel()

    async def _write_early_end(self, text: str, chunks: Chunks, wire: Wire) -> None:
        if self.odd.ending == "mid_event":
            event = chunks.token(text)
            await wire.write(event[: len(event) // 2])
        elif self.odd.ending == "error":
            await wire.write(chunks.error())

    async def _write_end(self, body: Any, count: int, chunks: Chunks, wire: Wire) -> None:
        await wire.write(chunks.finish(self.finish_reason))
        if body.get("stream_options", {}).get("include_usage"):
            await wire.write(chunks.usage(_words(body), count))
        match self.odd.ending:
            case "done":
                await wire.write(chunks.done())
            case "late_error":
                await wire.write(chunks.error())
            case "late_reset":
                await asyncio.sleep(0.05)  # what was written arrives before the break
            case "left_open":
                await self._stalled(chunks, wire)


def alternate(messages: Messages) -> bool:
    """Whether user and assistant take turns, from the user's first word to the user's last."""
    roles = [one["role"] for one in messages if one["role"] not in ("system", "developer")]
    return roles == ["user", *["assistant", "user"] * (len(roles) // 2)]


def _words(body: Any) -> int:
    """A number of prompt tokens that is good enough."""
    return sum(len(str(message["content"]).split()) for message in body["messages"])


def main() -> None:
    parser = argparse.ArgumentParser(description="OpenAI-compatible server for load tests")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=200, help="tokens in each answer")
    parser.add_argument("--rate", type=float, default=50.0, help="tokens per second; 0: no limit")
    parser.add_argument("--key", default="openai-key")
    parser.add_argument("--plain", action="store_true", help="no time stamps in the tokens")
    options = parser.parse_args()
    simulator = OpenAISimulator(key=options.key, port=options.port)
    simulator.rate, simulator.stamped = options.rate, not options.plain
    simulator.tokens = [f"token{number} " for number in range(options.tokens)]
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with simulator:
        print(simulator.base_url, flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
