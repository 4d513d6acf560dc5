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


def test_an_unknown_widget_says_so_in_plain_words(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/w/pk_unknown/")
    expect(page.get_by_text("This chat is not available")).to_be_visible()


def test_a_forbidden_site_cannot_show_the_panel(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    widget.origins = ["https://elsewhere.example"]
    widget.save()
    embed(site, widget, server)
    page.goto(site.origin)
    bubble = Bubble(page)
    bubble.launcher.click()
    expect(page.locator("iframe")).to_be_attached()
    page.wait_for_function("performance.getEntriesByType('resource').length > 0")
    expect(bubble.panel.get_by_role("log")).to_have_count(0)
