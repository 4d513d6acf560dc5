"""The panel when the line is bad: servers that restart, sockets that cannot be had."""

import re

from playwright.sync_api import Page, WebSocketRoute, expect

from chatwidget.models import Widget
from tests.server import Server
from tests.simulators.openai import OpenAISimulator

from .bubble import Bubble
from .conftest import Site, embed


def test_the_panel_reconnects_after_the_server_was_restarted(
    page: Page, site: Site, widget: Widget, openai: OpenAISimulator
) -> None:
    with Server() as own:
        embed(site, widget, own)
        page.goto(site.origin)
        bubble = Bubble(page).open()
        bubble.ask("Before")
        bubble.finished()
        own.kill()
        expect(bubble.panel.get_by_text("Reconnecting…")).to_be_visible()
        own.start()
        expect(bubble.panel.get_by_text("Reconnecting…")).to_have_count(0)
        openai.tokens = ["After", " the", " restart."]
        bubble.ask("And now?")
        bubble.shows("After the restart.")


def test_a_question_asked_while_the_server_is_away_is_sent_once_it_is_back(
    page: Page, site: Site, widget: Widget, openai: OpenAISimulator
) -> None:
    with Server() as own:
        embed(site, widget, own)
        page.goto(site.origin)
        bubble = Bubble(page).open()
        bubble.ask("Before")
        bubble.finished()
        own.kill()
        bubble.ask("Is anybody there?")
        bubble.shows("Is anybody there?")
        own.start()
        openai.wait_for(lambda: len(openai.sends) == 2, timeout=20)
        expect(bubble.button("Good answer")).to_have_count(2, timeout=20_000)
    asked = [one["messages"][-1]["content"] for one in openai.sends]
    assert asked == ["Before", "Is anybody there?"]


def test_without_a_websocket_the_panel_polls(
    page: Page, site: Site, widget: Widget, server: Server, openai: OpenAISimulator
) -> None:
    def refuse(socket: WebSocketRoute) -> None:
        socket.close(code=1011)

    page.route_web_socket(re.compile("/ws/v1/"), refuse)
    embed(site, widget, server)
    page.goto(site.origin)
    bubble = Bubble(page).open()
    openai.tokens = ["It ", "works ", "anyway."]
    bubble.ask("No socket")
    bubble.shows("It works anyway.")
    bubble.finished()
