"""E1: a visitor's token is random, kept as a hash, and never part of an address."""

import base64
from hashlib import sha256

import httpx
import websockets

from chatwidget.models import Visitor as StoredVisitor
from chatwidget.models import VisitorToken
from chatwidget.tokens import issue

from ..cast import make_visitor
from ..server import Server
from ..visitor import Visitor
from .conftest import fast_widget


def test_a_token_has_256_random_bits() -> None:
    visitor = make_visitor()
    tokens = [issue(visitor) for _ in range(200)]
    bits = [base64.urlsafe_b64decode(token.removeprefix("vt_") + "=") for token in tokens]
    assert {len(one) for one in bits} == {32}
    for place in range(32):  # no byte of it is fixed, counted or a time
        assert len({one[place] for one in bits}) > 50


def test_only_the_hash_of_a_token_is_kept() -> None:
    visitor = make_visitor()
    token = issue(visitor)
    [stored] = VisitorToken.objects.filter(visitor=visitor).values()
    assert stored["hash"] == sha256(token.encode()).hexdigest()
    assert token not in str(stored)
    assert token not in repr(VisitorToken.objects.get(visitor=visitor))


async def test_a_token_in_an_address_opens_nothing(server: Server) -> None:
    async with Visitor(server.url, fast_widget().key) as visitor:
        del visitor.http.headers["Authorization"]
        for name in ("token", "access_token", "Authorization", "bearer"):
            answer = await visitor.http.get(f"/conversations?{name}={visitor.token}")
            assert answer.status_code == 401
        cookie = {"Cookie": f"token={visitor.token}"}
        answer = await visitor.http.get("/conversations", headers=cookie)
        assert answer.status_code == 401
        address = f"{server.url.replace('http', 'ws')}/ws/v1/?token={visitor.token}"
        async with websockets.connect(address, proxy=None) as socket:
            await socket.send('{"type": "sync", "conversation": null}')
            assert "invalid" in str(await socket.recv())


async def test_a_token_of_a_deleted_widget_is_refused_at_once(server: Server) -> None:
    widget = fast_widget()
    async with Visitor(server.url, widget.key) as visitor:
        StoredVisitor.objects.filter(widget=widget).delete()
        widget.delete()
        assert (await visitor.call("GET", "/conversations", expect=401))["code"] == "token_invalid"


async def test_nothing_of_the_visitors_sets_a_cookie(server: Server) -> None:
    key = fast_widget().key
    paths = ["/", f"/w/{key}/", "/w/pk_x/", "/widget.js", "/api/v1/schema", "/api/v1/docs"]
    paths += ["/api/v1/docs?script=", "/static/chatwidget/panel.js", "/healthz", "/metrics"]
    paths += [f"/api/v1/widgets/{key}", "/nothing", "/api/nothing"]
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        for path in paths:
            answer = await client.get(
                path, headers={"Cookie": f"sessionid=x; csrftoken={'y' * 32}"}
            )
            assert "set-cookie" not in answer.headers, path
            assert "cookie" not in answer.headers.get("vary", "").lower(), path
