"""WebSocket addresses of consoles: ``/ws/console/vm/web1/vnc?ticket=...``."""

from __future__ import annotations

from django.urls import re_path

from .consumers import ConsoleConsumer

websocket_urlpatterns = [
    re_path(
        r"^ws/console/(?P<what>[a-z]+)/(?P<name>[^/]+)/(?P<kind>vnc|serial[234]?)$",
        ConsoleConsumer.as_asgi(),
    ),
]
