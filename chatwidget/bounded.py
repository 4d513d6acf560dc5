"""Daphne's HTTP request and WebSocket, with bounds on what comes in and on what waits to go out.

Twisted collects a whole body, on disk if need be, before any of our code runs: without the bound,
anybody could fill the disk. What is kept is one byte more than the largest body that some view
takes, so that whoever reads it sees that it is too large and says so.

Towards a browser daphne writes whatever it is given into memory. Here sending on a socket waits
while the browser does not read, as ASGI means it and other servers do; who sends may then count
what waits. So does sending a response that says of itself, as proxies understand it, that it is
not to be buffered: it is long, and each of its parts is made when the one before is gone. Others
are finished as soon as they are written, or slow readers would hold the few threads there are.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from daphne.http_protocol import WebRequest
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from django.conf import settings
from twisted.internet.abstract import FileDescriptor

CLOSE_S = 3.0
"""A browser that has not taken part in closing by then is cut."""


class BoundedServer(Server):  # type: ignore[misc]  # daphne is not typed
    """Daphne's server, which sends only when there is room."""

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Carry out what the application sent. A socket's close goes ahead of what waits."""
        if message["type"] in ("websocket.send", "http.response.body"):
            await protocol.room()
        await super().handle_reply(protocol, message)


class Paced:
    """What is written to a browser no faster than it reads; to Twisted, a producer.

    Method names are Twisted's.
    """

    _room: asyncio.Future[None] | None = None
    """Pending while the browser does not read fast enough."""

    def pauseProducing(self) -> None:  # noqa: N802
        """So much waits to be written that no more should come."""
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resumeProducing(self) -> None:  # noqa: N802
        """All has been written."""
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    stopProducing = resumeProducing  # noqa: N815  (gone, so nothing holds up the sender either)

    async def room(self) -> None:
        """Return when the browser has taken what was sent, or is gone."""
        while self._room is not None:
            await asyncio.shield(self._room)


class BoundedRequest(Paced, WebRequest):  # type: ignore[misc]
    """One request. Method names are Twisted's."""

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Keep what fits and drop the rest."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        # Twisted tells the request its path when the body is there; until then its channel has it.
        if self.channel._path.partition(b"?")[0] == settings.UPLOAD_PATH.encode():
            limit = max(limit, settings.ATTACHMENT_MAX_BYTES)
        room = limit + 1 - self.content.tell()
        super().handleContentChunk(data[:room])

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        """Hide the body's type from Twisted, which would parse forms that nobody asked it for."""
        self._kind = self.requestHeaders.getRawHeaders(b"content-type", [])
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def process(self) -> Any:
        """Hand the request on, as it came."""
        for kind in self._kind:
            self.requestHeaders.addRawHeader(b"content-type", kind)
        return super().process()

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Carry out what the application sent, and be told how writing goes where that counts."""
        if self.channel is not None and not self.finished:
            if (b"x-accel-buffering", b"no") in lowered(message.get("headers", ())):
                self.registerProducer(self, True)
            elif self.producer and not message.get("more_body"):
                self.unregisterProducer()
        super().handle_reply(message)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        """Let whoever waits to send go on, and see that nobody is there."""
        self.stopProducing()
        super().connectionLost(reason)


@contextmanager
def written_at_once(transport: Any) -> Iterator[None]:
    """Write what is sent meanwhile without asking the event loop first whether there is room.

    There nearly always is, and asking costs two system calls and a turn of the loop for each frame.
    """
    plain = isinstance(transport, FileDescriptor)  # TLS has something between
    if not plain or transport.dataBuffer or transport.disconnecting:  # in its turn, then
        yield
        return
    transport.startWriting = do_nothing
    try:
        yield
    finally:
        del transport.startWriting
    if transport.doWrite() is not None or transport.dataBuffer:
        transport.startWriting()  # what is left, or why it failed, is the loop's


def do_nothing() -> None:
    """In place of being told when there is room."""


def lowered(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in headers]


class BoundedSocket(Paced, WebSocketProtocol):  # type: ignore[misc]
    """One socket. Names are Twisted's and autobahn's."""

    maxMessagePayloadSize: int  # noqa: N815

    def onOpen(self) -> None:  # noqa: N802
        """Ask the connection to tell how writing goes; until now it told HTTP."""
        super().onOpen()
        self.failByDrop = False  # a frame that is too large is told so
        self.closeHandshakeTimeout = CLOSE_S
        self.unregisterProducer()
        self.registerProducer(self, True)

    def sendMessage(self, *args: Any, **kwargs: Any) -> None:  # noqa: N802
        """Send, however long the answer is: autobahn would hold it to the bound for visitors."""
        if self.state != self.STATE_OPEN:
            return  # it is closing, and what is said now is said again when it comes back
        incoming = self.maxMessagePayloadSize
        self.maxMessagePayloadSize = 0
        try:
            with written_at_once(self.transport):
                super().sendMessage(*args, **kwargs)
        finally:
            self.maxMessagePayloadSize = incoming

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Carry out what the application sent; daphne forgets the reason of a close."""
        if message["type"] == "websocket.close" and self.state == self.STATE_OPEN:
            self.sendClose(code=message.get("code", 1000), reason=message.get("reason"))
        else:
            super().handle_reply(message)
