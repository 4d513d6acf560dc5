"""E2: who may show a widget and speak for its visitors, by exact origin."""

import json

import httpx
import pytest
import websockets

from chatwidget.models import Widget
from chatwidget.origins import normalise_origin

from ..cast import make_agent, make_widget
from ..server import Server
from ..visitor import Visitor

ALLOWED = [
    "https://shop.example",
    "http://shop.example:8080",
    "https://xn--bcher-kva.example",
    "http://[2001:db8::1]:3000",
    "http://192.0.2.7",
]
RIGHT = [
    "https://shop.example",
    "https://shop.example:443",
    "HTTPS://SHOP.EXAMPLE",
    "http://shop.example:8080",
    "https://xn--bcher-kva.example",
    "https://XN--BCHER-KVA.example",
    "http://[2001:db8::1]:3000",
    "http://[2001:DB8:0:0::1]:3000",
    "http://192.0.2.7",
    "http://192.0.2.7:80",
]
WRONG = [
    # another port or scheme
    "http://shop.example",
    "https://shop.example:8080",
    "https://shop.example:80",
    "http://shop.example:8081",
    "http://shop.example:808",
    "http://shop.example:80800",
    "https://shop.example:0",
    "https://shop.example:-1",
    "https://shop.example:99999",
    "https://shop.example:x",
    "https://shop.example:",
    "https://shop.example:４４３",
    "ftp://shop.example",
    "ws://shop.example",
    "file://",
    "chrome-extension://shop.example",
    "javascript://shop.example",
    # a name that only looks like it
    "https://shop.example.evil.test",
    "https://evilshop.example",
    "https://www.shop.example",
    "https://shop.example.",
    "https://.shop.example",
    "https://shop..example",
    "https://shop-example",
    "https://shop.example%2eevil.test",
    "https://shop.example%00.evil.test",
    "https://shop.example\\.evil.test",
    "https://xn--bcher-kva.example.evil.test",
    "https://b\xfccher.example",
    "https://sh\u043ep.example",
    "http://[2001:db8::2]:3000",
    "http://[2001:db8::1%25eth0]:3000",
    "http://2001:db8::1:3000",
    "http://3221225991",
    "http://0xc0000207",
    "http://192.0.2.07",
    # more than an origin
    "https://shop.example@evil.test",
    "https://evil.test@shop.example",
    "https://user:pw@shop.example",
    "https://shop.example/path",
    "https://shop.example?x",
    "https://shop.example#x",
    "https://evil.test/https://shop.example",
    "https://shop.example, https://evil.test",
    "https://shop.example https://evil.test",
    # none at all
    "null",
    "",
    "*",
    "https://*.example",
    "https://",
    "shop.example",
    "//shop.example",
    "http://[",
    "http://]",
    "https://shop.example" + "a" * 10_000,
]

REFUSALS = ("origin_not_allowed 4401", "HTTP 400")  # the server refuses unreadable ones by itself


def test_the_corpus_has_its_size() -> None:
    assert len(RIGHT) + len(WRONG) >= 60
    assert len({*RIGHT, *WRONG}) == len(RIGHT) + len(WRONG)


@pytest.fixture(scope="module")
def widget(database: None) -> Widget:
    return make_widget(make_agent(), origins=ALLOWED)


def test_rest_is_open_to_the_right_origins_and_no_other(server: Server, widget: Widget) -> None:
    before = len(server.log())
    wrong_answers = []
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        for origin in RIGHT + WRONG:
            for method, path in (("GET", ""), ("POST", "/sessions")):
                answer = client.request(
                    method,
                    f"/api/v1/widgets/{widget.key}{path}",
                    headers=[(b"Origin", origin.encode())],
                )
                granted = answer.headers.get("access-control-allow-origin")
                is_open = answer.is_success and granted == origin
                is_shut = answer.status_code == 403 and granted is None
                if not (is_open if origin in RIGHT else is_shut):
                    wrong_answers.append((origin[:60], answer.status_code, granted))
    assert wrong_answers == []
    assert "Traceback" not in server.log()[before:]


def test_two_origin_headers_are_none_of_ours(server: Server, widget: Widget) -> None:
    for second in ("https://evil.test", "https://shop.example"):
        headers = [("Origin", "https://shop.example"), ("Origin", second)]
        answer = httpx.get(
            f"{server.url}/api/v1/widgets/{widget.key}", headers=headers, trust_env=False
        )
        assert answer.status_code == 403


async def test_the_socket_is_open_to_the_right_origins_and_no_other(
    server: Server, widget: Widget
) -> None:
    before = len(server.log())
    wrong_answers = []
    async with Visitor(server.url, widget.key) as visitor:
        for origin in [server.url, *RIGHT, *WRONG]:
            told = await hello_from(visitor, origin)
            is_right = told in REFUSALS if origin in WRONG else told == "ready"
            if not is_right:
                wrong_answers.append((origin[:60], told))
    assert wrong_answers == []
    assert "Traceback" not in server.log()[before:]


async def hello_from(visitor: Visitor, origin: str) -> str:
    """Say hello from a page of this origin, and return what came of it."""
    origin = origin.encode().decode("latin-1")  # as bytes travel in headers
    try:
        async with visitor.socket(hello=False, headers={"Origin": origin}) as socket:
            await socket.send({"type": "hello", "token": visitor.token})
            frame = await socket.next()
            if frame["type"] == "ready":
                return "ready"
            return f"{frame['code']} {await socket.close_code()}"
    except websockets.InvalidStatus as refused:
        return f"HTTP {refused.response.status_code}"


async def test_a_foreign_host_name_makes_no_origin_our_own(server: Server, widget: Widget) -> None:
    """What DNS rebinding would try: a name of the attacker's that leads to us."""
    evil = f"http://evil.test:{server.port}"
    async with (
        Visitor(server.url, widget.key) as visitor,
        websockets.connect(
            f"ws://evil.test:{server.port}/ws/v1/",
            host="127.0.0.1",
            additional_headers={"Origin": evil},
            proxy=None,
        ) as connection,
    ):
        headers = {"Host": f"evil.test:{server.port}", "Origin": evil}
        answer = await visitor.http.get(f"/widgets/{widget.key}", headers=headers)
        assert answer.status_code == 400
        await connection.send(json.dumps({"type": "hello", "token": visitor.token}))
        assert json.loads(await connection.recv())["code"] == "origin_not_allowed"


@pytest.mark.parametrize(
    ("typed", "as_browsers_write_it"),
    [
        ("https://Bücher.example", "https://xn--bcher-kva.example"),
        ("https://faß.example", "https://xn--fa-hia.example"),
        ("https://Shop.Example:443/", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://[2001:DB8::0001]", "http://[2001:db8::1]"),
        ("https://例え.example", "https://xn--r8jz45g.example"),
        ("https://a_b.example", "https://a_b.example"),
    ],
)
def test_what_an_operator_types_becomes_what_a_browser_sends(
    typed: str, as_browsers_write_it: str
) -> None:
    assert normalise_origin(typed) == as_browsers_write_it
    assert normalise_origin(as_browsers_write_it) == as_browsers_write_it
