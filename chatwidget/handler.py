"""Django's half of a request: all of it on one of a few threads that are kept.

Django starts a thread and opens a database connection for each request. Here the threads stay, with
what they have open, and the one used last is used next: few are ever started, and there is no
thundering herd at SQLite's one lock. A request that finds none free waits.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.db import close_old_connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .store import READERS

THREADS, FEWEST = 32, 4


def threads() -> int:
    """Return how many there are: where there is a pool, no more than it has connections for."""
    pool = settings.DATABASE.get("OPTIONS", {}).get("pool")
    return max(FEWEST, min(THREADS, pool["max_size"] - READERS - 1)) if pool else THREADS


class Handler(ASGIHandler):
    """Make it once, on any thread; call it on the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._free: asyncio.LifoQueue[ThreadPoolExecutor] = asyncio.LifoQueue()
        for number in range(threads()):
            self._free.put_nowait(ThreadPoolExecutor(1, thread_name_prefix=f"request-{number}"))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        thread = await self._free.get()
        try:
            async with ThreadSensitiveContext(executor=thread):
                await super().__call__(scope, receive, send)
        finally:
            # In that thread's turn: a view goes on when its client has left.
            thread.submit(self._put_back, thread, asyncio.get_running_loop())

    def _put_back(self, thread: ThreadPoolExecutor, loop: asyncio.AbstractEventLoop) -> None:
        try:
            close_old_connections()  # a request that was cut short has not let the pool have it
        finally:
            loop.call_soon_threadsafe(self._free.put_nowait, thread)

    def load_middleware(self, is_async: bool = False) -> None:
        """Load it as for a server that is not async: no view of ours is, so nothing changes threads
        between middleware and view."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Run middleware and view."""
        return await sync_to_async(self.get_response)(request)
