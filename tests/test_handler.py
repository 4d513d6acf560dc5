"""Django's threads: each request has one for as long as it needs it, whatever its client does."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from chatwidget.handler import Handler, threads

from .server import ROOT
from .waiting import eventually

MANY = 3 * threads()
LARGE = "/static/chatwidget/widget.js"
"""Sent as a file is: bit by bit."""


def scope_of(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
        "client": ("127.0.0.1", 1),
    }


class Client:
    """One request, as a server hands it on."""

    def __init__(self, *, reads: bool = True) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.left = asyncio.Event()
        self.sent = asyncio.Event()
        self._reads = reads
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request"}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)
        self.sent.set()
        if not self._reads:
            await asyncio.Event().wait()

    @property
    def status(self) -> int:
        return int(self.events[0]["status"])


async def test_more_requests_than_threads_are_all_answered() -> None:
    django = Handler()
    clients = [Client() for _ in range(MANY)]
    await asyncio.gather(*(django(scope_of("/healthz"), one.receive, one.send) for one in clients))
    assert {one.status for one in clients} == {200}
    assert django._free.qsize() == threads()


async def test_a_client_that_reads_slowly_holds_no_thread() -> None:
    django, client = Handler(), Client(reads=False)
    request = asyncio.create_task(django(scope_of("/healthz"), client.receive, client.send))
    await client.sent.wait()
    assert django._free.qsize() == threads()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)


async def test_a_client_that_leaves_a_long_answer_frees_its_thread() -> None:
    django, client = Handler(), Client(reads=False)
    request = asyncio.create_task(django(scope_of(LARGE), client.receive, client.send))
    await client.sent.wait()
    assert client.status == 200
    assert django._free.qsize() == threads() - 1
    client.left.set()
    await request
    await eventually(lambda: django._free.qsize() == threads())


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")  # of files, too
async def test_a_long_answer_is_sent_to_its_end() -> None:
    django, client = Handler(), Client()
    await django(scope_of(LARGE), client.receive, client.send)
    body = b"".join(event.get("body", b"") for event in client.events[1:])
    assert body == (ROOT / LARGE[1:]).read_bytes()
    await eventually(lambda: django._free.qsize() == threads())


async def test_a_request_that_is_cut_short_keeps_its_thread_until_its_view_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    django, client = Handler(), Client()
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    answer = django._answer

    def held(*given: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        return answer(*given)

    monkeypatch.setattr(django, "_answer", held)
    request = asyncio.create_task(django(scope_of("/healthz"), client.receive, client.send))
    await begun.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert django._free.qsize() == threads() - 1
    go_on.set()
    await eventually(lambda: django._free.qsize() == threads())


async def test_a_request_whose_client_is_gone_before_it_is_read_takes_no_thread() -> None:
    django, client = Handler(), Client()
    client._asked = True
    client.left.set()
    await django(scope_of("/healthz"), client.receive, client.send)
    assert client.events == []
    assert django._free.qsize() == threads()
