"""A vote is kept from the click on: without a network, in two tabs, without a storage."""

import random
from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, Request, expect

from chatwidget.models import Message, Role, Widget
from feedback.models import Feedback
from tests.reliability.report import sized
from tests.server import Server
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble
from .conftest import Site, embed

DEADLINE_MS = 30_000
STORAGE_IS_BLOCKED = """
Object.defineProperty(window, "localStorage", {
  get() { throw new DOMException("Access is denied for this document.", "SecurityError"); },
});
"""


def eventually(page: Page, holds: Callable[[], bool]) -> None:
    """Look again and again, while the browser goes on, until `holds()`."""
    for _ in range(DEADLINE_MS // 50):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never held")


def stored(widget: Widget) -> Feedback | None:
    """Return the one row there may be."""
    return Feedback.objects.filter(message__conversation__visitor__widget=widget).first()


def votes_sent(page: Page) -> list[object]:
    """Return a list that grows with each vote that leaves the browser."""
    sent: list[object] = []

    def note(request: Request) -> None:
        if request.url.endswith("/feedback"):
            sent.append(request.post_data_json)

    page.on("request", note)
    return sent


def answered(bubble: Bubble) -> Bubble:
    bubble.open().ask("Hi")
    bubble.finished()
    return bubble


@sized("rounds", gate=6, full=100)
def test_a_vote_outlives_a_lost_network_and_a_closed_tab(
    rounds: int, context: BrowserContext, site: Site, widget: Widget, server: Server
) -> None:
    """B8: vote, lose the network, close the tab, return: stored, or sent on return."""
    embed(site, widget, server)

    def opened() -> Bubble:
        page = context.new_page()
        page.goto(site.origin)
        return Bubble(page)

    answered(opened()).page.close()
    lost = 0
    moments = ["before", "after", "never"]
    for number in range(rounds):
        bubble = opened().open()
        bubble.finished()
        moment = moments[number % 3]
        vote, thumb = ("up", bubble.up) if number % 2 == 0 else ("down", bubble.down)
        if moment == "before":
            context.set_offline(True)
        thumb.click()
        if moment == "after":
            context.set_offline(True)
        if random.random() < 0.5:
            expect(thumb).to_have_attribute("aria-pressed", "true")
        bubble.page.close()
        context.set_offline(False)

        back = opened().open()
        expect(back.up if vote == "up" else back.down).to_have_attribute("aria-pressed", "true")
        try:
            eventually(back.page, lambda want=vote: getattr(stored(widget), "vote", None) == want)  # type: ignore[misc]
        except AssertionError:
            lost += 1
        back.page.close()
    assert lost == 0
    assert Feedback.objects.filter(message__conversation__visitor__widget=widget).count() == 1


def test_without_a_network_it_says_that_the_vote_is_kept_and_sends_the_last_word(
    bubble: Bubble, page: Page, widget: Widget
) -> None:
    answered(bubble)
    puts = votes_sent(page)
    page.context.set_offline(True)
    bubble.up.click()
    bubble.shows("Kept here, and sent when you are back online.")
    bubble.down.click()
    bubble.button("Incomplete").click()
    bubble.panel.get_by_role("textbox", name="What was wrong with it?").fill("No price.")
    bubble.button("Send feedback").click()
    puts.clear()
    page.context.set_offline(False)
    eventually(page, lambda: stored(widget) is not None)
    kept = stored(widget)
    assert kept is not None
    assert (kept.vote, kept.comment, kept.reasons) == ("down", "No price.", ["incomplete"])
    assert len(puts) == 1
    bubble.shows("Thanks for your feedback.")


def test_a_vote_without_a_network_is_seen_by_the_other_tab(
    bubble: Bubble, page: Page, site: Site
) -> None:
    answered(bubble)
    other = page.context.new_page()
    other.goto(site.origin)
    second = Bubble(other).open()
    second.finished()
    page.context.set_offline(True)
    bubble.down.click()
    expect(second.down).to_have_attribute("aria-pressed", "true")
    page.context.set_offline(False)


def test_a_thousand_clicks_in_a_row_are_one_vote(
    bubble: Bubble, page: Page, widget: Widget
) -> None:
    """B8: a double click does not take back what its first click gave."""
    answered(bubble)
    puts = votes_sent(page)
    bubble.up.click(click_count=1_000)
    eventually(page, lambda: stored(widget) is not None)
    expect(bubble.up).to_have_attribute("aria-pressed", "true")
    rows = Feedback.objects.filter(message__conversation__visitor__widget=widget)
    assert [row.vote for row in rows] == ["up"]
    assert len(puts) == 1


def test_a_thousand_changes_of_mind_end_as_the_last_one(
    bubble: Bubble, page: Page, widget: Widget
) -> None:
    """Clicks without a count, as by a keyboard: each one changes the vote."""
    answered(bubble)
    bubble.up.evaluate("thumb => { for (let i = 0; i < 999; i += 1) thumb.click() }")
    eventually(page, lambda: getattr(stored(widget), "vote", None) == "up")
    expect(bubble.up).to_have_attribute("aria-pressed", "true")
    assert Feedback.objects.filter(message__conversation__visitor__widget=widget).count() == 1


def test_what_the_service_refuses_goes_back_and_says_why(
    bubble: Bubble, page: Page, widget: Widget
) -> None:
    answered(bubble)
    bubble.down.click()
    eventually(page, lambda: stored(widget) is not None)
    widget.reasons_down = [{"key": "other", "label": "Other"}]
    widget.save()
    bubble.button("Incomplete").click()
    alert = bubble.panel.get_by_role("alert")
    expect(alert).to_contain_text("Please change your reasons or comment.")
    expect(bubble.down).to_have_attribute("aria-pressed", "true")
    expect(bubble.button("Incomplete")).to_have_attribute("aria-pressed", "false")
    Message.objects.filter(conversation__visitor__widget=widget, role=Role.AGENT).update(
        takes_vote=False
    )
    bubble.up.click()
    expect(alert).to_contain_text("This answer cannot be rated.")
    expect(bubble.up).to_have_attribute("aria-pressed", "false")
    expect(bubble.down).to_have_attribute("aria-pressed", "true")
    kept = stored(widget)
    assert kept is not None
    assert (kept.vote, kept.reasons) == ("down", [])


def test_reasons_differ_by_thumb_and_none_is_required(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    widget.reasons_up = [{"key": "quick", "label": "Quick"}]
    widget.reasons_down = [{"key": "slow", "label": "Slow"}]
    widget.save()
    embed(site, widget, server)
    page.goto(site.origin)
    bubble = answered(Bubble(page))
    bubble.up.click()
    expect(bubble.button("Quick")).to_be_visible()
    expect(bubble.button("Slow")).to_have_count(0)
    bubble.down.click()
    expect(bubble.button("Quick")).to_have_count(0)
    expect(bubble.button("Slow")).to_be_visible()
    page.keyboard.press("Escape")
    expect(bubble.button("Slow")).to_have_count(0)
    bubble.shows("Thanks for your feedback.")
    eventually(page, lambda: getattr(stored(widget), "vote", None) == "down")


def test_more_can_be_said_after_the_thanks(bubble: Bubble, page: Page, widget: Widget) -> None:
    answered(bubble)
    bubble.up.click()
    bubble.button("No comment").click()
    bubble.button("Say more").click()
    box = bubble.panel.get_by_role("textbox", name="What was good about it?")
    expect(box).to_be_focused()
    box.fill("Short and right.")
    box.press("Enter")
    eventually(page, lambda: getattr(stored(widget), "comment", "") == "Short and right.")
    expect(bubble.up).to_be_focused()


def test_a_browser_that_keeps_nothing_says_so_and_sends_while_the_page_is_open(
    page: Page, site: Site, widget: Widget, server: Server, openai: OpenAISimulator
) -> None:
    page.add_init_script(STORAGE_IS_BLOCKED)
    embed(site, widget, server)
    page.goto(site.origin)
    bubble = answered(Bubble(page))
    page.context.set_offline(True)
    bubble.up.click()
    bubble.shows("Sent when you are back online, if this page stays open.")
    page.context.set_offline(False)
    eventually(page, lambda: getattr(stored(widget), "vote", None) == "up")
    bubble.ask("And now?")
    openai.wait_for(lambda: len(openai.sends) == 2)
