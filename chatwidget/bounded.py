"""Daphne's HTTP request, with a bound on what it keeps of a body.

Twisted collects a whole body, on disk if need be, before any of our code runs: without the bound,
anybody could fill the disk. What is kept is one byte more than the largest body that some view
takes, so that whoever reads it sees that it is too large and says so.
"""

from daphne.http_protocol import WebRequest
from django.conf import settings


class BoundedRequest(WebRequest):  # type: ignore[misc]  # daphne is not typed
    """One request whose body ends at the bound."""

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 (Twisted's name)
        """Keep what fits and drop the rest."""
        room = settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1 - self.content.tell()
        super().handleContentChunk(data[:room])
