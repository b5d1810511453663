"""Pools and datasets as they are now, and where their bytes lie.

A dataset is named by its key; snapshots are datasets named ``DATASET@SNAPSHOT``, bookmarks ``DATASET#BOOKMARK``; an
origin is kept as the snapshot's guid, so renames and promotions touch no clone.
Bytes lie at /dev/zvol/NAME (volumes) or the mountpoint (mounted filesystems), else on their shelf,
state/zfs-data/GUID (or what the dataset's "shelf" says, once its bytes were replaced as a whole).

What is to show is moved from its shelf to its place only after the state was written, and back before: so the
state and the shelves together always tell where everything belongs, wherever a command was killed (`Store.heal`).
"""

from __future__ import annotations

import fcntl
import json
import os
import time

from bhype.lab import bhyve_state, core
from bhype.lab.openzfs import database, files, properties, snapdir
from bhype.lab.openzfs.database import head
from bhype.lab.openzfs.properties import B, F, S, V

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    Dataset = dict[str, Any]

LIVE = "type IN ('filesystem', 'volume')"


def order(name: str, dataset: Dataset) -> tuple[str, int, int, str]:
    """zfs(8)'s order: by name, a dataset before its snapshots, these by age, then bookmarks."""
    kind = dataset["type"]
    rank = 1 if kind == S else 2 if kind == B else 0
    return head(name), rank, dataset["txg"] if rank == 1 else 0, name


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

    Bytes of what was destroyed are removed only when the new state is written, so a command that is killed
    half-way has destroyed nothing.
    """

    def __enter__(self) -> Store:
        lock = f"{core.folder()}/state/zfs.lock"
        self.handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self.handle, fcntl.LOCK_EX)
        self.store = Store()
        self.store.connection.execute("BEGIN IMMEDIATE")
        if os.path.exists(self.store.unfinished):
            self.store.heal()
        return self.store

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        store = self.store
        try:
            if kind is None:
                store.save()
                store.connection.execute("COMMIT")
                store.finish()
            else:
                store.connection.execute("ROLLBACK")
        finally:
            store.connection.close()
            os.close(self.handle)
        if kind is None:
            for path in store.doomed:
                files.remove(path)


def reading() -> Store:
    """All datasets of the lab as they are now, without waiting for anybody. Changes to them go nowhere."""
    store = Store()
    store.connection.execute("BEGIN")
    return store


class Store:
    """All datasets of the lab: `reading` to read, `changing` to change.

    doomed: paths of bytes to remove once the state is written; looked_into: filesystems of which the folder .zfs is to
    be made anew then.
    """

    def __init__(self) -> None:
        self.connection = database.connect()
        self.datasets = database.Datasets(self.connection)
        self._text: str = self.connection.execute("SELECT value FROM facts").fetchone()[0]
        self.data: dict[str, Any] = json.loads(self._text)
        self.pools: dict[str, dict[str, Any]] = self.data.setdefault("pools", {})
        self.doomed: list[str] = []
        self.looked_into: set[str] = set()
        self.unfinished = f"{core.folder()}/state/zfs-unfinished"
        self._due: dict[str, None] = {}

    def save(self) -> None:
        self.datasets.save()
        text = json.dumps(self.data)
        if text != self._text:
            self.connection.execute("UPDATE facts SET value = ?", (text,))

    # -- the tree ------------------------------------------------------------------------------------

    def children(self, name: str) -> list[str]:
        return self.datasets.find(f"parent = ? AND {LIVE}", name)

    def snapshots(self, name: str) -> list[str]:
        """Names of the dataset's snapshots, oldest first."""
        return self.datasets.find("head = ? AND type = 'snapshot'", name, order="txg, name")

    def bookmarks(self, name: str) -> list[str]:
        return self.datasets.find("type = 'bookmark' AND name > ? || '#' AND name < ? || '$'", name, name)

    def below(self, name: str) -> list[str]:
        """Names of all filesystems and volumes below, parents first."""
        inner = "(parent = ? OR (parent >= ? || '/' AND parent < ? || '0'))"
        found = self.datasets.find(f"{inner} AND {LIVE}", name, name, name)
        return sorted(found, key=lambda each: each.split("/"))

    def clones(self, snapshot: str) -> list[str]:
        row = self.datasets[snapshot]
        return self.datasets.find("origin = ?", str(row["guid"])) if row["type"] == S else []

    def origin(self, name: str) -> str:
        """The snapshot of which ``name`` is a clone, or ""."""
        guid = self.datasets[name].get("origin")
        return next(iter(self.datasets.find("guid = ? AND type = 'snapshot'", str(guid))), "") if guid else ""

    def next_txg(self) -> int:
        self.data["txg"] = self.data.get("txg", 0) + 1
        return int(self.data["txg"])

    def add(self, name: str, kind: str, *, txg: int = 0, **more: Any) -> Dataset:
        """A new dataset; its txg is larger than that of all others unless it is given."""
        self.begin()
        dataset = {
            "type": kind,
            "guid": int.from_bytes(os.urandom(8), "big") or 1,
            "txg": txg or self.next_txg(),
            "creation": int(time.time()),
            "props": {},
            **more,
        }
        self.datasets[name] = dataset
        self.looked_into.add(head(name))
        return dataset

    def drop(self, name: str) -> None:
        """Forget the dataset; its bytes are doomed."""
        self.hide(name)
        self.doomed.append(self.shelf(name))
        if self.datasets[name].get("partial"):
            self.doomed.append(f"{core.folder()}/state/zfs-data/{self.datasets[name]['guid']}.partial")
        for mark in self.bookmarks(name):
            self.drop(mark)
        del self.datasets[name]
        self.looked_into.add(head(name))

    def changed(self, *names: str) -> None:
        """Rows were changed in place in what is looked for: origin, txg or referenced."""
        for name in names:
            self.datasets[name] = self.datasets[name]

    # -- what a killed command leaves ----------------------------------------------------------------

    def begin(self) -> None:
        """Bytes are about to be made or moved: whoever comes next heals what is left of it, unless it is finished."""
        if not os.path.exists(self.unfinished):
            os.close(os.open(self.unfinished, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))

    def finish(self) -> None:
        """The state is written: bring to their places what is to show."""
        for name in sorted(self._due, key=lambda each: str(self.datasets.get(each, {}).get("shown", ""))):
            row = self.datasets.get(name)
            if row and row.get("shown"):
                _settle(core.root(row["shown"]), self.shelf(name))
        snapdir.show(self)
        if os.path.exists(self.unfinished):
            os.unlink(self.unfinished)

    def heal(self) -> None:
        """Put every dataset where the state says, also after a killed command; bytes of nobody go."""
        shelves = set(os.listdir(f"{core.folder()}/state/zfs-data"))
        self.datasets.load("1")
        away = (row["datasets"] for row in self.data.get("exported", {}).values())
        due = []
        covers = set()
        for datasets in (self.datasets, *away):
            for dataset in datasets.values():
                key = _shelf(dataset)
                covers |= {key + ".covered", f"{dataset['guid']}.partial"}
                if key not in shelves:
                    continue
                shelves.discard(key)
                if dataset.get("shown"):
                    due.append((dataset["shown"], key))
        for shown, key in sorted(due):
            _settle(core.root(shown), f"{core.folder()}/state/zfs-data/{key}")
        for left in shelves - covers:
            files.remove(f"{core.folder()}/state/zfs-data/{left}")
        os.unlink(self.unfinished)

    # -- properties ----------------------------------------------------------------------------------

    def lookup(self, name: str, prop: str) -> tuple[str, str]:
        """Value and source of a property that can be set: "local", "default", "inherited from X" or "-"."""
        dataset = self.datasets[name]
        if prop in dataset["props"]:
            return dataset["props"][prop], "local"
        if prop in dataset.get("received", ()) and prop not in dataset.get("unset", ()):
            return dataset["received"][prop], "received"
        entry = properties.TABLE.get(prop)
        if entry is None or entry.inherits:
            above = head(name) if head(name) != name else name.rpartition("/")[0]
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
        received = {} if prop in dataset.get("unset", ()) else dataset.get("received", {})
        value: str | None = dataset["props"].get(prop, received.get(prop))
        return value

    def number(self, name: str, prop: str) -> int:
        return int(self.lookup(name, prop)[0] or 0)

    def guid(self, name: str) -> int:
        """The guid that zfs(8) tells: a snapshot has that of the one it was sent from, also in the same pool."""
        dataset = self.datasets[name]
        return int(dataset.get("came_as") or dataset["guid"])

    def key_root(self, name: str) -> str:
        """The dataset whose key the encrypted ``name`` needs (encryptionroot), "" for what is not encrypted."""
        row = self.datasets.get(head(name), {})
        if "key" in row:
            return head(name)
        guid = row.get("key_root")
        return self.datasets.find("guid = ?", str(guid))[0] if guid else ""

    def locked(self, name: str) -> bool:
        """Whether the dataset is encrypted and its key is not loaded."""
        root = self.key_root(name)
        return bool(root) and not self.datasets[root]["key"]["loaded"]

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
        if self.locked(name):
            return ""
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
        """Mount the filesystem or make the volume's device node, if its properties say so; see `finish`."""
        path = self.wanted(name)
        if path and not self.datasets[name].get("shown"):
            self.show_at(name, path)

    def show_at(self, name: str, path: str) -> None:
        self.begin()
        self.datasets[name]["shown"] = path
        self._due[name] = None
        self.looked_into.add(name)

    def replace(self, name: str, path: str) -> None:
        """Give the dataset the bytes at ``path``, which are in the lab's state folder, instead of its own."""
        self.begin()
        shown = self.hide_tree(name)
        self.doomed.append(self.shelf(name))
        self.datasets[name]["shelf"] = f"{self.datasets[name]['guid']}.{os.urandom(4).hex()}"
        os.rename(path, self.shelf(name))
        self.show_again(shown)

    def hide(self, name: str) -> None:
        """Unmount the filesystem or remove the volume's device node; the bytes stay."""
        dataset = self.datasets[name]
        self.begin()
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
        for each in sorted(shown, key=lambda each: str(self.datasets[each]["shown"]), reverse=True):
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
        places = (core.root(path) for _, path in self.mounts())
        return frozenset((f"{top}.zfs", *(path for path in places if path.startswith(top))))

    def mounts(self) -> list[tuple[str, str]]:
        """By name, the filesystems that are mounted, and where (FreeBSD's path)."""
        self.datasets.save()
        where = f"parent >= '' AND {LIVE} AND type = 'filesystem'"
        rows = self.datasets.rows(
            f"SELECT name, json_extract(row, '$.shown') FROM datasets WHERE {where} ORDER BY name"
        )
        return [(name, path) for name, path in rows if path]


__all__ = ["F", "S", "Store", "V", "changing", "order", "reading"]
