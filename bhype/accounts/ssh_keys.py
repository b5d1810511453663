"""The public SSH keys of a person, which their guests get."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.http import HttpRequest

from bhype.cloudinit import BadKey, public_key

from . import audit
from .models import SshKey, User
from .people import NotPossible

KEYS_MAX = 50


def add(request: HttpRequest, user: User, text: str, name: str = "") -> SshKey:
    """Store a key. name: what it is called; "" for the key's own comment. Raises NotPossible."""
    try:
        key = public_key(text)
    except BadKey as error:
        raise NotPossible("key", str(error), "text") from error
    name = (name.strip() or key.comment or key.kind)[:64]
    if not name.isprintable():
        raise NotPossible("name", "A name has printable characters.", "name")
    if user.ssh_keys.count() >= KEYS_MAX:
        raise NotPossible("many", f"A person has at most {KEYS_MAX} keys here.", "text")
    try:
        with transaction.atomic():
            row = SshKey.objects.create(user=user, name=name, text=key.line, fingerprint=key.fingerprint)
    except IntegrityError as error:
        raise NotPossible("taken", "You have this key already.", "text") from error
    audit.record(request, "ssh_key.add", f"key {row.name}", {"fingerprint": row.fingerprint})
    return row


def remove(request: HttpRequest, row: SshKey) -> None:
    """Forget a key. Guests that have it keep it."""
    audit.record(request, "ssh_key.remove", f"key {row.name}", {"fingerprint": row.fingerprint})
    row.delete()
