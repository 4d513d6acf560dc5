"""What makes a conversation pleasant: nothing lost, everything found again, nothing to guess."""

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from chatwidget.models import Conversation, Message, Mode, Role, Widget
from tests.cast import add_message
from tests.server import Server
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble
from .conftest import Site, embed
from .test_for_everyone import panel_frame, violations


def answered(bubble: Bubble, question: str = "Hi") -> Bubble:
    bubble.open().ask(question)
    bubble.finished()
    return bubble


def test_the_list_has_titles_and_marks_what_is_unread(
    bubble: Bubble, page: Page, openai: OpenAISimulator, axe: str
) -> None:
    openai.odd.stall_after = 1
    bubble.open().ask("What about parking?")
    bubble.shows("Hello")
    bubble.button("New conversation").click()
    openai.release()
    openai.wait_for(lambda: openai.finished == 1)
    openai.odd.stall_after = None
    bubble.ask("And the weather?")
    bubble.finished()
    bubble.button("Conversations").click()
    entries = bubble.panel.get_by_role("list").get_by_role("button")
    expect(entries).to_have_count(2)
    parking = entries.filter(has_text="What about parking?")
    expect(parking.get_by_role("img", name="1 unread")).to_be_visible()
    expect(entries.filter(has_text="And the weather?")).to_have_attribute("aria-current", "true")
    assert violations(panel_frame(page), axe) == []
    parking.click()
    bubble.shows("Hello, how can I help?")
    bubble.button("Conversations").click()
    expect(bubble.panel.get_by_role("img", name="1 unread")).to_have_count(0)
    page.keyboard.press("Escape")
    bubble.shows("What about parking?")


def test_an_answer_that_comes_while_the_panel_is_closed_is_counted_on_the_bubble(
    bubble: Bubble, page: Page, openai: OpenAISimulator
) -> None:
    openai.odd.stall_after = 1
    bubble.open().ask("Slow one")
    bubble.shows("Hello")
    bubble.button("Close chat").click()
    expect(bubble.launcher).to_have_attribute("aria-expanded", "false")  # the page has heard it
    bubble.knows_what_the_page_said()
    openai.release()
    expect(bubble.launcher).to_have_accessible_name("Open chat: 1", timeout=20_000)
    bubble.launcher.click()
    bubble.finished()
    expect(bubble.launcher).to_have_accessible_name("Open chat")


def test_a_question_outlives_a_lost_network_and_a_closed_tab(
    bubble: Bubble, page: Page, site: Site, openai: OpenAISimulator
) -> None:
    answered(bubble)
    page.context.set_offline(True)
    bubble.ask("Still there?")
    bubble.shows("Not sent yet.")
    expect(bubble.panel.get_by_text("You are offline.")).to_be_visible()
    page.close()
    page.context.set_offline(False)
    other = page.context.new_page()
    other.goto(site.origin)
    back = Bubble(other).open()
    back.shows("Still there?")
    expect(back.button("Good answer")).to_have_count(2)
    asked = [one["messages"][-1]["content"] for one in openai.sends]
    assert asked == ["Hi", "Still there?"]


def test_two_tabs_send_what_each_could_not(
    bubble: Bubble, page: Page, site: Site, widget: Widget
) -> None:
    answered(bubble)
    other = page.context.new_page()
    other.goto(site.origin)
    second = Bubble(other).open()
    second.finished()
    page.context.set_offline(True)
    bubble.ask("From the first")
    bubble.shows("Not sent yet.")
    second.ask("From the second")
    second.shows("Not sent yet.")
    page.context.set_offline(False)
    for tab in (bubble, second):
        expect(tab.button("Good answer")).to_have_count(3, timeout=20_000)
    asked = Message.objects.filter(conversation__visitor__widget=widget, role=Role.VISITOR)
    assert sorted(one.text for one in asked) == ["From the first", "From the second", "Hi"]


def test_what_is_half_written_is_there_after_a_reload(bubble: Bubble, page: Page) -> None:
    bubble.open().composer.fill("Half a tho")
    page.reload()
    bubble.open()
    expect(bubble.composer).to_have_value("Half a tho")
    bubble.composer.press("Enter")
    bubble.finished()
    expect(bubble.composer).to_have_value("")


def test_an_answer_and_its_code_can_be_copied(
    bubble: Bubble, page: Page, context: BrowserContext, openai: OpenAISimulator
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    openai.tokens = ["Run **this**:\n\n", "```sh\nmake run\n```"]
    answered(bubble)
    bubble.button("Copy").click()
    expect(bubble.button("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "make run"
    bubble.button("Copy answer").click()
    expect(bubble.panel.get_by_role("status").first).to_contain_text("Copied")
    page.wait_for_function("async () => (await navigator.clipboard.readText()).startsWith('Run')")


def test_sources_are_a_numbered_list_that_says_where_each_leads(
    bubble: Bubble, page: Page, widget: Widget
) -> None:
    answered(bubble)
    Message.objects.filter(conversation__visitor__widget=widget, role=Role.AGENT).update(
        citations=[
            {"title": "Opening hours", "url": "https://docs.test/hours"},
            {"title": "Only a title", "url": ""},
        ]
    )
    page.reload()
    bubble.open()
    items = bubble.log.get_by_role("listitem")
    expect(items).to_have_text(["Opening hours docs.test", "Only a title"])
    link = items.first.get_by_role("link")
    expect(link).to_have_attribute("href", "https://docs.test/hours")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")


def test_an_image_is_a_link_that_says_where_it_leads(
    bubble: Bubble, page: Page, openai: OpenAISimulator
) -> None:
    openai.tokens = ["![The map](https://maps.test/", "map.png)"]
    answered(bubble)
    link = bubble.log.get_by_role("link", name="The map maps.test")
    expect(link).to_have_attribute("href", "https://maps.test/map.png")
    expect(bubble.log.locator("img")).to_have_count(0)


def test_one_sees_that_a_person_has_taken_over(
    bubble: Bubble, page: Page, widget: Widget, axe: str
) -> None:
    answered(bubble)
    conversation = Conversation.objects.get(visitor__widget=widget)
    conversation.mode = Mode.HUMAN
    conversation.save()
    add_message(conversation, "Anna here, hello!", role=Role.HUMAN)
    page.reload()
    bubble.open()
    bubble.shows("Anna here, hello!")
    expect(bubble.panel.get_by_text("A person is answering")).to_be_visible()
    assert violations(panel_frame(page), axe) == []


def says_in_time(bubble: Bubble, words: str) -> bool:
    """Let the panel's clock run until it says this; the wait begins when it has drawn the dots."""
    for _ in range(20):
        bubble.page.clock.fast_forward(5_000)
        try:
            expect(bubble.log).to_contain_text(words, timeout=1_000)
        except AssertionError:
            continue
        return True
    return False


@pytest.mark.parametrize("stalls_after", [0, 2], ids=["before the first word", "in the middle"])
def test_a_long_wait_is_said_to_go_on(
    page: Page,
    site: Site,
    widget: Widget,
    server: Server,
    openai: OpenAISimulator,
    stalls_after: int,
) -> None:
    page.clock.install()
    embed(site, widget, server)
    page.goto(site.origin)
    bubble = Bubble(page).open()
    openai.odd.stall_after = stalls_after
    bubble.ask("Difficult")
    if stalls_after:
        bubble.shows("Hello,")
    else:
        expect(bubble.panel.get_by_role("img", name="Chat with us is typing")).to_be_visible()
    assert says_in_time(bubble, "Still working on it…")
    assert says_in_time(bubble, "This takes a while. You can leave; the answer will be here.")
    openai.release()
    bubble.finished()
    expect(bubble.log.get_by_text("This takes a while.")).to_have_count(0)
