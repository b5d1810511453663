"""Questions to the gateway that are no consoles: the picture of a screen, the end of a log."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import quote

from django.conf import settings

from .signing import BadNote, read_key, sign

# A picture is given up by the gateway after 3 seconds at the latest, while a viewer comes.
SECONDS = 5.0
ANSWER_MAX = 8 * 1024 * 1024


class NoAnswer(Exception):
    """The gateway has none, or does not answer. ``status`` is that of HTTP, 0 without one."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _Connection(http.client.HTTPConnection):
    """HTTP over the gateway's unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(settings.RUN_DIR / "gateway.sock"))


def fetch(name: str, kind: str, *, tail: int = 0, password: str = "") -> bytes:
    """What the gateway knows of the guest ``name``. Raises NoAnswer.

    kind: "picture", or "log" to "log4" of a serial line. tail: at most so many bytes of the log.
    password: of the VNC server.
    """
    connection = _Connection("gateway", timeout=SECONDS)
    try:
        note = sign(read_key(settings.STATE_DIR / "gateway.key"), name, kind)
        headers = {"X-Password": quote(password, safe="")} if password else {}
        connection.request("GET", f"/?token={note}&tail={tail}", headers=headers)
        response = connection.getresponse()
        body = response.read(ANSWER_MAX)
    except (OSError, http.client.HTTPException, BadNote) as error:
        raise NoAnswer(f"the console gateway does not answer: {error}") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise NoAnswer(f"the console gateway has no {kind} of {name}", response.status)
    return body
