"""The global `ChatWidget`: what a site's own scripts can do, and what they hear."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from chatwidget.embed import snippet
from chatwidget.models import Message, Role, Visitor, Widget
from feedback.models import Feedback
from tests.server import Server
from tests.simulators.faults import Status
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble
from .conftest import Site, embed

EVENTS = [
    "ready",
    "open",
    "close",
    "message",
    "response:start",
    "response:end",
    "feedback",
    "unread",
    "conversation",
    "status",
    "error",
]
LISTEN = f"""
    window.heard = [];
    for (const name of {EVENTS}) ChatWidget.on(name, (detail) => heard.push([name, detail]));
    undefined;
"""
STUB = """
    window.ChatWidget ||= new Proxy({ queue: [] }, {
        get: (stub, name) => stub[name] ?? ((...values) => { stub.queue.push([name, ...values]) }),
    });
"""


def heard(page: Page, name: str) -> list[Any]:
    """Return the details of all events of that name so far."""
    found: list[Any] = page.evaluate(
        "name => heard.filter(([one]) => one === name).map((one) => one[1])", name
    )
    return found


def hears(page: Page, name: str, times: int = 1) -> list[Any]:
    """Wait until the event was heard so often; return the details."""
    page.wait_for_function(
        "([name, times]) => heard.filter(([one]) => one === name).length >= times",
        arg=[name, times],
    )
    return heard(page, name)


@pytest.fixture
def listening(bubble: Bubble, page: Page) -> Bubble:
    """The widget, closed, and a page that writes down every event."""
    page.wait_for_function("window.ChatWidget")
    page.evaluate(LISTEN)
    return bubble


def asked(page: Page, server: Server) -> list[str]:
    """Collect the addresses that the page asks the service for."""
    urls: list[str] = []

    def note(url: str) -> None:
        if url.startswith(server.url):
            urls.append(url)

    page.on("request", lambda request: note(request.url))
    return urls


def test_open_close_and_toggle_show_and_hide_the_panel(listening: Bubble, page: Page) -> None:
    assert page.evaluate("ChatWidget.isOpen()") is False
    page.evaluate("ChatWidget.open()")
    expect(listening.composer).to_be_focused()
    assert page.evaluate("ChatWidget.isOpen()") is True
    page.evaluate("ChatWidget.close()")
    expect(listening.composer).to_be_hidden()
    page.evaluate("ChatWidget.toggle()")
    expect(listening.composer).to_be_visible()
    hears(page, "open", 2)
    names = [name for name, _ in page.evaluate("heard") if name in ("ready", "open", "close")]
    assert names == ["open", "ready", "close", "open"]


def test_close_leaves_the_focus_where_the_site_has_put_it(listening: Bubble, page: Page) -> None:
    listening.open()
    page.evaluate("document.body.append(document.createElement('input'))")
    page.locator("body > input").focus()
    page.evaluate("ChatWidget.close()")
    expect(page.locator("body > input")).to_be_focused()
    listening.open().composer.press("Escape")
    expect(listening.launcher).to_be_focused()


def test_open_with_a_message_leaves_the_sending_to_the_visitor(
    listening: Bubble, page: Page, openai: OpenAISimulator
) -> None:
    page.evaluate("ChatWidget.open({ message: 'What does it cost?' })")
    expect(listening.composer).to_have_value("What does it cost?")
    assert openai.sends == []
    listening.composer.press("Enter")
    listening.finished()
    assert openai.sends[0]["messages"][-1]["content"] == "What does it cost?"


def test_an_element_opens_the_panel_without_code(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    embed(site, widget, server)
    site.body += "<p data-chatwidget-open='About plans'><button>Ask</button></p>"
    site.body += "<button data-chatwidget-open>Chat</button>"
    page.goto(site.origin)
    bubble = Bubble(page)
    page.get_by_role("button", name="Chat", exact=True).click()
    expect(bubble.composer).to_have_value("")
    page.evaluate("ChatWidget.close()")
    page.get_by_role("button", name="Ask").click()
    expect(bubble.composer).to_be_visible()
    expect(bubble.composer).to_have_value("About plans")


def test_hide_takes_the_bubble_away_and_open_still_opens(listening: Bubble, page: Page) -> None:
    listening.open()
    page.evaluate("ChatWidget.hide()")
    expect(listening.launcher).to_be_hidden()
    expect(listening.composer).to_be_hidden()
    page.evaluate("ChatWidget.open()")
    expect(listening.composer).to_be_visible()
    expect(listening.launcher).to_be_hidden()
    page.evaluate("ChatWidget.show()")
    expect(listening.launcher).to_be_visible()


def test_send_asks_without_a_click_and_events_tell_the_rest(
    listening: Bubble, page: Page, openai: OpenAISimulator, widget: Widget
) -> None:
    page.evaluate("ChatWidget.send('Hi')")
    [end] = hears(page, "response:end")
    hears(page, "message", 2)
    question, answer = Message.objects.filter(conversation__visitor__widget=widget)
    ids = {"conversation": str(answer.conversation_id)}
    assert end == {"id": str(answer.pk), "status": "completed"} | ids
    assert heard(page, "response:start") == [{"id": str(answer.pk)} | ids]
    assert heard(page, "message") == [
        {"id": str(question.pk), "role": "visitor"} | ids,
        {"id": str(answer.pk), "role": "agent"} | ids,
    ]
    assert heard(page, "conversation") == [{"id": str(answer.conversation_id)}]
    assert {"status": "online"} in heard(page, "status")
    assert heard(page, "error") == []
    assert len(openai.sends) == 1
    # Nobody has seen the answer: the panel is closed.
    assert hears(page, "unread")[-1] == {"count": 1}
    expect(listening.launcher).to_have_accessible_name("Open chat: 1")
    listening.open().shows("Hello, how can I help?")
    assert hears(page, "unread", 2)[-1] == {"count": 0}
    with page.expect_response("**/feedback"):
        listening.down.click()
    assert hears(page, "feedback") == [{"message": str(answer.pk), "vote": "down"}]
    assert Feedback.objects.get(message=answer).vote == "down"


def test_a_failed_answer_is_an_end_and_an_error(
    listening: Bubble, page: Page, openai: OpenAISimulator
) -> None:
    openai.fail_next("send", Status(500))
    page.evaluate("ChatWidget.send('Hi')")
    assert hears(page, "error") == [{"code": "agent_unavailable"}]
    assert heard(page, "response:end")[0]["status"] == "failed"


def test_what_was_there_before_is_not_told_as_new(listening: Bubble, page: Page) -> None:
    listening.open().ask("Hi")
    listening.finished()
    [first] = heard(page, "conversation")
    page.add_init_script(f"if (window === top) {{ {STUB} {LISTEN} }}")
    page.reload()
    listening.open().shows("Hello, how can I help?")
    assert hears(page, "conversation") == [first]
    page.evaluate("ChatWidget.send('And?')")
    hears(page, "response:end")
    assert len(hears(page, "message", 2)) == 2


def test_prefill_waits_for_the_panel_without_loading_it(
    listening: Bubble, page: Page, server: Server
) -> None:
    urls = asked(page, server)
    page.evaluate("ChatWidget.prefill('Half a question')")
    page.evaluate("ChatWidget.setTheme('dark')")
    page.evaluate("ChatWidget.setContext({ title: 'Plans' })")
    assert urls == []
    listening.open()
    expect(listening.composer).to_have_value("Half a question")
    page.evaluate("ChatWidget.prefill('Another')")
    expect(listening.composer).to_have_value("Another")


def test_a_new_conversation_begins_empty(listening: Bubble, page: Page) -> None:
    listening.open().ask("Hi")
    listening.finished()
    page.evaluate("ChatWidget.newConversation()")
    expect(listening.up).to_have_count(0)
    assert hears(page, "conversation", 2)[-1] == {"id": None}


def test_agents_are_told_of_the_page_that_the_site_names(
    listening: Bubble, page: Page, site: Site, widget: Widget
) -> None:
    page.evaluate("history.pushState({}, '', '/plans')")
    page.evaluate("ChatWidget.setContext({ title: 'Plans', plan: 'gold', url: 7 })")
    page.evaluate("ChatWidget.send('Hi')")
    hears(page, "response:end")
    [question] = Message.objects.filter(conversation__visitor__widget=widget, role=Role.VISITOR)
    assert question.page == {"url": f"{site.origin}/plans", "title": "Plans", "referrer": ""}


def test_a_page_shown_since_is_told_when_the_visitor_turns_to_the_panel(
    listening: Bubble, page: Page, site: Site, widget: Widget
) -> None:
    listening.open()
    page.locator("h1").click()
    page.evaluate("history.pushState({}, '', '/later')")
    listening.ask("Hi")
    listening.finished()
    [question] = Message.objects.filter(conversation__visitor__widget=widget, role=Role.VISITOR)
    assert question.page["url"] == f"{site.origin}/later"


def test_theme_and_language_can_be_changed(listening: Bubble, page: Page) -> None:
    page.evaluate("ChatWidget.setTheme('dark')")
    listening.open()
    root = listening.panel.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    page.evaluate("ChatWidget.setTheme('light')")
    expect(root).to_have_attribute("data-theme", "light")
    page.evaluate("ChatWidget.setLocale('en-GB')")
    expect(listening.composer).to_be_visible()


def test_an_identity_that_is_refused_is_an_error_and_the_chat_goes_on(
    listening: Bubble, page: Page
) -> None:
    page.evaluate("ChatWidget.identify('nonsense')")
    page.evaluate("ChatWidget.send('Hi')")
    [error] = hears(page, "error")
    assert error["code"].startswith("identity")
    hears(page, "response:end")


def test_reset_leaves_nothing_of_the_visitor(listening: Bubble, page: Page, widget: Widget) -> None:
    listening.open().ask("Hi")
    listening.finished()
    assert page.evaluate("Object.keys(localStorage)") == [f"chatwidget:{widget.key}"]
    page.evaluate("ChatWidget.reset()")
    expect(listening.up).to_have_count(0)
    page.wait_for_function("localStorage.length === 0")
    page.reload()
    listening.open().ask("Hi")
    listening.finished()
    assert Visitor.objects.filter(widget=widget).count() == 2


def test_on_returns_its_undo_and_off_undoes_too(listening: Bubble, page: Page) -> None:
    page.evaluate("""() => {
        window.count = { undone: 0, off: 0, all: 0, once: 0 };
        const off = () => { count.off += 1 };
        const undo = ChatWidget.on("open", () => { count.undone += 1 });
        ChatWidget.on("open", off);
        ChatWidget.on("open", () => { count.once += 1 });
        ChatWidget.on("close", () => { count.all += 1 });
        undo();
        ChatWidget.off("open", off);
        ChatWidget.off("close");
    }""")
    page.evaluate("ChatWidget.open(), ChatWidget.close()")
    hears(page, "open")
    assert page.evaluate("count") == {"undone": 0, "off": 0, "all": 0, "once": 1}


def test_ready_is_heard_by_those_who_come_late(listening: Bubble, page: Page) -> None:
    listening.open()
    assert page.evaluate("new Promise((heard) => ChatWidget.on('ready', () => heard('late')))") == (
        "late"
    )


def test_a_listener_that_throws_harms_nobody(
    listening: Bubble, page: Page, complaints: list[str]
) -> None:
    page.evaluate("""() => {
        ChatWidget.on("open", () => { throw new Error("the site's own") });
        ChatWidget.on("open", () => { window.second = true });
        ChatWidget.open();
    }""")
    page.wait_for_function("window.second")
    expect(listening.composer).to_be_focused()
    assert complaints == ["the site's own"]


def test_calls_from_before_the_script_are_made_when_it_is_there(
    page: Page, site: Site, widget: Widget, server: Server
) -> None:
    calls = "ChatWidget.on('open', () => { window.opened = true });"
    calls += "ChatWidget.open({ message: 'Early' }); window.stub = ChatWidget"
    site.body = f"<script>{STUB}{calls}</script>{snippet(widget, server.url)}"
    page.goto(site.origin)
    bubble = Bubble(page)
    expect(bubble.composer).to_have_value("Early")
    assert page.evaluate("opened")
    # Who kept the stub is heard still.
    page.evaluate("stub.close()")
    expect(bubble.composer).to_be_hidden()


def test_destroy_takes_everything_away_and_the_script_can_come_again(
    listening: Bubble, page: Page, widget: Widget, server: Server, complaints: list[str]
) -> None:
    listening.open()
    hears(page, "open")
    page.evaluate("ChatWidget.close(), ChatWidget.destroy()")
    expect(page.locator("chat-widget")).to_have_count(0)
    page.evaluate("""() => {
        const opener = document.createElement("p");
        opener.dataset.chatwidgetOpen = "";
        document.body.append(opener);
        opener.click();
        return new Promise((later) => setTimeout(later));
    }""")
    assert complaints == [], "it listens to nothing any more"
    assert page.evaluate("window.ChatWidget") is None
    page.evaluate("document.documentElement.append(document.createElement('i'))")
    expect(page.locator("chat-widget")).to_have_count(0)
    page.add_script_tag(
        content=f"""
        const script = document.createElement("script");
        script.src = "{server.url}/widget.js";
        script.dataset.widget = "{widget.key}";
        document.head.append(script);
    """
    )
    listening.open()


def test_messages_of_others_are_not_believed(
    listening: Bubble, page: Page, widget: Widget, server: Server
) -> None:
    listening.open()
    forged = {"chatwidget": 1, "type": "unread", "detail": {"count": 7}}
    page.evaluate("(forged) => window.postMessage(forged, '*')", forged)
    # A page of the panel's own origin, but not the panel.
    page.evaluate(
        """(url) => {
            const frame = document.createElement("iframe");
            frame.src = url;
            document.body.append(frame);
        }""",
        f"{server.url}/w/{widget.key}/doctor/",
    )
    page.frame_locator("body > iframe").get_by_role("heading").wait_for()
    [stranger] = [frame for frame in page.frames if frame.url.endswith("/doctor/")]
    stranger.evaluate("(forged) => parent.postMessage(forged, '*')", forged)
    # And towards the panel: from a window that is not its page's.
    stranger.evaluate(
        "(forged) => parent[0].postMessage(forged, '*')",
        {"chatwidget": 1, "type": "send", "value": "Forged", "page": {}},
    )
    page.evaluate("ChatWidget.setTheme('dark')")  # behind all of these
    expect(page.frame_locator("chat-widget iframe").locator("[data-theme=dark]")).to_be_visible()
    assert heard(page, "unread") == []
    assert Message.objects.filter(conversation__visitor__widget=widget).count() == 0
