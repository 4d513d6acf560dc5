"""What relaying adds to a token: visitors streaming through the service, beside direct clients.

    .venv/bin/python -m benchmarks.streaming [--visitors 50] [--tokens 200] [--rate 50]

An upstream simulator in its own process stamps each token with the machine's monotonic clock.
The same number of clients read it directly first (the floor), then through one daphne process,
question stored, answer stored, over WebSockets. Prints lost, doubled or reordered characters,
and the delay from stamp to receipt. Absolute figures vary with the machine; read the difference.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

import httpx

ROOT = Path(__file__).resolve().parent.parent
TOKEN = re.compile(r"(\d+)@([\d.]+) ")
KEY = "bench-key"
SETTLED_S = 1.5
"""All ask in the same instant; this long after the first token they have all been heard."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rate", type=float, default=50, help="tokens a second and visitor")
    return parser.parse_args()


@contextmanager
def started(*command: str, **env: str) -> Iterator[str]:
    """Run a process of ours and yield the address that it prints first."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield found[0]
                return
        raise SystemExit("a process did not start")
    finally:
        process.terminate()
        process.wait(timeout=20)


class Receipts:
    """Tokens of one answer as they arrive: complete ones with their delay."""

    def __init__(self) -> None:
        self.text = ""
        self.delays: list[tuple[float, float]] = []
        """(when the token was stamped, ms until it was here)"""
        self._seen = 0

    def add(self, text: str) -> None:
        now = time.monotonic()
        self.text += text
        for found in TOKEN.finditer(self.text, self._seen):
            self.delays.append((float(found[2]), (now - float(found[2])) * 1000))
            self._seen = found.end()

    def faults(self, tokens: int) -> int:
        """How many tokens are missing, doubled or out of place."""
        numbers = [int(found[1]) for found in TOKEN.finditer(self.text)]
        first = numbers[0] if numbers else 0
        expected = list(range(first, first + tokens))
        return sum(a != b for a, b in zip(numbers, expected, strict=False)) + abs(
            len(numbers) - tokens
        )


async def direct(upstream: str, visitors: int) -> list[Receipts]:
    async def one(http: httpx.AsyncClient) -> Receipts:
        receipts = Receipts()
        body = {"model": "sim-1", "stream": True, "messages": [{"role": "user", "content": "?"}]}
        async with http.stream("POST", f"{upstream}/v1/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    choices = json.loads(line[6:])["choices"]
                    receipts.add((choices and choices[0]["delta"].get("content")) or "")
        return receipts

    limits = httpx.Limits(max_connections=visitors)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=60) as http:
        return list(await asyncio.gather(*(one(http) for _ in range(visitors))))


async def relayed(server: str, widget: str, visitors: int) -> list[Receipts]:
    from tests.visitor import FINAL, Visitor

    waiting, all_there = visitors, asyncio.Event()

    async def one() -> Receipts:
        nonlocal waiting
        receipts = Receipts()
        async with Visitor(server, widget) as visitor:
            conversation = await visitor.conversation()
            async with visitor.socket(conversation) as socket:
                waiting -= 1
                if not waiting:
                    all_there.set()
                await all_there.wait()  # then all ask at once
                asked = await visitor.ask(conversation, "?")
                while True:
                    frame = await socket.next()
                    if frame["type"] == "delta":
                        receipts.add(frame["text"])
                    answer = socket.messages.get(asked["answer"]["id"], asked["answer"])
                    if answer["status"] in FINAL:
                        break
                stored = (await visitor.messages(conversation))[-1]["text"]
                assert stored == receipts.text, "the stored answer is what was shown"
        return receipts

    return list(await asyncio.gather(*(one() for _ in range(visitors))))


def row(name: str, all_receipts: list[Receipts], tokens: int) -> None:
    stamped = [one for receipts in all_receipts for one in receipts.delays]
    faults = sum(receipts.faults(tokens) for receipts in all_receipts)
    settled_at = min(at for at, _ in stamped) + SETTLED_S
    for label, delays in (
        (name, [delay for _, delay in stamped]),
        ("  once all have begun", [delay for at, delay in stamped if at > settled_at]),
    ):
        cuts = quantiles(delays, n=100)
        print(f"{label:<22}{faults:>8}{cuts[49]:>10.1f}{cuts[94]:>10.1f}{cuts[98]:>10.1f}")


def main() -> None:
    given = arguments()
    simulator = ["-m", "tests.simulators.openai", "--port", "0", "--key", KEY]
    simulator += ["--tokens", str(given.tokens), "--rate", str(given.rate)]
    with tempfile.TemporaryDirectory() as data, started(*simulator) as upstream:
        env = {"DATA_DIR": data, "PROVIDER_ALLOW_PRIVATE": "true", "RATE_LIMITS": "off"}
        widget = prepared(upstream, env)
        print(f"{given.visitors} visitors, {given.rate:g} tokens/s each; delays in ms")
        print(f"{'':<22}{'faults':>8}{'p50':>10}{'p95':>10}{'p99':>10}")
        row("direct (the floor)", asyncio.run(direct(upstream, given.visitors)), given.tokens)
        with started("manage.py", "serve", "--port", "0", **env) as server:
            receipts = asyncio.run(relayed(server, widget, given.visitors))
        row("through the service", receipts, given.tokens)


def prepared(upstream: str, env: dict[str, str]) -> str:
    """Migrate, make agent and widget; return the widget's key."""

    def manage(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=os.environ | env,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    manage("migrate", "-v0")
    agent = ["create_agent", "--name", "Bench", "--provider", "openai"]
    agent += ["--base-url", f"{upstream}/v1", "--credential", f"api_key={KEY}"]
    made = json.loads(manage(*agent, "--option", "model=sim-1"))
    widget = json.loads(manage("create_widget", "--name", "Bench", "--agent", made["id"]))
    return str(widget["key"])


if __name__ == "__main__":
    main()
