"""Signing in and out: throttled, on the record, and with a session that is new."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.contrib.auth import authenticate, login, logout, update_session_auth_hash
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from bhype.live import publish

from . import audit, authd_client
from .models import Failures, SignIn, User, digest
from .throttle import MEMORY, count_failure, limit_of, take_back, wait_after

# Every refusal takes this long, so that the time does not tell which accounts there are.
REFUSAL_SECONDS = 0.8
NAME_MAX = 64
BACKENDS = {
    User.Source.PAM: "bhype.accounts.backends.PamBackend",
    User.Source.PANEL: "bhype.accounts.backends.PanelBackend",
}
PASSWORD_MAX = 512

WRONG = "The name or the password is wrong, or this account may not sign in here."
AWAY = " System accounts cannot be checked at the moment: authd is not running."


class SignInRefused(Exception):
    """The message is for the person at the form; ``seconds`` is how long to wait, if waiting helps."""

    seconds = 0


class Throttled(SignInRefused):
    def __init__(self, seconds: float) -> None:
        self.seconds = math.ceil(seconds)
        until = timezone.now() + timedelta(seconds=self.seconds)
        super().__init__(
            f"Too many failed attempts. Try again in {_span(self.seconds)}, at {until:%H:%M:%S} UTC."
        )


class Expired(SignInRefused):
    """Said only after the right password."""

    def __init__(self) -> None:
        super().__init__(
            "This account or its password has expired. Renew it on the host, then sign in again."
        )


def authd_socket() -> Path:
    return Path(settings.RUN_DIR) / "authd.sock"


def keys_of(username: str, address: str) -> list[str]:
    return [f"user:{username}"] + ([f"address:{address}"] if address else [])


@transaction.atomic
def begin_attempt(*keys: str) -> None:
    """Count an attempt as failed until ``end_attempt`` says otherwise. Raises Throttled when it must wait."""
    now = timezone.now()
    for key in keys:
        Failures.objects.get_or_create(key=key)
    rows = list(Failures.objects.select_for_update().filter(key__in=keys).order_by("key"))
    wait = max(wait_after(row.count, (now - row.last_at).total_seconds(), limit_of(row.key)) for row in rows)
    if wait > 0:
        raise Throttled(wait)
    for row in rows:
        row.count = count_failure(row.count, (now - row.last_at).total_seconds())
        row.last_at = now
        row.save()
    Failures.objects.filter(last_at__lt=now - timedelta(seconds=MEMORY)).delete()


@transaction.atomic
def end_attempt(*keys: str) -> None:
    """The attempt was no failure: forget those of the name, take back one of the address."""
    for row in Failures.objects.select_for_update().filter(key__in=keys).order_by("key"):
        count, ago = take_back(row.count, limit_of(row.key))
        if count < 1 or row.key.startswith("user:"):
            row.delete()
        else:
            row.count, row.last_at = count, row.last_at - timedelta(seconds=ago)
            row.save()


def check_password(request: HttpRequest, username: str, password: str) -> User:
    """The user with this name and password, of the system or of the panel. Raises SignInRefused.

    Throttled per name and per address; failures are recorded. Opens no session.
    """
    username = username[:NAME_MAX]
    keys = keys_of(username, audit.address_of(request))
    started = time.monotonic()
    begin_attempt(*keys)
    user = None
    if "\0" not in username + password and len(password) <= PASSWORD_MAX:
        user = authenticate(request, username=username, password=password)
    if isinstance(user, User):
        end_attempt(*keys)
        return user
    known = User.objects.filter(username=username).first()
    # What is typed as a name may be a password: only names that exist are written down.
    audit.record(request, "sign_in.failed", username if known else "(unknown name)")
    time.sleep(max(0.0, started + REFUSAL_SECONDS - time.monotonic()))
    raise SignInRefused(WRONG if authd_client.is_up(authd_socket()) else WRONG + AWAY)


def open_session(request: HttpRequest, user: User) -> None:
    """Sign the browser in, under a session key that nobody knew before."""
    request.session.flush()
    login(request, user, backend=BACKENDS[User.Source(user.source)])
    if request.session.session_key is None:
        request.session.save()
    now = timezone.now()
    Session.objects.filter(expire_date__lt=now).delete()
    SignIn.objects.filter(user=user).exclude(
        session_key__in=Session.objects.filter(expire_date__gte=now).values("session_key")
    ).delete()
    SignIn.objects.create(
        user=user,
        session_key=request.session.session_key or "",
        address=audit.address_of(request),
        browser=request.headers.get("User-Agent", "").replace("\0", "")[:200],
    )
    audit.record(request, "sign_in", f"user {user}", {"source": user.source}, user=user)


def renew_session(request: HttpRequest, user: User) -> None:
    """Stay signed in after one's password was changed, here and nowhere else."""
    old = request.session.session_key
    close_sessions(user, keep=old)
    update_session_auth_hash(request, user)
    SignIn.objects.filter(session_key=old).update(session_key=request.session.session_key)


def close_session(request: HttpRequest) -> None:
    """Sign out: the session is deleted, and whatever hangs on it (live pages, consoles) is told."""
    key = request.session.session_key
    audit.record(request, "sign_out")
    logout(request)
    if key:
        SignIn.objects.filter(session_key=key).delete()
        publish(f"session:{digest(key)}")


def close_sessions(user: User, keep: str | None = None) -> int:
    """End the user's sessions, but not the one with the key ``keep``. Returns how many."""
    rows = list(SignIn.objects.filter(user=user).exclude(session_key=keep or ""))
    for row in rows:
        end_sign_in(row)
    return len(rows)


@transaction.atomic
def end_sign_in(row: SignIn) -> None:
    Session.objects.filter(session_key=row.session_key).delete()
    publish(f"session:{digest(row.session_key)}")
    row.delete()


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 90 else f"{math.ceil(seconds / 60)} minutes"
