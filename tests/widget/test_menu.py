"""What one needs seldom: a copy of the conversation, having everything deleted, a sound."""

from pathlib import Path

from playwright.sync_api import Page, expect

from chatwidget.models import Visitor, Widget
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble
from .conftest import Site
from .test_for_everyone import panel_frame, violations

HEARD = """
window.heard = 0;
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (...when) { window.heard += 1; start.apply(this, when); };
"""
KEPT = "Object.keys(localStorage).filter(name => name.startsWith('chatwidget:'))"


def answered(bubble: Bubble) -> Bubble:
    bubble.open().ask("Hi")
    bubble.finished()
    return bubble


def test_the_menu_is_reached_and_left_by_keyboard_and_has_no_violations(
    bubble: Bubble, page: Page, axe: str
) -> None:
    menu = answered(bubble).button("More")
    menu.focus()
    page.keyboard.press("Enter")
    expect(bubble.panel.get_by_role("switch", name="Sound for answers")).to_be_focused()
    expect(menu).to_have_attribute("aria-expanded", "true")
    assert violations(panel_frame(page), axe) == []
    bubble.button("Delete my data").click()
    expect(bubble.button("Cancel")).to_be_focused()
    assert violations(panel_frame(page), axe) == []
    page.keyboard.press("Escape")
    expect(menu).to_be_focused()
    expect(bubble.button("Cancel")).to_have_count(0)
    expect(bubble.launcher).to_have_attribute("aria-expanded", "true")
    menu.click()
    bubble.composer.click()
    expect(bubble.button("Delete my data")).to_have_count(0)


def test_a_conversation_can_be_taken_home(
    bubble: Bubble, page: Page, openai: OpenAISimulator, tmp_path: Path
) -> None:
    openai.tokens = ["Open ", "**all** day."]
    answered(bubble)
    bubble.button("More").click()
    with page.expect_download() as saved:
        bubble.button("Download this chat").click()
    assert saved.value.suggested_filename.startswith("chat-")
    saved.value.save_as(tmp_path / "chat.txt")
    lines = (tmp_path / "chat.txt").read_text().splitlines()
    assert lines[0] == "Chat with us"
    assert lines[2].startswith("You, ")
    assert lines[3] == "Hi"
    assert lines[5].startswith("Chat with us, ")
    assert lines[6] == "Open **all** day."


def test_a_visitor_can_have_everything_deleted_here_and_in_the_other_tab(
    bubble: Bubble, page: Page, site: Site, widget: Widget
) -> None:
    answered(bubble)
    other = page.context.new_page()
    other.goto(site.origin)
    second = Bubble(other).open()
    second.shows("Hello, how can I help?")
    bubble.button("More").click()
    bubble.button("Delete my data").click()
    bubble.button("Cancel").click()
    assert Visitor.objects.filter(widget=widget).exists()
    before = list(Visitor.objects.filter(widget=widget))
    bubble.button("Delete my data").click()
    bubble.button("Delete everything").click()
    expect(bubble.log.get_by_text("Hello, how can I help?")).to_have_count(0)
    expect(bubble.panel.get_by_role("status").first).to_have_text("Everything was deleted.")
    expect(second.log.get_by_text("Hello, how can I help?")).to_have_count(0)
    assert not Visitor.objects.filter(pk__in=[visitor.pk for visitor in before]).exists()
    assert "token" not in " ".join(panel_frame(page).evaluate(KEPT))
    bubble.ask("Somebody new")
    bubble.finished()
    expect(bubble.log.get_by_text("Hello, how can I help?")).to_have_count(1)


def test_what_could_not_be_deleted_stays_and_says_so(
    bubble: Bubble, page: Page, widget: Widget
) -> None:
    answered(bubble)
    page.context.set_offline(True)
    bubble.button("More").click()
    bubble.button("Delete my data").click()
    bubble.button("Delete everything").click()
    expect(bubble.panel.get_by_role("alert")).to_have_text("The chat cannot be reached right now.")
    page.context.set_offline(False)
    expect(bubble.panel.get_by_role("alert")).to_be_visible()
    page.keyboard.press("Escape")
    bubble.shows("Hello, how can I help?")
    assert Visitor.objects.filter(widget=widget).exists()


def test_an_answer_is_heard_only_by_who_wants_it(bubble: Bubble, page: Page) -> None:
    page.add_init_script(HEARD)
    page.reload()
    answered(bubble)
    assert panel_frame(page).evaluate("heard") == 0
    bubble.button("More").click()
    switch = bubble.panel.get_by_role("switch", name="Sound for answers")
    expect(switch).to_have_attribute("aria-checked", "false")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "true")
    notes = panel_frame(page).evaluate("heard")
    assert notes > 0, "so that one knows what it will be"
    page.reload()
    bubble.open()
    bubble.finished()
    assert panel_frame(page).evaluate("heard") == 0, "what was there on arrival is not heard"
    bubble.ask("Again")
    expect(bubble.button("Good answer")).to_have_count(2)
    panel_frame(page).wait_for_function("notes => heard === notes", arg=notes)
