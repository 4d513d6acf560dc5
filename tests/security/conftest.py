"""What the security tests share."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from chatwidget.models import Widget

from ..cast import make_agent, make_operator, make_widget
from ..server import Server


def fast_widget(**fields: Any) -> Widget:
    """A widget whose agent answers without a pause."""
    return make_widget(make_agent(options={"think_s": 0, "words_per_s": 10_000}), **fields)


@contextmanager
def operator(server: Server) -> Iterator[httpx.Client]:
    """An operator's browser, signed in to the admin."""
    account = make_operator(f"operator-{uuid.uuid4()}")
    account.set_password("a-password")
    account.save()
    with httpx.Client(base_url=server.url, trust_env=False, follow_redirects=True) as client:
        client.get("/admin/login/")
        form = {
            "username": account.username,
            "password": "a-password",
            "csrfmiddlewaretoken": client.cookies["csrftoken"],
            "next": "/admin/",
        }
        answer = client.post("/admin/login/", data=form)
        assert answer.url.path == "/admin/", "signed in"
        yield client
