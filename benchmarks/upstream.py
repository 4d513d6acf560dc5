"""The agent behind every contestant: an OpenAI-compatible server whose tokens carry the time.

    python -m benchmarks.upstream --port N

A question is a JSON object, `{"id", "tokens", "rate"}`, and says itself how it wants to be
answered: so many tokens, so many a second, the first after FIRST_TOKEN_S. Each token is
`<number>@<time.monotonic()> `, a clock that all processes of a machine share on Linux.

`GET /ledger` tells of every question since it was last asked when it arrived and what was sent.
"""

import argparse
import asyncio
import json
import time
from typing import Any

from aiohttp import web

from .figures import percentile

FIRST_TOKEN_S = 0.2
"""A model thinks before it speaks. Nobody is charged for this time."""

CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "clock"}


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    """Return one chunk as it goes over the wire."""
    body = {**CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n".encode()


BEFORE, AFTER = event({"content": "|"}).split(b"|")
OPENING = event({"role": "assistant", "content": ""})
END = event({}, "stop") + b"data: [DONE]\n\n"


class Upstream:
    """Answers questions and remembers what it said."""

    def __init__(self) -> None:
        self._ledger: dict[str, dict[str, Any]] = {}
        self._late_ms: list[float] = []
        """How long after it was due each token was sent."""

    async def complete(self, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        question = json.loads((await request.json())["messages"][-1]["content"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        sent: list[str] = []
        self._ledger[question["id"]] = {"arrived": arrived, "sent": sent}
        await response.write(OPENING)
        for number in range(question["tokens"]):
            due = arrived + FIRST_TOKEN_S + number / question["rate"]
            await asyncio.sleep(due - time.monotonic())
            now = time.monotonic()
            self._late_ms.append((now - due) * 1000)
            token = f"{number}@{now:.6f} "
            sent.append(token)
            await response.write(BEFORE + token.encode() + AFTER)
        await response.write(END)
        return response

    async def ledger(self, request: web.Request) -> web.Response:
        answers = {
            question: {"arrived": kept["arrived"], "text": "".join(kept["sent"])}
            for question, kept in self._ledger.items()
        }
        late_p99_ms = percentile(self._late_ms, 99)
        self._ledger, self._late_ms = {}, []
        return web.json_response({"answers": answers, "late_p99_ms": late_p99_ms})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    upstream, app = Upstream(), web.Application()
    app.router.add_post("/v1/chat/completions", upstream.complete)
    app.router.add_get("/ledger", upstream.ledger)
    port = parser.parse_args().port
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None, backlog=1024)


if __name__ == "__main__":
    main()
