"""Where the page of a task's subject is. Rooms above this one tell: links.register("vm", ...) in ready()."""

from __future__ import annotations

from collections.abc import Callable

# key of the subject, "12" of "vm:12" -> (address, name), or None when it is gone.
Finder = Callable[[str], tuple[str, str] | None]
_finders: dict[str, Finder] = {}


def register(prefix: str, finder: Finder) -> None:
    """Let tasks link to the page of their subject ``prefix:key``."""
    _finders[prefix.rstrip(":")] = finder


def find(subject: str) -> tuple[str, str] | None:
    """Address and name of a subject's page."""
    prefix, _, key = subject.partition(":")
    finder = _finders.get(prefix)
    return finder(key) if finder else None
