"""Lets the tables of loaded anchors follow the addresses of guests, without a reload."""

from __future__ import annotations

from dataclasses import replace

from bhype.freebsd import pfctl
from bhype.host import Host as Machine

from . import loaded
from .loaded import Loaded


def follow(machine: Machine, anchor: str, wanted: Loaded, had: Loaded) -> list[str]:
    """Bring the tables of an anchor, whose rules are as wanted, to what they should hold. Returns the names of those
    that were changed. Each is replaced at once; what is broken off is found again. Raises CommandError."""
    stale = {
        name: addresses for name, addresses in wanted.tables.items() if had.tables.get(name) != addresses
    }
    now = dict(had.tables)
    try:
        for name, addresses in stale.items():
            machine.run(pfctl.replace_table(anchor, name, addresses))
            now[name] = addresses
    finally:
        if now != had.tables:
            loaded.write(machine, anchor, replace(had, tables=now))
    return list(stale)
