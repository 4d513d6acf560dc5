"""Doorbells: a vendor's WebSocket that says when a person has said something.

It only makes the next look at the conversation come at once. What a look finds is what counts, and
looks go on at their pace: a socket that is refused, closed or silent costs a wait and nothing else.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace

import aiohttp
from aiohttp import WSMsgType
from django.conf import settings
from django.utils import timezone

from . import claims, people, process
from .errors import ChatWidgetError, Unavailable
from .lanes import Room
from .models import Conversation, Mode
from .providers import PROVIDERS, Provider
from .providers.base import Bell
from .providers.http import mapped_errors, new_session
from .runner import open_provider

log = logging.getLogger(__name__)

JOB = "hear people"
LONGEST_S = 600.0
"""A socket is left after this time; where the person is still there, the job opens another."""
REST_S = 30.0
"""No socket is opened for an agent for so long after one of its sockets failed."""
SILENCE = 10
"""In HUMAN_POLL_S: so long is a silent socket waited for, asked for a sign of life, then left."""
MOST_BYTES = 1024 * 1024
CLOSE_S = 1.0

_heard: set[uuid.UUID] = set()
"""Conversations whose bell hangs in this process."""


async def listen() -> bool:
    """Job: hang bells for conversations that a person has, each agent's in its own lane."""
    running = process.running()
    found = await running.store.read(_with_a_person, running.lanes.room(JOB))
    for conversation in found:
        _heard.add(conversation.pk)
        running.lanes.start(JOB, conversation.agent_id, _hear(conversation, running))
    return False


def _with_a_person(room: Room) -> list[Conversation]:
    waiting = (
        Conversation.objects.select_related("agent", "visitor")
        .filter(mode=Mode.HUMAN, sync_at__isnull=False)
        .exclude(pk__in=_heard)
        .exclude(agent__in=room.full)
    )
    return [
        one
        for one in waiting.order_by("-updated_at")[: people.BATCH]
        if (adapter := PROVIDERS.get(one.agent.provider))
        and adapter.rings(one.agent.options)
        and room.take(one.agent_id)
    ]


async def _hear(conversation: Conversation, running: process.Process) -> None:
    """Listen until the person has gone, the socket is lost, or LONGEST_S are over."""

    async def ring() -> bool:
        theirs = await running.store.write(_due_now, conversation.pk)
        process.wake(people.JOB)
        return theirs

    try:
        provider = open_provider(conversation.agent)
        async with asyncio.timeout(LONGEST_S):
            await _listen(provider, provider.bell(claims.known_before(conversation)), ring)
    except TimeoutError:
        pass  # the job opens another, if a person is still there
    except ChatWidgetError as error:
        log.info("conversation %s is looked at without a bell: %s", conversation.pk, error)
        running.lanes.rest(JOB, conversation.agent_id, REST_S)
    finally:
        _heard.discard(conversation.pk)


def _due_now(conversation: uuid.UUID) -> bool:
    """Have the conversation looked at now, if a person still has it. Returns whether."""
    theirs = Conversation.objects.filter(pk=conversation, mode=Mode.HUMAN, sync_at__isnull=False)
    return bool(theirs.update(sync_at=timezone.now()))


async def _listen(provider: Provider, bell: Bell, ring: Callable[[], Awaitable[bool]]) -> None:
    """Ring whenever there is reason to, as long as it is answered. Raises ProviderError."""
    async with new_session(trace_configs=[_no_redirects()]) as session:
        with mapped_errors(provider.label):
            async with asyncio.timeout(provider.number("connect_s")):
                socket = await session.ws_connect(
                    provider.base_url + bell.path,
                    params=dict(bell.query),
                    headers=dict(bell.headers),
                    max_msg_size=MOST_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
                )
        async with socket:
            async for _ in _reasons(provider, bell, socket):
                if not await ring():
                    return


async def _reasons(
    provider: Provider, bell: Bell, socket: aiohttp.ClientWebSocketResponse
) -> AsyncIterator[None]:
    """Yield at once, at every frame that rings, and when the socket has been silent for long."""
    yield
    silent = False
    while True:
        with mapped_errors(provider.label):
            try:
                frame = await socket.receive(settings.HUMAN_POLL_S * SILENCE)
            except TimeoutError:
                if silent:
                    raise
                silent = True
                await socket.send_str(bell.ping)
                frame = None
        if frame is None:
            yield
            continue
        if frame.type is not WSMsgType.TEXT:
            raise Unavailable(f"{provider.label} closed the socket", provider=provider.label)
        silent = False
        if bell.rings(frame.data):
            yield


def _no_redirects() -> aiohttp.TraceConfig:
    """aiohttp follows them for sockets and cannot be told not to."""

    async def refuse(
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        params: aiohttp.TraceRequestRedirectParams,
    ) -> None:
        params.response.close()
        raise aiohttp.ClientError("redirected")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return trace
