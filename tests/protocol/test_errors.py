"""Every refusal is a problem document with a stable code, and tells nothing of other visitors."""

import uuid
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.utils import timezone

from chatwidget.bounded import BoundedRequest
from chatwidget.models import VisitorToken

from ..server import Server
from .contract import PROBLEM, CheckedVisitor

NEW_ID = "5d8f1c1e-1111-4222-8333-444455556666"
CALLS = [
    ("GET", "/conversations", None),
    ("POST", "/conversations", None),
    ("POST", "/conversations/{conversation}/read", None),
    ("GET", "/conversations/{conversation}/messages", None),
    ("POST", "/conversations/{conversation}/messages", {"id": NEW_ID, "text": "Hello"}),
    ("POST", "/messages/{answer}/stop", None),
    ("POST", "/messages/{answer}/retry", None),
    ("PUT", "/messages/{answer}/feedback", {"vote": "up"}),
    ("DELETE", "/messages/{answer}/feedback", None),
    ("DELETE", "/visitor", None),
]
WITH_IDS = [call for call in CALLS if "{" in call[1]]
REFUSED = pytest.mark.default_stack("nginx refuses it in its own words")


async def ask(visitor: CheckedVisitor, call: tuple[str, str, Any], **ids: object) -> httpx.Response:
    method, path, body = call
    return await visitor.http.request(method, path.format(**ids), json=body)


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_needs_a_token(ann: CheckedVisitor, call: tuple[str, str, Any]) -> None:
    for wrong in [None, "", "Bearer", "Basic YTpi", "Bearer vt_unknown", "Bearer \xff"]:
        ann.http.headers.pop("Authorization", None)
        if wrong is not None:
            ann.http.headers = httpx.Headers({b"Authorization": wrong.encode("latin-1")})
        answer = await ask(ann, call, conversation=uuid.uuid4(), answer=uuid.uuid4())
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_an_expired_token_is_told_from_an_unknown_one(ann: CheckedVisitor) -> None:
    VisitorToken.objects.filter(visitor=ann.id).update(expires_at=timezone.now())
    refused = await ann.call("GET", "/conversations", expect=401)
    assert refused["code"] == "token_expired"


@pytest.mark.parametrize("call", WITH_IDS)
async def test_anothers_ids_are_answered_like_none(
    ann: CheckedVisitor, bob: CheckedVisitor, call: tuple[str, str, Any]
) -> None:
    answer = await bob.ask_and_wait("Hello")
    theirs = await ask(ann, call, conversation=answer["conversation"], answer=answer["id"])
    nobodys = await ask(ann, call, conversation=uuid.uuid4(), answer=uuid.uuid4())
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.content == nobodys.content
    assert theirs.json()["code"] == "not_found"


@pytest.mark.parametrize("path", ["/conversations/{}/messages", "/conversations/{}/read"])
@pytest.mark.parametrize(
    "id_", ["1", "x", pytest.param("%00", marks=REFUSED), "..%2F..", "5d8f1c1e", "null"]
)
async def test_what_is_no_id_is_not_found(ann: CheckedVisitor, path: str, id_: str) -> None:
    refused = await ann.call("POST", path.format(id_), expect=404)
    assert refused["code"] == "not_found"


@pytest.mark.parametrize(
    "path", ["", "/", "/nothing", "/conversations/", "/messages", "/visitor/x", "/widgets", "/%ff"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_address_is_a_problem_too(
    ann: CheckedVisitor, path: str, method: str
) -> None:
    for base in ("/api/v1", "/api/v2"):
        answer = await ann.http.request(method, f"{ann.base}{base}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/conversations"),
        ("DELETE", "/conversations"),
        ("GET", "/visitor"),
        ("PATCH", "/conversations/{}/messages"),
        ("GET", "/messages/{}/stop"),
        ("POST", "/messages/{}/feedback"),
        ("GET", "/widgets/{}/sessions"),
        pytest.param("TRACE", "/conversations", marks=REFUSED),
        ("BREW", "/conversations"),
    ],
)
async def test_a_method_that_is_not_offered_is_405(
    ann: CheckedVisitor, method: str, path: str
) -> None:
    answer = await ann.http.request(method, path.format(uuid.uuid4()))
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"]


UNREADABLE = [
    b"{",
    b"",
    b" ",
    b'{"id": NaN}',
    b"\xff\xfe",
    b"[" * 10_000,
    b'{"a":' * 5_000,
    b'"\\ud800',
    b"9" * 5_000,
    b"'text'",
    b"\xef\xbb\xbf{}",
]


@pytest.mark.parametrize("body", UNREADABLE)
async def test_unreadable_json_is_400(ann: CheckedVisitor, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    path = f"/conversations/{await ann.conversation()}/messages"
    answer = await ann.http.post(path, content=body, headers=headers)
    assert answer.status_code == (400 if body else 422)  # no body at all lacks every field
    assert answer.json()["code"] == "invalid"
    assert "errors" not in answer.json() or not body


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x", ""],
)
async def test_a_body_that_is_not_declared_as_json_is_415(ann: CheckedVisitor, kind: str) -> None:
    path = f"/conversations/{await ann.conversation()}/messages"
    answer = await ann.http.post(path, content=b'{"text": "x"}', headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_64_kib_is_413(ann: CheckedVisitor, declared: bool) -> None:
    async def pieces() -> Any:
        for _ in range(65):
            yield b" " * 1024

    body = b" " * (65 * 1024) if declared else pieces()
    for method, path in [("POST", f"/widgets/{ann.key}/sessions"), ("POST", "/conversations")]:
        headers = {"Content-Type": "application/json"}
        answer = await ann.http.request(method, path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
        body = b" " * (65 * 1024)


async def test_an_address_cannot_hide_behind_a_header(ann: CheckedVisitor) -> None:
    """Daphne takes its root path from the client; the bound on bodies goes by the path."""
    ann.http.event_hooks = {}  # what is not below /api/ is not in the document
    headers = {"Daphne-Root-Path": "/x"}
    answer = await ann.http.get(f"{ann.base}/x/api/v1/conversations", headers=headers)
    assert answer.status_code == 404


def test_no_more_of_a_body_is_kept_than_it_takes_to_refuse_it() -> None:
    request = BoundedRequest.__new__(BoundedRequest)
    for path, most in (
        (b"/api/v1/conversations", settings.DATA_UPLOAD_MAX_MEMORY_SIZE),
        (b"/api/v1/attachments?name=a.pdf", settings.ATTACHMENT_MAX_BYTES),
    ):
        request.channel = SimpleNamespace(_path=path)
        request.content = BytesIO()
        for _ in range(200):
            request.handleContentChunk(b"x" * 65_536)
        assert len(request.content.getvalue()) == most + 1


async def test_64_kib_are_read(ann: CheckedVisitor) -> None:
    headers = {"Content-Type": "application/json"}
    body = b'{"token": null}'.ljust(64 * 1024)
    answer = await ann.http.post(f"/widgets/{ann.key}/sessions", content=body, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*", PROBLEM, "x", "*/*"])
async def test_answers_are_json_whatever_is_accepted(ann: CheckedVisitor, accept: str) -> None:
    headers = {"Accept": accept}
    answer = await ann.http.get("/conversations?format=xml", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


async def test_a_problem_has_all_its_members(ann: CheckedVisitor) -> None:
    refused = await ann.call("POST", f"/messages/{uuid.uuid4()}/stop", expect=404)
    assert set(refused) == {"type", "title", "status", "detail", "code"}
    assert all(refused.values())
    invalid = await ann.ask(await ann.conversation(), "", expect=422)
    assert set(invalid) == {"type", "title", "status", "detail", "code", "errors"}
    assert all(isinstance(text, str) for texts in invalid["errors"].values() for text in texts)


@REFUSED
async def test_a_host_that_is_not_ours_is_a_problem_without_a_traceback(
    ann: CheckedVisitor, server: Server
) -> None:
    before = len(server.log())
    for host in ("evil.example", "evil.example:1", "a b", "[", "127.0.0.1:x", ""):
        answer = await ann.http.get("/conversations", headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert "Traceback" not in server.log()[before:]
