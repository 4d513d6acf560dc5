"""How a visitor's client speaks to each contestant, over real sockets.

While the clock runs a client only notes when which frame came; `text` reads it afterwards.
"""

import asyncio
import json
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from .receipts import Receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a visitor goes, and as whom."""

    address: str
    """`host:port` of the contestant."""
    visitor: dict[str, str]
    """The visitor's own values: `token`, `conversation`. Empty where visitors are nobody."""


class Visitor(ABC):
    """One visitor with one tab. `close` ends it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        self.heard_at = time.monotonic()
        """When something came last."""

    async def arrive(self) -> None:
        """Open the page: everything that comes before the first question."""
        await self.open()

    @abstractmethod
    async def open(self) -> None:
        """Connect the tab, until the contestant takes a question."""

    async def ask(self, question: str) -> Receipts:
        """Ask, and take what comes until the answer ends. Cancelled: it has not ended."""
        receipts = Receipts(asked_at=time.monotonic())
        self.heard_at = receipts.asked_at
        frames: list[tuple[float, str]] = []
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self.send(question))
                both.create_task(self._listen(frames))
            receipts.ended = True
        except asyncio.CancelledError:
            print("an answer did not end", file=sys.stderr)
        except ExceptionGroup as errors:
            print(f"an answer did not come: {errors.exceptions[0]!r}", file=sys.stderr)
        receipts.frames = [
            (at, text) for at, frame in frames if (text := self.text(frame)) is not None
        ]
        return receipts

    async def _listen(self, frames: list[tuple[float, str]]) -> None:
        async for frame in self.receive():
            self.heard_at = time.monotonic()
            frames.append((self.heard_at, frame))

    @abstractmethod
    async def send(self, question: str) -> None:
        """Send the question."""

    @abstractmethod
    def receive(self) -> AsyncIterator[str]:
        """Yield each frame as it comes, and end with the answer."""

    @abstractmethod
    def text(self, frame: str) -> str | None:
        """Return what of the answer is in a frame; None: it is about something else."""

    async def stored(self) -> str | None:
        """Return the answer as the contestant has kept it; None: it keeps nothing."""
        return None

    async def close(self) -> None:
        """Leave, the socket too."""
        await self.http.close()


class Direct(Visitor):
    """Speaks to the upstream itself: the floor."""

    async def open(self) -> None:
        async with self.http.get(f"http://{self.target.address}/"):
            pass  # the connection is open now, as the others' sockets are
        self._answer: asyncio.Future[aiohttp.ClientResponse] = asyncio.Future()

    async def send(self, question: str) -> None:
        body = {
            "model": "clock",
            "stream": True,
            "messages": [{"role": "user", "content": question}],
        }
        answer = await self.http.post(
            f"http://{self.target.address}/v1/chat/completions", json=body
        )
        self._answer.set_result(answer)

    async def receive(self) -> AsyncIterator[str]:
        async with await self._answer as answer:
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    yield line.decode()

    def text(self, frame: str) -> str | None:
        text: str | None = json.loads(frame[6:])["choices"][0]["delta"].get("content")
        return text or None


class Plain(Visitor):
    """The bare relay's and the textbook consumer's: a JSON frame per token, then an end."""

    path = "/ws/"
    socket: aiohttp.ClientWebSocketResponse

    async def open(self) -> None:
        self.socket = await self.http.ws_connect(
            # Offers compression, as browsers do; whether it is used is the server's affair.
            f"ws://{self.target.address}{self.path}",
            compress=15,
            max_msg_size=0,
        )

    async def send(self, question: str) -> None:
        await self.socket.send_json({"text": question})

    async def receive(self) -> AsyncIterator[str]:
        async for message in self.socket:
            if message.data.startswith('{"type":"end"'):
                return
            yield message.data
        raise ConnectionError("the socket closed before the answer ended")

    def text(self, frame: str) -> str | None:
        return str(json.loads(frame)["text"])


class Chainlit(Plain):
    """Chainlit's own: Socket.IO on a WebSocket, where `4` is a message and `2` an event in it."""

    path = "/ws/socket.io/?EIO=4&transport=websocket"

    async def open(self) -> None:
        await super().open()
        await self._until("0{")
        session = {
            "sessionId": str(uuid.uuid4()),
            "clientType": "webapp",
            "userEnv": "{}",
            "threadId": "",
            "chatProfile": "",
        }
        await self.socket.send_str(f"40{json.dumps(session)}")
        await self._until("40{")
        await self.socket.send_str('42["connection_successful"]')
        await self._until('42["clear_call_fn"')

    async def _until(self, start: str) -> None:
        async for message in self.socket:
            if message.data.startswith(start):
                return
            await self._heartbeat(message.data)
        raise ConnectionError("the socket closed early")

    async def _heartbeat(self, data: str) -> None:
        if data == "2":
            await self.socket.send_str("3")

    async def send(self, question: str) -> None:
        step = {
            "id": str(uuid.uuid4()),
            "name": "visitor",
            "type": "user_message",
            "output": question,
            "createdAt": "2026-01-01T00:00:00Z",
        }
        message = json.dumps(["client_message", {"message": step, "fileReferences": []}])
        await self.socket.send_str(f"42{message}")

    async def receive(self) -> AsyncIterator[str]:
        async for message in self.socket:
            if message.data.startswith('42["task_end"'):
                return
            if message.data.startswith('42["stream_'):
                yield message.data
            else:
                await self._heartbeat(message.data)
        raise ConnectionError("the socket closed before the answer ended")

    def text(self, frame: str) -> str | None:
        name, body = json.loads(frame[2:])
        return str(body["output"] if name == "stream_start" else body["token"])


class ChatWidget(Plain):
    """This project's protocol: asks over HTTP, listens on the socket, after a hello."""

    path = "/ws/v1/"
    FINAL = ('"status":"completed"', '"status":"failed"', '"status":"stopped"')

    async def arrive(self) -> None:
        """Open the page as a browser does, with a call that leaves its connection open."""
        await super().arrive()
        await self._call("GET", "/conversations")

    async def open(self) -> None:
        await super().open()
        await self.socket.send_json(
            {
                "type": "hello",
                "token": self.target.visitor["token"],
                "conversation": self.target.visitor["conversation"],
            }
        )
        ready = await self.socket.receive_json()
        if ready["type"] != "ready":
            raise ConnectionError(f"refused: {ready}")

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.target.visitor['token']}"}
        url = f"http://{self.target.address}/api/v1{path}"
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def send(self, question: str) -> None:
        body = {"id": str(uuid.uuid4()), "text": question}
        await self._call(
            "POST", f"/conversations/{self.target.visitor['conversation']}/messages", body
        )

    async def receive(self) -> AsyncIterator[str]:
        async for message in self.socket:
            frame: str = message.data
            if frame.startswith('{"type":"delta"'):
                yield frame
            elif '"role":"agent"' in frame and any(one in frame for one in self.FINAL):
                return
        raise ConnectionError("the socket closed before the answer ended")

    async def stored(self) -> str | None:
        """Return the newest answer of the visitor's conversation, read back over HTTP."""
        page = await self._call(
            "GET", f"/conversations/{self.target.visitor['conversation']}/messages"
        )
        return str(page["results"][-1]["text"])


VISITORS: dict[str, type[Visitor]] = {
    "direct": Direct,
    "plain": Plain,
    "chainlit": Chainlit,
    "chatwidget": ChatWidget,
}
