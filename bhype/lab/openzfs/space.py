"""How much room datasets take, and how much is left (the words of zfsprops(7))."""

from __future__ import annotations

from bhype.lab import core
from bhype.lab.openzfs import files
from bhype.lab.openzfs.store import F, Store, V

# What an empty dataset takes.
EMPTY_FILESYSTEM = 98304
EMPTY_VOLUME = 57344


class Space:
    """The room of every dataset of one pool, measured once.

    referenced, used, by_snapshots, by_dataset, by_children, by_reservation, written: bytes by dataset name.
    """

    def __init__(self, store: Store, pool: str) -> None:
        self.store = store
        self.pool = pool
        self.referenced: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self.written: dict[str, int] = {}
        self.by_snapshots: dict[str, int] = {}
        self.by_dataset: dict[str, int] = {}
        self.by_children: dict[str, int] = {}
        self.by_reservation: dict[str, int] = {}
        for name in reversed([pool, *store.below(pool)]):
            self._measure(name)
        size = store.pools[pool]["size"]
        # As spa_slop_shift keeps a part of every pool for itself.
        self.capacity = size - max(size // 32, min(size // 2, 128 * 1024**2))
        self.free = 0 if core.full() else max(0, self.capacity - self.used[pool])

    def _measure(self, name: str) -> None:
        store = self.store
        referenced = measure(store, name)
        snapshots = store.snapshots(name)
        origin = store.origin(name)
        before = store.datasets[origin]["referenced"] if origin else 0
        by_snapshots = 0
        sizes = [*(store.datasets[each]["referenced"] for each in snapshots), referenced]
        for index, snapshot in enumerate(snapshots):
            # Copies share no blocks here: what only this snapshot holds is what is gone in the next one.
            alone = max(0, sizes[index] - sizes[index + 1])
            self.referenced[snapshot] = sizes[index]
            self.used[snapshot] = alone
            self.written[snapshot] = max(0, sizes[index] - (sizes[index - 1] if index else before))
            by_snapshots += alone
        self.referenced[name] = referenced
        self.by_dataset[name] = max(0, referenced - before)
        self.written[name] = max(0, referenced - (sizes[-2] if snapshots else before))
        self.by_snapshots[name] = by_snapshots
        owed = store.number(name, "refreservation")
        since = self.written[name] if snapshots else self.by_dataset[name]
        self.by_reservation[name] = max(0, owed - since) if owed else 0
        self.by_children[name] = sum(
            max(self.used[child], store.number(child, "reservation")) for child in store.children(name)
        )
        self.used[name] = (
            self.by_dataset[name] + by_snapshots + self.by_children[name] + self.by_reservation[name]
        )

    def available(self, name: str) -> int:
        """Bytes that ``name`` and those below it can still take."""
        free = self.free
        above = ""
        for part in name.split("/"):
            above = f"{above}/{part}" if above else part
            if above not in self.used:
                break
            free += max(0, self.store.number(above, "reservation") - self.used[above])
            quota = self.store.number(above, "quota")
            if quota:
                free = min(free, max(0, quota - self.used[above]))
        free += self.by_reservation.get(name, 0)
        refquota = self.store.number(name, "refquota") if name in self.used else 0
        return min(free, max(0, refquota - self.referenced[name])) if refquota else free


def measure(store: Store, name: str) -> int:
    """Bytes that the live dataset refers to."""
    kind = store.datasets[name]["type"]
    if kind == V:
        return EMPTY_VOLUME + files.blocks(store.place(name))
    return EMPTY_FILESYSTEM + files.blocks(store.place(name), store.inner_mounts(name))


def spare(store: Store, name: str) -> int:
    """Bytes that a new dataset below ``name`` could take."""
    return Space(store, name.partition("/")[0].partition("@")[0]).available(name)


__all__ = ["F", "Space", "measure", "spare"]
