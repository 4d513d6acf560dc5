"""Who is told of what happens: a webhook's receiver, and a mail server."""

import base64
import email
import hashlib
import hmac
import socket
from email.message import EmailMessage
from email.policy import default

from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from ..simulators.base import Received, Simulator
from ..visitor import JSON

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()


class Receiver(Simulator):
    """Somebody's webhook. What is not signed as it should be is a violation."""

    def operation(self, method: str, path: str) -> str:
        return "hook" if (method, path) == ("POST", "/hook") else "unknown"

    async def respond(self, received: Received, request: web.Request) -> web.StreamResponse:
        if not signed(received):
            self.violate("the signature is wrong")
        return web.Response(status=204)

    @property
    def told(self) -> list[JSON]:
        """The payloads, in order of arrival."""
        return [one.json for one in self.calls("hook")]


def signed(received: Received) -> bool:
    """Whether it is signed, as the specification says it; without our code or its library's."""
    ident, at = received.headers["webhook-id"], received.headers["webhook-timestamp"]
    content = f"{ident}.{at}.".encode() + received.body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    wanted = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return received.headers["webhook-signature"] == f"v1,{wanted}"


class MailServer:
    """A mail server that keeps what it gets, and has bad days."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.to: list[list[str]] = []
        self.busy = 0
        """How many letters it puts off before it takes one."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.busy:
            self.busy -= 1
            return "451 Not now"
        assert isinstance(envelope.content, bytes)
        letter = email.message_from_bytes(envelope.content, policy=default)
        assert isinstance(letter, EmailMessage)
        self.to.append(envelope.rcpt_tos)
        self.letters.append(letter)
        return "250 OK"

    def __enter__(self) -> "MailServer":
        self._controller.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._controller.stop()
