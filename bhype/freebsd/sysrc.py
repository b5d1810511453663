"""sysrc(8): what rc.conf(5) says, and what it is to say at the next boot."""

from __future__ import annotations

import re

from bhype.freebsd.command import Command, Query
from bhype.freebsd.names import BadName

PROGRAM = "/usr/sbin/sysrc"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VALUE = re.compile(r"[A-Za-z0-9 ._:/-]*")


def read(*names: str) -> Query[dict[str, str]]:
    """Values by name; what is set nowhere, /etc/defaults/rc.conf included, is missing."""
    return Query(Command((PROGRAM, "-i", *(_name(name) for name in names))), _values)


def _values(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, separator, value = line.partition(":")
        if separator and _NAME.fullmatch(name):
            found[name] = value.removeprefix(" ")
    return found


def is_yes(value: str) -> bool:
    """As checkyesno() of rc.subr(8) reads it."""
    return value.strip().lower() in {"yes", "true", "on", "1"}


def write(name: str, value: str) -> Command:
    """Set a variable in /etc/rc.conf."""
    if not _VALUE.fullmatch(value):
        raise BadName(f"{value!r} cannot be the value of {name}.")
    return Command((PROGRAM, f"{_name(name)}={value}"))


def remove(name: str) -> Command:
    """Take a variable out of /etc/rc.conf; nothing happens when it is not there."""
    return Command((PROGRAM, "-i", "-x", _name(name)), ok_codes=frozenset({0, 1}))


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadName(f"{name!r} is not a variable of rc.conf.")
    return name
