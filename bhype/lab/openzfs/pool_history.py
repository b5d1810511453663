"""The history and the events of pools (zpool-history(8), zpool-events(8)). The history keeps whole command lines."""

from __future__ import annotations

import os
import time

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def _path(pool: str) -> str:
    return f"{core.folder()}/state/history-{pool}"


def log(pool: str, words: list[str]) -> None:
    """Add a command line, such as ["zpool", "create", "tank", "da0"], to the history of the pool of this name.

    A pool away has its history under its guid (`move`).
    """
    line = " ".join(words).replace("\n", " ")
    with open(_path(pool), "a") as file:
        file.write(f"{int(time.time())} {line}\n")


def log_zfs(words: list[str]) -> None:
    """Add a command line of zfs(8) to the history of the pool of its last operand."""
    pool = words[-1].partition("/")[0].partition("@")[0].partition("#")[0]
    if pool and os.path.exists(_path(pool)):
        log(pool, words)


def lines(pool: str, *, long: bool) -> Iterator[str]:
    """As zpool-history(8) prints them."""
    try:
        with open(_path(pool)) as file:
            records = file.read().splitlines()
    except FileNotFoundError:
        return
    for record in records:
        when, _, words = record.partition(" ")
        stamp = time.strftime("%Y-%m-%d.%H:%M:%S", time.localtime(int(when)))
        yield f"{stamp} {words}" + (" [user 0 (root) on lab]" if long else "")


def move(old: str, new: str) -> None:
    """The pool is known by another name, or by its guid."""
    try:
        os.rename(_path(old), _path(new))
    except FileNotFoundError:
        return


def forget(guid: str) -> None:
    """Remove the history of a pool away of which nothing is left."""
    try:
        os.unlink(_path(guid))
    except FileNotFoundError:
        return


def event(pool_name: str, kind: str) -> None:
    """Tell of an event, such as "sysevent.fs.zfs.scrub_start"; the last hundred are kept."""
    with core.state("zfs-events") as data:
        now = time.time()
        kept = data.setdefault("events", [])
        kept.append({"pool": pool_name, "class": kind, "at": int(now), "ns": int(now % 1 * 1e9)})
        del kept[:-100]
