"""Where a visitor begins: settings and sessions."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from chatwidget.models import VisitorToken, Widget

from ..cast import make_widget
from ..server import Server
from ..visitor import JSON
from .contract import CheckedVisitor

SITE = "https://shop.example"


async def post(ann: CheckedVisitor, body: Any, *, key: str = "", **headers: str) -> Any:
    return await ann.http.post(f"/widgets/{key or ann.key}/sessions", json=body, headers=headers)


async def test_a_session_has_token_visitor_widget_and_conversations(ann: CheckedVisitor) -> None:
    first = await ann.conversation()
    second = await ann.conversation()
    session = (await post(ann, {"token": ann.token})).json()
    assert set(session) == {"token", "visitor", "widget", "conversations"}
    assert session["visitor"] == {"id": ann.id}
    assert session["widget"]["key"] == ann.key
    assert [one["id"] for one in session["conversations"]] == [second, first]


async def test_a_token_brings_back_the_same_visitor(ann: CheckedVisitor) -> None:
    session = (await post(ann, {"token": ann.token})).json()
    assert session["visitor"]["id"] == ann.id


@pytest.mark.parametrize("body", [{}, {"token": None}, {"token": ""}, None])
async def test_without_a_token_there_is_a_new_visitor(ann: CheckedVisitor, body: JSON) -> None:
    answer = (
        await ann.http.post(f"/widgets/{ann.key}/sessions", json=body)
        if body
        else (await ann.http.post(f"/widgets/{ann.key}/sessions"))
    )
    assert answer.status_code == 201
    assert answer.json()["visitor"]["id"] != ann.id


async def test_an_expired_token_gives_a_new_visitor(ann: CheckedVisitor) -> None:
    VisitorToken.objects.filter(visitor=ann.id).update(expires_at=timezone.now())
    answer = await post(ann, {"token": ann.token})
    assert answer.status_code == 201
    assert answer.json()["visitor"]["id"] != ann.id
    assert answer.json()["token"] != ann.token


@pytest.mark.parametrize("token", ["vt_unknown", "x" * 5000, "\x00", "\ud800", "ü"])
async def test_an_unknown_token_gives_a_new_visitor(ann: CheckedVisitor, token: str) -> None:
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"token": token})  # httpx would not escape a surrogate
    answer = await ann.http.post(f"/widgets/{ann.key}/sessions", content=body, headers=headers)
    assert answer.status_code == 201
    assert answer.json()["conversations"] == []


async def test_a_token_of_another_widget_gives_a_new_visitor(ann: CheckedVisitor) -> None:
    other = make_widget()
    session = (await post(ann, {"token": ann.token}, key=other.key)).json()
    assert session["visitor"]["id"] != ann.id
    assert session["widget"]["key"] == other.key


async def test_a_renewed_token_leaves_the_earlier_one_valid(ann: CheckedVisitor) -> None:
    soon = timezone.now() + timedelta(days=1)
    VisitorToken.objects.filter(visitor=ann.id).update(expires_at=soon)
    renewed = (await post(ann, {"token": ann.token})).json()
    assert renewed["token"] != ann.token
    assert renewed["visitor"]["id"] == ann.id
    await ann.call("GET", "/conversations")
    ann.http.headers["Authorization"] = f"Bearer {renewed['token']}"
    await ann.call("GET", "/conversations")


@pytest.mark.parametrize("locale", ["de-AT", "", None, "zh-Hant-TW-u-ca-chinese-co-stroke", "\x00"])
async def test_no_locale_costs_a_session(ann: CheckedVisitor, locale: str | None) -> None:
    assert (await post(ann, {"locale": locale})).status_code == 201


@pytest.mark.parametrize(
    "body", [[], "text", 5, {"token": 5}, {"token": []}, {"locale": 5}, {"locale": {"a": 1}}]
)
async def test_a_session_of_the_wrong_types_is_invalid(ann: CheckedVisitor, body: Any) -> None:
    answer = await post(ann, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "page",
    [
        {"url": "https://shop.example/", "title": "Shop", "referrer": ""},
        {"url": "x" * 10_000, "title": "\x00" * 500},
        {"url": 5, "title": None, "referrer": {}, "more": 1},
        "text",
        [],
        None,
        5,
    ],
)
async def test_no_page_costs_a_session_or_a_message(ann: CheckedVisitor, page: Any) -> None:
    assert (await post(ann, {"page": page})).status_code == 201
    await ann.ask(await ann.conversation(), "Hello", page=page)


async def test_settings_are_readable_from_an_allowed_site(ann: CheckedVisitor) -> None:
    Widget.objects.filter(pk=ann.key).update(origins=[SITE])
    answer = await ann.http.get(f"/widgets/{ann.key}", headers={"Origin": SITE})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SITE
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers
    preflight = await ann.http.options(f"/widgets/{ann.key}/sessions", headers={"Origin": SITE})
    assert preflight.headers["access-control-allow-origin"] == SITE
    assert "POST" in preflight.headers["access-control-allow-methods"]


@pytest.mark.parametrize("path", ["", "/sessions"])
async def test_another_site_is_refused_by_name(ann: CheckedVisitor, path: str) -> None:
    method = "POST" if path else "GET"
    headers = {"Origin": "https://evil.example"}
    answer = await ann.http.request(method, f"/widgets/{ann.key}{path}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert "https://evil.example" in answer.json()["detail"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["", "/sessions"])
async def test_the_service_itself_and_no_origin_are_never_refused(
    ann: CheckedVisitor, server: Server, path: str
) -> None:
    for headers in ({}, {"Origin": server.url}):
        method = "POST" if path else "GET"
        answer = await ann.http.request(method, f"/widgets/{ann.key}{path}", headers=headers)
        assert answer.is_success


@pytest.mark.parametrize("path", ["", "/sessions"])
async def test_an_unknown_widget_is_not_found(ann: CheckedVisitor, path: str) -> None:
    method = "POST" if path else "GET"
    answer = await ann.http.request(method, f"/widgets/pk_nobody{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "widget_not_found")


async def test_settings_hold_what_is_drawn_and_nothing_else(ann: CheckedVisitor) -> None:
    settings = await ann.call("GET", f"/widgets/{ann.key}")
    drawn = {"key", "name", "paused", "look", "locale", "texts", "starters", "feedback", "agent"}
    assert set(settings) == drawn | {"max_length", "attachments"}
    assert settings["agent"] == {"streams": True, "stops": True}


async def test_a_paused_widget_begins_nothing_new(ann: CheckedVisitor) -> None:
    conversation = await ann.conversation()
    Widget.objects.filter(pk=ann.key).update(paused=True)
    message = {"id": "6b1d9a4e-4a0e-4a51-9d0f-0d6c1c3f8a11", "text": "Hello"}
    for path, body in [
        (f"/widgets/{ann.key}/sessions", {}),
        ("/conversations", {}),
        (f"/conversations/{conversation}/messages", message),
    ]:
        refused = await ann.call("POST", path, body, expect=403)
        assert refused["code"] == "widget_paused"
    assert (await ann.call("GET", f"/widgets/{ann.key}"))["paused"] is True
    assert await ann.messages(conversation) == []


async def test_what_began_before_a_pause_is_told_again(ann: CheckedVisitor) -> None:
    conversation = await ann.conversation()
    asked = await ann.ask(conversation, "Hello")
    Widget.objects.filter(pk=ann.key).update(paused=True)
    path, question = f"/conversations/{conversation}/messages", asked["question"]
    same = {"id": question["id"], "text": question["text"]}
    again = await ann.call("POST", path, same, expect=200)
    assert [again[one]["id"] for one in again] == [asked[one]["id"] for one in again]
    refused = await ann.call("POST", path, same | {"text": "Other"}, expect=409)
    assert refused["code"] == "message_id_reused"
    refused = await ann.call("POST", f"/messages/{question['id']}/retry", expect=409)
    assert refused["code"] == "retry_not_allowed"
