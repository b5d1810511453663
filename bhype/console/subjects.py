"""What has a console. The rooms above register how their objects are found; this room knows no VM.

An app registers in ``AppConfig.ready``::

    subjects.register("vm", resolve)

``resolve(user, name, right)`` returns the Subject on which ``user`` holds ``right``, or None when there is no
such object or the user may not know of it: both look the same from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bhype.accounts.models import User


@dataclass(frozen=True, slots=True)
class Subject:
    """One object with consoles, as one user sees it.

    topic: identity that is never used again, and its topic in ``bhype.live``: "vm:12".
    name: name of its run directory on the host, see ``bhype.vmrun``.
    kinds: the consoles it has, words of ``models.Kind``; the first is the one to show.
    is_on: whether there is somebody to talk to now; ``state`` is the same in words for people: "Running".
    password: what its VNC server asks for. It travels only with a ticket.
    action_url: takes ``POST action=start|stop|restart|reset|poweroff``; empty if this user may not.
    """

    topic: str
    name: str
    title: str
    back_url: str
    kinds: tuple[str, ...]
    is_on: bool
    state: str
    password: str = field(default="", repr=False)
    action_url: str = ""


Resolver = Callable[["User", str, str], Subject | None]


@dataclass(frozen=True, slots=True)
class _Entry:
    resolve: Resolver
    right: str


_entries: dict[str, _Entry] = {}


def register(kind: str, resolve: Resolver, right: str = "vms.console") -> None:
    """Let objects of ``kind`` ("vm") have consoles for those who hold ``right`` on them."""
    _entries[kind] = _Entry(resolve, right)


def find(user: User, kind: str, name: str) -> Subject | None:
    """The subject if it exists and ``user`` may open its consoles now, else None."""
    entry = _entries.get(kind)
    return entry.resolve(user, name, entry.right) if entry else None
