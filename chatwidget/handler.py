"""Django's half of a request: all of it on one of a few threads that are kept, in one go.

Django starts a thread and opens a database connection for each request, and changes threads four
times for it. Here the threads stay, with what they have open, and the one used last is used next:
few are ever started, and there is no thundering herd at SQLite's one lock. A request that finds
none free waits.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.db import close_old_connections
from django.http import FileResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

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
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        try:
            thread = await self._free.get()
        except BaseException:
            body.close()
            raise
        whole = False
        try:
            # In this context, what a view wants of the event loop is done on this one.
            async with ThreadSensitiveContext(executor=thread):
                response = await sync_to_async(self._answer)(scope, body)
                whole = not response.streaming
                if not whole:
                    await self._stream(response, receive, send)
        finally:
            if whole:
                self._free.put_nowait(thread)
            else:  # in that thread's turn: a view goes on when its client has left
                thread.submit(self._put_back, thread, asyncio.get_running_loop())
        if whole:  # who reads it slowly holds no thread
            await self.send_response(response, send)

    def _answer(self, scope: Any, body: Any) -> HttpResponseBase:
        """Run middleware and view. What is not streamed is closed at once; its content stays."""
        with body:
            set_script_prefix(get_script_prefix(scope))
            signals.request_started.send(sender=type(self), scope=scope)
            request, refused = self.create_request(scope, body)
            response = refused if request is None else self.get_response(request)
        assert response is not None, "either there is a request or it is refused"
        response._handler_class = type(self)  # type: ignore[attr-defined]
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if not response.streaming:
            response.close()  # which also says that the request is over
        return response

    async def _stream(self, response: HttpResponseBase, receive: Any, send: Any) -> None:
        """Send what is made bit by bit, until all is sent or the client has left."""
        tasks = [
            asyncio.create_task(self.send_response(response, send)),
            asyncio.create_task(self.listen_for_disconnect(receive)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            sent, _ = await asyncio.gather(*tasks, return_exceptions=True)
            await sync_to_async(response.close)()
        if isinstance(sent, Exception):
            raise sent

    def _put_back(self, thread: ThreadPoolExecutor, loop: asyncio.AbstractEventLoop) -> None:
        try:
            close_old_connections()  # a request that was cut short has not let the pool have it
        finally:
            loop.call_soon_threadsafe(self._free.put_nowait, thread)

    def load_middleware(self, is_async: bool = False) -> None:
        """Load it as for a server that is not async: no view of ours is, so nothing changes threads
        between middleware and view."""
        super().load_middleware(is_async=False)
