"""Pools and datasets as they are now, and where their bytes lie.

The state "zfs" holds ``pools`` and ``datasets``. A dataset is named by its key; snapshots are datasets named
``DATASET@SNAPSHOT``; an origin is kept as the snapshot's guid, so renames and promotions touch no clone.
Bytes lie at /dev/zvol/NAME (volumes) or the mountpoint (mounted filesystems), else on their shelf,
state/zfs-data/GUID (or what the dataset's "shelf" says, once its bytes were replaced as a whole).

What is to show is moved from its shelf to its place only after the state was written, and back before: so the
state and the shelves together always tell where everything belongs, wherever a command was killed (`Store.heal`).
"""

from __future__ import annotations

import os
import time

from bhype.lab import bhyve_state, core
from bhype.lab.openzfs import files, properties, snapdir
from bhype.lab.openzfs.properties import F, S, V

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    Dataset = dict[str, Any]


def order(item: tuple[str, Dataset]) -> tuple[str, bool, int]:
    """zfs(8)'s order: by name, a dataset before its snapshots, these by age."""
    name, dataset = item
    return name.partition("@")[0], "@" in name, dataset["txg"]


def _shelf(dataset: Dataset) -> str:
    """The name of the dataset's shelf in state/zfs-data."""
    return str(dataset.get("shelf") or dataset["guid"])


def _settle(target: str, shelf: str) -> None:
    """Move bytes from their shelf to where they show; what a mount covers comes back when it is unmounted."""
    if os.path.isdir(target):
        try:
            os.rmdir(target)
        except OSError:
            files.move(target, shelf + ".covered")
    files.move(shelf, target)


class changing:
    """All datasets of the lab, to change: locked, healed from killed commands, written back at the end.

    Bytes of what was destroyed are removed only when the new state is written and the lock is free, so a
    command that is killed half-way has destroyed nothing.
    """

    def __enter__(self) -> Store:
        self.state = core.state("zfs")
        self.store = Store(self.state.__enter__())
        self.store.heal()
        return self.store

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.state.__exit__(kind, error, trace)
        if kind is None:
            if self.store.unsettled:
                with core.state("zfs") as data:
                    Store(data).heal()
            snapdir.show(self.store)
            for path in self.store.doomed:
                files.remove(path)


class Store:
    """All datasets of the lab: ``Store(core.peek("zfs"))`` to read, `changing` to change.

    doomed: paths of bytes to remove once the state is written; unsettled: something is to show then; looked_into:
    filesystems of which the folder .zfs is to be made anew then.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.pools: dict[str, dict[str, Any]] = data.setdefault("pools", {})
        self.datasets: dict[str, Dataset] = data.setdefault("datasets", {})
        self.doomed: list[str] = []
        self.unsettled = False
        self.looked_into: set[str] = set()
        self._children: dict[str, list[str]] | None = None
        self._snapshots: dict[str, list[str]] = {}
        self._origins: dict[int, list[str]] = {}
        self._guids: dict[int, str] = {}

    # -- the tree ------------------------------------------------------------------------------------

    def _index(self) -> dict[str, list[str]]:
        if self._children is None:
            self._children, self._snapshots, self._origins, self._guids = {}, {}, {}, {}
            for name, dataset in sorted(self.datasets.items(), key=order):
                head, at, _ = name.partition("@")
                if at:
                    self._snapshots.setdefault(head, []).append(name)
                    self._guids[dataset["guid"]] = name
                    continue
                parent = name.rpartition("/")[0]
                if parent:
                    self._children.setdefault(parent, []).append(name)
                if dataset.get("origin"):
                    self._origins.setdefault(dataset["origin"], []).append(name)
        return self._children

    def changed(self) -> None:
        """The tree has changed: forget what was derived from it."""
        self._children = None

    def children(self, name: str) -> list[str]:
        return list(self._index().get(name, []))

    def snapshots(self, name: str) -> list[str]:
        """Names of the dataset's snapshots, oldest first."""
        self._index()
        return list(self._snapshots.get(name, []))

    def below(self, name: str) -> list[str]:
        """Names of all filesystems and volumes below, parents first."""
        found = []
        for child in self.children(name):
            found.append(child)
            found += self.below(child)
        return found

    def clones(self, snapshot: str) -> list[str]:
        self._index()
        return list(self._origins.get(self.datasets[snapshot]["guid"], []))

    def origin(self, name: str) -> str:
        """The snapshot of which ``name`` is a clone, or ""."""
        self._index()
        return self._guids.get(self.datasets[name].get("origin") or 0, "")

    def add(self, name: str, kind: str, **more: Any) -> Dataset:
        """A new dataset; its txg is larger than that of all others."""
        self.data["txg"] = self.data.get("txg", 0) + 1
        dataset = {
            "type": kind,
            "guid": int.from_bytes(os.urandom(8), "big") or 1,
            "txg": self.data["txg"],
            "creation": int(time.time()),
            "props": {},
            **more,
        }
        self.datasets[name] = dataset
        self.changed()
        self.looked_into.add(name.partition("@")[0])
        return dataset

    def drop(self, name: str) -> None:
        """Forget the dataset; its bytes are doomed."""
        self.hide(name)
        self.doomed.append(self.shelf(name))
        del self.datasets[name]
        self.changed()
        self.looked_into.add(name.partition("@")[0])

    def heal(self) -> None:
        """Put every dataset where the state says, also after a killed command; bytes of nobody go."""
        shelves = set(os.listdir(f"{core.folder()}/state/zfs-data"))
        if not shelves:
            return
        away = (row["datasets"] for row in self.data.get("exported", {}).values())
        due = []
        covers = set()
        for datasets in (self.datasets, *away):
            for dataset in datasets.values():
                key = _shelf(dataset)
                covers.add(key + ".covered")
                if key not in shelves:
                    continue
                shelves.discard(key)
                if dataset.get("shown"):
                    due.append((dataset["shown"], key))
        for shown, key in sorted(due):
            _settle(core.root(shown), f"{core.folder()}/state/zfs-data/{key}")
        for left in shelves - covers:
            files.remove(f"{core.folder()}/state/zfs-data/{left}")

    # -- properties ----------------------------------------------------------------------------------

    def lookup(self, name: str, prop: str) -> tuple[str, str]:
        """Value and source of a property that can be set: "local", "default", "inherited from X" or "-"."""
        dataset = self.datasets[name]
        if prop in dataset["props"]:
            return dataset["props"][prop], "local"
        if prop in dataset.get("received", ()):
            return dataset["received"][prop], "received"
        entry = properties.TABLE.get(prop)
        if entry is None or entry.inherits:
            above = name.partition("@")[0] if "@" in name else name.rpartition("/")[0]
            while above:
                value = self.own(above, prop)
                if value is not None:
                    if prop == "mountpoint" and value.startswith("/"):
                        value = value.rstrip("/") + name[len(above) :]
                    return value, f"inherited from {above}"
                above = above.rpartition("/")[0]
        if entry is None:
            return "-", "-"
        if prop == "mountpoint":
            return f"/{name}", "default"
        return entry.default, "default"

    def own(self, name: str, prop: str) -> str | None:
        """The value set on the dataset itself or received with it."""
        dataset = self.datasets[name]
        value: str | None = dataset["props"].get(prop, dataset.get("received", {}).get(prop))
        return value

    def number(self, name: str, prop: str) -> int:
        return int(self.lookup(name, prop)[0] or 0)

    def guid(self, name: str) -> int:
        """The guid that zfs(8) tells: a snapshot has that of the one it was sent from, also in the same pool."""
        dataset = self.datasets[name]
        return int(dataset.get("came_as") or dataset["guid"])

    # -- bytes ---------------------------------------------------------------------------------------

    def shelf(self, name: str) -> str:
        """Where the bytes of a snapshot, or of a dataset that shows nowhere, lie."""
        return f"{core.folder()}/state/zfs-data/{_shelf(self.datasets[name])}"

    def place(self, name: str) -> str:
        """Where the dataset's bytes lie now."""
        shown = self.datasets[name].get("shown")
        shelf = self.shelf(name)
        # What is to show in this command is still on its shelf.
        return core.root(shown) if shown and not os.path.lexists(shelf) else shelf

    def wanted(self, name: str) -> str:
        """FreeBSD's path where the dataset should show (device or mountpoint), "" for nowhere."""
        kind = self.datasets[name]["type"]
        if kind == V:
            return "" if self.lookup(name, "volmode")[0] == "none" else f"/dev/zvol/{name}"
        mountpoint = self.lookup(name, "mountpoint")[0]
        if kind != F or mountpoint in ("none", "legacy") or self.lookup(name, "canmount")[0] != "on":
            return ""
        return mountpoint

    def busy(self, name: str) -> bool:
        """Whether a running bhyve has the volume, or a file in the filesystem, open."""
        path = self.place(name)
        for guest in bhyve_state.running().values():
            for file in guest["files"]:
                if file == path or file.startswith(path + "/"):
                    return True
        return False

    def show(self, name: str) -> None:
        """Mount the filesystem or make the volume's device node, if its properties say so; see `heal`."""
        dataset = self.datasets[name]
        path = self.wanted(name)
        if path and not dataset.get("shown"):
            dataset["shown"] = path
            self.unsettled = True
            self.looked_into.add(name)

    def replace(self, name: str, path: str) -> None:
        """Give the dataset the bytes at ``path``, which are in the lab's state folder, instead of its own."""
        shown = self.hide_tree(name)
        self.doomed.append(self.shelf(name))
        self.datasets[name]["shelf"] = f"{self.datasets[name]['guid']}.{os.urandom(4).hex()}"
        os.rename(path, self.shelf(name))
        self.show_again(shown)

    def hide(self, name: str) -> None:
        """Unmount the filesystem or remove the volume's device node; the bytes stay."""
        dataset = self.datasets[name]
        path = dataset.pop("shown", "")
        if not path:
            return
        place, shelf = core.root(path), self.shelf(name)
        if os.path.lexists(shelf):
            return  # it is not shown yet
        files.move(place, shelf)
        if os.path.lexists(shelf + ".covered"):
            files.move(shelf + ".covered", place)
        elif dataset["type"] == V:
            files.prune(os.path.dirname(place), core.root("/dev/zvol"))

    def hide_tree(self, name: str) -> list[str]:
        """Hide the dataset and all below, deepest first; returns what was shown, for `show_again`."""
        shown = [each for each in [name, *self.below(name)] if self.datasets[each].get("shown")]
        for each in sorted(shown, key=lambda each: self.datasets[each]["shown"], reverse=True):
            self.hide(each)
        return shown

    def show_again(self, names: list[str]) -> None:
        for name in names:
            self.show(name)

    def inner_mounts(self, name: str) -> frozenset[str]:
        """Folders inside the filesystem that belong to other datasets, and .zfs."""
        if self.datasets[name]["type"] != F:
            return frozenset()
        top = self.place(name) + "/"
        places = (core.root(each["shown"]) for each in self.datasets.values() if each.get("shown"))
        return frozenset((f"{top}.zfs", *(path for path in places if path.startswith(top))))


__all__ = ["F", "S", "Store", "V", "changing", "order"]
