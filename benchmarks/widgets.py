"""What a widget costs the page it is on, beside those that npm offers.

    python -m benchmarks.widgets [--rounds 5]

A real Chromium, its CPU slowed down four times, opens a plain page with each widget in turn,
several times round; then one long answer streams into those that can be fed. The peers are
downloaded by `npm pack`, checked against their hashes, and served from loopback like ours; the
browser can reach no other host. README.md says how to read the tables.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page, Request, Response, sync_playwright

from .processes import LOAD_CORE, ROOT, RunFailedError, free_port, python, server
from .widget_peers import BLANK, PEERS, TEXTBOOK, Peer, files_of

CHROMIUM = "/usr/bin/chromium"
THROTTLE = 4
SETTLE_MS = 1500
"""So long after its launcher is seen a widget may go on loading before it counts as at rest."""
PATIENCE_MS = 20_000
PIECES, EVERY_MS = 600, 15
"""The long answer comes in so many pieces, one every so often."""

PARAGRAPH = """\
### A heading in the middle

Some **bold** words, some *italic* ones, `code`, and a [link](https://example.com/a/page). {filler}

- one thing, and then another
- a second thing with `more code`

| Plan | Seats | Price |
|:-----|:-----:|------:|
| Solo | 1     |   9 € |

```python
def greet(name: str) -> str:
    return f"Hello, {{name}}!"
```

"""


def long_answer() -> str:
    """Return 10,000 characters of Markdown."""
    filler = "A sentence that says little and takes its time to do so. " * 5
    return (PARAGRAPH.format(filler=filler) * 20)[:10_000]


def pieces() -> list[str]:
    answer = long_answer()
    size = -(-len(answer) // PIECES)
    return [answer[at : at + size] for at in range(0, len(answer), size)]


# --- the site, and the upstream behind our own server ---------------------------------------------

KINDS = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css"}


class Site:
    """A plain website whose page has one widget; also the agent that our own server asks."""

    def __init__(self) -> None:
        site = self
        self.body = ""
        self.folder: Path | None = None

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(*site.found(self.path.partition("?")[0]))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if not self.path.endswith("/chat/completions"):
                    self._answer(200, "application/json", b"{}")
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                for piece in pieces():
                    choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
                    self._event(json.dumps({"id": "x", "choices": [choice]}))
                    time.sleep(EVERY_MS / 1000)
                self._event(json.dumps({"id": "x", "choices": [END]}))
                self._event("[DONE]")
                self.close_connection = True

            def _event(self, data: str) -> None:
                self.wfile.write(f"data: {data}\n\n".encode())
                self.wfile.flush()

            def _answer(self, status: int, kind: str, body: bytes) -> None:
                packed = gzip.compress(body, 9)
                self.send_response(status)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Encoding", "gzip")
                self.send_header("Content-Length", str(len(packed)))
                self.end_headers()
                self.wfile.write(packed)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def found(self, path: str) -> tuple[int, str, bytes]:
        """Return status, type and body of what is asked for."""
        if path == "/":
            page = PAGE.replace("BODY", self.body)
            return 200, "text/html", page.encode()
        file = MARKED if path == "/marked.js" else None
        if self.folder and path.startswith("/files/"):
            file = (self.folder / path.removeprefix("/files/")).resolve()
            if not file.is_relative_to(self.folder):
                file = None
        if file and file.is_file():
            kind = KINDS.get(file.suffix, "application/octet-stream")
            return 200, kind, file.read_bytes()
        return 200, "application/json", b"{}"  # what a vendor's own server would say

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


END = {"index": 0, "delta": {}, "finish_reason": "stop"}
MARKED = ROOT / "frontend/node_modules/marked/lib/marked.umd.js"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A site</title>
<h1>A site</h1><p>With some words.</p><script>window.tagged = performance.now()</script>
BODY</html>"""


@contextmanager
def ours(site: Site, folder: Path) -> Iterator[Peer]:
    """Run this project, with a widget for the site whose agent is the site's own upstream."""
    env = {
        "DATA_DIR": str(folder / "data"),
        "PROVIDER_ALLOW_PRIVATE": "true",
        "RATE_LIMITS": "off",
    }

    def manage(*arguments: str) -> Any:
        command = python("-m", "chatwidget", *arguments)
        done = subprocess.run(
            command, env=os.environ | env, cwd=ROOT, check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout) if done.stdout.startswith("{") else None

    manage("migrate", "-v0")
    port = free_port()
    env["PUBLIC_URL"] = f"http://127.0.0.1:{port}"
    command = python("-m", "chatwidget", "serve", "--port", str(port))
    with server(command, port, core=LOAD_CORE, cwd=folder, env=env):
        agent = manage(
            *("create_agent", "--name", "Upstream", "--provider", "openai"),
            *("--base-url", f"{site.origin}/v1", "--credential", "api_key=x"),
            *("--option", "model=x"),
        )
        widget = manage(
            "create_widget", "--name", "Site", "--agent", agent["id"], "--origin", site.origin
        )
        yield Peer(
            label="chatwidget (ours)",
            page=widget["snippet"],
            launcher="button[aria-haspopup=dialog]",
            composer=".composer textarea",
            asks=True,
        )


# --- what is measured -----------------------------------------------------------------------------

# In every frame: when was each of the two first seen? Clocks of all frames are one.
WATCH = """
(() => {
  const wanted = %s;
  window.seen = {};
  const find = (root, selector) => {
    const found = [...root.querySelectorAll(selector)].find((one) => {
      const {width, height} = one.getBoundingClientRect();
      const style = getComputedStyle(one);
      return width && height && style.visibility === "visible" && style.opacity > 0.5;
    });
    if (found) return found;
    for (const one of root.querySelectorAll("*")) {
      const deeper = one.shadowRoot && find(one.shadowRoot, selector);
      if (deeper) return deeper;
    }
  };
  const look = () => {
    for (const [name, selector] of Object.entries(wanted)) {
      if (selector && !(name in window.seen) && find(document, selector)) {
        window.seen[name] = performance.timeOrigin + performance.now();
      }
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  window.tasks = 0;
  new PerformanceObserver((list) => {
    for (const {duration} of list.getEntries()) window.tasks += duration;
  }).observe({type: "longtask", buffered: true});
  addEventListener("click", () => {
    window.clicked = performance.timeOrigin + performance.now();
  }, true);
})();
"""


@dataclass(slots=True)
class Load:
    """One cold load of the page, and of the panel."""

    before_kb: float = 0.0
    before_requests: int = 0
    usable_kb: float = 0.0
    usable_requests: int = 0
    elsewhere: int = 0
    """Requests for other hosts. None of them is answered."""
    launcher_ms: float | None = None
    long_tasks_ms: float = 0.0
    heap_mb: float = 0.0
    open_ms: float | None = None


class Traffic:
    """What came over the line, the page itself apart."""

    def __init__(self, page: Page, origin: str) -> None:
        self._came: list[Response] = []
        self.elsewhere = 0

        def came(response: Response) -> None:
            ours = response.url.rstrip("/") == origin or response.request.resource_type == "xhr"
            if response.ok and response.request.method == "GET" and not ours:
                self._came.append(response)

        def asked(request: Request) -> None:
            self.elsewhere += not request.url.startswith(("http://127.0.0.1:", "data:", "blob:"))

        page.on("response", came)
        page.on("request", asked)

    def so_far(self) -> tuple[float, int]:
        """Return (kB gzipped, requests)."""
        came = list(self._came)
        return sum(len(gzip.compress(one.body(), 9)) for one in came) / 1000, len(came)


@contextmanager
def opened(browser: Browser, site: Site, peer: Peer) -> Iterator[tuple[Page, CDPSession]]:
    """Yield a page of a browser that was never here, its CPU slowed down."""
    site.folder = files_of(peer) if peer.package else None
    site.body = peer.page.replace("%s", "/files")
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(
        WATCH % json.dumps({"launcher": peer.launcher, "composer": peer.composer})
    )
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable")
    session.send("Emulation.setCPUThrottlingRate", {"rate": THROTTLE})
    try:
        yield page, session
    finally:
        context.close()


FEED = """([pieces, every, patience]) => new Promise(async (done, failed) => {
  setTimeout(() => failed(new Error("the answer did not come")), patience);
  %s
})"""


def metric(session: CDPSession, name: str) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == name))


def seen(page: Page, name: str) -> float:
    """Return when any frame saw it, in milliseconds since 1970; waits until one has."""
    until = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < until:
        for frame in page.frames:
            if at := frame.evaluate("(name) => window.seen?.[name]", name):
                return float(at)
        page.wait_for_timeout(20)
    raise RunFailedError(f"no {name} was seen")


def load(browser: Browser, site: Site, peer: Peer) -> Load:
    """Open the page, wait until it rests, open the panel."""
    result = Load()
    with opened(browser, site, peer) as (page, session):
        traffic = Traffic(page, site.origin)
        page.goto(site.origin)
        first = "launcher" if peer.launcher else "composer"
        if getattr(peer, first):
            tagged = page.evaluate("performance.timeOrigin + tagged")
            result.launcher_ms = seen(page, first) - tagged
        page.wait_for_timeout(SETTLE_MS)
        result.long_tasks_ms = page.evaluate("tasks")
        session.send("HeapProfiler.collectGarbage")
        result.heap_mb = metric(session, "JSHeapUsedSize") / 1e6
        result.before_kb, result.before_requests = traffic.so_far()
        if peer.launcher:
            page.locator(peer.launcher).first.click()
            result.open_ms = seen(page, "composer") - page.evaluate("clicked")
        result.usable_kb, result.usable_requests = traffic.so_far()
        result.elsewhere = traffic.elsewhere
    return result


@dataclass(slots=True)
class Streamed:
    """The long answer, streamed."""

    busy_s: float
    """What the page's main thread had to do."""
    long_tasks_ms: float
    took_s: float


def stream(browser: Browser, site: Site, peer: Peer) -> Streamed:
    """Have the long answer come."""
    with opened(browser, site, peer) as (page, session):
        page.goto(site.origin)
        if peer.asks:
            page.locator(peer.launcher).click()
            panel = page.frame_locator("iframe")
            composer = panel.locator(peer.composer)
            composer.fill("Tell me all")
        elif peer.composer:
            seen(page, "composer")
        page.wait_for_timeout(SETTLE_MS)
        where = page.frames[-1]
        tasks = where.evaluate("tasks")
        busy, began = metric(session, "TaskDuration"), time.monotonic()
        if peer.asks:
            composer.press("Enter")
            panel.locator(".thumbs").wait_for()
        else:
            page.evaluate(FEED % peer.feed, [pieces(), EVERY_MS, PATIENCE_MS * 4])
        took = time.monotonic() - began
        return Streamed(
            busy_s=metric(session, "TaskDuration") - busy,
            long_tasks_ms=where.evaluate("tasks") - tasks,
            took_s=took,
        )


# --- the tables -----------------------------------------------------------------------------------


def median(values: list[float | None]) -> float | None:
    found = [one for one in values if one is not None]
    return statistics.median(found) if found else None


def cell(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def print_table(heads: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(heads) + " |")
    print("| --- |" + " --: |" * (len(heads) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def in_turn(peers: list[Peer], rounds: int, measure: Callable[[Peer], Any]) -> dict[str, list[Any]]:
    """Measure everybody `rounds` times, in turn, so that a bad minute meets them all."""
    found: dict[str, list[Any]] = {}
    for number in range(rounds):
        for peer in peers:
            print(f"{number + 1}/{rounds} {peer.label}", file=sys.stderr, flush=True)
            try:
                found.setdefault(peer.label, []).append(measure(peer))
            except Exception as error:  # the others' figures stand all the same
                print(f"  FAILED: {str(error)[:300]}", file=sys.stderr, flush=True)
    return {label: results for label, results in found.items() if results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="cold loads of each; medians count")
    parser.add_argument(
        "--without-peers", action="store_true", help="ours alone: nothing is downloaded"
    )
    given = parser.parse_args()
    peers = () if given.without_peers else PEERS
    site = Site()
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        ours(site, Path(folder)) as mine,
        sync_playwright() as playwright,
    ):
        arguments = [
            "--no-sandbox",
            "--disable-gpu",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        loads = in_turn([BLANK, mine, *peers], given.rounds, lambda peer: load(browser, site, peer))
        fed = [one for one in (mine, *peers, TEXTBOOK) if one.feed or one.asks]
        streams = in_turn(fed, max(1, given.rounds // 2), lambda peer: stream(browser, site, peer))
        print(f"Chromium {browser.version}, CPU slowed {THROTTLE} times, {given.rounds} rounds\n")
        browser.close()
    site.close()
    heads = ["widget", "kB gz before", "requests", "kB gz until usable", "requests", "elsewhere"]
    heads += ["launcher ms", "long tasks ms", "heap MB", "click to composer ms"]
    print_table(heads, [load_row(label, results) for label, results in loads.items()])
    print(f"{len(long_answer()):,} characters in {PIECES} pieces, {EVERY_MS} ms apart:\n")
    heads = ["widget", "main thread s", "long tasks ms", "took s"]
    print_table(heads, [stream_row(label, results) for label, results in streams.items()])


def load_row(label: str, results: list[Load]) -> list[str]:
    def middle(name: str, digits: int = 0) -> str:
        return cell(median([getattr(one, name) for one in results]), digits)

    return [
        label,
        *(middle("before_kb", 1), middle("before_requests")),
        *(middle("usable_kb", 1), middle("usable_requests"), middle("elsewhere")),
        *(middle("launcher_ms"), middle("long_tasks_ms"), middle("heap_mb", 1), middle("open_ms")),
    ]


def stream_row(label: str, results: list[Streamed]) -> list[str]:
    return [
        label,
        cell(median([one.busy_s for one in results]), 1),
        cell(median([one.long_tasks_ms for one in results])),
        cell(median([one.took_s for one in results]), 1),
    ]


if __name__ == "__main__":
    main()
