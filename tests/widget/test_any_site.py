"""At home on any site: whatever a page does to itself, its visitors can chat."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from chatwidget.embed import snippet
from chatwidget.models import Agent, Widget
from tests.cast import make_widget
from tests.server import Server
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble
from .conftest import CHROMIUM, QUIET, Site, embed

NEXT_PAGE = "<main><h1>The next page</h1></main>"


def answers(bubble: Bubble) -> None:
    """Show that a visitor can ask and read."""
    bubble.ask("Hi")
    bubble.shows("Hello, how can I help?")
    bubble.finished()


def loaded(page: Page, server: Server) -> list[str]:
    """Collect what the page loads from the service."""
    urls: list[str] = []
    page.on(
        "request",
        lambda request: urls.append(request.url) if request.url.startswith(server.url) else None,
    )
    return urls


def complaint(page: Page, code: str, act: Callable[[], object]) -> str:
    """Return what the console says under that code, once `act` is done."""
    with page.expect_console_message(
        lambda said: said.text.startswith(f"[chatwidget] {code}: ")
    ) as said:
        act()
    return said.value.text.partition(": ")[2]


# --- pages that change under the visitor ----------------------------------------------------------

SWAPS = {
    "body replaced": """(html) => {
        const body = document.createElement("body");
        body.innerHTML = html;
        document.body.replaceWith(body);
    }""",
    "body emptied": "(html) => { document.body.innerHTML = html; }",
    "everything replaced": """(html) => {
        const head = document.createElement("head"), body = document.createElement("body");
        body.innerHTML = html;
        document.documentElement.replaceChildren(head, body);
    }""",
}


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS.keys())
def test_the_bubble_outlives_what_a_router_does_to_the_page(
    bubble: Bubble, page: Page, swap: str, complaints: list[str]
) -> None:
    bubble.open().ask("Hi")
    bubble.finished()
    page.evaluate(swap, NEXT_PAGE)
    expect(page.get_by_role("heading", name="The next page")).to_be_visible()
    bubble.shows("Hello, how can I help?")
    bubble.ask("And?")
    expect(bubble.panel.get_by_role("button", name="Good answer")).to_have_count(2)
    assert complaints == []


@pytest.mark.parametrize("swap", list(SWAPS.values())[:2], ids=list(SWAPS)[:2])
def test_an_answer_goes_on_on_the_next_page(
    bubble: Bubble, page: Page, openai: OpenAISimulator, server: Server, swap: str
) -> None:
    openai.odd.stall_after = 3
    bubble.open().ask("Hi")
    bubble.shows("Hello, how")
    urls = loaded(page, server)
    page.evaluate(swap, NEXT_PAGE)
    openai.release()
    bubble.finished()
    bubble.shows("Hello, how can I help?")
    assert [url for url in urls if "/w/" in url] == [], "the panel was not loaded again"


def test_the_bubble_comes_back_when_the_page_removes_it(bubble: Bubble, page: Page) -> None:
    bubble.open().ask("Hi")
    bubble.finished()
    page.evaluate("document.querySelector('chat-widget').remove()")
    expect(bubble.launcher).to_be_visible()
    bubble.shows("Hello, how can I help?")


def test_a_script_in_the_head_waits_for_the_body(
    page: Page, site: Site, widget: Widget, server: Server, complaints: list[str]
) -> None:
    site.body = f"<head>{snippet(widget, server.url).replace(' async', '')}</head><body>A page"
    page.goto(site.origin)
    bubble = Bubble(page)
    expect(bubble.launcher).to_be_visible()
    assert page.evaluate("document.body.nextElementSibling.localName") == "chat-widget"
    answers(bubble.open())
    assert complaints == []


def test_a_script_that_is_there_twice_makes_one_bubble(
    page: Page, site: Site, widget: Widget, server: Server, complaints: list[str]
) -> None:
    embed(site, widget, server)
    site.body += snippet(widget, server.url)
    page.goto(site.origin)
    page.wait_for_function("window.first = window.ChatWidget")
    page.add_script_tag(url=f"{server.url}/widget.js?again")
    expect(page.locator("chat-widget")).to_have_count(1)
    assert page.evaluate("window.ChatWidget === first")
    answers(Bubble(page).open())
    assert complaints == []


# --- pages that are hostile, or just strict -------------------------------------------------------


def strict_policy(server: Server) -> str:
    """The lines of docs/widget.md, and nothing besides."""
    return (
        f"default-src 'none'; script-src {server.url}; frame-src {server.url}; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def test_two_words_in_a_strict_policy_are_enough(
    page: Page, site: Site, widget: Widget, server: Server, complaints: list[str]
) -> None:
    embed(site, widget, server)
    site.headers = {"Content-Security-Policy": strict_policy(server)}
    page.goto(site.origin)
    answers(Bubble(page).open())
    page.evaluate("ChatWidget.setTheme('dark'), ChatWidget.hide(), ChatWidget.open()")
    page.evaluate("ChatWidget.destroy()")
    assert complaints == []


def test_a_site_that_isolates_itself_can_show_it(
    page: Page, site: Site, widget: Widget, server: Server, complaints: list[str]
) -> None:
    embed(site, widget, server)
    site.headers = {
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
    }
    page.goto(site.origin)
    assert page.evaluate("crossOriginIsolated")
    answers(Bubble(page).open())
    assert complaints == []


HOSTILE_STYLE = """<style>
    * { all: unset !important }
    html > *, chat-widget, chat-widget * { position: static !important; display: none !important;
        opacity: 0 !important; width: 1px !important; transform: rotate(30deg) !important }
    body { display: block !important; opacity: 1 !important; transform: none !important }
    button, iframe, div, svg, b { display: none !important; color: red !important }
</style>"""


def test_a_pages_style_cannot_reach_it(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    embed(site, widget, server)
    page.goto(site.origin)
    bubble = Bubble(page)
    expect(bubble.launcher).to_be_visible()
    place = bubble.launcher.bounding_box()
    bubble.open()
    frame = page.locator("chat-widget iframe").bounding_box()
    site.body += HOSTILE_STYLE
    page.goto(site.origin)
    expect(bubble.launcher).to_be_visible()
    assert bubble.launcher.bounding_box() == place
    bubble.open()
    page.wait_for_function(
        """(wanted) => {
            const iframe = document.querySelector("chat-widget").shadowRoot.querySelector("iframe");
            const { x, y, width, height } = iframe.getBoundingClientRect();
            return JSON.stringify({ x, y, width, height }) === JSON.stringify(wanted);
        }""",
        arg=frame,
    )
    answers(bubble)


PATCHED = """<script>
    const broken = () => { throw new Error("patched") };
    for (const name of ["map", "filter", "forEach", "find", "findIndex", "includes", "indexOf",
        "some", "every", "reduce", "concat", "slice", "splice", "join", "flatMap", "entries"]) {
        Array.prototype[name] = broken;
    }
    Array.prototype.toJSON = Object.prototype.toJSON = () => "patched";
    Object.prototype.extra = Array.prototype.extra = String.prototype.extra = "patched";
    Function.prototype.bind = String.prototype.split = String.prototype.trim = broken;
    Element.prototype.toggle = Element.prototype.show = Element.prototype.hide = broken;
    JSON.parse = JSON.stringify = broken;
    window.fetch = window.XMLHttpRequest = window.WebSocket = window.$ = broken;
</script>"""


def test_patched_prototypes_do_not_matter(
    page: Page, site: Site, widget: Widget, server: Server, complaints: list[str]
) -> None:
    embed(site, widget, server)
    site.body = f"{PATCHED}{site.body}<button data-chatwidget-open=Words>More</button>"
    page.goto(site.origin)
    answers(Bubble(page).open())
    page.get_by_role("button", name="More", exact=True).click()
    expect(Bubble(page).composer).to_have_value("Words")
    assert complaints == []


def test_it_is_above_whatever_a_page_puts_on_top(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    embed(site, widget, server)
    site.body += (
        "<div style='position:fixed;inset:0;z-index:1000000;background:#fff'></div>"
        "<style>body { transform: scale(.5); filter: blur(1px); overflow: hidden }</style>"
    )
    page.goto(site.origin)
    answers(Bubble(page).open())


# --- what the browser refuses ---------------------------------------------------------------------


@pytest.fixture
def refusing(browser: Browser) -> Iterator[Callable[[dict[str, Any]], Page]]:
    """Start a browser with those preferences of a profile."""
    with tempfile.TemporaryDirectory(prefix="chatwidget-profile-") as folder:
        contexts: list[BrowserContext] = []

        def start(profile: dict[str, Any]) -> Page:
            (Path(folder) / "Default").mkdir()
            (Path(folder) / "Default" / "Preferences").write_text(json.dumps({"profile": profile}))
            context = browser.browser_type.launch_persistent_context(
                folder, executable_path=CHROMIUM, args=QUIET
            )
            contexts.append(context)
            context.set_default_timeout(15_000)
            return context.pages[0]

        yield start
        for context in contexts:
            context.close()


CAN_STORE = "() => { try { localStorage.x = 1; return true } catch { return false } }"


def test_where_storage_is_blocked_one_can_chat_until_the_page_is_left(
    refusing: Callable[[dict[str, Any]], Page], site: Site, widget: Widget, server: Server
) -> None:
    page = refusing({"default_content_setting_values": {"cookies": 2}})
    embed(site, widget, server)
    page.goto(site.origin)
    assert page.evaluate(CAN_STORE) is False
    bubble = Bubble(page)
    words = complaint(page, "storage_blocked", bubble.open)
    assert "forgotten" in words
    answers(bubble)
    assert page.evaluate("ChatWidget.isOpen()") is True


def test_where_third_parties_may_store_nothing_one_can_chat_too(
    refusing: Callable[[dict[str, Any]], Page], site: Site, widget: Widget, server: Server
) -> None:
    page = refusing({"cookie_controls_mode": 1, "block_third_party_cookies": True})
    elsewhere = site.origin.replace("127.0.0.1", "localhost")  # another site, not only origin
    widget.origins = [elsewhere]
    widget.save()
    embed(site, widget, server)
    page.goto(elsewhere)
    assert page.evaluate(CAN_STORE) is True
    bubble = Bubble(page)
    bubble.open()
    [panel] = [frame for frame in page.frames if "/w/" in frame.url]
    assert panel.evaluate(CAN_STORE) is False
    answers(bubble)


# --- before interest, and on coming back ----------------------------------------------------------


def test_the_page_does_not_move(page: Page, site: Site, widget: Widget, server: Server) -> None:
    embed(site, widget, server)
    site.body += "<p>" + "Words. " * 500
    page.goto(site.origin)
    page.evaluate("""() => {
        window.shifts = 0;
        new PerformanceObserver((list) => { shifts += list.getEntries().length })
            .observe({ type: "layout-shift", buffered: true });
    }""")
    answers(Bubble(page).open())
    assert page.evaluate("shifts") == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_returning_visitor_sees_what_came_meanwhile(
    bubble: Bubble, page: Page, site: Site, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 1
    bubble.open().ask("Hi")
    bubble.shows("Hello")
    page.wait_for_function("localStorage.length")
    assert page.evaluate("Object.entries(localStorage)") == [[f"chatwidget:{widget.key}", "1"]]
    page.goto("about:blank")
    openai.release()
    page.goto(site.origin)
    expect(bubble.launcher).to_have_accessible_name("Open chat: 1", timeout=20_000)
    expect(page.locator("chat-widget b")).to_have_text("1")
    bubble.open().shows("Hello, how can I help?")
    expect(bubble.launcher).to_have_accessible_name("Open chat")


# --- other places ---------------------------------------------------------------------------------


def inline(site: Site, widget: Widget, server: Server) -> None:
    """Put the chat into an element of the page."""
    tag = snippet(widget, server.url).replace("<script", '<script data-target="#chat"')
    site.body = (
        f"<main><h1>Help</h1><div id=chat style='height:600px;width:500px'></div></main>{tag}"
    )


def test_the_chat_can_be_a_part_of_the_page(
    page: Page, site: Site, widget: Widget, server: Server, complaints: list[str]
) -> None:
    inline(site, widget, server)
    page.goto(site.origin)
    bubble = Bubble(page)
    expect(bubble.composer).to_be_visible()
    expect(bubble.launcher).to_be_hidden()
    place = page.locator("#chat").bounding_box()
    assert page.locator("#chat iframe").bounding_box() == place
    assert page.evaluate("document.activeElement === document.body"), "the focus was left alone"
    expect(bubble.button("Close chat")).to_have_count(0)
    bubble.ask("Hi")
    bubble.finished()
    bubble.composer.press("Escape")
    page.evaluate("ChatWidget.close()")
    expect(bubble.composer).to_be_visible()
    assert page.evaluate("ChatWidget.isOpen()") is True
    assert complaints == []


def test_a_part_of_the_page_comes_with_the_page_that_has_it(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    inline(site, widget, server)
    page.goto(site.origin)
    bubble = Bubble(page)
    expect(bubble.composer).to_be_visible()
    bubble.ask("Hi")
    bubble.finished()
    page.evaluate(SWAPS["body emptied"], NEXT_PAGE)
    expect(page.locator("chat-widget")).to_have_count(0)
    page.evaluate(SWAPS["body replaced"], "<section id=chat></section>")
    bubble.shows("Hello, how can I help?")
    box = page.locator("#chat iframe").bounding_box()
    assert box
    assert box["height"] >= 480, "also where the page gives it no height"


def test_a_part_far_down_the_page_loads_when_it_is_near(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    inline(site, widget, server)
    site.body = f"<div style='height:20000px'></div>{site.body}"
    urls = loaded(page, server)
    page.goto(site.origin)
    expect(page.locator("#chat iframe")).to_be_attached()
    page.evaluate("new Promise(requestIdleCallback)")
    assert urls == [f"{server.url}/widget.js"]
    page.locator("#chat").scroll_into_view_if_needed()
    expect(Bubble(page).composer).to_be_visible()


def test_the_panel_is_a_page_of_its_own(page: Page, widget: Widget, server: Server) -> None:
    page.goto(f"{server.url}/w/{widget.key}/")
    page.get_by_role("textbox").fill("Hi")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Good answer")).to_be_visible()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (740, 360), (1280, 480)])
def test_where_there_is_little_room_the_panel_has_all_of_it(
    bubble: Bubble, page: Page, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    bubble.open()
    box = page.locator("iframe").bounding_box()
    assert box == {"x": 0, "y": 0, "width": width, "height": height}
    expect(bubble.launcher).to_be_hidden()
    bubble.button("Close chat").click()
    expect(bubble.launcher).to_be_visible()


# --- the doctor: refusals explain themselves ------------------------------------------------------


def listen(page: Page) -> None:
    """Have the site itself listen to errors, too."""
    page.wait_for_function("window.ChatWidget")
    page.evaluate("window.errors = [], ChatWidget.on('error', (error) => errors.push(error)), 0")


def test_an_origin_that_is_not_allowed_is_named(forbidden: Bubble, page: Page, site: Site) -> None:
    listen(page)
    words = complaint(page, "origin_not_allowed", forbidden.launcher.click)
    assert words == f"add {site.origin} to the widget's sites in the admin"
    expect(forbidden.panel.get_by_role("heading")).to_have_text("This chat is not available here")
    page.wait_for_function("errors.length === 1")
    assert page.evaluate("errors") == [{"code": "origin_not_allowed", "message": words}]
    forbidden.button("Close").click()
    expect(forbidden.launcher).to_have_attribute("aria-expanded", "false")
    page.reload()
    expect(forbidden.launcher).to_be_visible()


def test_the_browsers_own_page_of_refusal_is_never_seen(forbidden: Bubble, page: Page) -> None:
    frame = page.locator("iframe")
    forbidden.launcher.click()
    expect(forbidden.launcher).to_have_attribute("aria-expanded", "true")
    expect(frame).to_have_css("opacity", "0")
    assert "doctor" not in str(frame.get_attribute("src")), "refused, and nothing in its place yet"
    expect(forbidden.panel.get_by_role("heading")).to_have_text("This chat is not available here")
    expect(frame).to_have_css("opacity", "1")


def test_an_unknown_key_is_named(page: Page, site: Site, widget: Widget, server: Server) -> None:
    embed(site, widget, server)
    site.body = site.body.replace(widget.key, "pk_unknown")
    page.goto(site.origin)
    words = complaint(page, "widget_not_found", Bubble(page).launcher.click)
    assert "/w/pk_unknown/" in words


def test_a_missing_key_is_told_at_once(page: Page, site: Site, server: Server) -> None:
    site.body = f"<script src='{server.url}/widget.js'></script>"
    complaint(page, "key_missing", lambda: page.goto(site.origin))
    assert page.evaluate("window.ChatWidget") is None


def test_a_pause_is_told(bubble: Bubble, page: Page, widget: Widget) -> None:
    widget.paused = True
    widget.save()
    page.reload()
    assert "admin" in complaint(page, "widget_paused", bubble.launcher.click)


def test_a_policy_that_forbids_the_frame_is_named(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    embed(site, widget, server)
    policy = strict_policy(server).replace(f"frame-src {server.url}", "frame-src 'self'")
    site.headers = {"Content-Security-Policy": policy}
    page.goto(site.origin)
    listen(page)
    words = complaint(page, "csp", Bubble(page).launcher.click)
    assert words == f"add {server.url} to frame-src"
    page.wait_for_function("errors.length === 1")


def test_a_service_that_is_away_is_told(
    bubble: Bubble, page: Page, widget: Widget, server: Server
) -> None:
    def away(route: Route) -> None:
        route.abort()

    page.route("**/w/**", away)
    words = complaint(page, "unreachable", bubble.launcher.click)
    assert words == f"no answer from {server.url}/w/{widget.key}/"
    expect(bubble.launcher).to_have_attribute("aria-expanded", "false")


def test_the_doctor_shows_nothing_of_a_widget(server: Server, model: Agent) -> None:
    widget = make_widget(model, name="Secret name", title="Secret title", paused=True)
    pages = {
        httpx.get(f"{server.url}/w/{key}/doctor/", trust_env=False).text
        for key in (widget.key, "pk_unknown")
    }
    assert len(pages) == 1
