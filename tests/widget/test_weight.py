"""What the panel weighs until it can be used, and that what comes later is never missed."""

import gzip
import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from chatwidget.models import Widget
from tests.server import Server
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble
from .conftest import Site, embed

LATER = re.compile(r"/later\.[0-9a-f]{12}\.js")
UNTIL_USABLE = {"en": 27_500, "uk": 30_000}
"""Bytes, gzipped: page, style and script. Ukrainian has the heaviest words.

Django makes each page up to 100 bytes heavier, at random, so that nobody can guess its secrets.
"""


def weight(url: str) -> int:
    """Return how many bytes come over the line, gzipped."""
    with httpx.stream("GET", url, headers={"Accept-Encoding": "gzip"}, trust_env=False) as answer:
        assert answer.status_code == 200
        body = b"".join(answer.iter_raw())
    return len(body if "Content-Encoding" in answer.headers else gzip.compress(body, 9))


@pytest.mark.parametrize("locale", UNTIL_USABLE)
def test_all_until_the_composer_is_usable_is_within_its_budget(
    page: Page, site: Site, widget: Widget, server: Server, locale: str
) -> None:
    """Four requests: widget.js (3 kB), the page (1), panel.css (4) and panel.js (21).

    later.js (14 kB) is left waiting: nobody needs it to type.
    """
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.route(LATER, lambda route: None)
    widget.locale = locale
    widget.save()
    embed(site, widget, server)
    page.goto(site.origin)
    bubble = Bubble(page).open()
    bubble.composer.fill("Usable")
    needed = [url for url in asked if url.startswith(server.url + "/") and not LATER.search(url)]
    names = [url.partition("?")[0].removesuffix("/").rsplit("/", 1)[1] for url in needed]
    assert names[:4] == ["widget.js", widget.key, "panel.css", "panel.js"]
    assert set(names[4:]) <= {"sessions", "v1"}, "the session that writing begins"
    weights = dict(zip(names, map(weight, needed[:4]), strict=False))
    assert weights["widget.js"] <= 3_000, weights
    assert sum(weights.values()) - weights["widget.js"] <= UNTIL_USABLE[locale], weights


def hold(held: list[Route], route: Route) -> None:
    held.append(route)


def test_an_answer_is_shown_whole_before_the_markdown_lexer_is_there(
    bubble: Bubble, page: Page, openai: OpenAISimulator, complaints: list[str]
) -> None:
    held: list[Route] = []
    page.route(LATER, lambda route: hold(held, route))
    openai.tokens = ["Hello ", "**world**", ".\n\n", "- one\n", "- two"]
    bubble.open().ask("Hi")
    bubble.finished()
    bubble.shows("Hello **world**.")
    bubble.shows("- two")
    bubble.down.click()
    held[0].continue_()
    expect(bubble.log.locator("strong")).to_have_text("world")
    expect(bubble.log.get_by_role("listitem")).to_have_text(["one", "two"])
    expect(bubble.down).to_have_attribute("aria-pressed", "true")
    assert complaints == []


def broken(route: Route) -> None:
    route.fulfill(body="export const Lexer = ", content_type="text/javascript")


def proxied(route: Route) -> None:
    route.fulfill(status=502, body="<h1>Bad gateway</h1>", content_type="text/html")


@pytest.mark.parametrize(
    "fail", [lambda route: route.abort(), broken, proxied], ids=["cut", "half", "proxy"]
)
def test_what_does_not_come_is_asked_for_again(
    bubble: Bubble, page: Page, openai: OpenAISimulator, fail: Callable[[Route], None]
) -> None:
    tries: list[str] = []

    def first_twice(route: Route) -> None:
        tries.append(route.request.url)
        if len(tries) <= 2:
            fail(route)
        else:
            route.continue_()

    page.route(LATER, first_twice)
    openai.tokens = ["**All** there"]
    bubble.open().ask("Hi")
    bubble.finished()
    bubble.shows("All")
    expect(bubble.log.locator("strong")).to_have_text("All", timeout=20_000)
    assert len(tries) == 3
