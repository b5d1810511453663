"""How much room datasets take, and how much is left (the words of zfsprops(7)).

Each number is measured when it is asked for. The lab's snapshots share no blocks: what only one snapshot holds is told
by what is gone in the next one.
"""

from __future__ import annotations

from bhype.lab import core
from bhype.lab.openzfs import files
from bhype.lab.openzfs.database import head
from bhype.lab.openzfs.store import F, S, Store, V

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# What an empty dataset takes.
EMPTY_FILESYSTEM = 98304
EMPTY_VOLUME = 57344
# What the sizes of the snapshots of each dataset tell: all but the latest hold what is gone in the next one.
_GONE = """
SELECT head, SUM(MAX(0, referenced - next)) FROM (
    SELECT head, referenced, LEAD(referenced) OVER (PARTITION BY head ORDER BY txg, name) AS next
    FROM datasets WHERE type = 'snapshot' {where}
) WHERE next IS NOT NULL GROUP BY head
"""
_LATEST = "SELECT referenced FROM datasets WHERE head = ? AND type = 'snapshot' ORDER BY txg DESC, name DESC LIMIT 1"


class Numbers(dict[str, int]):
    """Bytes by dataset name, each measured once."""

    def __init__(self, measure: Callable[[str], int]) -> None:
        super().__init__()
        self.measure = measure

    def __missing__(self, name: str) -> int:
        self[name] = found = self.measure(name)
        return found


class Space:
    """The room of the datasets of one pool.

    referenced, used, by_snapshots, by_dataset, by_children, by_reservation, written: bytes by dataset name.
    """

    def __init__(self, store: Store, pool: str) -> None:
        self.store = store
        self.pool = pool
        self.referenced = Numbers(self._referenced)
        self.used = Numbers(self._used)
        self.written = Numbers(self._written)
        self.by_snapshots = Numbers(self._by_snapshots)
        self.by_dataset = Numbers(lambda name: max(0, self.referenced[name] - self._before(name)))
        self.by_children = Numbers(self._by_children)
        self.by_reservation = Numbers(self._by_reservation)
        self._gone: dict[str, int] | None = None
        self._snapshots: dict[str, list[str]] = {}
        size = store.pools[pool]["size"]
        # As spa_slop_shift keeps a part of every pool for itself.
        self.capacity = size - max(size // 32, min(size // 2, 128 * 1024**2))

    @property
    def free(self) -> int:
        return 0 if core.full() else max(0, self.capacity - self.used[self.pool])

    def measure_all(self) -> None:
        """Ask once for what all snapshots of the pool hold: quicker than dataset by dataset."""
        if self._gone is None:
            top = self.pool
            where = "AND (head = ? OR (head >= ? || '/' AND head < ? || '0'))"
            self._gone = dict(self.store.datasets.rows(_GONE.format(where=where), top, top, top))

    def _line(self, name: str) -> list[str]:
        if name not in self._snapshots:
            self._snapshots[name] = self.store.snapshots(name)
        return self._snapshots[name]

    def _latest(self, name: str) -> int | None:
        found = self.store.datasets.rows(_LATEST, name)
        return found[0][0] if found else None

    def _before(self, name: str) -> int:
        """What a clone shares with its origin."""
        origin = self.store.origin(name)
        return int(self.store.datasets[origin]["referenced"]) if origin else 0

    def _referenced(self, name: str) -> int:
        row = self.store.datasets[name]
        return int(row["referenced"]) if row["type"] == S else measure(self.store, name)

    def _used(self, name: str) -> int:
        if name == self.pool:
            self.measure_all()
        if head(name) != name:
            return max(0, self.referenced[name] - self._after(name))
        parts = (self.by_dataset, self.by_snapshots, self.by_children, self.by_reservation)
        return sum(part[name] for part in parts)

    def _after(self, snapshot: str) -> int:
        """What the next snapshot, or the dataset itself, refers to."""
        line = self._line(head(snapshot))
        place = line.index(snapshot) + 1
        return self.referenced[line[place] if place < len(line) else head(snapshot)]

    def _written(self, name: str) -> int:
        """What came since the snapshot before, or since the origin."""
        own = head(name)
        if name == own:
            before = self._latest(own)
        else:
            line = self._line(own)
            place = line.index(name)
            before = self.referenced[line[place - 1]] if place else None
        return max(0, self.referenced[name] - (self._before(own) if before is None else before))

    def since(self, name: str, snapshot: str) -> int:
        """What was written to ``name`` since one of its snapshots (written@SNAPSHOT)."""
        return max(0, self.referenced[name] - self.referenced[snapshot])

    def _by_snapshots(self, name: str) -> int:
        latest = self._latest(name)
        if latest is None:
            return 0
        if self._gone is None:
            gone = dict(self.store.datasets.rows(_GONE.format(where="AND head = ?"), name))
        else:
            gone = self._gone
        return int(gone.get(name, 0)) + max(0, latest - self.referenced[name])

    def _by_children(self, name: str) -> int:
        store = self.store
        return sum(
            max(self.used[child], store.number(child, "reservation")) for child in store.children(name)
        )

    def _by_reservation(self, name: str) -> int:
        owed = self.store.number(name, "refreservation")
        if not owed:
            return 0
        since = self.by_dataset[name] if self._latest(name) is None else self.written[name]
        return max(0, owed - since)

    def available(self, name: str) -> int:
        """Bytes that ``name`` and those below it can still take."""
        free = self.free
        above = ""
        store = self.store
        for part in name.split("/"):
            above = f"{above}/{part}" if above else part
            if above not in store.datasets:
                break
            reserved = store.number(above, "reservation")
            free += max(0, reserved - self.used[above]) if reserved else 0
            quota = store.number(above, "quota")
            if quota:
                free = min(free, max(0, quota - self.used[above]))
        there = name in store.datasets
        free += self.by_reservation[name] if there else 0
        refquota = store.number(name, "refquota") if there else 0
        return min(free, max(0, refquota - self.referenced[name])) if refquota else free


def measure(store: Store, name: str) -> int:
    """Bytes that the live dataset refers to."""
    kind = store.datasets[name]["type"]
    if kind == V:
        return EMPTY_VOLUME + files.blocks(store.place(name))
    return EMPTY_FILESYSTEM + files.blocks(store.place(name), store.inner_mounts(name))


def spare(store: Store, name: str) -> int:
    """Bytes that a new dataset below ``name`` could take."""
    return Space(store, head(name).partition("/")[0]).available(name)


__all__ = ["F", "Space", "measure", "spare"]
