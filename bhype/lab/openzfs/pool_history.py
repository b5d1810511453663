"""The history and the events of pools (zpool-history(8), zpool-events(8)). The history keeps whole command lines."""

from __future__ import annotations

import os
import time

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bhype.lab.openzfs.vdevs import Pool


def _path(pool: Pool) -> str:
    return f"{core.folder()}/state/history-{pool['guid']}"


def log(pool: Pool, words: list[str]) -> None:
    """Add a command line, such as ["zpool", "create", "tank", "da0"]."""
    # The history is a part of the pool on disk: it has lines of one record each.
    line = " ".join(words).replace("\n", " ")
    with open(_path(pool), "a") as file:
        file.write(f"{int(time.time())} {line}\n")


def lines(pool: Pool, *, long: bool) -> Iterator[str]:
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


def forget(guid: str) -> None:
    """Remove the history of a pool of which nothing is left."""
    try:
        os.unlink(f"{core.folder()}/state/history-{guid}")
    except FileNotFoundError:
        return


def event(pool_name: str, kind: str) -> None:
    """Tell of an event, such as "sysevent.fs.zfs.scrub_start"; the last hundred are kept."""
    with core.state("zfs-events") as data:
        now = time.time()
        kept = data.setdefault("events", [])
        kept.append({"pool": pool_name, "class": kind, "at": int(now), "ns": int(now % 1 * 1e9)})
        del kept[:-100]
