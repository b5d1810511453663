"""The devices of a pool: their tree, their states, and how these follow from what happens to the devices.

A pool has ``tops`` (its top-level vdevs, in the order of their ids), ``cache`` and ``spares`` (leaves).
A vdev is a dict with its kind and guid. A leaf ("disk", "file") also has:

    path; size: bytes of the device; ashift; errors: [read, write, checksum]
    state: ONLINE, OFFLINE, REMOVED, FAULTED or UNAVAIL; aux: why (`AUX`)
    dirty: it lacks data that was written meanwhile; absent: it was not there when the pool was imported
    cleared: when its errors were; trim: see scanning.py

Others have children: "mirror", "raidz" (with parity) at the top, "replacing" and "spare" below these. A top-level vdev
has a class: "" for data, "log", "special" or "dedup". "hole" is what a removed log leaves. (vdev.c, vdev_root.c)
"""

from __future__ import annotations

import os
import time

from bhype.lab import core
from bhype.lab.openzfs import labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Vdev = dict[str, Any]
    Pool = dict[str, Any]

# What stands behind a vdev's counts (print_status_config() in zpool_main.c).
OPEN_FAILED, CORRUPT, TOO_MANY, EXTERNAL = (
    "cannot open",
    "corrupted data",
    "too many errors",
    "external device fault",
)
NO_REPLICAS = "insufficient replicas"
LEAVES = ("disk", "file")


def guid() -> int:
    return int.from_bytes(os.urandom(8), "big") or 1


def leaf(path: str, size: int) -> Vdev:
    """A new leaf; FreeBSD's disks have sectors of 4 KiB, files of 512 bytes."""
    kind = "disk" if path.startswith("/dev/") else "file"
    ashift = 12 if kind == "disk" else 9
    return {
        **{"kind": kind, "path": path, "guid": guid(), "size": size, "ashift": ashift},
        **{"state": "ONLINE", "aux": "", "errors": [0, 0, 0]},
    }


def leaves(vdev: Vdev) -> Iterator[Vdev]:
    if vdev["kind"] in LEAVES:
        yield vdev
    for child in vdev.get("children", ()):
        yield from leaves(child)


def all_leaves(pool: Pool, *, spares: bool = True) -> Iterator[Vdev]:
    """Every device of the pool; those in use as a spare once."""
    for top in pool["tops"]:
        yield from leaves(top)
    yield from pool["cache"]
    if spares:
        busy = {each["guid"] for top in pool["tops"] for each in leaves(top)}
        yield from (each for each in pool["spares"] if each["guid"] not in busy)


def find(pool: Pool, word: str) -> tuple[Vdev, str] | None:
    """The vdev that ``word`` names (a path, a short name, a guid, "mirror-0"), and what it is: "", "spare", "cache"."""
    path = word if word.startswith("/") else f"/dev/{word}"
    for top in pool["tops"]:
        for each in _walk(top):
            if each.get("path") == path or str(each["guid"]) == word or (each is top and name(each) == word):
                return each, ""
    for role, group in (("spare", pool["spares"]), ("cache", pool["cache"])):
        for each in group:
            if each["path"] == path or str(each["guid"]) == word:
                return each, role
    return None


def _walk(vdev: Vdev) -> Iterator[Vdev]:
    yield vdev
    for child in vdev.get("children", ()):
        yield from _walk(child)


def parent(pool: Pool, vdev: Vdev) -> Vdev | None:
    """The vdev right above; None for a top-level one."""
    for top in pool["tops"]:
        for each in _walk(top):
            if any(child is vdev for child in each.get("children", ())):
                return each
    return None


def top_of(pool: Pool, vdev: Vdev) -> Vdev:
    return next(top for top in pool["tops"] if any(each is vdev for each in _walk(top)))


def name(vdev: Vdev, *, index: int | None = None, numbered: bool = True, style: str = "") -> str:
    """As zpool_vdev_name(). index: of a child; style: "" short, "P" full path, "g" guid; "i": as import lists it.

    What was not there when the pool was imported is known by its guid alone.
    """
    if style == "g" or (vdev.get("absent") and style != "i"):
        return str(vdev["guid"])
    if "path" in vdev:
        path: str = vdev["path"]
        return path if style == "P" else path.removeprefix("/dev/")
    word = f"raidz{vdev['parity']}" if vdev["kind"] == "raidz" else str(vdev["kind"])
    if word in ("hole", "indirect") or not numbered:
        return word
    return f"{word}-{vdev['id'] if index is None else index}"


# -- states ------------------------------------------------------------------------------------------


def state(vdev: Vdev) -> tuple[str, str]:
    """The state of a vdev and why, from its children's."""
    if vdev["kind"] in (*LEAVES, "hole"):
        return vdev.get("state", "ONLINE"), vdev.get("aux", "")
    states = [state(child) for child in vdev["children"]]
    faulted = sum(each[0] not in ("ONLINE", "DEGRADED") for each in states)
    spare = vdev["parity"] if vdev["kind"] == "raidz" else len(states) - 1
    if faulted > spare:
        return "UNAVAIL", NO_REPLICAS
    return ("DEGRADED" if any(each[0] != "ONLINE" for each in states) else "ONLINE"), ""


def health(pool: Pool) -> tuple[str, str]:
    """The state of the pool's root vdev and why; see `suspended` for whether it answers."""
    worst = "ONLINE"
    for top in pool["tops"]:
        found = state(top)[0]
        if found not in ("ONLINE", "DEGRADED") and top.get("class") != "log":
            return "UNAVAIL", NO_REPLICAS
        if found != "ONLINE":
            worst = "DEGRADED"
    return worst, ""


def suspended(pool: Pool) -> bool:
    """Whether the pool answers nothing any more until its devices are back and somebody runs ``zpool clear``."""
    return bool(pool.get("suspended"))


def look(pool: Pool, disks: dict[str, Any] | None = None) -> None:
    """Bring the pool to what has happened to its devices since it was last looked at.

    disks: the state "disks". It only follows from what is there now, so readers do it in memory and writers keep it.
    """
    disks = core.peek("disks") if disks is None else disks
    for each in all_leaves(pool):
        _look_at(each, disks)
        # It is asked when it is opened (GEOM::candelete, vdev_geom.c), not only when it is to be trimmed.
        if disks.get(each["path"].removeprefix("/dev/"), {}).get("rpm"):
            each["no_trim"] = True
    for top in pool["tops"]:
        _break(pool, top, disks)
    if health(pool)[0] == "UNAVAIL":
        pool["suspended"] = True
    pool["health"] = "SUSPENDED" if pool.get("suspended") else health(pool)[0]


def _look_at(each: Vdev, disks: dict[str, Any]) -> None:
    if each["state"] != "ONLINE" or os.path.exists(core.root(each["path"])):
        return
    each["dirty"] = True
    if each["kind"] == "disk":
        each["state"], each["aux"] = "REMOVED", ""
    else:
        each["state"], each["aux"] = "UNAVAIL", OPEN_FAILED


def _break(pool: Pool, top: Vdev, disks: dict[str, Any]) -> None:
    """Fault the broken disks below ``top``; where that leaves no replica, the pool is suspended instead."""
    broken = [each for each in leaves(top) if each["state"] == "ONLINE" and is_broken(each, disks)]
    for each in broken:
        each["errors"][0] += 3
        each["errors"][1] += 17
        each["state"], each["aux"] = "FAULTED", TOO_MANY
        each["dirty"] = True
    if broken and state(top)[0] == "UNAVAIL":
        pool["suspended"] = True
        for each in broken:
            each["state"], each["aux"] = "ONLINE", ""


def is_broken(each: Vdev, disks: dict[str, Any]) -> bool:
    """Whether the device fails and nobody has cleared that just now."""
    since = disks.get(each["path"].removeprefix("/dev/"), {}).get("broken", 0)
    return bool(since) and time.time() >= max(since, each.get("cleared", 0) + 2) and not each["errors"][1]


def reopen(each: Vdev, disks: dict[str, Any] | None = None) -> bool:
    """Try to use the device again; whether it is ONLINE then."""
    found = labels.read(each["path"])
    if not os.path.exists(core.root(each["path"])):
        if each["state"] != "REMOVED":
            each["state"], each["aux"] = "UNAVAIL", OPEN_FAILED
    elif found is None or found["guid"] != each["guid"]:
        each["state"], each["aux"] = "UNAVAIL", CORRUPT
    else:
        each["state"], each["aux"] = "ONLINE", ""
        each.pop("absent", None)
    return bool(each["state"] == "ONLINE")


# -- sizes -------------------------------------------------------------------------------------------


def asize(vdev: Vdev) -> int:
    """Bytes for blocks of data and parity (vdev_mirror_open(), vdev_raidz_open())."""
    if vdev["kind"] in LEAVES:
        return labels.usable(int(vdev["size"]))
    if vdev["kind"] == "hole":
        return 0
    smallest = min(asize(child) for child in vdev["children"])
    return smallest * (len(vdev["children"]) if vdev["kind"] == "raidz" else 1)


def space(top: Vdev) -> int:
    """Bytes that the top-level vdev offers, in whole metaslabs."""
    return labels.whole(int(top["asize"]))


def data(top: Vdev) -> int:
    """Bytes of data for which it has room: parity and padding of raidz are counted for blocks of 128 KiB."""
    if top["kind"] != "raidz":
        return space(top)
    ashift = max(each["ashift"] for each in leaves(top))
    sectors = (128 * 1024) >> ashift
    width, parity = len(top["children"]), top["parity"]
    total = sectors + parity * -(-sectors // (width - parity))
    total = -(-total // (parity + 1)) * (parity + 1)
    return int(space(top) * sectors // total)


def measure(pool: Pool) -> None:
    """Keep the sizes of the pool: ``raw`` bytes with parity, ``size`` bytes of data. A vdev never shrinks."""
    pool["raw"] = pool["size"] = 0
    for top in pool["tops"]:
        top.setdefault("asize", asize(top))
        if top.get("class") in ("", "special", "dedup"):
            pool["raw"] += space(top)
        if top.get("class") == "":
            pool["size"] += data(top)


def relabel(pool: Pool, pool_name: str, state: int = labels.ACTIVE) -> None:
    """Write the labels of all devices that are there."""
    for each in all_leaves(pool):
        if each["state"] in ("REMOVED", "UNAVAIL"):
            continue
        number = state
        if state == labels.ACTIVE and any(each is spare for spare in pool["spares"]):
            number = labels.SPARE
        elif state == labels.ACTIVE and any(each is other for other in pool["cache"]):
            number = labels.L2CACHE
        labels.write(each["path"], each["guid"], pool["guid"], pool_name, number)
