"""Scrubs, resilvers and trims: work that takes a while and goes on when the command has ended.

``pool["scan"]`` is the last scrub or resilver: function ("SCRUB", "RESILVER"), state ("SCANNING", "FINISHED",
"CANCELED"), start, end, seconds (how long it takes), examine (bytes to look at), processed (bytes repaired), errors,
paused (since when, 0 for not), waited (seconds paused before), targets (guids of resilvered leaves), rotten (bytes by
the leaf's guid). How far it is follows from the clock, so nobody has to do the work (dsl_scan.c).
A leaf's ``trim`` is the same for its trim: state ("ACTIVE", "SUSPENDED", "COMPLETE", "CANCELED"), start, seconds, done.
"""

from __future__ import annotations

import time

from bhype.lab import core
from bhype.lab.openzfs import vdevs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bhype.lab.openzfs.vdevs import Pool, Vdev

    Scan = dict[str, Any]

SCRUB_SECONDS = 5.0
RESILVER_SECONDS = 3.0
TRIM_SECONDS = 3.0
FILE_SECONDS = 0.2  # of each where there are only files, which are small
RATE = 2 * 1024**3  # bytes per second beyond that


def part(scan: Scan, now: float | None = None) -> float:
    """How much of the scan is done, 0 to 1."""
    if scan["state"] != "SCANNING":
        return 1.0
    now = time.time() if now is None else now
    until = scan["paused"] or now
    return float(max(0.0, min(1.0, (until - scan["start"] - scan["waited"]) / scan["seconds"])))


def duration(seconds: float, *, is_disk: bool) -> float:
    """How long work on disks, or on files, takes: ``lab.scan.seconds`` of loader.conf for all, if it is there."""
    given = core.peek("host").get("tunables", {}).get("lab.scan.seconds")
    return float(given) if given else seconds if is_disk else FILE_SECONDS


def running(pool: Pool, function: str = "") -> bool:
    """Whether a scan (of the function, if one is given) goes on, or is paused."""
    scan = pool.get("scan") or {}
    return scan.get("state") == "SCANNING" and function in ("", scan["function"])


def settle(pool: Pool, name: str = "") -> None:
    """Bring the pool to what its scans and trims have done by now."""
    scan = pool.get("scan") or {}
    if (
        scan.get("state") == "SCANNING"
        and not scan["paused"]
        and not pool.get("suspended")
        and part(scan) >= 1
    ):
        scan["state"] = "FINISHED"
        scan["end"] = int(scan["start"] + scan["seconds"] + scan["waited"])
        _finish(pool, scan, name)
    for each in vdevs.all_leaves(pool):
        trim = each.get("trim") or {}
        if trim.get("state") == "ACTIVE" and time.time() - trim["start"] + trim["done"] >= trim["seconds"]:
            trim["at"] = int(trim["start"] + trim["seconds"] - trim["done"])
            trim["state"] = "COMPLETE"


def _finish(pool: Pool, scan: Scan, name: str) -> None:
    by_guid = {each["guid"]: each for each in vdevs.all_leaves(pool)}
    for guid, count in scan["rotten"].items():
        found = by_guid.get(int(guid))
        if found is None:
            continue
        found["errors"][2] += max(1, count // (128 * 1024))
        if vdevs.parent(pool, found) is not None:
            scan["processed"] += count
        else:
            scan["errors"] += 1
            pool["damaged"] = [f"{name}:<0x1>" if name else "<metadata>:<0x1>"]
    if scan["function"] == "RESILVER":
        for guid in scan["targets"]:
            found = by_guid.get(guid)
            if found is not None and found["state"] == "ONLINE":
                found.pop("dirty", None)
        for top in pool["tops"]:
            _collapse(pool, top)
        vdevs.measure(pool)


def _collapse(pool: Pool, vdev: Vdev) -> None:
    """Take away what was replaced, and spares that are needed no more (spa_vdev_resilver_done())."""
    for index, child in enumerate(vdev.get("children", [])):
        _collapse(pool, child)
        if child["kind"] not in ("replacing", "spare"):
            continue
        first, last = child["children"][0], child["children"][-1]
        clean = last["state"] == "ONLINE" and not last.get("dirty")
        if child["kind"] == "replacing" and clean:
            vdev["children"][index] = last
            pool.setdefault("gone", []).append([first["path"], first["guid"]])
        elif first.get("unspare") and first["state"] == "ONLINE" and not first.get("dirty"):
            del first["unspare"]
            vdev["children"][index] = first
    if vdev["kind"] == "replacing" and any(vdev is top for top in pool["tops"]):
        last = vdev["children"][-1]
        if last["state"] == "ONLINE" and not last.get("dirty"):
            kept = {key: vdev[key] for key in ("id", "class", "asize")}
            first = vdev["children"][0]
            pool.setdefault("gone", []).append([first["path"], first["guid"]])
            vdev.clear()
            vdev.update(last | kept)


def start(pool: Pool, function: str, allocated: int, targets: list[int] | None = None) -> None:
    """Begin a scrub, or a resilver of the leaves with the guids ``targets``, over ``allocated`` bytes."""
    rotten = {}
    if function == "SCRUB":
        with core.state("disks") as disks:
            for each in vdevs.all_leaves(pool, spares=False):
                count = disks.get(each["path"].removeprefix("/dev/"), {}).pop("rotten", 0)
                if count:
                    rotten[str(each["guid"])] = count
    is_disk = any(each["kind"] == "disk" for each in vdevs.all_leaves(pool, spares=False))
    seconds = duration(SCRUB_SECONDS if function == "SCRUB" else RESILVER_SECONDS, is_disk=is_disk)
    pool["scan"] = {
        **{
            "function": function,
            "state": "SCANNING",
            "start": time.time(),
            "end": 0,
            "paused": 0,
            "waited": 0.0,
        },
        **{
            "seconds": seconds + min(10.0, allocated / RATE),
            "examine": allocated,
            "errors": 0,
            "rotten": rotten,
        },
        **{
            "processed": 0 if function == "SCRUB" else allocated * len(targets or []),
            "targets": targets or [],
        },
    }


def resilver(pool: Pool, allocated: int) -> None:
    """Resilver what lacks data, if anything that is ONLINE does."""
    for top in pool["tops"]:
        if top["kind"] in vdevs.LEAVES:
            top.pop("dirty", None)  # what has no other copy lacks nothing
    targets = [
        each["guid"]
        for each in vdevs.all_leaves(pool, spares=False)
        if each.get("dirty")
        and each["state"] == "ONLINE"
        and not any(each is other for other in pool["cache"])
    ]
    if targets:
        start(pool, "RESILVER", allocated, targets)


def trim_part(trim: Scan) -> int:
    """How many percent of the leaf are trimmed."""
    if trim["state"] == "COMPLETE":
        return 100
    done = trim["done"] + (time.time() - trim["start"] if trim["state"] == "ACTIVE" else 0)
    return min(99, int(100 * done / trim["seconds"]))
