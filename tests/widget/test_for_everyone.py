"""Accessibility, as far as axe-core can see, and hostile answers."""

import pytest
from playwright.sync_api import BrowserContext, Frame, Page, expect

from chatwidget.models import Widget
from tests.server import Server
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble
from .conftest import Site, embed


def violations(where: Page | Frame, axe: str) -> list[str]:
    """Run axe-core in a frame; return the rules broken, each with its first element."""
    # What is just fading in has no contrast yet.
    where.wait_for_function(
        """() => document.getAnimations().every(({effect, playState}) =>
          effect.getTiming().iterations === Infinity || playState === 'finished')"""
    )
    # As an init expression: the panel's policy forbids scripts in the page, not in the debugger.
    where.evaluate(axe + "; undefined")
    found = where.evaluate(
        "axe.run({runOnly: ['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']})"
    )
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found["violations"]]


def panel_frame(page: Page) -> Frame:
    return next(frame for frame in page.frames if "/w/" in frame.url)


RICH = """# Title

- one
- [two](https://example.com)
- [bank.test](https://evil.test) in disguise

```py
x = 1
```

|a|b|
|-|-|
|1|2|
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_axe_finds_nothing_in_any_state(
    context: BrowserContext,
    page: Page,
    site: Site,
    widget: Widget,
    server: Server,
    openai: OpenAISimulator,
    axe: str,
    scheme: str,
    size: tuple[int, int],
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": size[0], "height": size[1]})
    embed(site, widget, server)
    page.goto(site.origin)
    bubble = Bubble(page)
    expect(bubble.launcher).to_be_visible()
    assert violations(page, axe) == []
    bubble.open()
    assert violations(panel_frame(page), axe) == []
    openai.tokens = [RICH]
    bubble.ask("Everything")
    bubble.finished()
    assert violations(panel_frame(page), axe) == []
    bubble.down.click()
    expect(bubble.panel.get_by_role("textbox", name="What was wrong with it?")).to_be_visible()
    assert violations(panel_frame(page), axe) == []
    page.context.set_offline(True)
    bubble.up.click()
    bubble.shows("Kept here, and sent when you are back online.")
    assert violations(panel_frame(page), axe) == []
    bubble.button("No comment").click()
    page.context.set_offline(False)
    bubble.shows("Thanks for your feedback.")
    bubble.button("More").click()
    assert violations(panel_frame(page), axe) == []
    bubble.button("Delete my data").click()
    assert violations(panel_frame(page), axe) == []


def test_a_finished_answer_is_announced_once_and_tokens_are_not(
    bubble: Bubble, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 3
    bubble.open().ask("Hi")
    bubble.shows("Hello, how")
    status = bubble.panel.get_by_role("status").first
    expect(bubble.log).to_have_attribute("aria-live", "off")
    expect(status).not_to_contain_text("Hello, how")
    openai.release()
    expect(status).to_contain_text("Hello, how can I help?")


def focused(page: Page) -> str:
    """Return the name of what has the focus in the panel."""
    name: str = panel_frame(page).evaluate(
        "(({ariaLabel, textContent}) => ariaLabel ?? textContent)(document.activeElement)"
    )
    return name


def test_the_keyboard_reaches_all_in_the_order_it_is_seen_and_escape_goes_back(
    bubble: Bubble, page: Page
) -> None:
    bubble.open().ask("Hi")
    bubble.finished()
    panel = bubble.panel
    expect(bubble.composer).to_be_focused()
    order = []
    for _ in range(5):
        page.keyboard.press("Shift+Tab")
        order.append(focused(page))
    assert order[:3] == ["Bad answer", "Good answer", "Copy answer"]
    assert order[3].startswith("Conversation with")
    assert order[4] == "Close chat"
    bubble.button("Good answer").press("Enter")
    box = panel.get_by_role("textbox", name="What was good about it?")
    expect(box).to_be_visible()
    page.keyboard.press("Escape")
    expect(box).to_have_count(0)
    expect(bubble.up).to_be_focused()
    bubble.button("More").press("Enter")
    expect(panel.get_by_role("switch")).to_be_focused()
    page.keyboard.press("Escape")
    expect(bubble.button("More")).to_be_focused()
    expect(bubble.launcher).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(bubble.launcher).to_have_attribute("aria-expanded", "false")
    expect(bubble.launcher).to_be_focused()


def test_in_forced_colours_one_sees_what_is_pressed_and_where_fields_end(
    bubble: Bubble, page: Page, axe: str
) -> None:
    page.emulate_media(forced_colors="active")
    bubble.open().ask("Hi")
    bubble.finished()
    bubble.down.click()
    bubble.button("Incomplete").click()
    for pressed in (bubble.down, bubble.button("Incomplete")):
        expect(pressed).to_have_css("outline-style", "solid")
    edged = [".question", ".composer", ".comment", ".composer .send"]
    for place in edged:
        expect(bubble.panel.locator(place)).to_have_css("border-top-style", "solid")
    assert violations(panel_frame(page), axe) == []


def test_who_wants_less_motion_sees_none(
    bubble: Bubble, page: Page, openai: OpenAISimulator
) -> None:
    page.emulate_media(reduced_motion="reduce")
    openai.odd.stall_after = 0
    bubble.open().ask("Hi")
    expect(bubble.panel.locator(".dots")).to_be_visible()
    panel_frame(page).wait_for_function(
        "() => document.getAnimations().every((one) => one.playState === 'finished')"
    )


def test_an_unknown_widget_says_so_in_plain_words(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/w/pk_unknown/")
    expect(page.get_by_text("This chat is not available")).to_be_visible()


def test_a_forbidden_site_cannot_show_the_panel(forbidden: Bubble, page: Page) -> None:
    forbidden.launcher.click()
    expect(page.locator("iframe")).to_be_attached()
    page.wait_for_function("performance.getEntriesByType('resource').length > 0")
    expect(forbidden.panel.get_by_role("log")).to_have_count(0)
