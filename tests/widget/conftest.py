"""A real Chromium, and a website of another origin that embeds the widget."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from chatwidget.embed import snippet
from chatwidget.models import Agent, Widget
from tests.cast import make_widget, openai_agent
from tests.server import ROOT, Server
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble

CHROMIUM = "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser a module: its loop must not outlive it, for tests with loops of their own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A visitor's browser with nothing in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained of; a test that expects nothing asserts that it is empty."""
    return []


@pytest.fixture
def page(context: BrowserContext, complaints: list[str]) -> Page:
    page = context.new_page()

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page


class Site:
    """A website on an origin of its own. `body` is what its page shows, the snippet included."""

    def __init__(self) -> None:
        site = self
        self.body = ""
        self.headers: dict[str, str] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = f"<!doctype html><html lang=en><title>A site</title>{site.body}</html>"
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                for name, value in site.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def model(openai: OpenAISimulator) -> Agent:
    """An agent that streams what the simulator is told to."""
    return openai_agent(openai)


@pytest.fixture
def widget(model: Agent, site: Site) -> Widget:
    """A widget that the site may show."""
    return make_widget(model, origins=[site.origin], starters=["What can you do?"])


def embed(site: Site, widget: Widget, server: Server) -> None:
    """Put the widget's snippet on the site."""
    site.body = f"<main><h1>A site</h1></main>{snippet(widget, server.url)}"


@pytest.fixture
def bubble(page: Page, site: Site, widget: Widget, server: Server) -> Bubble:
    """The widget, closed, on the site's page."""
    embed(site, widget, server)
    page.goto(site.origin)
    return Bubble(page)


@pytest.fixture
def forbidden(page: Page, site: Site, widget: Widget, server: Server) -> Bubble:
    """The same on the page of a site that may not show it."""
    widget.origins = ["https://elsewhere.example"]
    widget.save()
    embed(site, widget, server)
    page.goto(site.origin)
    return Bubble(page)


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's script."""
    return (ROOT / "frontend/node_modules/axe-core/axe.min.js").read_text()
