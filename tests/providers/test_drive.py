"""Carrying out a flow: deadlines, sizes, statuses, and who may be connected to at all."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import httpx
import pytest
import pytest_asyncio
from aiohttp import web

from chatwidget import errors
from chatwidget.errors import ChatWidgetError, Misconfigured, ProviderError, TimedOut, Unavailable
from chatwidget.events import Ended, Finish, ProviderEvent, Text, Working
from chatwidget.providers import Provider, Setup, drive
from chatwidget.providers.base import DEADLINES, Ask, Call, Flow, Pause, Reply, ServerEvent, Stream
from chatwidget.providers.http import forbidden, mapped_errors, new_client

from ..certificates import AUTHORITY, ELSEWHERE, Authority, tls_server
from ..simulators.base import Received, Simulator
from ..simulators.faults import (
    Exchange,
    Fault,
    GzipBomb,
    Html,
    RateLimited,
    Raw,
    Redirect,
    Stall,
    Status,
)

pytestmark = pytest.mark.default_stack("needs no server")

GET = Call(method="GET", path="/")


class Plain(Simulator):
    """A server whose answer is `{"ok": true}`, or one event with text and one that ends it."""

    def operation(self, method: str, path: str) -> str:
        return "stream" if path == "/stream" else "call"

    async def respond(self, received: Received, request: web.Request) -> web.StreamResponse:
        if received.operation == "call":
            return web.json_response({"ok": True})
        events = b"data: hello\n\ndata: end\n\n"
        return web.Response(body=events, content_type="text/event-stream")


class CookieSetter(Plain):
    """A server that wants to know whoever has been there."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str | None] = []
        """The cookie that each call came with."""

    async def respond(self, received: Received, request: web.Request) -> web.StreamResponse:
        self.sent.append(request.headers.get("Cookie"))
        response = web.json_response({"ok": True})
        response.set_cookie("session", "of somebody else")
        return response


class Vendor(Provider):
    """A vendor whose flow a test writes."""

    label = "Vendor"
    option_fields = DEADLINES

    def answer(self, ask: Ask) -> Flow:
        raise NotImplementedError


def said(event: ServerEvent) -> Iterator[ProviderEvent]:
    match event.data:
        case "thought":
            yield Working()
        case "end":
            yield Ended(Finish.COMPLETE)
        case text:
            yield Text(text)


class Client:
    """Drives flows over one real client and keeps what they told."""

    def __init__(self, http: httpx.AsyncClient, base_url: str) -> None:
        self.http, self.base_url = http, base_url
        self.told: list[ProviderEvent] = []

    async def run(self, flow: Flow, **options: Any) -> None:
        base_url = options.pop("base_url", self.base_url)
        await drive.drive(
            Vendor(Setup(base_url=base_url, options=options)), flow, self.http, self._sink
        )

    async def call(self, call: Call = GET, **options: Any) -> Reply:
        replies: list[Reply] = []

        def flow() -> Flow:
            replies.append((yield call))

        await self.run(flow(), **options)
        return replies[0]

    async def listen(self, **options: Any) -> str:
        def flow() -> Flow:
            yield Stream(Call(method="POST", path="/stream", json={}), said)

        await self.run(flow(), **options)
        return self.text

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.told if isinstance(event, Text))

    async def _sink(self, events: Sequence[ProviderEvent]) -> None:
        self.told += events


@pytest.fixture
def vendor() -> Iterator[Plain]:
    with Plain() as simulator:
        yield simulator
        assert simulator.violations == []


@pytest_asyncio.fixture
async def client(vendor: Plain) -> AsyncIterator[Client]:
    async with new_client() as http:
        yield Client(http, vendor.url)


# --- a flow ---------------------------------------------------------------------------------------


async def test_a_flow_is_sent_what_came_of_each_step(client: Client) -> None:
    def flow() -> Flow:
        reply = yield GET
        assert reply == Reply(200, {"ok": True})
        yield Pause(0)
        yield Text("a")
        yield Stream(Call(method="POST", path="/stream", json={}), said)
        raise AssertionError("not reached: the stream said that it ended")

    with pytest.raises(AssertionError, match="not reached"):
        await client.run(flow())
    assert client.told == [Text("a"), Text("hello"), Ended(Finish.COMPLETE)]


async def test_a_wait_that_would_outlast_the_deadline_is_not_begun(client: Client) -> None:
    banned = Unavailable("come back in an hour", retry_after_s=3600)

    def flow() -> Flow:
        yield Pause(0.01, after=banned)
        yield Text("waited")
        yield Pause(3600, after=banned)

    with pytest.raises(Unavailable, match="in an hour") as raised:
        await client.run(flow(), total_s=60)
    assert raised.value.retry_after_s == 3600
    assert client.text == "waited"


async def test_a_flow_can_do_something_about_an_error(client: Client, vendor: Plain) -> None:
    vendor.fail_next("call", Status(500))

    def flow() -> Flow:
        with pytest.raises(Unavailable, match="HTTP 500"):
            yield GET
        yield GET
        yield Text("fine")

    await client.run(flow())
    assert client.text == "fine"


async def test_what_a_sink_raises_is_not_taken_for_the_networks(client: Client) -> None:
    async def sink(events: Sequence[ProviderEvent]) -> None:
        raise OSError("the disk is full")

    flow = iter([Stream(Call(method="POST", path="/stream", json={}), said)])

    def steps() -> Flow:
        yield from flow

    with pytest.raises(OSError, match="disk"):
        await drive.drive(Vendor(Setup(base_url=client.base_url)), steps(), client.http, sink)


# --- deadlines ------------------------------------------------------------------------------------


async def ends(work: Any, within_s: tuple[float, float]) -> TimedOut:
    """Run what must time out, not before and not long after its deadline."""
    started = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        await work
    low, high = within_s
    assert low * 0.9 <= time.monotonic() - started < high
    return caught.value


async def test_connecting_has_a_deadline(client: Client) -> None:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as deaf:
        held = [socket.socket() for _ in range(4)]  # fills the queue that nobody empties
        for one in held:
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        await ends(client.call(base_url=url, connect_s=0.3, idle_s=5), (0.3, 2))
        for one in held:
            one.close()


async def test_looking_a_name_up_has_the_deadline_of_connecting(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(loop: Any, *asked: Any, **_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never.__get__(object()))
    await ends(client.call(base_url="http://slow.example", connect_s=0.3, idle_s=5), (0.3, 2))


async def test_a_name_that_is_looked_up_for_long_keeps_no_other_waiting(
    client: Client, vendor: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, look_up = threading.Event(), socket.getaddrinfo

    def slow(host: str, *more: Any, **options: Any) -> Any:
        if host == "slow.example":
            found.wait(timeout=10)
            raise socket.gaierror(socket.EAI_AGAIN, "no such luck")
        return look_up(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    held = [
        asyncio.create_task(client.call(base_url="http://slow.example", connect_s=9))
        for _ in range(50)
    ]
    try:
        async with asyncio.timeout(5):
            await client.call(base_url=f"http://localhost:{vendor.port}")
        assert not any(one.done() for one in held)
    finally:
        found.set()
        told = await asyncio.gather(*held, return_exceptions=True)
    assert {type(one) for one in told} == {Unavailable}


async def test_a_silent_answer_has_a_deadline(client: Client, vendor: Plain) -> None:
    vendor.fail_next("call", Stall())
    await ends(client.call(idle_s=0.2), (0.2, 1))


class Heartbeats(Fault):
    """Some text, and then a comment every 20 ms for ever."""

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(exchange.request)
        await response.write(b"data: hello\n\n")
        while True:
            await response.write(b": still here\n\n")
            await asyncio.sleep(0.02)


async def test_a_silent_stream_has_a_deadline_and_heartbeats_do_not_count(
    client: Client, vendor: Plain
) -> None:
    vendor.fail_next("stream", Heartbeats())
    error = await ends(client.listen(idle_s=0.4, total_s=5), (0.4, 3))
    assert "silent for 0.4 s" in str(error)
    assert client.text == "hello"


class Thoughts(Fault):
    """A thought every 20 ms for half a second, and then an answer."""

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(exchange.request)
        for _ in range(25):
            await response.write(b"data: thought\n\n")
            await asyncio.sleep(0.02)
        await response.write(b"data: hello\n\ndata: end\n\n")
        return response


async def test_an_agent_at_work_is_not_silent(client: Client, vendor: Plain) -> None:
    vendor.fail_next("stream", Thoughts())
    assert await client.listen(idle_s=0.25, total_s=5) == "hello"


@dataclass(frozen=True, slots=True)
class BadEnd(Fault):
    """All of an answer, and a moment later the connection breaks."""

    after_s: float

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(exchange.request)
        await response.write(b"data: hello\n\ndata: end\n\n")
        await asyncio.sleep(self.after_s)
        assert exchange.request.transport is not None
        exchange.request.transport.abort()
        return response


async def test_a_connection_that_breaks_behind_the_end_does_no_harm(
    client: Client, vendor: Plain
) -> None:
    vendor.fail_next("stream", BadEnd(after_s=drive.LINGER_S / 5))
    assert await client.listen() == "hello"
    assert client.told[-1] == Ended(Finish.COMPLETE)


async def test_a_silence_behind_the_end_does_no_harm(
    client: Client, vendor: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "LINGER_S", 0.6)
    vendor.fail_next("stream", BadEnd(after_s=5))
    assert await client.listen(idle_s=0.3) == "hello"


async def test_the_whole_has_a_deadline(client: Client, vendor: Plain) -> None:
    def patient() -> Flow:
        while True:
            yield GET
            yield Pause(0.05)

    error = await ends(client.run(patient(), total_s=0.3), (0.3, 1))
    assert "longer than 0.3 s" in str(error)


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nX-Drip: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"],
    ids=["header", "body"],
)
async def test_an_answer_that_drips_ends_with_the_whole(
    client: Client, vendor: Plain, head: bytes
) -> None:
    vendor.fail_next("call", Raw(head + b"x" * 9_000, pause=0.005))
    await ends(client.call(total_s=0.4, idle_s=5), (0.4, 2))


# --- sizes and types ------------------------------------------------------------------------------


async def test_a_body_has_a_largest_size(client: Client, vendor: Plain) -> None:
    vendor.fail_next("call", Status(200, b'"' + b"x" * drive.MAX_BODY_BYTES + b'"'))
    with pytest.raises(errors.Broken, match=f"more than {drive.MAX_BODY_BYTES} bytes"):
        await client.call()


async def test_a_stream_has_a_largest_size(
    client: Client, vendor: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "MAX_STREAM_BYTES", 100_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    vendor.fail_next("stream", Raw(head + b"data: x\n\n" * 20_000))
    with pytest.raises(errors.Broken, match="a stream of more than 100000 bytes"):
        await client.listen()


async def test_compression_is_declined_and_a_bomb_is_not_unpacked(
    client: Client, vendor: Plain
) -> None:
    vendor.fail_next("call", GzipBomb(20))
    with pytest.raises(errors.Broken, match="not JSON"):
        await client.call()
    assert vendor.requests[-1].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Html(200), "'text/html' instead of a stream"),
        (Status(200, {"error": {"message": "no"}}), "'application/json' instead of a stream"),
        (Status(204), "HTTP 204 instead of a stream"),
        (
            Status(
                200, b"\x1f\x8b", {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
            ),
            "declined",
        ),
    ],
    ids=["HTML", "JSON", "nothing", "gzip"],
)
async def test_what_is_no_stream_is_told_by_its_kind(
    client: Client, vendor: Plain, fault: Fault, told: str
) -> None:
    vendor.fail_next("stream", fault)
    with pytest.raises(errors.Broken, match=told):
        await client.listen()


@pytest.mark.parametrize("body", ["<html>", "{", "[" * 100_000, b"\xff\xfe", "NaN x"])
async def test_what_is_no_json_is_broken(client: Client, vendor: Plain, body: str | bytes) -> None:
    vendor.fail_next("call", Status(200, body, {"Content-Type": "application/json"}))
    with pytest.raises(errors.Broken, match="not JSON"):
        await client.call()


async def test_json_is_whole_characters(client: Client, vendor: Plain) -> None:
    vendor.fail_next("call", Status(200, r'{"a": ["\ud83d\ude00", "\ud83d", "\u0000", "\\ud83d"]}'))
    reply = await client.call()
    assert reply.data == {"a": ["😀", "?", "\ufffd", "\\ud83d"]}


# --- statuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, "Misconfigured") for status in (301, 302, 307, 308, 401, 402, 403)),
        *((status, "Rejected") for status in (400, 404, 409, 410, 413, 422, 451)),
        *((status, "TimedOut") for status in (408, 504)),
        (429, "RateLimited"),
        *((status, "Unavailable") for status in (500, 501, 502, 503, 529)),
    ],
)
async def test_each_status_is_an_error_by_what_happens_next(
    client: Client, vendor: Plain, status: int, error: str
) -> None:
    vendor.fail_always("call", Status(status, "<html>no</html>"))
    with pytest.raises(ProviderError) as caught:
        await client.call()
    assert type(caught.value).__name__ == error
    assert caught.value.status == status
    assert str(status) in str(caught.value)
    accepted = Call(method="GET", path="/", accept=(status,))
    assert (await client.call(accepted)).status == status


async def test_a_redirect_is_not_followed(client: Client, vendor: Plain) -> None:
    with Plain() as elsewhere:
        for code in (301, 302, 303, 307, 308):
            vendor.fail_next("call", Redirect(elsewhere.url, code))
            with pytest.raises(Misconfigured, match="redirects elsewhere"):
                await client.call()
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (timedelta(hours=1), 3600.0),
        (timedelta(hours=-1), 0.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("²", None),
        ("Mon, 32 Foo 99999 99:99:99 +999999", None),
        ("9" * 400, 999_999_999.0),
        (None, None),
    ],
    ids=range(10),
)
async def test_retry_after_is_read_as_seconds_or_a_date(
    client: Client, vendor: Plain, header: str | timedelta | None, seconds: float | None
) -> None:
    if isinstance(header, timedelta):
        header = format_datetime(datetime.now(UTC) + header, usegmt=True)
    for fault in (RateLimited(header), Status(503, b"", {"Retry-After": header} if header else {})):
        vendor.fail_next("call", fault)
        with pytest.raises(Unavailable) as caught:
            await client.call()
        assert caught.value.retry_after_s == (
            pytest.approx(seconds, abs=60) if seconds else seconds
        )


# --- reads that are repeated ----------------------------------------------------------------------


async def test_a_limit_is_waited_out_and_is_no_failure_that_counts(
    client: Client, vendor: Plain
) -> None:
    vendor.fail_next("call", *[RateLimited()] * 6, *[Status(500)] * 4, *[RateLimited()] * 6)
    await client.run(Vendor(Setup()).read(GET, 0.001))
    assert len(vendor.requests) == 17


async def test_a_limit_that_lasts_is_told_before_the_deadline(
    client: Client, vendor: Plain
) -> None:
    vendor.fail_always("call", RateLimited())
    with pytest.raises(errors.RateLimited):
        await client.run(Vendor(Setup()).read(GET, 0.1), total_s=1)
    assert len(vendor.requests) > 1


@pytest.mark.parametrize(
    ("first_s", "longest_s"), [(1.0, 15.0), (0.05, 1.0), (30.0, 30.0)], ids=str
)
def test_the_waits_for_a_limit_grow_to_a_quarter_of_a_minute_or_what_the_operator_set(
    first_s: float, longest_s: float
) -> None:
    flow = Vendor(Setup()).read(GET, first_s)
    next(flow)
    waits = []
    for _ in range(20):
        waits.append(flow.throw(errors.RateLimited()).seconds)
        next(flow)
    assert waits[0] == first_s
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(longest_s)


# --- errors of the libraries below ----------------------------------------------------------------


def below(root: type[BaseException]) -> set[type[BaseException]]:
    return {root}.union(*(below(one) for one in root.__subclasses__()))


LOWER = sorted(
    {
        *below(httpx.HTTPError),
        *below(httpx.StreamError),
        *below(httpx.InvalidURL),
        *below(aiohttp.ClientError),
        *(one for one in below(OSError) if one.__module__ == "builtins"),
        ValueError,
        UnicodeError,
    },
    key=lambda one: f"{one.__module__}.{one.__name__}",
)


def an_instance(error: type[BaseException]) -> BaseException:
    """Make one without what it wants told; its text, which ours looks at, is its docstring's."""

    class Mute(error):  # type: ignore[valid-type, misc]
        def __init__(self) -> None:
            pass

        def __str__(self) -> str:
            return "something happened"

    return Mute()


@pytest.mark.parametrize("error", LOWER, ids=lambda one: one.__name__)
def test_every_error_of_the_libraries_below_becomes_one_of_ours(
    error: type[BaseException],
) -> None:
    for raised in (an_instance(error), httpx.ConnectTimeout("wrapped")):
        if isinstance(raised, httpx.ConnectTimeout):
            raised.__cause__ = an_instance(error)
        with pytest.raises(ProviderError, match="Vendor"), mapped_errors("Vendor"):
            raise raised


async def test_a_stop_passes_through() -> None:
    with pytest.raises(asyncio.CancelledError), mapped_errors("Vendor"):
        raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("base_url", "error"),
    [
        ("ftp://127.0.0.1", Misconfigured),
        ("file:///etc/passwd", Misconfigured),
        ("http://", Misconfigured),
        ("http://127.0.0.1:99999", Misconfigured),
        ("http://127.0.0.1\r\nHost: x", Misconfigured),
        ("http://a..b", Misconfigured),
        ("http://xn--a", Misconfigured),
        ("http://127.0.0.1:1", Unavailable),
        ("http://[", ProviderError),
    ],
)
async def test_a_base_url_that_leads_nowhere_is_told(
    client: Client, base_url: str, error: type[ChatWidgetError]
) -> None:
    with pytest.raises(error):
        await client.call(base_url=base_url, connect_s=1)


async def test_a_password_in_a_base_url_is_an_error_without_it(client: Client) -> None:
    call = Call(method="GET", path="/", headers={"Authorization": "Bearer key"})
    with pytest.raises(Misconfigured) as caught:
        await client.call(call, base_url="http://user:hunter2@127.0.0.1:1")
    assert "hunter2" not in str(caught.value)


# --- who may be connected to ----------------------------------------------------------------------

PRIVATE = """
0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255
192.0.0.1 192.0.2.1 192.168.0.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1
255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1
64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::1 100::1 2001:db8::1 2002:7f00:1::
2002:a00:1:: 2001:0:4136:e378:8000:63bf:80ff:fffe fc00::1 fd12:3456::1 fe80::1 fe80::1%eth0
fec0::1 ff02::1
""".split()  # noqa: SIM905
PUBLIC = """
1.1.1.1 8.8.8.8 93.184.216.34 172.32.0.1 192.169.0.1 2606:4700:4700::1111 2001:4860:4860::8888
::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::
""".split()  # noqa: SIM905


@pytest.mark.parametrize("address", [*PRIVATE, "localhost", "", "1.1.1", "0x7f.1", "2130706433"])
def test_addresses_that_are_not_public_are_forbidden(address: str) -> None:
    assert forbidden(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_public_internet_are_allowed(address: str) -> None:
    assert not forbidden(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "0.0.0.0",
        "[::]",
        "user@127.0.0.1",
        "public.example@127.0.0.1",
        "１２７.０.０.１",
        "127。0。0。1",
    ],
)
async def test_nothing_reaches_a_private_address_however_it_is_written(
    client: Client, vendor: Plain, settings: Any, host: str
) -> None:
    settings.PROVIDER_ALLOW_PRIVATE = False
    with pytest.raises(ProviderError):
        await client.call(base_url=f"http://{host}:{vendor.port}", connect_s=1)
    assert vendor.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_the_operator_is_told_why_a_private_address_is_refused(
    client: Client, settings: Any, host: str
) -> None:
    settings.PROVIDER_ALLOW_PRIVATE = False
    with pytest.raises(Misconfigured, match="PROVIDER_ALLOW_PRIVATE"):
        await client.call(base_url=f"http://{host}:1", connect_s=1)


async def test_a_name_is_judged_by_the_address_it_leads_to(
    client: Client, vendor: Plain, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PROVIDER_ALLOW_PRIVATE = False
    asked: list[str] = []

    async def rebound(loop: Any, host: str, port: int, **_: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebound.__get__(object()))
    with pytest.raises(Misconfigured, match="PROVIDER_ALLOW_PRIVATE"):
        await client.call(base_url=f"http://public.example:{vendor.port}")
    assert asked == ["public.example"]
    assert vendor.requests == []


# --- whose certificate is believed ----------------------------------------------------------------


async def test_an_authority_that_the_operator_trusts_is_believed(client: Client) -> None:
    with tls_server(AUTHORITY.issue()) as (address, asked):
        assert await client.call(base_url=address) == Reply(200, {"ok": True})
    assert len(asked) == 1


@pytest.mark.parametrize(
    "certificate",
    [Authority().issue(), AUTHORITY.issue(ELSEWHERE), AUTHORITY.issue(days_left=-1)],
    ids=["another authority", "another name", "expired"],
)
async def test_no_other_certificate_is(client: Client, certificate: bytes) -> None:
    with (
        tls_server(certificate) as (address, asked),
        pytest.raises(Unavailable, match="certificate of Vendor is not valid"),
    ):
        await client.call(base_url=address)
    assert asked == []


async def test_a_vendors_cookies_are_forgotten() -> None:
    with CookieSetter() as vendor:
        async with new_client() as http:
            client = Client(http, vendor.url)
            await client.call()
            await client.call()
    assert vendor.sent == [None, None]


async def test_proxies_of_the_environment_are_not_used(
    client: Client, vendor: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Plain() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with new_client() as http:
            await Client(http, vendor.url).call()
        assert (len(vendor.requests), len(proxy.requests)) == (1, 0)
