"""What has a console. The rooms above register how their objects are found; this room knows no VM.

An app registers in ``AppConfig.ready``::

    subjects.register("vm", resolve)

``resolve(user, name, right)`` returns the Subject on which ``user`` holds ``right``, or None when there is no
such object or the user may not know of it: both look the same from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
    may_write: whether this user may use the consoles; else they are for watching only. Set by ``find``.
    keyboard: layout of its VNC server, a name of /usr/share/bhyve/kbdlayout; empty for the US one.
    is_recorded: whether what its consoles show is kept.
    has_picture: whether a picture may be taken of its screen while nobody views it.
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
    may_write: bool = True
    keyboard: str = ""
    is_recorded: bool = False
    has_picture: bool = True


Resolver = Callable[["User", str, str], Subject | None]


@dataclass(frozen=True, slots=True)
class _Entry:
    resolve: Resolver
    right: str
    watch: str
    change: str


_entries: dict[str, _Entry] = {}


def register(
    kind: str,
    resolve: Resolver,
    right: str = "vms.console",
    watch: str = "vms.watch",
    change: str = "vms.change",
) -> None:
    """Let objects of ``kind`` ("vm") have consoles for those who hold ``right`` on them.

    watch: the right to look at them without writing; change: the right to all that was recorded of them.
    """
    _entries[kind] = _Entry(resolve, right, watch, change)


def find(user: User, kind: str, name: str) -> Subject | None:
    """The subject if it exists and ``user`` may open its consoles now, if only to watch; else None."""
    entry = _entries.get(kind)
    if entry is None:
        return None
    if subject := entry.resolve(user, name, entry.right):
        return subject
    subject = entry.resolve(user, name, entry.watch)
    return replace(subject, may_write=False) if subject else None


def may_change(user: User, kind: str, name: str) -> bool:
    """Whether ``user`` may change the object, and so has all that was recorded of it."""
    entry = _entries.get(kind)
    return entry is not None and entry.resolve(user, name, entry.change) is not None
