"""A browser that stops reading costs little memory, holds nobody up, and comes back complete."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri

from chatwidget.models import Conversation, Widget

from .cast import add_message, make_widget, openai_agent
from .server import Server
from .simulators.openai import OpenAISimulator
from .visitor import CONTEXT, Visitor
from .waiting import eventually

TABS = 12
ASKED_TIMES = 40
PAGE_CHARS = 256 * 1024
"""Unbounded, each tab would have the server keep `ASKED_TIMES` of these: 10 MiB."""
MAX_GROWTH_KIB = TABS * 2 * 1024


class StalledTab:
    """A socket without anything around it, so that what is not read stays where it is."""

    def __init__(self, base: str) -> None:
        self._protocol = ClientProtocol(parse_uri(base.replace("http", "ws", 1) + "/ws/v1/"))
        address = urlsplit(base)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(10)
        self._socket.connect((address.hostname, address.port))
        self._protocol.send_request(self._protocol.connect())
        self._flush()
        while self._protocol.state is State.CONNECTING:
            self._protocol.receive_data(self._socket.recv(4096))

    def send(self, text: str) -> None:
        self._protocol.send_text(text.encode())
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            self._socket.sendall(data)

    def read_to_the_end(self) -> None:
        """Return when the server has closed; TimeoutError if it does not."""
        try:
            while self._socket.recv(65536):
                pass
        except ConnectionResetError:
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def own(database: None) -> Iterator[Server]:
    """A server whose memory and sockets are counted."""
    with Server(EMBEDDED_WORKER="false") as server:
        yield server
        assert "Traceback" not in server.log(), server.log()


@pytest.fixture
def widget(openai: OpenAISimulator) -> Widget:
    return make_widget(openai_agent(openai))


def memory_kib(server: Server) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    assert found
    return int(found[1])


def open_sockets(server: Server) -> float:
    numbers = httpx.get(f"{server.url}/metrics", trust_env=False, verify=CONTEXT).text
    found = re.search(r"^chatwidget_sockets ([\d.]+)$", numbers, re.MULTILINE)
    assert found
    return float(found[1])


async def test_a_reader_that_stops_costs_little_and_is_cut(own: Server, widget: Widget) -> None:
    async with Visitor(own.url, widget.key) as visitor:
        conversation = await visitor.conversation()
        add_message(Conversation.objects.get(pk=conversation), "x" * PAGE_CHARS)
        async with visitor.socket(conversation) as reading:  # what a page costs who reads
            for _ in range(TABS):
                await reading.sync(conversation)
        await eventually(lambda: open_sockets(own) == 0)
        before = memory_kib(own)
        tabs = [StalledTab(own.url) for _ in range(TABS)]
        highest = before
        for tab in tabs:
            tab.send(f'{{"type": "hello", "token": "{visitor.token}", "conversation": null}}')
            for _ in range(ASKED_TIMES):
                tab.send(f'{{"type": "sync", "conversation": "{conversation}"}}')

        def all_cut() -> bool:
            nonlocal highest
            highest = max(highest, memory_kib(own))
            return open_sockets(own) == 0

        await eventually(all_cut, timeout_s=30)
        assert highest - before < MAX_GROWTH_KIB
        for tab in tabs:
            tab.read_to_the_end()
            tab.close()


async def test_a_reader_that_stopped_comes_back_complete_and_held_nobody_up(
    own: Server, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens = [f"word{number} " for number in range(300)]
    openai.rate = 150
    async with Visitor(own.url, widget.key) as slow, Visitor(own.url, widget.key) as neighbour:
        conversation, other = await slow.conversation(), await neighbour.conversation()
        add_message(Conversation.objects.get(pk=conversation), "x" * PAGE_CHARS)
        tab = StalledTab(own.url)
        tab.send(f'{{"type": "hello", "token": "{slow.token}", "conversation": null}}')
        async with neighbour.socket(other) as socket:
            asked = await slow.ask(conversation, "Hello")
            heard = await neighbour.ask(other, "Hello")
            for _ in range(ASKED_TIMES):
                tab.send(f'{{"type": "sync", "conversation": "{conversation}"}}')
            await eventually(lambda: open_sockets(own) == 1)
            answer = await socket.final(heard["answer"])
            assert answer["text"] == "".join(openai.tokens)
            assert socket.gaps == 0
        async with slow.socket(conversation) as back:
            answer = await back.final(asked["answer"])
        assert answer["text"] == "".join(openai.tokens)
        tab.close()
