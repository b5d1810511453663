"""Making, reading and ending pools. See vdevs.py for their devices, scanning.py for scrubs and resilvers."""

from __future__ import annotations

import os
import time

from bhype.lab import core
from bhype.lab.openzfs import guard, labels, making, pool_history, scanning, sizes, vdevs
from bhype.lab.openzfs.pool_properties import COLUMNS, FEATURES, SETTABLE
from bhype.lab.openzfs.space import Space
from bhype.lab.openzfs.store import Store, reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.openzfs.spec import Spec
    from bhype.lab.openzfs.vdevs import Pool, Vdev

EXPORTED = "exported"


def make(
    store: Store,
    name: str,
    spec: Spec,
    props: dict[str, str],
    *,
    filesystem: dict[str, str],
    mount: bool = True,
) -> None:
    """A healthy pool on the devices of ``spec`` with its root filesystem; their labels are written."""
    for each in spec.leaves():
        labels.clear(each["path"])
    forget(store)
    pool: Pool = {
        **{"guid": vdevs.guid(), "load_guid": vdevs.guid(), "health": "ONLINE", "props": props, "scan": {}},
        **{"tops": [], "cache": [], "spares": [], "made": int(time.time())},
    }
    store.pools[name] = pool
    add(pool, spec, name)
    making.make_filesystem(store, name, filesystem, mount=mount)


def add(pool: Pool, spec: Spec, name: str) -> None:
    """Give the pool the devices of ``spec``. A new log takes the place of one that was removed."""
    ashift = int(pool["props"].get("ashift", 0))
    for top in spec.tops:
        for each in vdevs.leaves(top):
            each["ashift"] = ashift or each["ashift"]
        hole = next((i for i, each in enumerate(pool["tops"]) if each["kind"] == "hole"), len(pool["tops"]))
        top["id"] = hole
        pool["tops"][hole : hole + 1] = [top]
    pool["cache"] += spec.cache
    pool["spares"] += spec.spares
    vdevs.measure(pool)
    vdevs.relabel(pool, name)


def refresh(store: Store, *, keep: bool = False) -> None:
    """Bring all pools to what has happened to their devices and what their scans have done.

    keep: it will be written back, so what was replaced loses its label.
    """
    disks = core.peek("disks")
    for name, pool in store.pools.items():
        vdevs.look(pool, disks)
        scanning.settle(pool, name)
        if not pool.get("suspended"):
            pool["health"] = vdevs.health(pool)[0]
        for path, guid in pool.pop("gone", []) if keep else ():
            label = labels.read(path)
            if label and label["guid"] == guid:
                labels.clear(path)
    if keep:
        guard.keep(store.pools)


def opened() -> Store:
    """The store to read, its pools as they are now."""
    store = reading()
    refresh(store)
    return store


def end(store: Store, name: str) -> None:
    """Destroy the pool; nothing of it may be busy. As long as its labels are left, it can be imported with -D."""
    pool = store.pools[name]
    pool["destroyed"] = True
    put_away(store, name, labels.DESTROYED)


def busy(store: Store, name: str) -> bool:
    """Whether a guest has something of the pool open."""
    return any(store.busy(each) for each in [name, *store.below(name)])


def put_away(store: Store, name: str, state: int = labels.EXPORTED) -> None:
    """Export: nothing of the pool shows any more, all of it is kept."""
    store.hide_tree(name)
    mine = [each for each in store.datasets if each.partition("/")[0].partition("@")[0] == name]
    kept = {each: store.datasets.pop(each) for each in mine}
    pool = store.pools.pop(name)
    vdevs.relabel(pool, name, state)
    pool_history.move(name, str(pool["guid"]))
    guard.keep(store.pools)
    store.data.setdefault(EXPORTED, {})[str(pool["guid"])] = {"name": name, "pool": pool, "datasets": kept}


def forget(store: Store) -> None:
    """Forget the pools away of which no device has a label left; their bytes are doomed."""
    away = store.data.get(EXPORTED, {})
    for key, row in list(away.items()):
        found = (labels.read(each["path"]) for each in vdevs.all_leaves(row["pool"]))
        if any(label and str(label["pool_guid"]) == key for label in found) or _absent(row["pool"]):
            continue
        for dataset in row["datasets"].values():
            store.doomed.append(f"{core.folder()}/state/zfs-data/{dataset.get('shelf') or dataset['guid']}")
        pool_history.forget(key)
        del away[key]


def _absent(pool: Pool) -> bool:
    """Whether a device is only away, not overwritten: it may come back with its label."""
    return any(
        os.path.exists(f"{core.folder()}/state/pulled-{each['path'][5:]}")
        for each in vdevs.all_leaves(pool)
        if each["kind"] == "disk"
    )


def bring_back(store: Store, key: str, new: str, *, mount: bool = True) -> None:
    """Import the pool away with the guid ``key`` as ``new``; its devices must have been looked for."""
    kept = store.data[EXPORTED].pop(key)
    old, pool = kept["name"], kept["pool"]
    pool.pop("destroyed", None)
    pool.pop("suspended", None)
    pool["load_guid"] = vdevs.guid()
    for name in ("altroot", "readonly", "cachefile"):
        pool["props"].pop(name, None)
    store.pools[new] = pool
    for each, dataset in kept["datasets"].items():
        store.datasets[new + each[len(old) :]] = dataset
    vdevs.relabel(pool, new)
    pool_history.move(key, new)
    if mount:
        store.show_again([new, *store.below(new)])


def modernise(store: Store) -> None:
    """Give the pools of a lab of before, which had no devices, the first disk."""
    for name, pool in store.pools.items():
        if "tops" in pool:
            continue
        top = vdevs.leaf("/dev/da0", pool.pop("raw") + labels.START + labels.END)
        del pool["vdevs"]
        pool |= {
            "tops": [{**top, "id": 0, "class": ""}],
            "cache": [],
            "spares": [],
            "load_guid": vdevs.guid(),
        }
        pool |= {"scan": {}, "made": int(time.time())}
        vdevs.measure(pool)
        vdevs.relabel(pool, name)


def allocated(store: Store, name: str) -> int:
    """Raw bytes in use."""
    pool = store.pools[name]
    used = Space(store, name).used[name]
    return int(min(pool["raw"], used * pool["raw"] // max(1, pool["size"])))


def shares(store: Store, name: str) -> dict[int, int]:
    """Raw bytes in use of each top-level vdev, by its guid; data is spread evenly."""
    pool = store.pools[name]
    total = allocated(store, name)
    normal = [top for top in pool["tops"] if top.get("class") == ""]
    room = sum(vdevs.space(top) for top in normal) or 1
    return {top["guid"]: total * vdevs.space(top) // room for top in normal}


class PoolValues:
    """The properties of one pool as ``zpool list`` and ``zpool get`` print them."""

    def __init__(self, store: Store, name: str, *, exact: bool) -> None:
        self.pool = store.pools[name]
        self.name = name
        self.exact = exact
        self.allocated = allocated(store, name)

    def get(self, prop: str) -> tuple[str, str]:
        """Value and source."""
        if prop.startswith("feature@"):
            return self._feature(prop[8:]), "local"
        if ":" in prop:
            set_here = prop in self.pool["props"]
            return self.pool["props"].get(prop, "-"), "local" if set_here else "default"
        if prop in SETTABLE:
            set_here = prop in self.pool["props"]
            if prop == "readonly" and set_here:
                return self.pool["props"][prop], "-"
            return self.pool["props"].get(prop, SETTABLE[prop]), "local" if set_here else "default"
        return self._fact(prop), "-"

    def _feature(self, name: str) -> str:
        given: str = self.pool["props"].get(f"feature@{name}", FEATURES[name])
        if name == "zpool_checkpoint" and self.pool.get("checkpoint"):
            return "active"
        if name == "allocation_classes" and any(
            t.get("class") in ("special", "dedup") for t in self.pool["tops"]
        ):
            return "active"
        return given

    def _fact(self, prop: str) -> str:
        raw = self.pool["raw"]
        match prop:
            case "name":
                return self.name
            case "health":
                return str(self.pool["health"])
            case "guid" | "load_guid":
                return str(self.pool[prop])
            case "size":
                return self._size(raw)
            case "allocated":
                return self._size(min(raw, self.allocated))
            case "free":
                return self._size(max(0, raw - self.allocated))
            case "freeing" | "leaked" | "bcloneused" | "bclonesaved":
                return self._size(0)
            case "checkpoint" if self.pool.get("checkpoint"):
                return self._size(self.pool["checkpoint"]["space"])
            case "expandsize":
                more = sum(
                    max(0, labels.whole(vdevs.asize(top)) - vdevs.space(top)) for top in self.pool["tops"]
                )
                return self._size(more) if more else "-"
            case "fragmentation":
                return "0" if self.exact else "0%"
            case "capacity":
                return f"{min(100, self.allocated * 100 // raw)}{'' if self.exact else '%'}"
            case "dedupratio" | "bcloneratio":
                return "1.00" if self.exact else "1.00x"
        return "-"

    def _size(self, number: int) -> str:
        return str(number) if self.exact else sizes.human(number, "")


def exists(prop: str) -> bool:
    """Whether pools have the property; user properties come with 2.2 (zpoolprops(7))."""
    return prop in COLUMNS or (prop.startswith("feature@") and prop[8:] in FEATURES) or ":" in prop


__all__ = ["PoolValues", "Vdev", "add", "allocated", "busy", "end", "exists", "make", "opened", "refresh"]
