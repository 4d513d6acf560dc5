"""E5: who a site says its visitor is, is believed only with the widget's own key, and for a day."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from chatwidget.identity import algorithm_of
from chatwidget.models import Visitor as StoredVisitor
from chatwidget.models import Widget

from ..cast import make_agent, make_widget
from ..server import Server
from ..visitor import Visitor

SECRET, NEW_SECRET = "the site's secret " * 5, "the site's next secret " * 5
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE_PEM = PRIVATE.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
).decode()
PUBLIC_PEM = (
    PRIVATE.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
KEYS = {"HS256": (SECRET, SECRET), "RS256": (PRIVATE_PEM, PUBLIC_PEM)}


@pytest.fixture
def widget() -> Widget:
    agent = make_agent(options={"think_s": 0, "words_per_s": 10_000})
    widget = make_widget(agent)
    widget.identity_keys = {"1": SECRET}
    widget.save()
    return widget


def token(widget: Widget, *, key: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """Sign as a site does; a claim of None is left out."""
    usual = {"sub": "user-7", "aud": widget.key, "exp": int(time.time()) + 3600, "name": "Ada"}
    said = {name: value for name, value in (usual | claims).items() if value is not None}
    return jwt.encode(said, key, algorithm=algorithm)


def enter(server: Server, widget: Widget, **body: Any) -> httpx.Response:
    address = f"{server.url}/api/v1/widgets/{widget.key}/sessions"
    return httpx.post(address, json=body, trust_env=False)


@pytest.mark.parametrize("algorithm", KEYS)
async def test_the_same_person_finds_their_history_on_another_device(
    server: Server, widget: Widget, algorithm: str
) -> None:
    signing, widget_key = KEYS[algorithm]
    widget.identity_keys = {"1": widget_key}
    widget.save()
    said = token(widget, key=signing, algorithm=algorithm)
    first, second = (enter(server, widget, identity=said).json() for _ in range(2))
    assert first["visitor"] == second["visitor"]
    assert first["token"] != second["token"]
    async with Visitor(server.url, widget.key, token=first["token"]) as ada:
        await ada.ask_and_wait("Hello")
    again = enter(server, widget, identity=token(widget, key=signing, algorithm=algorithm)).json()
    assert [one["title"] for one in again["conversations"]] == ["Hello"]
    stored = StoredVisitor.objects.get(pk=first["visitor"]["id"])
    assert (stored.identity, stored.name) == ("user-7", "Ada")


def test_signed_in_and_anonymous_never_become_one(server: Server, widget: Widget) -> None:
    anonymous = enter(server, widget).json()
    ada = enter(server, widget, token=anonymous["token"], identity=token(widget)).json()
    bob = enter(server, widget, token=ada["token"], identity=token(widget, sub="user-8")).json()
    left = enter(server, widget, token=anonymous["token"]).json()
    people = [one["visitor"]["id"] for one in (anonymous, ada, bob)]
    assert len(set(people)) == 3
    assert left["visitor"] == anonymous["visitor"]


def test_a_person_is_somebody_else_on_another_widget(server: Server, widget: Widget) -> None:
    other = make_widget(widget.agent)
    other.identity_keys = {"1": SECRET}
    other.save()
    one = enter(server, widget, identity=token(widget)).json()["visitor"]
    assert enter(server, other, identity=token(other)).json()["visitor"] != one


async def test_without_a_word_of_the_site_a_day_is_the_end(server: Server, widget: Widget) -> None:
    session = enter(server, widget, identity=token(widget)).json()
    [stored] = StoredVisitor.objects.get(pk=session["visitor"]["id"]).tokens.all()
    life = stored.expires_at - stored.created_at
    assert 23.9 < life.total_seconds() / 3600 < 24.1
    assert enter(server, widget, token=session["token"]).json()["token"] == session["token"]


def test_two_keys_are_good_while_one_replaces_the_other(server: Server, widget: Widget) -> None:
    old, new = token(widget), token(widget, key=NEW_SECRET)
    assert enter(server, widget, identity=new).status_code == 401
    widget.identity_keys = {"1": SECRET, "2": NEW_SECRET}
    widget.save()
    assert {enter(server, widget, identity=one).status_code for one in (old, new)} == {201}
    widget.identity_keys = {"2": NEW_SECRET}
    widget.save()
    refused = enter(server, widget, identity=old)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert enter(server, widget, identity=new).status_code == 201


async def test_who_must_be_signed_in_can_do_nothing_without(server: Server, widget: Widget) -> None:
    async with Visitor(server.url, widget.key) as anonymous:
        conversation = await anonymous.conversation()
        widget.identity_required = True
        widget.save()
        refused = enter(server, widget, token=anonymous.token)
        assert (refused.status_code, refused.json()["reason"]) == (401, "identity_required")
        await anonymous.ask(conversation, "Hello", expect=401)
        await anonymous.call("POST", "/conversations", expect=401)
        await anonymous.call("GET", "/conversations", expect=401)
        async with anonymous.socket(conversation, hello=False) as socket:
            await socket.send({"type": "hello", "token": anonymous.token, "conversation": None})
            assert await socket.close_code() == 4401
    session = enter(server, widget, identity=token(widget)).json()
    async with Visitor(server.url, widget.key, token=session["token"]) as ada:
        assert (await ada.ask_and_wait("Hello"))["status"] == "completed"


# --- forged ---------------------------------------------------------------------------------------


def encoded(part: object) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def unsigned(widget: Widget, header: dict[str, Any]) -> str:
    said = jwt.decode(token(widget), options={"verify_signature": False})
    return f"{encoded(header)}.{encoded(said)}."


def resaid(widget: Widget, **claims: Any) -> str:
    """Other claims under a signature that was good."""
    header, said, signature = token(widget).split(".")
    body = json.loads(base64.urlsafe_b64decode(said + "==")) | claims
    return f"{header}.{encoded(body)}.{signature}"


def reheaded(widget: Widget, **fields: Any) -> str:
    """Another header over a signature that was good."""
    _, said, signature = token(widget).split(".")
    return f"{encoded({'alg': 'HS256', 'typ': 'JWT'} | fields)}.{said}.{signature}"


def confused(widget: Widget) -> str:
    """Signed with the public key, as if that were the secret."""
    said = jwt.decode(token(widget), options={"verify_signature": False})
    text = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(said)}"
    seal = hmac.digest(PUBLIC_PEM.encode(), text.encode(), hashlib.sha256)
    return f"{text}.{encoded(seal)}"


def now(seconds: float) -> int:
    return int(time.time() + seconds)


FORGED: dict[str, Callable[[Widget], str]] = {
    "no JWT": lambda widget: "user-7",
    "two dots": lambda widget: "..",
    "a half": lambda widget: token(widget)[:-20],
    "no signature": lambda widget: token(widget).rpartition(".")[0] + ".",
    "alg none": lambda widget: unsigned(widget, {"alg": "none"}),
    "alg None": lambda widget: unsigned(widget, {"alg": "None", "typ": "JWT"}),
    "no alg": lambda widget: unsigned(widget, {"typ": "JWT"}),
    "alg a number": lambda widget: unsigned(widget, {"alg": 1}),
    "header a list": lambda widget: f"{encoded([])}.{encoded({})}.",
    "claims a list": lambda widget: f"{encoded({'alg': 'HS256'})}.{encoded([1])}.{encoded(b'x')}",
    "alg HS512": lambda widget: token(widget, algorithm="HS512"),
    "alg confused": confused,
    "own RSA key": lambda widget: token(widget, key=PRIVATE_PEM, algorithm="RS256"),
    "another's secret": lambda widget: token(widget, key=NEW_SECRET),
    "an empty secret": lambda widget: token(widget, key=" " * 40),
    "other words": lambda widget: resaid(widget, sub="admin"),
    "a longer life": lambda widget: resaid(widget, exp=now(7200)),
    "kid altered": lambda widget: reheaded(widget, kid="../../dev/null"),
    "kid of another": lambda widget: reheaded(widget, kid="2' OR 1=1"),
    "jku": lambda widget: reheaded(widget, jku="http://127.0.0.1/keys"),
    "jwk": lambda widget: reheaded(widget, jwk={"kty": "oct", "k": encoded(b"x" * 32)}),
    "crit": lambda widget: reheaded(widget, crit=["exp"]),
    "expired": lambda widget: token(widget, exp=now(-120)),
    "no exp": lambda widget: token(widget, exp=None),
    "exp in words": lambda widget: token(widget, exp="tomorrow"),
    "exp in two days": lambda widget: token(widget, exp=now(48 * 3600)),
    "exp infinite": lambda widget: token(widget, exp=10**400),
    "not yet": lambda widget: token(widget, nbf=now(600)),
    "of the future": lambda widget: token(widget, iat=now(600)),
    "no aud": lambda widget: token(widget, aud=None),
    "another aud": lambda widget: token(widget, aud="pk_another"),
    "aud a number": lambda widget: token(widget, aud=7),
    "no sub": lambda widget: token(widget, sub=None),
    "sub empty": lambda widget: token(widget, sub=" "),
    "sub with NUL": lambda widget: token(widget, sub="a\x00b"),
    "sub long": lambda widget: token(widget, sub="x" * 201),
    "8 kB": lambda widget: token(widget, name="x" * 8192),
    "surrogates": lambda widget: "\ud800.\ud800.\ud800",
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_token_is_refused(server: Server, widget: Widget, forged: str) -> None:
    keys = [SECRET] if forged == "own RSA key" else [SECRET, PUBLIC_PEM]
    widget.identity_keys = {str(number): key for number, key in enumerate(keys)}
    widget.save()
    made = FORGED[forged](widget)
    body = json.dumps({"identity": made})
    address = f"{server.url}/api/v1/widgets/{widget.key}/sessions"
    answer = httpx.post(
        address, content=body, headers={"Content-Type": "application/json"}, trust_env=False
    )
    problem = answer.json()
    assert answer.status_code == 401, answer.text
    assert problem["code"] == (
        "token_expired" if problem["detail"].endswith("expired.") else "token_invalid"
    )
    assert problem["reason"] == "identity"
    assert not StoredVisitor.objects.filter(widget=widget).exists()


def test_a_widget_without_keys_believes_nobody(server: Server, widget: Widget) -> None:
    said = token(widget)
    widget.identity_keys = {}
    widget.save()
    assert enter(server, widget, identity=said).status_code == 401


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("short", "at least 32"),
        (PRIVATE_PEM, "private"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "no public key"),
    ],
)
def test_a_key_that_is_none_is_refused_with_a_reason(key: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        algorithm_of(key)
