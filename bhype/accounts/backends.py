"""Who checks a password: PAM for system accounts, the panel's own hash for panel accounts; never both."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.http import HttpRequest

from . import authd_client
from .audit import address_of
from .models import User
from .signin import Expired, Throttled, authd_socket


class _Backend(BaseBackend):
    def get_user(self, user_id: int) -> User | None:
        """The user of a session; None for one that is deleted or inactive, which ends the session."""
        return User.objects.filter(pk=user_id, is_active=True).first()


class PamBackend(_Backend):
    """System accounts. A name that belongs to a panel account is never asked of PAM."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **others: Any,
    ) -> User | None:
        """The system user, made on the first sign-in without a role: no group of the system makes an admin.

        Raises signin.Throttled and signin.Expired, which authd only says after the right password.
        """
        if not username or not password:
            return None
        known = User.objects.filter(username=username).first()
        if known is not None and (known.source != User.Source.PAM or not known.is_active):
            return None
        answer = authd_client.check(authd_socket(), username, password, address_of(request))
        if answer.reason == "throttled":
            raise Throttled(answer.retry_after)
        if answer.reason == "expired":
            raise Expired
        if not answer.ok:
            return None
        user, made = User.objects.get_or_create(username=username, defaults={"source": User.Source.PAM})
        if made:
            user.set_unusable_password()
            user.save()
        return user if user.source == User.Source.PAM and user.is_active else None


class PanelBackend(_Backend):
    """Accounts of the panel itself."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **others: Any,
    ) -> User | None:
        if not username or not password:
            return None
        user = User.objects.filter(username=username, source=User.Source.PANEL, is_active=True).first()
        return user if user is not None and user.check_password(password) else None
