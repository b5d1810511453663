"""Whether a WebSocket may have a console, asked when it opens and while it is open."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from urllib.parse import parse_qs

from django.http import HttpRequest

from bhype.accounts import audit
from bhype.accounts.models import User

from . import sign_in, subjects, tickets, viewers
from .models import Viewer


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
    """One open console: who, on what. ``key`` is how the URL names the subject."""

    sign_in: sign_in.SignIn
    viewer: Viewer
    subject: subjects.Subject
    key: tuple[str, str]
    kind: str

    @property
    def topics(self) -> tuple[str, ...]:
        """Events that are a reason to ask ``recheck`` at once."""
        return (f"session:{self.sign_in.digest}", viewers.topic(self.viewer), self.subject.topic)


def _record(user: User, address: str, action: str, key: tuple[str, str], detail: dict[str, Any]) -> None:
    # The audit log reads user and address from a request, and a WebSocket has none of Django's.
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = address
    request.user = user
    audit.record(request, action, " ".join(key), detail)


def admit(scope: dict[str, Any]) -> Admission:
    """Spend the ticket of a WebSocket that wants to open. Raises Refusal."""
    arguments = scope["url_route"]["kwargs"]
    what, name, kind = arguments["what"], arguments["name"], arguments["kind"]
    who = sign_in.of(scope)
    user = who.user() if who else None
    if who is None or user is None:
        raise Refusal(Code.SIGNED_OUT, "You are signed out.")
    secret = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("ticket", [""])[0]
    subject = subjects.find(user, what, name)
    ticket = tickets.redeem(secret, user, who.digest, subject.topic, kind) if subject else None
    # One answer to all: no such object, no right, no such ticket.
    if subject is None or ticket is None or kind not in subject.kinds:
        raise Refusal(Code.FORBIDDEN, "This console needs a new ticket.")
    address = str((scope.get("client") or [""])[0])[:64]
    try:
        viewer = viewers.enter(
            user, who.digest, subject.topic, kind, take_over=ticket.take_over, address=address
        )
    except viewers.InUse as busy:
        raise Refusal(Code.IN_USE, str(busy)) from busy
    except viewers.TooMany as limit:
        raise Refusal(Code.TOO_MANY, str(limit)) from limit
    _record(user, address, "console.open", (what, name), {"console": kind, "take_over": ticket.take_over})
    return Admission(who, viewer, subject, (what, name), kind)


def recheck(admission: Admission) -> None:
    """Say that the viewer is still there, and ask whether it still may be. Raises Refusal."""
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


def leave(admission: Admission, seconds: float) -> None:
    """The console is closed."""
    viewers.leave(admission.viewer)
    detail = {"console": admission.kind, "seconds": round(seconds)}
    _record(admission.viewer.user, admission.viewer.address, "console.close", admission.key, detail)
