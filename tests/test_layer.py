"""The channel layer is a doorbell: whatever happens to it, everything arrives."""

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import pytest
import redis as redis_client

from chatwidget.hub import SWEEP_S
from chatwidget.models import Widget

from . import stack
from .cast import make_widget, openai_agent
from .server import Server
from .simulators.openai import OpenAISimulator
from .visitor import JSON, Socket, Visitor

pytestmark = pytest.mark.default_stack("brings its own Redis and its own two processes")

STREAMS = 8
LIVE_AGAIN_S = 5
REDIS_PY_8_S = 5
"""redis-py 8 gives up on a connection that is silent for so long, unless told otherwise."""


class Doorbell:
    """A Redis that can be taken away and brought back."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "redis.sock"
        self.url = f"unix://{self._socket}"
        self._open = ExitStack()

    def start(self) -> None:
        self._open.enter_context(stack.redis(self._socket))

    def stop(self) -> None:
        self._open.close()

    def forget(self) -> None:
        with redis_client.Redis(unix_socket_path=str(self._socket)) as client:
            client.flushall()


@pytest.fixture
def doorbell() -> Iterator[Doorbell]:
    with tempfile.TemporaryDirectory(prefix="chatwidget-redis-") as folder:
        doorbell = Doorbell(Path(folder))
        doorbell.start()
        yield doorbell
        doorbell.stop()


@pytest.fixture
def widget(openai: OpenAISimulator) -> Widget:
    return make_widget(openai_agent(openai))


class Pair:
    """A visitor who asks at one process and watches at another."""

    def __init__(self, asking: Visitor, conversation: str, near: Socket, far: Socket) -> None:
        self.asking, self.conversation, self.near, self.far = asking, conversation, near, far

    async def ask(self) -> JSON:
        asked = await self.asking.ask(self.conversation, "Hello")
        return dict(asked["answer"])

    async def stop(self, answer: JSON) -> None:
        await self.asking.call("POST", f"/messages/{answer['id']}/stop", expect=202)
        await self.hear(answer)

    async def hear(self, answer: JSON) -> tuple[JSON, JSON]:
        """Return the answer's end as both tabs have it."""
        near, far = await asyncio.gather(
            self.near.final(answer, timeout_s=60), self.far.final(answer, timeout_s=60)
        )
        return near, far


@asynccontextmanager
async def pairs(
    first: Server, second: Server, widget: Widget, count: int = STREAMS
) -> AsyncIterator[list[Pair]]:
    """Visitors of both processes."""
    async with AsyncExitStack() as tabs:
        made = []
        for _ in range(count):
            asking = await tabs.enter_async_context(Visitor(first.url, widget.key))
            conversation = await asking.conversation()
            watching = Visitor(second.url, widget.key, token=asking.token)
            near = await tabs.enter_async_context(asking.socket(conversation))
            far = await tabs.enter_async_context(
                (await tabs.enter_async_context(watching)).socket(conversation)
            )
            made.append(Pair(asking, conversation, near, far))
        yield made


def is_stream(frame: JSON) -> bool:
    return bool(frame["type"] == "message" and frame["message"]["status"] == "streaming")


async def test_with_a_layer_that_drops_half_and_holds_one_message_everything_arrives(
    doorbell: Doorbell, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.rate = [f"word{number} " for number in range(100)], 40
    lossy = {"DJANGO_SETTINGS_MODULE": "tests.lossy_settings", "EMBEDDED_WORKER": "false"}
    with (
        Server(REDIS_URL=doorbell.url, **lossy) as first,
        Server(REDIS_URL=doorbell.url, **lossy) as second,
    ):
        async with pairs(first, second, widget) as everyone:
            answers = [await pair.ask() for pair in everyone]
            for pair, answer in zip(everyone, answers, strict=True):
                near, far = await pair.hear(answer)
                assert near["text"] == far["text"] == "".join(openai.tokens)
                assert pair.near.gaps == pair.far.gaps == 0


async def test_a_layer_that_forgets_and_goes_away_loses_nothing(
    doorbell: Doorbell, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.rate = [f"word{number} " for number in range(240)], 40
    with (
        Server(REDIS_URL=doorbell.url, EMBEDDED_WORKER="false") as first,
        Server(REDIS_URL=doorbell.url, EMBEDDED_WORKER="false") as second,
    ):
        async with pairs(first, second, widget) as everyone:
            answers = [await pair.ask() for pair in everyone]
            for pair in everyone:
                await pair.far.until(is_stream)
            doorbell.forget()
            for pair in everyone:
                await pair.far.until(is_stream)
            doorbell.stop()
            for pair in everyone:  # looking at the database goes on without it
                await pair.far.until(is_stream)
            doorbell.start()
            for pair, answer in zip(everyone, answers, strict=True):
                near, far = await pair.hear(answer)
                assert near["text"] == far["text"] == "".join(openai.tokens)
                assert pair.near.gaps == pair.far.gaps == 0


async def test_after_the_layer_is_back_sockets_hear_at_once_again(
    doorbell: Doorbell, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.rate = ["word "] * 10_000, 40
    with (
        Server(REDIS_URL=doorbell.url, EMBEDDED_WORKER="false") as first,
        Server(REDIS_URL=doorbell.url, EMBEDDED_WORKER="false") as second,
    ):
        async with pairs(first, second, widget, 1) as [pair]:
            answer = await pair.ask()
            await pair.far.until(is_stream)
            doorbell.stop()
            await pair.far.until(is_stream)
            doorbell.start()
            since = time.monotonic()
            await _rung(pair.far)
            assert time.monotonic() - since < LIVE_AGAIN_S
            await pair.stop(answer)


async def test_an_idle_socket_outlives_what_redis_py_waits_for(
    doorbell: Doorbell, widget: Widget, openai: OpenAISimulator
) -> None:
    openai.tokens, openai.rate = ["word "] * 10_000, 40
    with (
        Server(REDIS_URL=doorbell.url, EMBEDDED_WORKER="false") as first,
        Server(REDIS_URL=doorbell.url, EMBEDDED_WORKER="false") as second,
    ):
        async with pairs(first, second, widget, 1) as [pair]:
            await asyncio.sleep(REDIS_PY_8_S + 1)
            answer = await pair.ask()
            await _rung(pair.far)
            await pair.stop(answer)
        assert "does not answer" not in first.log() + second.log()


async def _rung(socket: Socket) -> None:
    """Return when three frames came faster than a process looks at the database by itself."""
    heard: deque[float] = deque(maxlen=3)
    while len(heard) < 3 or heard[-1] - heard[0] >= SWEEP_S:
        await socket.until(is_stream)
        heard.append(time.monotonic())
