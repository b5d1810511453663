"""The first admin: made once, by whoever can read the panel's log or its command line."""

from __future__ import annotations

import secrets

from django.db import transaction
from django.http import Http404, HttpRequest
from django.utils import timezone

from . import audit
from .models import SetupCode, User, digest


def has_admin() -> bool:
    return User.objects.filter(role=User.Role.ADMIN).exists()


@transaction.atomic
def issue() -> str | None:
    """A fresh code, which makes earlier ones void; None when there is an admin already."""
    if has_admin():
        return None
    SetupCode.objects.all().delete()
    code = secrets.token_urlsafe(32)
    SetupCode.objects.create(digest=digest(code))
    return code


def check(code: str) -> None:
    """Raises Http404 unless the code may be used now."""
    if has_admin() or not SetupCode.objects.filter(digest=digest(code), used_at=None).exists():
        raise Http404


@transaction.atomic
def use(request: HttpRequest, code: str, user: User) -> User:
    """Make ``user``, saved or not, the first admin. Raises Http404 if the code is used or an admin exists."""
    # Holding the row makes two uses at once wait for each other; the second then finds the code used.
    row = SetupCode.objects.select_for_update().filter(digest=digest(code), used_at=None).first()
    if row is None or has_admin():
        raise Http404
    row.used_at = timezone.now()
    row.save(update_fields=["used_at"])
    user.role = User.Role.ADMIN
    user.is_active = True
    user.save()
    audit.record(request, "setup", f"user {user}", {"source": user.source}, user=user)
    return user
