"""Daphne's HTTP request and WebSocket, with bounds on what comes in.

Twisted collects a whole body, on disk if need be, before any of our code runs: without the bound,
anybody could fill the disk. What is kept is one byte more than the largest body that some view
takes, so that whoever reads it sees that it is too large and says so.
"""

from typing import Any

from daphne.http_protocol import WebRequest
from daphne.ws_protocol import WebSocketProtocol
from django.conf import settings


class BoundedRequest(WebRequest):  # type: ignore[misc]  # daphne is not typed
    """One request. Method names are Twisted's."""

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Keep what fits and drop the rest."""
        room = settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1 - self.content.tell()
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


class BoundedSocket(WebSocketProtocol):  # type: ignore[misc]  # daphne is not typed
    """One socket. Autobahn would hold what we send to the bound for what visitors send."""

    maxMessagePayloadSize: int  # noqa: N815

    def sendMessage(self, *args: Any, **kwargs: Any) -> None:  # noqa: N802
        """Send, however long the answer is."""
        incoming = self.maxMessagePayloadSize
        self.maxMessagePayloadSize = 0
        try:
            super().sendMessage(*args, **kwargs)
        finally:
            self.maxMessagePayloadSize = incoming
