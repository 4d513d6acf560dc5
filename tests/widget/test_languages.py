"""The widget in other languages, and from right to left."""

from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Page, expect

from chatwidget.models import Widget
from feedback.models import Feedback
from tests.server import Server
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble
from .conftest import Site, embed
from .test_for_everyone import RICH, panel_frame, violations

SEND = {"ar": "إرسال الرسالة", "he": "שליחת ההודעה", "de": "Nachricht senden"}
UP = {"ar": "إجابة جيدة", "he": "תשובה טובה"}
DOWN = {"ar": "إجابة سيئة", "he": "תשובה לא טובה"}
MENU = {"ar": "المزيد", "he": "עוד"}
LIST = {"ar": "المحادثات", "he": "שיחות"}
NEW = {"ar": "محادثة جديدة", "he": "שיחה חדשה"}
QUESTION = {"ar": "ما هي ساعات العمل؟ (iPhone 15)", "he": "מה שעות הפתיחה? (iPhone 15)"}


def arrive(page: Page, site: Site, widget: Widget, server: Server, locale: str) -> Bubble:
    widget.locale = locale
    widget.greeting = ""
    widget.save()
    embed(site, widget, server)
    page.goto(site.origin)
    return Bubble(page).open()


def box(panel: FrameLocator, selector: str) -> dict[str, float]:
    found = panel.locator(selector).last.bounding_box()
    assert found is not None
    return {name: found[name] for name in ("x", "y", "width", "height")}


def middle(panel: FrameLocator, selector: str) -> float:
    found = box(panel, selector)
    return found["x"] + found["width"] / 2


def sideways(page: Page) -> Any:
    """Return what sticks out of the panel, as far as it does not scroll by itself."""
    return panel_frame(page).evaluate(
        """() => [...document.querySelectorAll('body *')].filter((one) => {
          const {left, right, width} = one.getBoundingClientRect();
          return width > 1 && !one.closest('pre, .table')?.parentElement?.closest('.md')
            && (left < -0.5 || right > innerWidth + 0.5);
        }).map((one) => one.outerHTML.slice(0, 80))"""
    )


@pytest.mark.parametrize("locale", ["ar", "he"])
def test_right_to_left_is_the_mirror_image(
    page: Page,
    site: Site,
    widget: Widget,
    server: Server,
    openai: OpenAISimulator,
    axe: str,
    locale: str,
) -> None:
    bubble = arrive(page, site, widget, server, locale)
    panel = bubble.panel
    root = panel.locator("html")
    expect(root).to_have_attribute("lang", locale)
    expect(root).to_have_attribute("dir", "rtl")
    openai.tokens = [RICH]
    bubble.ask(QUESTION[locale])
    expect(bubble.button(UP[locale])).to_be_visible()
    # Head: who answers at the right, what can be done at the left, closing last.
    buttons = [middle(panel, f".head .icon >> nth={i}") for i in range(3)]
    assert all(after < before for before, after in pairwise(buttons)), buttons
    assert middle(panel, ".avatar") > middle(panel, ".head h1") > buttons[0]
    # The visitor's question at the left, the answer from the right, sending at the left.
    log = box(panel, ".log")
    question = box(panel, ".question")
    assert question["x"] - log["x"] < 40
    assert middle(panel, ".composer .send") < middle(panel, ".composer textarea")
    assert middle(panel, ".row .copy") > middle(panel, ".thumbs")
    # Code runs from left to right whatever is around it.
    code = panel.locator("pre")
    assert code.evaluate("one => getComputedStyle(one).direction") == "ltr"
    # An English answer is read from the left, and the thumbs below it stay where they are.
    answer = panel.locator(".answer .md")
    assert answer.evaluate("one => getComputedStyle(one).direction") == "ltr"
    asked = panel.locator(".question [dir=auto]")
    assert asked.evaluate("one => getComputedStyle(one).direction") == "rtl"
    assert violations(panel_frame(page), axe) == []
    bubble.button(DOWN[locale]).click()
    expect(panel.locator(".comment textarea")).to_be_visible()
    assert middle(panel, ".comment .send") < middle(panel, ".comment textarea")
    page.keyboard.press("Escape")
    bubble.button(MENU[locale]).click()
    menu = box(panel, ".menu")
    assert menu["x"] >= box(panel, ".panel")["x"]
    assert violations(panel_frame(page), axe) == []
    page.keyboard.press("Escape")
    bubble.button(NEW[locale]).click()
    bubble.button(LIST[locale]).click()
    arrow = panel.locator(".head svg.onward")
    assert arrow.evaluate("one => getComputedStyle(one).transform") == "matrix(-1, 0, 0, 1, 0, 0)"
    assert middle(panel, ".head .icon >> nth=0") > middle(panel, ".head h1")
    assert violations(panel_frame(page), axe) == []


@pytest.mark.parametrize("locale", ["ar", "de", "he", "pl", "uk"])
def test_nothing_sticks_out_at_320_pixels(
    page: Page, site: Site, widget: Widget, server: Server, openai: OpenAISimulator, locale: str
) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    bubble = arrive(page, site, widget, server, locale)
    assert sideways(page) == []
    openai.tokens = [RICH, "\n\n", "Donaudampfschifffahrtsgesellschaftskapitän" * 3]
    bubble.ask("W" * 120)
    thumbs = bubble.panel.locator(".thumbs button")
    expect(thumbs).to_have_count(2)
    expect(bubble.panel.locator(".md .table")).to_be_visible()
    assert sideways(page) == []
    thumbs.last.click()
    expect(bubble.panel.locator(".comment")).to_be_visible()
    assert sideways(page) == []
    page.keyboard.press("Escape")
    bubble.panel.locator(".more > button").click()
    assert sideways(page) == []
    bubble.panel.locator(".menu button").last.click()
    expect(bubble.panel.locator(".menu p")).to_be_visible()
    assert sideways(page) == []


def test_the_site_says_the_language_from_the_first_byte_on(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    embed(site, widget, server)
    site.body = site.body.replace('data-locale="en"', 'data-locale="he-IL"')
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site.origin)
    bubble = Bubble(page).open()
    expect(bubble.panel.locator("html")).to_have_attribute("lang", "he-IL")
    expect(bubble.button(SEND["he"])).to_be_visible()
    assert not [url for url in asked if "/words/" in url], "it came with the page"


def test_a_site_may_change_the_language_while_the_panel_is_open(
    page: Page, site: Site, widget: Widget, server: Server, complaints: list[str]
) -> None:
    bubble = arrive(page, site, widget, server, "en")
    bubble.composer.fill("Half a sentence")
    page.evaluate("ChatWidget.setLocale('ar')")
    expect(bubble.button(SEND["ar"])).to_be_visible()
    expect(bubble.panel.locator("html")).to_have_attribute("dir", "rtl")
    page.evaluate("ChatWidget.setLocale('de-CH')")
    expect(bubble.button(SEND["de"])).to_be_visible()
    expect(bubble.panel.locator("html")).to_have_attribute("dir", "ltr")
    page.evaluate("ChatWidget.setLocale('tlh')")
    expect(bubble.button("Send message")).to_be_visible()
    expect(bubble.composer).to_have_value("Half a sentence")
    assert complaints == []


def test_a_widget_without_a_language_speaks_the_visitors(
    context: BrowserContext, site: Site, widget: Widget, server: Server
) -> None:
    own = context.browser
    assert own
    japanese = own.new_context(locale="ja-JP")
    bubble = arrive(japanese.new_page(), site, widget, server, "")
    expect(bubble.panel.locator("html")).to_have_attribute("lang", "ja-JP")
    expect(bubble.button("メッセージを送信")).to_be_visible()
    japanese.close()


def test_what_the_operator_left_as_it_is_is_said_in_the_visitors_language(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    widget.reasons_down[0]["label"] = "Plain wrong"
    bubble = arrive(page, site, widget, server, "de")
    expect(bubble.panel.locator(".head h1")).to_have_text("Schreiben Sie uns")
    expect(bubble.panel.get_by_text("Wir antworten sofort")).to_be_visible()
    bubble.ask("Hi")
    thumbs = bubble.panel.locator(".thumbs button")
    thumbs.last.click()
    expect(bubble.button("Plain wrong")).to_be_visible()
    with page.expect_response(lambda answer: answer.json().get("reasons") == ["incomplete"]):
        bubble.button("Unvollständig").click()
    assert Feedback.objects.get(message__conversation__visitor__widget=widget).reasons == [
        "incomplete"
    ]
    page.evaluate("ChatWidget.setLocale('ar')")
    expect(bubble.button("ناقصة")).to_be_visible()


def test_a_widgets_own_words_win_over_every_language(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    widget.texts = {"send": "Ab die Post", "placeholder": "Frag uns"}
    bubble = arrive(page, site, widget, server, "de")
    expect(bubble.button("Ab die Post")).to_be_visible()
    page.evaluate("ChatWidget.setLocale('ar')")
    expect(bubble.panel.locator("html")).to_have_attribute("dir", "rtl")
    expect(bubble.button("Ab die Post")).to_be_visible()
    expect(bubble.composer).to_have_attribute("placeholder", "Frag uns")
