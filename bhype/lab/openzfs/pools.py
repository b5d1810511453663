"""Making, reading and ending pools."""

from __future__ import annotations

import os
import time

from bhype.lab.openzfs import making, sizes
from bhype.lab.openzfs.space import Space
from bhype.lab.openzfs.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Vdev = list[str]  # its kind ("disk", "mirror", "raidz1" ...), then its disks

# A scrub of the lab takes this many seconds.
SCRUB_SECONDS = 5
EXPORTED = "exported"

# Name: column of a list. Those of SETTABLE have a default.
COLUMNS = {
    **{"name": "NAME", "size": "SIZE", "allocated": "ALLOC", "free": "FREE", "checkpoint": "CKPOINT"},
    **{"expandsize": "EXPANDSZ", "fragmentation": "FRAG", "capacity": "CAP", "dedupratio": "DEDUP"},
    **{"health": "HEALTH", "altroot": "ALTROOT", "guid": "GUID", "readonly": "RDONLY"},
    **{"freeing": "FREEING", "leaked": "LEAKED", "version": "VERSION", "load_guid": "LOAD_GUID"},
    **{"ashift": "ASHIFT", "autoexpand": "EXPAND", "autoreplace": "REPLACE", "autotrim": "AUTOTRIM"},
    **{"bootfs": "BOOTFS", "cachefile": "CACHEFILE", "comment": "COMMENT", "delegation": "DELEGATION"},
    **{"failmode": "FAILMODE", "listsnapshots": "LISTSNAPS", "multihost": "MULTIHOST"},
    "compatibility": "COMPATIBILITY",
}
SETTABLE = {
    **{"ashift": "0", "autoexpand": "off", "autoreplace": "off", "autotrim": "off", "bootfs": "-"},
    **{"cachefile": "-", "comment": "-", "delegation": "on", "failmode": "wait", "listsnapshots": "off"},
    **{"multihost": "off", "compatibility": "off"},
}
FEATURES = {
    **dict.fromkeys(("async_destroy", "bookmarks", "embedded_data", "large_blocks"), "enabled"),
    **dict.fromkeys(("empty_bpobj", "extensible_dataset", "hole_birth", "lz4_compress"), "active"),
    **dict.fromkeys(("spacemap_histogram", "block_cloning", "vdev_zaps_v2"), "active"),
}
ALIASES = {
    **{"alloc": "allocated", "cap": "capacity", "frag": "fragmentation", "dedup": "dedupratio"},
    **{"ckpoint": "checkpoint", "expandsz": "expandsize", "rdonly": "readonly", "listsnaps": "listsnapshots"},
    **{"expand": "autoexpand", "replace": "autoreplace"},
}
LEFT = ("name", "health", "altroot", *SETTABLE)


def make(
    store: Store,
    name: str,
    room: tuple[int, int],
    vdevs: list[Vdev],
    props: dict[str, str],
    *,
    filesystem: dict[str, str],
) -> None:
    """A healthy pool with its root filesystem mounted. room: raw bytes, and bytes for data."""
    store.pools[name] = {
        "raw": room[0],
        "size": room[1],
        "guid": int.from_bytes(os.urandom(8), "big") or 1,
        "health": "ONLINE",
        "vdevs": vdevs,
        "props": props,
        "scan": {},
    }
    making.make_filesystem(store, name, filesystem)


def usable(vdevs: list[Vdev], disks: dict[str, int]) -> tuple[int, int]:
    """Raw bytes, and bytes for data, of the vdevs; ``disks`` has the size of each disk."""
    raw = data = 0
    for kind, *members in vdevs:
        smallest = min(disks[member] for member in members)
        parity = int(kind[5:]) if kind.startswith("raidz") else 0
        count = len(members) if parity else 1
        raw += smallest * count
        data += smallest * (count - parity)
    return raw, data


def end(store: Store, name: str) -> None:
    """Remove the pool with all datasets; nothing of it may be busy."""
    from bhype.lab.openzfs.destroying import drop

    for each in [*reversed(store.below(name)), name]:
        for snapshot in reversed(store.snapshots(each)):
            drop(store, snapshot)
        drop(store, each)
    del store.pools[name]


def busy(store: Store, name: str) -> bool:
    """Whether a guest has something of the pool open."""
    return any(store.busy(each) for each in [name, *store.below(name)])


def put_away(store: Store, name: str) -> None:
    """Export: nothing of the pool shows any more, all of it is kept."""
    store.hide_tree(name)
    mine = [each for each in store.datasets if each.partition("/")[0].partition("@")[0] == name]
    kept = {each: store.datasets.pop(each) for each in mine}
    store.data.setdefault(EXPORTED, {})[name] = {"pool": store.pools.pop(name), "datasets": kept}
    store.changed()


def bring_back(store: Store, name: str, new: str) -> None:
    """Import the exported pool ``name`` as ``new``."""
    kept = store.data[EXPORTED].pop(name)
    store.pools[new] = kept["pool"]
    for each, dataset in kept["datasets"].items():
        store.datasets[new + each[len(name) :]] = dataset
    store.changed()
    store.show_again([new, *store.below(new)])


def scan(pool: dict[str, Any]) -> tuple[str, float]:
    """What the last scrub of the pool is doing ("none", "running", "finished", "canceled"), and how far."""
    last = pool["scan"]
    if not last:
        return "none", 0.0
    if "canceled" in last:
        return "canceled", 0.0
    part = (time.time() - last["start"]) / SCRUB_SECONDS
    return ("running", max(0.0, part)) if part < 1 else ("finished", 1.0)


class PoolValues:
    """The properties of one pool as ``zpool list`` and ``zpool get`` print them."""

    def __init__(self, store: Store, name: str, *, exact: bool) -> None:
        self.pool = store.pools[name]
        self.name = name
        self.exact = exact
        used = Space(store, name).used[name] if self.pool["health"] != "FAULTED" else 0
        self.allocated = used * self.pool["raw"] // self.pool["size"]

    def get(self, prop: str) -> tuple[str, str]:
        """Value and source."""
        if prop in SETTABLE:
            set_here = prop in self.pool["props"]
            return self.pool["props"].get(prop, SETTABLE[prop]), "local" if set_here else "default"
        if prop.startswith("feature@"):
            return FEATURES[prop[8:]], "local"
        return self._fact(prop), "-"

    def _fact(self, prop: str) -> str:
        raw = self.pool["raw"]
        match prop:
            case "name":
                return self.name
            case "health":
                return str(self.pool["health"])
            case "guid" | "load_guid":
                return str(self.pool["guid"] if prop == "guid" else self.pool["guid"] ^ 1)
            case "readonly":
                return "off"
            case "size":
                return self._size(raw)
            case "allocated":
                return self._size(min(raw, self.allocated))
            case "free":
                return self._size(max(0, raw - self.allocated))
            case "freeing" | "leaked":
                return self._size(0)
            case "fragmentation":
                return "0" if self.exact else "0%"
            case "capacity":
                return f"{min(100, self.allocated * 100 // raw)}{'' if self.exact else '%'}"
            case "dedupratio":
                return "1.00" if self.exact else "1.00x"
        return "-"

    def _size(self, number: int) -> str:
        return str(number) if self.exact else sizes.human(number, "")


def exists(prop: str) -> bool:
    return prop in COLUMNS or (prop.startswith("feature@") and prop[8:] in FEATURES)
