"""What processes weigh, from Linux's proc(5)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Weight:
    """Bytes. pss: shared pages are divided among those that share them, so sums count them once; rss: they
    count in each; own: pages that nobody shares."""

    pss: int
    rss: int
    own: int


def weigh(pid: int) -> Weight:
    """Raises OSError when the process is gone."""
    found = {"Pss:": 0, "Rss:": 0, "Private_Clean:": 0, "Private_Dirty:": 0}
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        key, *rest = line.split()
        if key in found:
            found[key] = int(rest[0]) * 1024
    return Weight(found["Pss:"], found["Rss:"], found["Private_Clean:"] + found["Private_Dirty:"])


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    parents = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def started(pid: int) -> float:
    """When the process was made, on CLOCK_BOOTTIME, to 10 ms."""
    return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]) / 100
