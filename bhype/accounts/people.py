"""Adding, changing and removing users: the same rules for the pages, the API and the command line."""

from __future__ import annotations

import pwd
import re
from datetime import timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone

from bhype.live import publish

from . import audit
from .models import ApiToken, User
from .signin import close_sessions

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
TOKEN_DAYS_MAX = 3650


class NotPossible(Exception):
    """code: one word; the message is a sentence; field: which input is wrong."""

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


def add_panel_user(request: HttpRequest | None, username: str, password: str, role: str) -> User:
    """A user whose password the panel checks. Raises NotPossible."""
    user = new_panel_user(username, password)
    user.role = _role(role)
    return _save_new(request, user)


def new_panel_user(username: str, password: str) -> User:
    """A panel account that is not saved yet. Raises NotPossible."""
    user = User(username=_free_name(username), source=User.Source.PANEL)
    set_password_of(user, password)
    return user


def invite(request: HttpRequest | None, username: str, role: str) -> User:
    """Give a system account a role before it signs in for the first time. Raises NotPossible."""
    name = _free_name(username)
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise NotPossible("unknown", f"This host has no system account {name}.", "username") from None
    if found.pw_uid == 0:
        raise NotPossible("root", "root does not sign in to the panel.", "username")
    user = User(username=name, role=_role(role), source=User.Source.PAM)
    user.set_unusable_password()
    return _save_new(request, user)


def set_password_of(user: User, password: str) -> None:
    """Set a panel account's password on the instance, if it is good enough. Raises NotPossible."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise NotPossible("password", " ".join(error.messages), "password") from error
    if "\0" in password or len(password) > 512:
        raise NotPossible("password", "A password has at most 512 characters and no NUL.", "password")
    user.set_password(password)


@transaction.atomic
def change_password(request: HttpRequest | None, user: User, password: str) -> None:
    """Give a panel account a new password. Sessions under the old one end. Raises NotPossible."""
    set_password_of(user, password)
    user.save(update_fields=["password"])
    audit.record(request, "user.password", f"user {user}")


@transaction.atomic
def change(
    request: HttpRequest | None, user: User, *, role: str | None = None, is_active: bool | None = None
) -> User:
    """Change role or state. Deactivating ends the user's sessions. Raises NotPossible for the last admin."""
    before = {"role": user.role, "active": user.is_active}
    user.role = user.role if role is None else _role(role)
    user.is_active = user.is_active if is_active is None else is_active
    after = {"role": user.role, "active": user.is_active}
    if after == before:
        return user
    if user.role != User.Role.ADMIN or not user.is_active:
        _keep_an_admin(user)
    user.save(update_fields=["role", "is_active"])
    if not user.is_active:
        close_sessions(user)
    audit.record(request, "user.change", f"user {user}", {"before": before, "after": after})
    return user


@transaction.atomic
def delete(request: HttpRequest | None, user: User) -> None:
    """Delete the user with tokens and sessions; VMs stay, without an owner. Raises NotPossible."""
    _keep_an_admin(user)
    close_sessions(user)
    audit.record(request, "user.delete", f"user {user}", {"role": user.role, "source": user.source})
    user.delete()


@transaction.atomic
def issue_token(
    request: HttpRequest | None, user: User, name: str, scope: str, days: int | None
) -> tuple[ApiToken, str]:
    """An API token for ``user`` and its secret. days: until it expires; None: never. Raises NotPossible."""
    if not 0 < len(name) <= 64 or not name.isprintable():
        raise NotPossible("name", "A token has a name of 1 to 64 characters.", "name")
    if scope not in ApiToken.Scope.values:
        raise NotPossible("scope", f"A scope is one of {', '.join(ApiToken.Scope.values)}.", "scope")
    if days is not None and not 1 <= days <= TOKEN_DAYS_MAX:
        raise NotPossible("days", f"A token is valid for 1 to {TOKEN_DAYS_MAX} days.", "days")
    expires = timezone.now() + timedelta(days=days) if days else None
    row, secret = ApiToken.objects.issue(user, name, scope, expires)
    audit.record(request, "token.create", f"token {name} of {user}", {"scope": scope, "days": days})
    return row, secret


@transaction.atomic
def revoke_token(request: HttpRequest | None, token: ApiToken) -> None:
    """End a token, and whatever was opened with it."""
    if token.revoked_at is not None:
        return
    token.revoked_at = timezone.now()
    token.save(update_fields=["revoked_at"])
    publish(f"session:{token.digest}")
    audit.record(request, "token.revoke", f"token {token.name} of {token.user}")


def _free_name(username: str) -> str:
    if not _NAME.fullmatch(username):
        raise NotPossible(
            "name",
            "A name has 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', and does not start with '.' or '-'.",
            "username",
        )
    if User.objects.filter(username__iexact=username).exists():
        raise NotPossible("in_use", f"There is a user {username} already.", "username")
    return username


def _role(role: str) -> str:
    if role not in User.Role.values:
        raise NotPossible(
            "role", f"A role is one of {', '.join(filter(None, User.Role.values))}, or empty.", "role"
        )
    return role


def _save_new(request: HttpRequest | None, user: User) -> User:
    try:
        with transaction.atomic():
            user.save(force_insert=True)
            audit.record(request, "user.create", f"user {user}", {"role": user.role, "source": user.source})
    except IntegrityError:
        raise NotPossible("in_use", f"There is a user {user.username} already.", "username") from None
    return user


def _keep_an_admin(leaving: User) -> None:
    """Refuse when ``leaving`` is the last admin. Holds the admins' rows, so that no two leave at once."""
    admins = User.objects.select_for_update().filter(role=User.Role.ADMIN, is_active=True).order_by("pk")
    names = [admin.pk for admin in admins]
    if names == [leaving.pk]:
        raise NotPossible(
            "last_admin", f"{leaving} is the last admin. Make somebody else admin first.", "role"
        )
