"""The visitor's WebSocket. It translates: frames in become commands, hub frames become text.

Frames from the hub do not pass through Channels' dispatch, which costs a thread hop each; they
are queued here and sent by a task of this socket's own, so the hub never waits.
"""

import asyncio
import json
import logging
from collections import deque
from contextlib import suppress
from typing import Any
from uuid import UUID

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http.request import split_domain_port, validate_host

from . import limits, metrics, process, tokens
from .events import Delta, Frame, MessageChanged
from .hub import as_json
from .models import Conversation, Message
from .origins import normalise_origin
from .prepared import Prepared
from .serializers import MESSAGE

log = logging.getLogger(__name__)

LONGEST_S = 12 * 3600.0
"""A socket is asked to come back after this, before a layer or proxy forgets it."""
MAX_FRAME_CHARS = 16 * 1024
MAX_WAITING_CHARS = 640 * 1024
"""Text that may wait for a slow reader before the socket is closed: some 1 MiB of memory.

The longest answer may arrive at once, and again as a whole when it ends.
"""
LAST_WORD_S = 1.0
"""How long a refusal may take to be written before the socket is closed without it."""
PAGE = 50
FRAMES_AT_ONCE, FRAMES_PER_S = 60.0, 2.0

BAD_HELLO, REFUSED, NO_HELLO, TOO_MANY, COME_BACK = 4400, 4401, 4408, 4429, 4503


class BadFrameError(Exception):
    """A frame that is not of the protocol; the text says what is wrong with it."""


class VisitorSocket(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels is not typed
    """One tab of one visitor."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._visitor = ""
        self._waiting: deque[str] = deque()
        self._waiting_chars = 0
        self._sender: asyncio.Task[None] | None = None
        self._held: list[tuple[Frame, str]] | None = None
        """Frames that wait for a snapshot to be sent first; None: nothing waits."""
        self._timers: list[asyncio.TimerHandle] = []
        self._token = ""
        self._allowance, self._counted_at = FRAMES_AT_ONCE, 0.0
        self._closed = False

    # --- life -------------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Live as long as the socket. Channels would have a task for each frame, and wait for both
        browser and layer."""
        self.scope, self.base_send, self.channel_layer = scope, send, None
        with suppress(StopConsumer):
            while True:
                await self.dispatch(await receive())

    async def connect(self) -> None:
        """Accept anyone; the first frame says who it is."""
        await self.accept()
        metrics.sockets.inc()
        if process.is_draining():
            self.send_away(1.0)
            return
        self._process = process.start()
        self._later(settings.HELLO_S, self._no_hello)
        self._later(LONGEST_S, lambda: self._end(COME_BACK))

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Hand on what came in. Channels would look at database connections first, on a thread."""
        await getattr(self, get_handler_name(message))(message)

    async def disconnect(self, code: int) -> None:
        """Forget the socket. Answers go on without it."""
        self._closed = True
        metrics.sockets.dec()
        for timer in self._timers:
            timer.cancel()
        if self._visitor:
            self._process.hub.detach(self._visitor, self)
        if self._sender:
            self._sender.cancel()

    def _later(self, seconds: float, act: Any) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, act))

    def _no_hello(self) -> None:
        if not self._visitor:
            self._end(NO_HELLO)

    def _end(self, code: int, reason: str = "") -> None:
        """Close from outside a handler. What still waits is dropped: a snapshot will replace it."""
        if not self._closed:
            self._closed = True
            self._waiting.clear()
            if self._sender:
                self._sender.cancel()
            asyncio.ensure_future(self._close(code, reason))  # noqa: RUF006 (ends with the socket)

    async def _close(self, code: int, reason: str) -> None:
        with suppress(OSError):  # it is gone, as some servers say
            await self.close(code, reason)

    # --- frames in --------------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer one frame. Whatever comes, the socket's own error is the worst that happens."""
        if self._closed:
            return
        if not self._within_rate():
            await self._close_with("rate_limited", "Too many frames.", TOO_MANY)
            return
        try:
            frame = _read(text_data)
            match frame["type"]:
                case "hello" if not self._visitor:
                    await self._hello(frame)
                case _ if not self._visitor:
                    raise BadFrameError("The first frame is a hello.")
                case "sync":
                    await self._catch_up(frame)
                case "ping":
                    self._send({"type": "pong"})
                case _:
                    raise BadFrameError(f"There is no frame of type {frame['type'][:40]!a} here.")
        except BadFrameError as error:
            if self._visitor:
                self._error("invalid", str(error))
            else:
                await self._close_with("invalid", str(error), BAD_HELLO)

    def _within_rate(self) -> bool:
        if not settings.RATE_LIMITS:
            return True
        now = asyncio.get_running_loop().time()
        gained = (now - self._counted_at) * FRAMES_PER_S
        self._allowance = min(FRAMES_AT_ONCE, self._allowance + gained) - 1
        self._counted_at = now
        return self._allowance >= 0

    async def _hello(self, frame: dict[str, Any]) -> None:
        token, wanted = frame.get("token"), frame.get("conversation")
        if not isinstance(token, str) or not token:
            raise BadFrameError("A hello has a token.")
        conversation = _named(wanted) if wanted is not None else None
        remote = self.scope.get("client") or [""]  # none on a Unix socket
        address = limits.address(self._header(b"x-forwarded-for") or "", str(remote[0]))
        holder = await self._process.store.write(_enter, token, address)
        if isinstance(holder, tokens.TokenError):
            await self._close_with(holder.code, holder.detail, REFUSED)
            return
        if isinstance(holder, float):
            await self._close_with("rate_limited", f"Try again in {holder:.0f} s.", TOO_MANY)
            return
        origin = self._header(b"origin")
        if origin is not None and not self._may_come_from(origin, holder.origins):
            await self._close_with(
                "origin_not_allowed", f"Not allowed from {origin[:200]!a}.", REFUSED
            )
            return
        self._token, self._visitor = token, holder.visitor
        self._held = []
        await self._process.hub.attach(self._visitor, self)
        self._later(settings.RECHECK_S, self._recheck)
        if not self._closed:
            await self._snapshot(conversation)

    async def _catch_up(self, frame: dict[str, Any]) -> None:
        conversation = _named(frame.get("conversation"))
        self._held = self._held or []
        await self._snapshot(conversation)

    async def _snapshot(self, wanted: UUID | None) -> None:
        """Send the newest page as it stands, then what changed since it was read."""
        visitor = self._visitor
        bodies: list[tuple[str, dict[str, Any]]] | None = []
        if wanted is not None:
            bodies = await self._process.store.read(newest_page, visitor, wanted)
        if bodies is None:
            self._error("not_found", "There is no such conversation.")
        # From here to the end nothing else runs: the snapshot and what follows it fit together.
        hub = self._process.hub
        hub.shown(visitor)
        messages = [hub.as_it_stands(body) for _, body in bodies or []]
        self._send(
            {
                "type": "ready",
                "conversation": str(wanted) if wanted and bodies is not None else None,
                "messages": messages,
            }
        )
        held, self._held = self._held or [], None
        shown = {body["id"]: (version, body["seq"]) for version, body in bodies or []}
        shown |= {body["id"]: (shown[body["id"]][0], body["seq"]) for body in messages}
        for frame, text in held:
            if _is_newer(frame, shown):
                self._queue(text)

    def _recheck(self) -> None:
        async def look() -> None:
            token = self._token
            try:
                with suppress(DatabaseError):  # the next look tells
                    await self._process.store.read(tokens.holder, token)
                self._later(settings.RECHECK_S, self._recheck)
            except tokens.TokenError:
                self._end(REFUSED)

        if not self._closed:
            self._timers = [timer for timer in self._timers if timer.when() > _now()]
            asyncio.ensure_future(look())  # noqa: RUF006

    def _header(self, name: bytes) -> str | None:
        found = [value for key, value in self.scope["headers"] if key == name]
        return b",".join(found).decode("latin-1") if found else None

    def _may_come_from(self, origin: str, allowed: list[Any]) -> bool:
        seen = normalise_origin(origin)
        return seen is not None and (
            seen == self._own_origin() or seen in map(normalise_origin, allowed)
        )

    def _own_origin(self) -> str | None:
        if settings.PUBLIC_URL:
            return normalise_origin(settings.PUBLIC_URL)
        host = self._header(b"host") or ""
        if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
            return None  # a name of somebody else's that leads here
        secure = self.scope.get("scheme") == "wss" or (
            settings.TRUSTED_PROXIES and self._header(b"x-forwarded-proto") == "https"
        )
        return normalise_origin(f"{'https' if secure else 'http'}://{host}")

    # --- frames out -------------------------------------------------------------------------------

    def deliver(self, frame: Frame, text: str) -> None:
        """Take a frame of the hub: sent now, or behind the snapshot that is being read."""
        if self._held is None:
            self._queue(text)
        else:
            self._held.append((frame, text))

    def revoke(self) -> None:
        """The visitor was erased."""
        self._end(REFUSED)

    def send_away(self, retry_in_s: float) -> None:
        """The process ends; the reason tells the client when to come back."""
        self._end(COME_BACK, f"retry_in={retry_in_s:.1f}")

    def _send(self, body: dict[str, Any]) -> None:
        self._queue(as_json(body))

    def _error(self, code: str, detail: str) -> None:
        self._send({"type": "error", "code": code, "detail": detail})

    async def _close_with(self, code: str, detail: str, close: int) -> None:
        self._error(code, detail)
        if self._sender:
            await asyncio.wait([self._sender], timeout=LAST_WORD_S)
        self._end(close)

    def _queue(self, text: str) -> None:
        if self._closed:
            return
        self._waiting.append(text)
        self._waiting_chars += len(text)
        if self._waiting_chars > MAX_WAITING_CHARS and len(self._waiting) > 1:
            self._end(COME_BACK)
        elif self._sender is None or self._sender.done():
            self._sender = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        try:
            while self._waiting:
                text = self._waiting.popleft()
                self._waiting_chars -= len(text)
                await self.base_send({"type": "websocket.send", "text": text})
        except OSError:  # it is gone, as some servers say, and is told so
            self._waiting.clear()
            self._waiting_chars = 0


def _now() -> float:
    return asyncio.get_running_loop().time()


def _read(text: str | None) -> dict[str, Any]:
    """Return a frame's JSON object. Raises BadFrameError."""
    if text is None:
        raise BadFrameError("Frames are text.")
    if len(text) > MAX_FRAME_CHARS:
        raise BadFrameError("The frame is too large.")
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise BadFrameError("The frame is not JSON.") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise BadFrameError("A frame is an object with a type.")
    return frame


def _named(conversation: object) -> UUID:
    """Return the id that a frame names. Raises BadFrameError if that is no text."""
    if not isinstance(conversation, str):
        raise BadFrameError("`conversation` is an id.")
    try:
        return UUID(conversation)
    except ValueError:
        return UUID(int=0)  # as unknown as any other that we did not make


def _is_newer(frame: Frame, shown: dict[str, tuple[str, int]]) -> bool:
    """Whether a held frame says more than the snapshot; keeps count of the deltas it lets by."""
    match frame:
        case Delta():
            version, seq = shown.get(frame.message, ("", frame.seq - 1))
            if frame.seq != seq + 1:
                return False
            shown[frame.message] = (version, frame.seq)
            return True
        case MessageChanged():
            version, seq = shown.get(frame.message, ("", -1))
            if (frame.version, frame.seq) <= (version, seq):
                return False
            shown[frame.message] = (frame.version, frame.seq)
            return True
        case _:
            return True


def _enter(token: str, address: str) -> tokens.Holder | float | tokens.TokenError:
    """Return whose token it is, or how long this address has to wait, or why it is refused."""
    if wait_s := limits.hit(limits.SOCKETS, address):
        return wait_s
    try:
        return tokens.holder(token)
    except tokens.TokenError as refused:
        return refused  # not raised: the attempt counts


@Prepared
def _newest(visitor: UUID, conversation: UUID) -> QuerySet[Message]:
    found = Message.objects.only_to_show().filter(
        conversation=conversation, conversation__visitor_id=visitor
    )
    return found.order_by("-position")[:PAGE]


def newest_page(visitor: str, conversation: UUID) -> list[tuple[str, dict[str, Any]]] | None:
    """Read (version, JSON object) of the newest messages, ascending; None: not the visitor's."""
    page = _newest(UUID(visitor), conversation)[::-1]
    # Asked second, so that a crowd that comes back costs two queries each, the token's included.
    theirs = Conversation.objects.filter(pk=conversation, visitor_id=visitor)
    if not page and not theirs.exists():
        return None
    return [(one.changed_at.isoformat(), MESSAGE.to_representation(one)) for one in page]
