"""The WebSocket of live events; bhype.asgi composes it with the others."""

from __future__ import annotations

from django.urls import path

from .consumers import LiveConsumer

websocket_urlpatterns = [path("ws/live", LiveConsumer.as_asgi())]
