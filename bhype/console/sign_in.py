"""Whose WebSocket this is: a browser by its session cookie, a program by the API token it sends."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from bhype.accounts.models import ApiToken, User, digest


@dataclass(frozen=True, slots=True)
class SignIn:
    """digest: what tickets are bound to, and topic ``session:<digest>``; session_key: "" for an API token."""

    digest: str
    session_key: str = ""

    def user(self) -> User | None:
        """The user, if the session or token is still good. A token's scope limits what the user may."""
        if not self.session_key:
            current = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
            rows = ApiToken.objects.filter(current, digest=self.digest, revoked_at=None, user__is_active=True)
            token = rows.select_related("user").first()
            if token is None:
                return None
            token.user.scope = token.scope
            return token.user
        request = HttpRequest()
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(self.session_key)
        user = get_user(request)
        return None if isinstance(user, AnonymousUser) or not user.is_active else user


def of(scope: dict[str, Any]) -> SignIn | None:
    """The sign-in of a WebSocket; None if it carries neither token nor session. Asks no database.

    scope: of ASGI, with the session that Channels' SessionMiddleware put there.
    """
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, secret = value.decode("latin-1").partition(" ")
            return SignIn(digest(secret.strip())) if scheme.lower() == "bearer" else None
    session = scope.get("session")
    key = session.session_key if session is not None else None
    return SignIn(digest(key), key) if key else None
