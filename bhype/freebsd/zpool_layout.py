"""What a pool is made of, as the words that zpool(8) takes: groups of disks (vdevs) and what each is for.

Source: zpoolconcepts(7), zpool-create(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bhype.freebsd.names import BadName

# In the order in which they are written: data has no word of its own and comes first.
ROLES = ("data", "special", "dedup", "log", "cache", "spare")
# How the disks of one group share their work, and how many it has at least (zpoolconcepts(7)).
KINDS = {"stripe": 1, "mirror": 2, "raidz1": 2, "raidz2": 3, "raidz3": 4}
# What may stand in each role: zpool-create(8) takes no raidz for logs, and caches and spares are single disks.
ALLOWED = {
    "data": frozenset(KINDS),
    "special": frozenset({"stripe", "mirror"}),
    "dedup": frozenset({"stripe", "mirror"}),
    "log": frozenset({"stripe", "mirror"}),
    "cache": frozenset({"stripe"}),
    "spare": frozenset({"stripe"}),
}
_DISK = re.compile(r"[a-z]{1,16}[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Group:
    """One vdev. A stripe is written as its disks alone: each of them is a vdev of its own."""

    role: str
    kind: str
    disks: tuple[str, ...]


def disk(name: str) -> str:
    """Return ``name`` if a whole disk of FreeBSD is called so (da0, nda1, vtbd0), else raise BadName."""
    if not _DISK.fullmatch(name):
        raise BadName(f"{name[:80]!r} is not the name of a disk such as da0.")
    return name


def words(groups: Iterable[Group]) -> list[str]:
    """The vdevs as zpool-create(8) and zpool-add(8) take them. Raises BadName for what they would not take."""
    chosen = list(groups)
    if not chosen:
        raise BadName("A pool is made of at least one disk.")
    for group in chosen:
        if group.role not in ALLOWED or group.kind not in ALLOWED[group.role]:
            raise BadName(f"{group.kind!r} is no layout for {group.role!r}.")
        if len(group.disks) < KINDS[group.kind]:
            raise BadName(f"A {group.kind} has at least {KINDS[group.kind]} disks.")
    names = [name for group in chosen for name in group.disks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadName(f"A disk is named twice: {', '.join(twice)}.")
    found: list[str] = []
    said = "data"
    # A single disk behind a mirror would become one of its members.
    for group in sorted(chosen, key=lambda group: (ROLES.index(group.role), group.kind != "stripe")):
        if group.role != said:
            found.append(group.role)
            said = group.role
        if group.kind != "stripe":
            found.append(group.kind)
        found += [disk(name) for name in group.disks]
    return found
