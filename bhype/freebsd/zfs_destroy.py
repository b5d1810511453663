"""What would go with a dataset (zfs-destroy(8) with -n), and in which order it has to go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bhype.freebsd import names
from bhype.freebsd.command import Command, Query
from bhype.freebsd.rows import number, rows
from bhype.freebsd.zfs import CHANGE_TIMEOUT, PROGRAM, DatasetInfo


@dataclass(frozen=True, slots=True)
class Removal:
    """names: datasets and snapshots that go, in the order in which zfs(8) would destroy them; freed: bytes, where it
    says so (of snapshots only)."""

    names: list[str]
    freed: int | None = None


def preview(name: str) -> Query[Removal]:
    """All that would have to go with a dataset: what is below it, snapshots, and clones of these anywhere (-R)."""
    if "/" not in name:
        raise names.BadName(f"{name!r} is a pool; bHype destroys only what is inside one.")
    argv = (PROGRAM, "destroy", "-nvpR", names.dataset(name))
    return Query(Command(argv, timeout=CHANGE_TIMEOUT), _removal)


def _removal(text: str) -> Removal:
    found, freed = [], None
    for word, value in rows(text, 2):
        if word == "reclaim":
            freed = number(value, value)
        elif word == "destroy":
            found.append(value)
    return Removal(found, freed)


def order(found: Sequence[DatasetInfo]) -> list[str]:
    """The datasets in an order in which they can be destroyed one by one: children before parents, and a clone before
    what it was made from. Clones of each other's, which zfs(8) does not make, come last in no order."""
    waiting = {info.name: info for info in found}
    done: list[str] = []
    while waiting:
        origins = {(info.origin or "").partition("@")[0] for info in waiting.values()}
        above = {name.rpartition("/")[0] for name in waiting}
        free = [name for name in waiting if name not in above and not _has_clone(name, waiting, origins)]
        for name in sorted(free or waiting, reverse=True):
            done.append(name)
            del waiting[name]
    return done


def _has_clone(name: str, waiting: dict[str, DatasetInfo], origins: set[str]) -> bool:
    return name in origins and any(
        (info.origin or "").partition("@")[0] == name for info in waiting.values() if info.name != name
    )
