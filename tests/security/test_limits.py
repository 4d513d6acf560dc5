"""Limits per visitor and per address: shared by all processes, exact under races."""

import asyncio
import json
import time
import uuid
from collections import Counter

import httpx
import pytest
from pytest_django.fixtures import Settings

from chatwidget import limits
from chatwidget.models import RateLimit

from ..server import Server
from ..visitor import JSON, Visitor
from .conftest import fast_widget


def new_address() -> str:
    """An address that no test has used yet."""
    number = uuid.uuid4().int
    return f"203.0.{number % 256}.{number // 256 % 256}"


async def open_session(server: Server, key: str, *addresses: str) -> tuple[int, JSON]:
    forwarded = {"X-Forwarded-For": ", ".join(addresses)}
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"{server.url}/api/v1/widgets/{key}/sessions"
        answer = await client.post(url, json={}, headers=forwarded)
    return answer.status_code, answer.json()


async def race(visitors: list[Visitor], conversation: str, count: int) -> Counter[int]:
    """Send `count` messages at once, spread over clients of the same visitor."""

    async def send(number: int) -> int:
        client = visitors[number % len(visitors)].http
        body = {"id": str(uuid.uuid4()), "text": "Hello"}
        answer = await client.post(f"/conversations/{conversation}/messages", json=body)
        return answer.status_code

    return Counter(await asyncio.gather(*(send(number) for number in range(count))))


async def test_a_hundred_parallel_sends_let_thirty_pass(limited: Server) -> None:
    widget, address = fast_widget(), new_address()
    visitor = Visitor(limited.url, widget.key)
    visitor.http.headers["X-Forwarded-For"] = address
    async with visitor:
        conversation = await visitor.conversation()  # counts as one
        began = time.time()
        codes = await race([visitor], conversation, 100)
        given_back = (time.time() - began) / 2
    passed = codes[201] + codes[409]
    assert codes[429] == 100 - passed
    assert 29 <= passed <= 29 + given_back


async def test_two_processes_share_the_limit(limited: Server) -> None:
    widget = fast_widget()
    with Server(RATE_LIMITS="on", TRUSTED_PROXIES="1", EMBEDDED_WORKER="false") as second:
        visitor = Visitor(limited.url, widget.key)
        visitor.http.headers["X-Forwarded-For"] = new_address()
        async with visitor:
            twin = Visitor(second.url, widget.key)
            twin.http.headers = visitor.http.headers
            conversation = await visitor.conversation()
            began = time.time()
            codes = await race([visitor, twin], conversation, 100)
            given_back = (time.time() - began) / 2
            await twin.http.aclose()
    assert 29 <= codes[201] + codes[409] <= 29 + given_back


async def test_a_refusal_says_when_to_come_back(limited: Server) -> None:
    address = f"{limited.url}/api/v1/widgets/{fast_widget().key}/sessions"
    async with httpx.AsyncClient(
        trust_env=False, headers={"X-Forwarded-For": new_address()}
    ) as client:
        for _ in range(120):  # one in two seconds is given back meanwhile
            answer = await client.post(address)
            if answer.status_code == 429:
                break
    told = answer.json()
    assert (answer.status_code, told["code"]) == (429, "rate_limited")
    assert 1 <= told["retry_after"] <= 60
    assert answer.headers["retry-after"] == str(told["retry_after"])
    assert answer.headers["content-type"] == "application/problem+json"


async def test_only_the_proxys_word_on_an_address_counts(limited: Server) -> None:
    widget, address = fast_widget(), new_address()
    began = time.time()
    codes = [
        (await open_session(limited, widget.key, new_address(), address))[0] for _ in range(60)
    ]
    given_back = (time.time() - began) / 2
    assert 30 <= codes.count(201) <= 30 + given_back
    assert (await open_session(limited, widget.key, address, new_address()))[0] == 201


async def test_reading_is_not_limited(limited: Server) -> None:
    visitor = Visitor(limited.url, fast_widget().key)
    visitor.http.headers["X-Forwarded-For"] = new_address()
    async with visitor:
        conversation = await visitor.conversation()
        for _ in range(100):
            await visitor.messages(conversation)


async def test_refused_hellos_count_against_the_address(limited: Server) -> None:
    visitor, address = Visitor(limited.url, fast_widget().key), new_address()
    codes: list[int] = []
    while 4429 not in codes and len(codes) < 120:  # a place is regained each second
        async with visitor.socket(hello=False, headers={"X-Forwarded-For": address}) as socket:
            await socket.send(json.dumps({"type": "hello", "token": "vt_guessed"}))
            codes.append(await socket.close_code())
    assert codes[:60] == [4401] * 60
    assert codes[-1] == 4429
    await visitor.http.aclose()


@pytest.mark.parametrize(
    ("trusted", "forwarded", "found"),
    [
        (0, "198.51.100.1", "192.0.2.1"),
        (1, "198.51.100.1", "198.51.100.1"),
        (1, "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        (2, "6.6.6.6, 198.51.100.1, 10.0.0.1", "198.51.100.1"),
        (2, "198.51.100.1", "192.0.2.1"),
        (1, "", "192.0.2.1"),
        (1, " , ", "192.0.2.1"),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (1, "2001:DB8:1:2:ffff::1", "2001:db8:1:2::/64"),
        (1, "::ffff:198.51.100.1", "198.51.100.1"),
        (1, "\x1b]52;x", "\x1b]52;x"),
    ],
)
def test_an_address_is_found_behind_the_proxies_that_are_trusted(
    settings: Settings, trusted: int, forwarded: str, found: str
) -> None:
    settings.TRUSTED_PROXIES = trusted
    assert limits.address(forwarded, "192.0.2.1") == found


async def test_no_address_is_kept(limited: Server) -> None:
    address = "203.0.113.199"
    await open_session(limited, fast_widget().key, address)
    keys = list(RateLimit.objects.values_list("key", flat=True))
    assert any(key.startswith("session:") for key in keys)
    assert not any(address in key for key in keys)
