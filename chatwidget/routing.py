"""The service's WebSocket addresses."""

from django.urls import path

from .consumers import VisitorSocket

websocket_urlpatterns = [path("ws/v1/", VisitorSocket.as_asgi())]
