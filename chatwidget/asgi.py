"""The ASGI application: HTTP to Django, WebSocket to the consumer, and a guard before both."""

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatwidget.settings")

import django

django.setup(set_prefix=False)

from channels.routing import URLRouter
from django.conf import settings

from . import checks, logs, process
from .handler import Handler
from .middleware import POLICY
from .problems import MEDIA_TYPE, document
from .routing import websocket_urlpatterns

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


checks.refuse_to_start()
django_app = Handler()
sockets = URLRouter(websocket_urlpatterns)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one connection. daphne has no lifespan, so the first connection starts the process."""
    if not process.is_draining():
        process.start()
    # Daphne takes it from a client's header; a path of ours could hide behind it.
    scope["root_path"] = ""
    match scope["type"]:
        case "http":
            with process.under_way:
                await _http(scope, receive, _named(scope, send))
        case "websocket" if scope["path"] == "/ws/v1/":
            logs.begin_request()
            with process.under_way:
                await sockets(scope, receive, send)
        case "websocket":
            await receive()
            await send({"type": "websocket.close"})
        case "lifespan":
            await _live(receive, send)


async def _live(receive: Receive, send: Send) -> None:
    """Start and end with the server, where it says so."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await process.drain()
    await send({"type": "lifespan.shutdown.complete"})


def _named(scope: Scope, send: Send) -> Send:
    """Give the request an id for the log, and answer with it: a trusted proxy's, or a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"") if settings.TRUSTED_PROXIES else b""
    name = logs.begin_request(given.decode("latin-1")).encode()

    async def named(event: Mapping[str, Any]) -> None:
        if event["type"] == "http.response.start":
            event = {**event, "headers": [*event["headers"], (b"x-request-id", name)]}
        await send(event)

    return named


async def _http(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse large bodies of visitors, and have no cookie read or set, before Django is asked."""
    if not scope["path"].startswith("/admin/"):
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"cookie"]
    if not scope["path"].startswith("/api/"):
        await django_app(scope, receive, send)
        return
    limit = settings.MAX_BODY_BYTES
    if scope["path"] == settings.UPLOAD_PATH:
        limit = settings.ATTACHMENT_MAX_BYTES
    events = [await receive()]
    size = len(events[0].get("body", b""))
    while events[-1].get("more_body") and size <= limit:
        events.append(await receive())
        size += len(events[-1].get("body", b""))
    if size > limit:
        await _too_large(send, limit)
        return
    replay = iter(events)

    async def again() -> dict[str, Any]:
        return next(replay, None) or await receive()

    await django_app(scope, again, send)


async def _too_large(send: Send, limit: int) -> None:
    detail = f"At most {limit // 1024} KiB."
    body = json.dumps(document("payload_too_large", detail)).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-security-policy", POLICY.encode()),
        (b"x-frame-options", b"DENY"),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
