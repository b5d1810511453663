"""kldload(8) and kldstat(8): modules of the kernel."""

from __future__ import annotations

import re

from bhype.freebsd.command import Command, Query
from bhype.freebsd.names import BadName

_MODULE = re.compile(r"[a-z][a-z0-9_]{0,30}")


def is_loaded(module: str) -> Query[bool]:
    """Whether a module is in the kernel, loaded or compiled in: kldstat(8) prints a row for it."""
    return Query(Command(("/sbin/kldstat", "-m", _module(module)), ok_codes=frozenset({0, 1})), _has_row)


def _has_row(text: str) -> bool:
    return bool(text.strip())


def load(module: str) -> Command:
    """Load a module; nothing happens when it is there."""
    return Command(("/sbin/kldload", "-n", _module(module)))


def _module(name: str) -> str:
    if not _MODULE.fullmatch(name):
        raise BadName(f"{name!r} is not the name of a kernel module.")
    return name
