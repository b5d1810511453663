"""``zpool iostat``: what pools read and write. The lab makes the numbers from the bytes that its pools hold."""

from __future__ import annotations

import sys
import time

from bhype.lab import core
from bhype.lab.openzfs import pool_status, pools, sizes, vdevs
from bhype.lab.zpool_show import opened
from bhype.lab.zpool_usage import rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.openzfs.store import Store
    from bhype.lab.openzfs.vdevs import Vdev

HEADS = (
    f"{'':<10}    capacity     operations     bandwidth ",
    f"{'pool':<10}  {'alloc':>5}  {'free':>5}  {'read':>5}  {'write':>5}  {'read':>5}  {'write':>5}",
)
RULE = "-" * 10 + "  " + "  ".join(["-----"] * 6)


def run(words: list[str], letters: set[str], seconds: float, count: int) -> int:
    """Print the rows of the pools; the first ones are averages since the boot, unless -y is given."""
    turn = 0
    store = pools.opened()
    if any(word not in store.pools for word in words):
        core.fail("Unable to parse pools/vdevs list.\n\n")
    chosen, code = opened(store, words)
    if not chosen:
        core.warn("no pools available")
    if not seconds or "y" not in letters:
        _print(store, chosen, letters, first=True)
        turn = 1
    while seconds and (not count or turn < count + ("y" not in letters and 0)):
        sys.stdout.flush()
        time.sleep(seconds)
        store = pools.opened()
        chosen = [name for name in chosen if name in store.pools]
        _print(store, chosen, letters, first=turn == 0)
        turn += 1
    return code


def activity(used: int, now: float | None = None) -> tuple[int, int, int, int]:
    """Reads and writes and their bytes per second: an idle host's few, more on a pool that holds much."""
    now = time.time() if now is None else now
    wave = int(now) % 60 if int(now) % 60 < 30 else 60 - int(now) % 60
    reads = 1 + wave // 6 + used // (8 * 1024**3)
    writes = 4 + wave // 3 + used // (16 * 1024**3)
    return reads, writes, reads * 18_432, writes * 24_576


def _print(store: Store, chosen: list[str], letters: set[str], *, first: bool) -> None:
    exact = "p" in letters
    lines: list[list[str]] = []
    for name in chosen:
        lines += _of_pool(store, name, letters, exact=exact)
    if "H" in letters:
        # The heads of classes are empty lines then.
        rows([[] if line[1:] == ["-"] * 6 else [line[0].strip(), *line[1:]] for line in lines])
        return
    width = max(10, *(len(line[0]) for line in lines))
    if first or ("v" in letters and "n" not in letters):
        pad = " " * (width - 10)
        for head in HEADS:
            print(head[:10] + pad + head[10:])
        print("-" * width + RULE[10:])
    for line in lines:
        print("  ".join([line[0].ljust(width), *(cell.rjust(5) for cell in line[1:])]))
    if "v" in letters or len(chosen) > 1:
        print("-" * width + RULE[10:])


def _of_pool(store: Store, name: str, letters: set[str], *, exact: bool) -> list[list[str]]:
    pool = store.pools[name]
    used = pools.allocated(store, name)
    moved = activity(used)

    def cells(label: str, room: int | None, taken: int, share: tuple[int, int, int, int]) -> list[str]:
        shown = [str(n) if exact else sizes.human(n, "") for n in (taken, (room or 0) - taken)]
        numbers = [str(n) if exact else sizes.human(n, "") for n in share]
        return [label, *(shown if room is not None else ["0", "0"] if exact else ["-", "-"]), *numbers]

    lines = [cells(name, pool["raw"], used, moved)]
    if "v" not in letters:
        return lines
    style = "g" if "g" in letters else "P" if "P" in letters else ""
    taken = pools.shares(store, name)
    normal = [top for top in pool["tops"] if top["class"] == "" and top["kind"] != "hole"]

    def walk(vdev: Vdev, label: str, depth: int, share: tuple[int, int, int, int]) -> None:
        is_top = depth == 2
        room = None
        if is_top:
            room = vdevs.space(vdev) if "asize" in vdev else vdevs.asize(vdev)
        lines.append(cells(" " * depth + label, room, taken.get(vdev["guid"], 0), share))
        children = vdev.get("children", [])
        for index, child in enumerate(children):
            reads = (share[0] // len(children), share[1], share[2] // len(children), share[3])
            walk(child, vdevs.name(child, index=index, style=style), depth + 2, reads)

    quarter = tuple(number // max(1, len(normal)) for number in moved)
    for top in normal:
        walk(top, vdevs.name(top, style=style), 2, (quarter[0], quarter[1], quarter[2], quarter[3]))
    for key, head in pool_status.CLASSES.items():
        tops = [top for top in pool["tops"] if top["class"] == key]
        if tops:
            lines.append([head, *["-"] * 6])
        for top in tops:
            walk(top, vdevs.name(top, style=style), 2, (0, 0, 0, 0))
    if pool["cache"]:
        lines.append(["cache", *["-"] * 6])
    for each in pool["cache"]:
        walk(each, vdevs.name(each, style=style), 2, (0, 0, 0, 0))
    return lines
