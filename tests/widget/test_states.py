"""Every state of the panel, for everyone, and looking as it did."""

import pytest
from playwright.sync_api import Browser, Page, expect

from chatwidget.models import Widget
from tests.server import Server
from tests.simulators.openai import OpenAISimulator

from .conftest import Site
from .pictures import LOOKS, compare, side_by_side
from .states import NOON, STATES, Scene
from .test_for_everyone import panel_frame, violations

STICKS_OUT = """() => [...document.querySelectorAll('#app *')].filter((one) => {
  const {left, right, width} = one.getBoundingClientRect();
  const scrolls = one.parentElement.closest('pre, .table');
  return width > 1 && !scrolls && (left < -0.5 || right > innerWidth + 0.5);
}).map((one) => one.outerHTML.slice(0, 99))"""

# Links in a text are as high as their lines: WCAG 2.5.8 exempts them.
TOO_SMALL = """() => [...document.querySelectorAll('button, textarea')].filter((one) => {
  const {width, height} = one.getBoundingClientRect();
  return width && (width < 32 || height < 32);
}).map((one) => one.outerHTML.slice(0, 99))"""

# Whether a question was sent to the top depends on how soon its answer came: here all are there.
SETTLED = """async () => {
  const log = document.querySelector('.log');
  const turns = document.querySelectorAll('.turn');
  for (const turn of turns) turn.classList.remove('pinned');
  if (log && turns.length) log.scrollTop = [...turns].at(-1).offsetTop - 12;
  for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
}"""


@pytest.fixture
def scene(page: Page, site: Site, widget: Widget, server: Server, openai: OpenAISimulator) -> Scene:
    """A quiet browser at noon, and a widget with everything a widget can have."""
    page.emulate_media(reduced_motion="reduce")
    page.clock.set_fixed_time(NOON)
    widget.title = "Otterbridge Cycles"
    widget.subtitle = "Ask the workshop"
    widget.greeting = "Hello! Ask about repairs or our bikes.\n\nWe answer at once, day and night."
    widget.disclaimer = "Answers may be wrong."
    widget.starters = ["When are you open?", "What does a service cost, and how long does it take?"]
    widget.color = "#1f5c46"
    return Scene(page, site, widget, server, openai)


@pytest.mark.parametrize("state", STATES)
def test_a_state_is_for_everyone_and_looks_as_it_did(
    scene: Scene, browser: Browser, axe: str, state: str
) -> None:
    page = scene.page
    STATES[state](scene)
    pictures = []
    for (_, scheme), (width, height) in LOOKS.items():
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": height})
        expect(page.frame_locator("iframe").locator("html")).to_have_attribute("data-theme", scheme)
        # An iframe of another origin is laid out a little later than what it is in.
        frame = page.locator("iframe").bounding_box()
        assert frame
        panel_frame(page).wait_for_function(
            "([width, height]) => innerWidth === width && innerHeight === height",
            arg=[round(frame["width"]), round(frame["height"])],
        )
        panel_frame(page).evaluate(SETTLED)
        pictures.append(page.locator("iframe").screenshot(animations="disabled"))
    for (_, scheme), (width, height) in LOOKS.items():
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": height})
        panel = panel_frame(page)
        assert violations(panel, axe) == []
        assert panel.evaluate(TOO_SMALL) == []
    # A narrow phone, and a wide screen at 400 percent.
    page.set_viewport_size({"width": 320, "height": 640})
    assert panel.evaluate(STICKS_OUT) == []
    assert (
        panel.evaluate("document.getAnimations().filter((one) => one.playState === 'running')")
        == []
    )
    table = browser.new_page()
    compare(table, state, side_by_side(table, pictures))
    table.close()
