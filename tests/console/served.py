"""The console's WebSocket as an application for gunicorn, without a database: everybody is admitted to web1.

What is measured and tried with it is the way of the bytes: server, Channels, consumer, relay, gateway, guest.
"""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bhype.settings")

import django

django.setup()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.utils import timezone  # noqa: E402

from bhype.console import admission, consumers  # noqa: E402
from bhype.console.models import Viewer  # noqa: E402
from bhype.console.routing import websocket_urlpatterns  # noqa: E402
from bhype.console.sign_in import SignIn  # noqa: E402
from bhype.console.subjects import Subject  # noqa: E402
from bhype.live.origin import ExactOrigin  # noqa: E402

SUBJECT = Subject("vm:1", "web1", "web1", "/", ("vnc", "serial"), is_on=True, state="Running")


class Silence:
    """Events that never come."""

    async def __aenter__(self) -> Silence:
        return self

    async def __aexit__(self, *_error: object) -> None:
        pass

    async def get(self) -> str:
        await consumers.asyncio.Event().wait()
        return ""


def admit(scope):
    return admission.Admission(
        SignIn("x"),
        Viewer(pk=1, writes_since=timezone.now()),
        SUBJECT,
        ("vm", "web1"),
        scope["url_route"]["kwargs"]["kind"],
    )


admission.admit = admit
admission.recheck = lambda admitted: None
admission.leave = lambda admitted, seconds: None
consumers.tail.subscribe = lambda *topics: Silence()

application = ProtocolTypeRouter({"websocket": ExactOrigin(URLRouter(websocket_urlpatterns))})
