"""sysctl(8): the kernel's numbers and switches."""

from __future__ import annotations

import re
from functools import partial

from bhype.freebsd.command import Command, ParseError, Query
from bhype.freebsd.names import BadName

PROGRAM = "/sbin/sysctl"
_NAME = re.compile(r"[a-z][A-Za-z0-9_]*(\.[A-Za-z0-9_%-]+)+")


def read(*names: str) -> Query[dict[str, str]]:
    """Values by name. A name that this kernel does not have is missing from the answer (status 1)."""
    argv = (PROGRAM, *(_name(name) for name in names))
    return Query(Command(argv, ok_codes=frozenset({0, 1})), partial(_values, frozenset(names)))


def _values(names: frozenset[str], text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    current = ""
    for line_number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        name, separator, value = line.partition(":")
        if separator and name in names:
            current = name
            found[name] = value.removeprefix(" ")
        elif current:
            # kern.version and others have more than one line.
            found[current] += f"\n{line}"
        elif line:
            raise ParseError(f"line {line_number}: name: value expected: {line!r}")
    return found


def write(name: str, value: str) -> Command:
    """Set a value until the next boot."""
    if not value or not value.isprintable():
        raise BadName(f"{value!r} cannot be the value of {name}.")
    return Command((PROGRAM, f"{_name(name)}={value}"))


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadName(f"{name!r} is not the name of a sysctl.")
    return name
