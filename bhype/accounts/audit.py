"""The log of who did what, from where. Rows are added here and never changed."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest

from .models import AuditEntry, User

_SECRET = re.compile(
    r"pass(word|wd|phrase)|^pass$|secret|token|key|credential|cookie|ticket|digest|^code$", re.I
)
_BARE_SECRET = re.compile(r"\bbhype_[A-Za-z0-9_-]{20,}")
HIDDEN = "(hidden)"


def redact(value: Any, name: str = "") -> Any:
    """A copy that JSON can hold, without the values of fields named like secrets and without API tokens."""
    if isinstance(value, dict):
        return {str(key): redact(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, name) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if _SECRET.search(name):
        return HIDDEN
    if isinstance(value, int | float):
        return value
    return _BARE_SECRET.sub(HIDDEN, str(value)).replace("\0", "\\0")[:2000]


def address_of(request: HttpRequest | None) -> str:
    """Where a request comes from. Headers that a client can write are not believed."""
    return str(request.META.get("REMOTE_ADDR") or "")[:64] if request is not None else ""


def record(
    request: HttpRequest | None,
    action: str,
    object: str = "",
    detail: dict[str, Any] | None = None,
    task: Any = None,
    *,
    user: User | None = None,
) -> AuditEntry:
    """Add a line to the audit log, in the caller's transaction.

    request: names the user and the address; None for what the system does itself.
    action: such as "vm.start"; object: such as "vm web1"; task: the Task that does it, or its number.
    user: who did it, where that is not the request's user.
    """
    name = user.username if user is not None else ""
    if not name and request is not None:
        name = request.user.get_username()
    return AuditEntry.objects.create(
        username=name[:64],
        address=address_of(request),
        action=action[:64],
        object=_BARE_SECRET.sub(HIDDEN, str(object)).replace("\0", "\\0")[:128],
        detail=redact(detail or {}),
        task_id=getattr(task, "pk", task),
    )
