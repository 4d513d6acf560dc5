"""The tutorials' consumer: a client per message, a group_send per token. It stores nothing."""

import json
from typing import Any

import django
import httpx
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path

from .sse import URL, asked, token

settings.configure(
    SECRET_KEY="only for this benchmark",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()
urlpatterns: list[Any] = []


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels is not typed
    """One visitor, in a group of their own."""

    async def connect(self) -> None:
        self.room = f"chat_{id(self)}"
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive(self, text_data: str = "", bytes_data: bytes = b"") -> None:
        question = json.loads(text_data)["text"]
        async with (
            httpx.AsyncClient(timeout=None) as http,
            http.stream("POST", URL, json=asked(question)) as answer,
        ):
            async for line in answer.aiter_lines():
                if text := token(line):
                    await self._tell(type="token", text=text)
        await self._tell(type="end")

    async def _tell(self, **frame: str) -> None:
        await self.channel_layer.group_send(self.room, {"type": "chat.message", "frame": frame})

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(event["frame"], separators=(",", ":")))


application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("ws/", ChatConsumer.as_asgi())]),
    }
)
