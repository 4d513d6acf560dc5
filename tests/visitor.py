"""A visitor's client: REST with httpx, the socket with websockets, the protocol's rules."""

import asyncio
import json
import ssl
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
import websockets

JSON = dict[str, Any]
FINAL = ("completed", "failed", "stopped")
DEADLINE_S = 20.0
CONTEXT = ssl.create_default_context()
"""Unused on loopback, but made anew for each client it would take most of a test's time."""


class Screen:
    """What a tab shows: messages and conversations, kept as the protocol says."""

    def __init__(self) -> None:
        self.messages: dict[str, JSON] = {}
        self.conversations: dict[str, JSON] = {}
        self.gaps = 0

    def show(self, frame: JSON) -> None:
        """Apply one frame. A delta that does not follow counts as a gap."""
        match frame["type"]:
            case "ready":
                self.messages |= {one["id"]: dict(one) for one in frame["messages"]}
            case "message":
                self.messages[frame["message"]["id"]] = dict(frame["message"])
            case "conversation":
                self.conversations[frame["conversation"]["id"]] = frame["conversation"]
            case "delta":
                self._append(frame)

    def _append(self, frame: JSON) -> None:
        message = self.messages.get(frame["message_id"])
        if message is None or frame["seq"] > message["seq"] + 1:
            self.gaps += 1
        elif frame["seq"] == message["seq"] + 1:
            message["text"] += frame["text"]
            message["seq"] = frame["seq"]
            message["status"] = "streaming"


class Socket(Screen):
    """One tab: its connection, its screen, and all frames that came."""

    def __init__(self, connection: websockets.ClientConnection, token: str) -> None:
        super().__init__()
        self.connection, self.token = connection, token
        self.frames: list[JSON] = []

    async def send(self, frame: JSON | str) -> None:
        await self.connection.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def hello(self, conversation: str | None = None) -> JSON:
        await self.send({"type": "hello", "token": self.token, "conversation": conversation})
        return await self.until(lambda frame: frame["type"] == "ready")

    async def sync(self, conversation: str) -> JSON:
        await self.send({"type": "sync", "conversation": conversation})
        return await self.until(lambda frame: frame["type"] == "ready")

    async def next(self) -> JSON:
        """Receive one frame and apply it."""
        frame: JSON = json.loads(await self.connection.recv())
        self.frames.append(frame)
        self.show(frame)
        return frame

    async def until(self, found: Callable[[JSON], bool], *, timeout_s: float = DEADLINE_S) -> JSON:
        """Receive frames until one fits; that one is returned."""
        async with asyncio.timeout(timeout_s):
            while not found(frame := await self.next()):
                pass
            return frame

    async def until_message(
        self, found: Callable[[JSON], bool], *, timeout_s: float = DEADLINE_S
    ) -> JSON:
        """Receive until a message as we hold it fits."""
        async with asyncio.timeout(timeout_s):
            while True:
                for message in self.messages.values():
                    if found(message):
                        return message
                await self.next()

    async def until_text(self, answer: JSON) -> JSON:
        """Receive until something of this answer can be read."""
        return await self.until_message(lambda one: one["id"] == answer["id"] and bool(one["text"]))

    async def final(self, answer: JSON, *, timeout_s: float = DEADLINE_S) -> JSON:
        """Receive until this answer has ended."""
        return await self.until_message(
            lambda one: one["id"] == answer["id"] and one["status"] in FINAL, timeout_s=timeout_s
        )

    async def close_code(self) -> int:
        """Receive until the server closes; return its code."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                while True:
                    await self.next()
            except websockets.ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 1006


class Visitor:
    """A session on one widget. Use as `async with Visitor(base, key) as visitor`."""

    def __init__(self, base: str, key: str, *, token: str | None = None) -> None:
        self.base, self.key = base, key
        self.http = httpx.AsyncClient(
            base_url=base + "/api/v1", timeout=30, trust_env=False, verify=CONTEXT
        )
        self.token = token

    async def __aenter__(self) -> Self:
        await self.enter()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.http.aclose()

    async def enter(self) -> JSON:
        body = {"token": self.token} if self.token else {}
        answer = await self.http.post(f"/widgets/{self.key}/sessions", json=body)
        assert answer.status_code == 201, answer.text
        session: JSON = answer.json()
        self.token = session["token"]
        self.id = session["visitor"]["id"]
        self.http.headers["Authorization"] = f"Bearer {self.token}"
        return session

    async def call(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        answer = await self.http.request(method, path, json=body)
        assert answer.status_code == expect, f"{answer.status_code}: {answer.text}"
        return answer.json() if answer.content else None

    async def conversation(self) -> str:
        return str((await self.call("POST", "/conversations", expect=201))["id"])

    async def ask(self, conversation: str, text: str, *, expect: int = 201, **more: Any) -> Any:
        body = {"id": str(uuid.uuid4()), "text": text} | more
        return await self.call(
            "POST", f"/conversations/{conversation}/messages", body, expect=expect
        )

    async def attach(self, name: str, content: bytes, *, expect: int = 201) -> Any:
        headers = {"Content-Type": "application/octet-stream"}
        answer = await self.http.post(
            "/attachments", params={"name": name}, content=content, headers=headers
        )
        assert answer.status_code == expect, f"{answer.status_code}: {answer.text}"
        return answer.json()

    async def messages(self, conversation: str) -> list[JSON]:
        page = await self.call("GET", f"/conversations/{conversation}/messages")
        return list(page["results"])

    async def vote(self, message: JSON, *, expect: int = 200, **body: Any) -> Any:
        return await self.call("PUT", f"/messages/{message['id']}/feedback", body, expect=expect)

    @asynccontextmanager
    async def socket(
        self,
        conversation: str | None = None,
        *,
        hello: bool = True,
        headers: dict[str, str] | None = None,
    ) -> AsyncIterator[Socket]:
        """Open a tab on a conversation."""
        address = self.base.replace("http", "ws", 1) + "/ws/v1/"
        async with websockets.connect(
            address, compression=None, proxy=None, additional_headers=headers
        ) as connection:
            socket = Socket(connection, self.token or "")
            if hello:
                await socket.hello(conversation)
            yield socket

    async def ask_and_wait(self, text: str, *, timeout_s: float = DEADLINE_S) -> JSON:
        """Ask in a new conversation and return the final answer."""
        conversation = await self.conversation()
        async with self.socket(conversation) as socket:
            asked = await self.ask(conversation, text)
            return await socket.final(asked["answer"], timeout_s=timeout_s)

    async def retry_and_wait(self, failed: JSON) -> JSON:
        """Ask a failed answer's question again and return the new answer, final."""
        again = await self.call("POST", f"/messages/{failed['id']}/retry", expect=201)
        async with self.socket(failed["conversation"]) as socket:
            return await socket.final(again["answer"])
