"""zpool(8): pools, their disks and what is done to them. The exit status never tells health; `zpool_status` does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bhype.freebsd import names, zpool_layout
from bhype.freebsd.command import Command, ParseError, Query
from bhype.freebsd.rows import number, rows
from bhype.freebsd.zpool_layout import Group

PROGRAM = "/sbin/zpool"
TIMEOUT = 60.0
# Making and importing a pool reads and trims whole disks.
CHANGE_TIMEOUT = 900.0

HEALTHS = frozenset({"ONLINE", "DEGRADED", "FAULTED", "OFFLINE", "UNAVAIL", "REMOVED", "SUSPENDED"})
# What can be set by bHype on a pool, with the values that each takes (zpoolprops(7)).
PROPERTIES = {
    "ashift": re.compile(r"0|9|1[0-6]"),
    "autotrim": re.compile(r"on|off"),
    "autoexpand": re.compile(r"on|off"),
    "autoreplace": re.compile(r"on|off"),
    "comment": re.compile(r"[ -~]{0,32}"),
}
# What can be set on the root filesystem of a new pool (zfsprops(7)).
FILESYSTEM = {
    "compression": re.compile(r"on|off|lz4|zstd"),
    "atime": re.compile(r"on|off"),
    "mountpoint": re.compile(r"none|legacy|/[A-Za-z0-9_./-]{0,200}"),
}
# A member as `zpool status` names it: da0, gpt/data0, diskid/DISK-1%202, mirror-0, /file, or its guid.
_MEMBER = re.compile(r"/?[A-Za-z0-9][A-Za-z0-9_.:+%-]*(/[A-Za-z0-9_.:+%-]+)*")
_GUID = re.compile(r"[0-9]{1,20}")
_ACTIONS = {"start": [], "pause": ["-p"], "stop": ["-s"]}
_TRIM_ACTIONS = {"start": [], "pause": ["-s"], "stop": ["-c"]}


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """A pool as ``zpool list`` gives it. Sizes in bytes before redundancy (raidz parity included);
    fragmentation and capacity in percent. All numbers are 0 for a pool that cannot be opened."""

    name: str
    size: int
    allocated: int
    free: int
    fragmentation: int
    capacity: int
    health: str
    guid: str


def list_pools() -> Query[list[PoolInfo]]:
    columns = "name,size,allocated,free,fragmentation,capacity,health,guid"
    return Query(Command((PROGRAM, "list", "-Hp", "-o", columns), timeout=TIMEOUT), _pools)


def _pools(text: str) -> list[PoolInfo]:
    found = []
    for row in rows(text, 8):
        name, size, allocated, free, fragmentation, capacity, health, guid = row
        if health not in HEALTHS:
            raise ParseError(f"unknown health {health!r}: {row!r}")
        found.append(
            PoolInfo(
                name=name,
                size=number(size, row),
                allocated=number(allocated, row),
                free=number(free, row),
                fragmentation=number(fragmentation, row),
                capacity=number(capacity, row),
                health=health,
                guid=guid if _GUID.fullmatch(guid) else "",
            )
        )
    return found


def get_properties() -> Query[dict[str, dict[str, tuple[str, str]]]]:
    """Of each pool, its properties as {name: (value, source)}, without the features. With ``-p``."""
    argv = (PROGRAM, "get", "-Hp", "-o", "name,property,source,value", "all")
    return Query(Command(argv, timeout=TIMEOUT), _properties)


def _properties(text: str) -> dict[str, dict[str, tuple[str, str]]]:
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for pool, key, source, value in rows(text, 4):
        if not key.startswith("feature@"):
            found.setdefault(pool, {})[key] = (value, source)
    return found


def create(
    pool: str,
    groups: Iterable[Group],
    properties: Mapping[str, str] = {},
    filesystem: Mapping[str, str] = {},
    *,
    force: bool = False,
) -> Command:
    """Make a pool of whole disks. filesystem: properties of its root filesystem.

    force: also where groups differ in redundancy; it overrides zpool(8)'s look at the disks, too (zpool-create(8)).
    """
    flags = [
        *(["-f"] if force else []),
        *_options("-o", properties, PROPERTIES),
        *_options("-O", filesystem, FILESYSTEM),
    ]
    return _change("create", *flags, names.pool(pool), *zpool_layout.words(groups))


def add(pool: str, groups: Iterable[Group], *, force: bool = False) -> Command:
    """Add groups of disks for good: data groups cannot be taken out of a pool with raidz (zpool-add(8))."""
    return _change("add", *(["-f"] if force else []), names.pool(pool), *zpool_layout.words(groups))


def destroy(pool: str) -> Command:
    """Destroy a pool with everything in it; zpool(8) asks nothing."""
    return _change("destroy", names.pool(pool))


def export(pool: str) -> Command:
    """Let go of a pool, so that its disks can be moved. Fails while something of it is open."""
    return _change("export", names.pool(pool))


def import_(
    guid: str, name: str, *, force: bool = False, mounted: bool = True, readonly: bool = False
) -> Command:
    """Take in the pool with this guid and call it ``name``. force: although another host seems to have it."""
    if not _GUID.fullmatch(guid):
        raise names.BadName(f"{guid[:40]!r} is not the number of a pool.")
    flags = [
        *(["-f"] if force else []),
        *([] if mounted else ["-N"]),
        *(["-o", "readonly=on"] if readonly else []),
    ]
    return _change("import", *flags, guid, names.pool(name))


def attach(pool: str, member: str, new: str) -> Command:
    """Make ``new`` a mirror of ``member`` (a disk, or a raidz group where that can grow); it is resilvered."""
    return _change("attach", names.pool(pool), device(member), zpool_layout.disk(new))


def detach(pool: str, member: str) -> Command:
    return _change("detach", names.pool(pool), device(member))


def replace(pool: str, member: str, new: str = "") -> Command:
    """Put ``new`` in the place of ``member``; without it: the disk in the same slot is a new one."""
    return _change("replace", names.pool(pool), device(member), *([zpool_layout.disk(new)] if new else []))


def offline(pool: str, member: str, *, temporary: bool = False) -> Command:
    """Use a disk no more, until `online`; temporary: or until the next boot."""
    return _change("offline", *(["-t"] if temporary else []), names.pool(pool), device(member))


def online(pool: str, member: str, *, expand: bool = False) -> Command:
    """Use a disk again; expand: with all the room that it has now."""
    return _change("online", *(["-e"] if expand else []), names.pool(pool), device(member))


def remove(pool: str, member: str) -> Command:
    """Take a spare, cache or log out of a pool (zpool-remove(8))."""
    return _change("remove", names.pool(pool), device(member))


def clear(pool: str, member: str = "") -> Command:
    """Forget the counted errors of a pool or disk, and let a suspended pool go on."""
    return _change("clear", names.pool(pool), *([device(member)] if member else []))


def scrub(pool: str, action: str = "start") -> Command:
    """action: start (also goes on with a paused one), pause or stop."""
    return _change("scrub", *_word(action, _ACTIONS), names.pool(pool))


def trim(pool: str, action: str = "start") -> Command:
    """Tell the disks what is free. action: start (also goes on with a paused one), pause or stop."""
    return _change("trim", *_word(action, _TRIM_ACTIONS), names.pool(pool))


def labelclear(disk: str) -> Command:
    """Make a disk forget the exported or destroyed pool that it was of. Refused for a member of an imported one."""
    return _change("labelclear", "-f", f"/dev/{zpool_layout.disk(disk)}")


def set_property(pool: str, key: str, value: str) -> Command:
    return _change("set", *_options("", {key: value}, PROPERTIES), names.pool(pool))


def device(name: str) -> str:
    """Return ``name`` if it can be a member of a pool, else raise BadName."""
    if len(name) > 255 or ".." in name.split("/") or not _MEMBER.fullmatch(name):
        raise names.BadName(f"{name[:80]!r} is not a member of a pool.")
    return name


def _change(*words: str) -> Command:
    return Command((PROGRAM, *words), timeout=CHANGE_TIMEOUT)


def _word(action: str, known: Mapping[str, list[str]]) -> list[str]:
    if action not in known:
        raise names.BadName(f"{action[:40]!r} is not one of {', '.join(known)}.")
    return known[action]


def _options(flag: str, given: Mapping[str, str], known: Mapping[str, re.Pattern[str]]) -> list[str]:
    found = []
    for key, value in given.items():
        if key not in known or not known[key].fullmatch(value):
            raise names.BadName(f"{key[:40]}={value[:40]} cannot be set on a pool.")
        found += [flag, f"{key}={value}"] if flag else [f"{key}={value}"]
    return found
