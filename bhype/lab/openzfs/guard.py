"""Pools that cannot be written: suspended ones, and those that were imported with ``readonly=on``.

A file in the state folder says that there are any, so that zfs(8) need not look at pools before each of its commands.
"""

from __future__ import annotations

import os

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.openzfs.vdevs import Pool

# What libzfs says before the reason, for the commands that change something; {} is the last operand.
PREFIXES = {
    **dict.fromkeys(("create", "clone"), "cannot create '{}'"),
    **{"snapshot": "cannot create snapshots ", "destroy": "cannot destroy '{}'"},
    **{"set": "cannot set property for '{}'", "inherit": "cannot inherit property for '{}'"},
    **{"rename": "cannot rename '{}'", "promote": "cannot promote '{}'", "rollback": "cannot rollback '{}'"},
    **{"hold": "cannot hold snapshot '{}'", "release": "cannot release '{}'"},
    **{"receive": "cannot receive", "bookmark": "cannot create bookmark '{}'"},
    **{"change-key": "Key change error", "load-key": "Key load error"},
}


def _path() -> str:
    return f"{core.folder()}/state/pools-closed"


def reason(pool: Pool) -> str:
    """Why the pool cannot be written, or ""."""
    if pool.get("suspended"):
        return "pool I/O is currently suspended"
    return "pool is read-only" if pool["props"].get("readonly") == "on" else ""


def keep(pools: dict[str, Pool]) -> None:
    """Remember whether there are such pools."""
    if any(reason(pool) for pool in pools.values()):
        core.replace(_path(), "")
    elif os.path.exists(_path()):
        os.unlink(_path())


def check(command: str, words: list[str]) -> None:
    """Fail as zfs(8) does if the command would change such a pool."""
    if command not in PREFIXES or not words or not os.path.exists(_path()):
        return
    from bhype.lab.openzfs import pools

    found = pools.opened().pools
    for word in words:
        pool = found.get(word.partition("/")[0].partition("@")[0].partition("#")[0])
        if pool and not word.startswith("-") and reason(pool):
            core.fail(f"{PREFIXES[command].format(words[-1])}: {reason(pool)}")
