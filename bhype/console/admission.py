"""Whether a WebSocket may have a console, asked when it opens and while it is open."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from urllib.parse import parse_qs

from django.http import HttpRequest

from bhype.accounts import audit
from bhype.accounts.models import User

from . import recordings, sign_in, subjects, tickets, viewers
from .models import Kind, Recording, Right, Viewer

# Sizes of terminals that are believed, in characters.
SIZES = ((20, 500), (5, 200))


class Code(IntEnum):
    """Why bHype closes a console, as close codes of WebSocket; 1000 when the guest closed it."""

    SIGNED_OUT = 4401
    FORBIDDEN = 4403
    LOST = 4408
    IN_USE = 4409
    TOO_MANY = 4429
    UNAVAILABLE = 4502


class Refusal(Exception):
    """This console is closed, or not opened. The reason is a sentence for the person in front of it."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Admission:
    """One open console: who, on what, to do what. ``key`` is how the URL names the subject."""

    sign_in: sign_in.SignIn
    viewer: Viewer
    subject: subjects.Subject
    key: tuple[str, str]
    kind: str
    recording: Recording | None = None

    @property
    def may_write(self) -> bool:
        return self.viewer.right == Right.CONSOLE

    @property
    def is_line(self) -> bool:
        """Whether it is a serial line, which several people share."""
        return self.kind != Kind.VNC

    @property
    def line(self) -> str:
        """The topic of a serial line."""
        return viewers.line_topic(self.subject.topic, self.kind)

    @property
    def topics(self) -> tuple[str, ...]:
        """Events that are a reason to ask ``recheck`` at once."""
        found = (f"session:{self.sign_in.digest}", viewers.topic(self.viewer), self.subject.topic)
        return (*found, self.line) if self.is_line else found


def _record(user: User, address: str, action: str, key: tuple[str, str], detail: dict[str, Any]) -> None:
    # The audit log reads user and address from a request, and a WebSocket has none of Django's.
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = address
    request.user = user
    audit.record(request, action, " ".join(key), detail)


def size_of(columns: object, rows: object) -> tuple[int, int] | None:
    """The size of a terminal as a client says it, if it can be one."""
    if type(columns) is not int or type(rows) is not int:
        return None
    (narrow, wide), (low, high) = SIZES
    return (columns, rows) if narrow <= columns <= wide and low <= rows <= high else None


def _asked_size(text: str) -> tuple[int, int]:
    """The size in a URL, "132x43"."""
    words = [int(word) for word in text.split("x") if word.isascii() and word.isdigit() and len(word) < 5]
    return (size_of(*words) if len(words) == 2 else None) or (80, 24)


def admit(scope: dict[str, Any]) -> Admission:
    """Spend the ticket of a WebSocket that wants to open. Raises Refusal."""
    arguments = scope["url_route"]["kwargs"]
    what, name, kind = arguments["what"], arguments["name"], arguments["kind"]
    who = sign_in.of(scope)
    user = who.user() if who else None
    if who is None or user is None:
        raise Refusal(Code.SIGNED_OUT, "You are signed out.")
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    subject = subjects.find(user, what, name)
    secret = query.get("ticket", [""])[0]
    ticket = tickets.redeem(secret, user, who.digest, subject.topic, kind) if subject else None
    # One answer to all: no such object, no right, no such ticket.
    if subject is None or ticket is None or kind not in subject.kinds:
        raise Refusal(Code.FORBIDDEN, "This console needs a new ticket.")
    if ticket.right == Right.CONSOLE and not subject.may_write:
        raise Refusal(Code.FORBIDDEN, "You may only watch this console.")
    address = str((scope.get("client") or [""])[0])[:64]
    size = _asked_size(query.get("size", [""])[0])
    try:
        viewer = viewers.enter(
            user, who.digest, subject.topic, kind,
            take_over=ticket.take_over, right=ticket.right, address=address, size=size,
        )  # fmt: skip
    except viewers.InUse as busy:
        raise Refusal(Code.IN_USE, str(busy)) from busy
    except viewers.TooMany as limit:
        raise Refusal(Code.TOO_MANY, str(limit)) from limit
    recording = None
    if subject.is_recorded and ticket.right == Right.CONSOLE:
        recording = recordings.begin(user, subject.topic, kind)
    detail = {"console": kind, "right": ticket.right, "take_over": ticket.take_over}
    _record(user, address, "console.open", (what, name), detail | ({"recorded": True} if recording else {}))
    return Admission(who, viewer, subject, (what, name), kind, recording)


def recheck(admission: Admission) -> viewers.Line | None:
    """Say that the viewer is still there, and ask whether it still may be. Raises Refusal.

    Returns who is on its serial line; None for a screen.
    """
    user = admission.sign_in.user()
    if user is None:
        raise Refusal(Code.SIGNED_OUT, "You are signed out.")
    if not viewers.renew(admission.viewer):
        if by := viewers.taken_over_by(admission.viewer):
            raise Refusal(Code.IN_USE, f"Taken over by {by}.")
        raise Refusal(Code.LOST, "The panel lost sight of this console.")
    subject = subjects.find(user, *admission.key)
    if subject is None or subject.topic != admission.subject.topic or admission.kind not in subject.kinds:
        raise Refusal(Code.FORBIDDEN, "You may no longer open this console.")
    if admission.may_write and not subject.may_write:
        raise Refusal(Code.FORBIDDEN, "You may only watch this console now.")
    return viewers.line(admission.viewer) if admission.is_line else None


def take_control(admission: Admission) -> None:
    """Give this viewer the control of its serial line. Nothing happens to one who may only watch."""
    user = admission.sign_in.user()
    subject = subjects.find(user, *admission.key) if user else None
    if not (admission.is_line and admission.may_write and subject and subject.may_write):
        return
    viewers.take_control(admission.viewer)
    detail = {"console": admission.kind}
    _record(admission.viewer.user, admission.viewer.address, "console.control", admission.key, detail)


def leave(admission: Admission, seconds: float) -> None:
    """The console is closed."""
    viewers.leave(admission.viewer)
    if admission.recording is not None:
        recordings.end(admission.recording)
    detail = {"console": admission.kind, "seconds": round(seconds)}
    _record(admission.viewer.user, admission.viewer.address, "console.close", admission.key, detail)
