"""A visitor on somebody's website: opens, asks, reads, votes, comes back."""

import pytest
from playwright.sync_api import Page, expect

from chatwidget.models import Message, Role, Widget
from feedback.models import Feedback
from tests.server import Server
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble
from .conftest import Site, embed


def test_nothing_is_asked_of_the_service_before_interest(
    page: Page, site: Site, widget: Widget, server: Server, complaints: list[str]
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    embed(site, widget, server)
    page.goto(site.origin)
    expect(Bubble(page).launcher).to_be_visible()
    assert [url for url in asked if url.startswith(server.url)] == [f"{server.url}/widget.js"]
    assert page.evaluate("localStorage.length + document.cookie.length") == 0
    assert complaints == []


def test_an_answer_streams_into_the_panel(
    bubble: Bubble, openai: OpenAISimulator, complaints: list[str]
) -> None:
    openai.tokens = ["Hello ", "**world**", ", how", " are you?"]
    openai.odd.stall_after = 2
    bubble.open().ask("Hi there")
    bubble.shows("Hello world")
    expect(bubble.panel.locator("strong")).to_have_text("world")
    expect(bubble.button("Stop answer")).to_be_visible()
    openai.release()
    bubble.shows("Hello world, how are you?")
    bubble.finished()
    assert complaints == []


def test_a_starter_prompt_asks_its_question(bubble: Bubble, openai: OpenAISimulator) -> None:
    openai.tokens = ["Many things."]
    bubble.open().button("What can you do?").click()
    bubble.shows("Many things.")
    assert openai.sends[0]["messages"][-1]["content"] == "What can you do?"


def test_stop_ends_the_answer_and_keeps_what_came(bubble: Bubble, openai: OpenAISimulator) -> None:
    openai.odd.stall_after = 2
    bubble.open().ask("Tell me everything")
    bubble.shows("Hello,")
    bubble.button("Stop answer").click()
    bubble.shows("You stopped this answer.")
    bubble.shows("Hello,")
    openai.wait_for(lambda: openai.aborted == 1)


def test_a_failed_answer_can_be_tried_again(bubble: Bubble, openai: OpenAISimulator) -> None:
    from tests.simulators.faults import Status

    openai.fail_next("send", Status(500))
    bubble.open().ask("Hi")
    bubble.shows("The assistant cannot be reached right now.")
    bubble.button("Try again").click()
    bubble.shows("Hello, how can I help?")
    assert len(openai.sends) == 1  # the one that failed was refused, and the retry was sent once


def test_a_vote_is_saved_by_the_first_click_and_survives_reload(
    bubble: Bubble, page: Page, widget: Widget
) -> None:
    bubble.open().ask("Hi")
    bubble.finished()
    with page.expect_response("**/feedback") as saved:
        bubble.down.click()
    assert saved.value.status == 200
    assert Feedback.objects.get(message__conversation__visitor__widget=widget).vote == "down"
    page.reload()
    bubble.open()
    expect(bubble.down).to_have_attribute("aria-pressed", "true")
    expect(bubble.up).to_have_attribute("aria-pressed", "false")


def test_reasons_and_a_comment_follow_the_vote(bubble: Bubble, page: Page, widget: Widget) -> None:
    bubble.open().ask("Hi")
    bubble.finished()
    bubble.down.click()
    bubble.button("Incomplete").click()
    box = bubble.panel.get_by_role("textbox", name="What was wrong with it?")
    box.fill("The price is missing.")
    with page.expect_response(
        lambda answer: answer.url.endswith("/feedback") and answer.json()["comment"] != ""
    ):
        bubble.button("Send feedback").click()
    bubble.shows("Thanks for your feedback.")
    stored = Feedback.objects.get(message__conversation__visitor__widget=widget)
    assert (stored.vote, stored.comment) == ("down", "The price is missing.")
    assert stored.reasons == ["incomplete"]


def test_the_second_click_takes_the_vote_back_and_the_other_thumb_switches(
    bubble: Bubble, page: Page, widget: Widget
) -> None:
    bubble.open().ask("Hi")
    bubble.finished()
    for button, vote in ((bubble.up, "up"), (bubble.down, "down"), (bubble.down, None)):
        with page.expect_response("**/feedback") as saved:
            button.click()
        assert saved.value.json()["vote"] == vote
    assert Feedback.objects.get(message__conversation__visitor__widget=widget).vote is None
    expect(bubble.down).to_have_attribute("aria-pressed", "false")


def test_history_is_there_after_a_reload(bubble: Bubble, page: Page) -> None:
    bubble.open().ask("Remember me")
    bubble.finished()
    page.reload()
    bubble.open()
    bubble.shows("Remember me")
    bubble.shows("Hello, how can I help?")


def test_an_answer_that_came_while_the_page_was_away_is_there_on_return(
    bubble: Bubble, page: Page, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 2
    bubble.open().ask("Slow one")
    bubble.shows("Hello,")
    page.goto("about:blank")
    openai.release()
    openai.wait_for(lambda: openai.finished == 1)
    page.go_back()
    bubble.open()
    bubble.shows("Hello, how can I help?")


def test_a_new_conversation_starts_empty_and_the_old_one_is_listed(
    bubble: Bubble, widget: Widget
) -> None:
    bubble.open().ask("First subject")
    bubble.finished()
    bubble.button("New conversation").click()
    expect(bubble.panel.get_by_text("First subject")).to_have_count(0)
    bubble.ask("Second subject")
    bubble.finished()
    asked = Message.objects.filter(
        conversation__visitor__widget=widget, role=Role.VISITOR
    ).values_list("conversation")
    assert len(set(asked)) == 2


def test_two_tabs_show_the_same(bubble: Bubble, page: Page, site: Site) -> None:
    bubble.open().ask("Hi")
    bubble.finished()
    other = page.context.new_page()
    other.goto(site.origin)
    second = Bubble(other).open()
    second.shows("Hello, how can I help?")
    bubble.up.click()
    expect(second.up).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("path", ["", "#section", "?page=2"])
def test_the_panel_is_reached_and_left_by_keyboard(
    bubble: Bubble, page: Page, site: Site, path: str
) -> None:
    page.goto(site.origin + "/" + path)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(bubble.composer).to_be_focused()
    page.keyboard.press("Escape")
    expect(bubble.launcher).to_have_attribute("aria-expanded", "false")
    expect(bubble.launcher).to_be_focused()
