"""The yardstick: a plain Starlette WebSocket relay. It stores nothing and knows nobody."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from .sse import client, tokens


def frame(**body: str) -> str:
    return json.dumps(body, separators=(",", ":"))


async def relay(socket: WebSocket) -> None:
    """Answer questions until the visitor leaves."""
    await socket.accept()
    try:
        while True:
            question = await socket.receive_json()
            async for text in tokens(socket.app.state.http, question["text"]):
                await socket.send_text(frame(type="token", text=text))
            await socket.send_text(frame(type="end"))
    except WebSocketDisconnect:
        pass


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with client() as app.state.http:
        yield


app = Starlette(routes=[WebSocketRoute("/ws/", relay)], lifespan=lifespan)
