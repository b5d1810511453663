"""Opening a console: the one way for pages and for ``POST /api/v1/vms/{name}/console``."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict
from urllib.parse import quote

from django.conf import settings
from django.http import Http404, HttpRequest

from bhype.accounts.access import session_digest, signed_in
from bhype.accounts.errors import ApiError

from . import subjects, tickets, viewers
from .models import Kind, Right


class Opened(TypedDict):
    """path: of the WebSocket, to be opened within ``expires_in`` seconds with ``?ticket=``.
    right: "console", or "watch" when nothing that is sent will reach the guest.
    recorded: whether what it shows is kept.
    password: what the VNC server will ask for; "" for serial consoles."""

    kind: str
    right: str
    recorded: bool
    path: str
    ticket: str
    expires_in: int
    password: str


class InUse(ApiError):
    """409: somebody else has the screen; ``take_over`` gets it for those who may use it."""

    def __init__(self, busy: viewers.InUse, right: str) -> None:
        super().__init__(409, "in_use", str(busy))
        self.right = right
        self.by: str = busy.by
        self.since: datetime = busy.since

    def as_json(self) -> dict[str, str]:
        return {**super().as_json(), "by": self.by, "since": self.since.isoformat(), "right": self.right}


def open_console(
    request: HttpRequest,
    what: str,
    name: str,
    kind: str = "",
    *,
    take_over: bool = False,
    watch: bool = False,
) -> Opened:
    """A ticket to console ``kind`` of e.g. ``what="vm", name="web1"``, for the sign-in of this request.

    kind: "vnc", "serial", "serial2" to "serial4", or "" for the first that it has.
    take_over: get the screen from whoever has it, or the control of a serial line.
    watch: do not ask for more than to look at it.
    Raises Http404; ApiError with the codes no_console (404), off (409), in_use (409, InUse), too_many (429).
    """
    user = signed_in(request)
    subject = subjects.find(user, what, name)
    if subject is None:
        raise Http404
    kind = kind or next(iter(subject.kinds), "")
    if kind not in subject.kinds:
        raise ApiError(404, "no_console", f"{subject.title} has no such console.", "kind")
    if not subject.is_on:
        raise ApiError(409, "off", f"{subject.title} is not running: {subject.state}.")
    session = session_digest(request)
    right = Right.CONSOLE if subject.may_write and not watch else Right.WATCH
    take_over = take_over and right == Right.CONSOLE
    try:
        viewers.check(user, session, subject.topic, kind, take_over=take_over)
    except viewers.InUse as busy:
        raise InUse(busy, right) from busy
    except viewers.TooMany as limit:
        raise ApiError(429, "too_many", str(limit)) from limit
    return {
        "kind": kind,
        "right": right,
        "recorded": subject.is_recorded and right == Right.CONSOLE,
        "path": f"/ws/console/{what}/{quote(name)}/{kind}",
        "ticket": tickets.issue(user, session, subject.topic, kind, right=right, take_over=take_over),
        "expires_in": settings.CONSOLE_TICKET_SECONDS,
        "password": subject.password if kind == Kind.VNC else "",
    }
