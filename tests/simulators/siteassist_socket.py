"""SiteAssist's WebSocket as its own widget uses it: the key opens it, people's messages ring."""

from __future__ import annotations

import asyncio
import re
from functools import partial

from aiohttp import WSMsgType, web

from .base import Received
from .siteassist_project import JSON, SiteAssistProject

PATH = re.compile(r"/v2/conversations/([^/]+)/ws")


async def serve_socket(
    project: SiteAssistProject, received: Received, request: web.Request
) -> web.StreamResponse:
    """Tell what is said in the conversation from now on, and answer `ping`, until hung up."""
    found = PATH.fullmatch(received.path)
    assert found is not None, "it was routed by this"
    conversation = project.conversations.get(found[1])
    if dict(received.query) != {"apiKey": project.key} or conversation is None:
        project.violate(f"socket: {received.path} with {dict(received.query)}")
        return web.Response(status=403)
    socket = web.WebSocketResponse(timeout=0.1)
    await socket.prepare(request)
    telling = asyncio.create_task(_tell(project, conversation.told, socket, project.hung_up))
    with project.changing():
        project.sockets += 1
    try:
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT or frame.data != "ping":
                project.violate(f"socket: {frame!r}")
            elif not project.mute:
                await socket.send_str("pong")
    finally:
        telling.cancel()
        with project.changing():
            project.sockets -= 1
    return socket


async def _tell(
    project: SiteAssistProject, frames: list[JSON], socket: web.WebSocketResponse, hung_up: int
) -> None:
    told = len(frames)
    while project.hung_up == hung_up:
        for frame in frames[told:] if not project.mute else ():
            await socket.send_json(frame)
        told = len(frames)
        await project.until(partial(has_news, project, frames, told, hung_up))
    await socket.close()


def has_news(project: SiteAssistProject, frames: list[JSON], told: int, hung_up: int) -> bool:
    return len(frames) > told or project.hung_up > hung_up
