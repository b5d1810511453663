"""The web process: pages over HTTP, live events and consoles over WebSockets."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bhype.settings")

from django.core.asgi import get_asgi_application
from django.urls import reverse

http = get_asgi_application()  # before anything that needs the apps

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter

from bhype.console.routing import websocket_urlpatterns as console
from bhype.live.origin import ExactOrigin
from bhype.live.routing import websocket_urlpatterns as live
from bhype.ui.bodies import Bounded

application = ProtocolTypeRouter(
    {"http": Bounded(http), "websocket": ExactOrigin(AuthMiddlewareStack(URLRouter([*live, *console])))}
)

# The collector would walk everything that was imported each time that it looks for garbage, which held up one
# request in twenty by 100 ms and more: load what pages need now, and have it left alone.
reverse("vms:list")
gc.collect()
gc.freeze()
