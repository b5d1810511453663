"""What ``zpool status`` says of a pool (status_callback() in zpool_main.c, check_status() in libzfs_status.c)."""

from __future__ import annotations

import time

from bhype.lab.openzfs import scanning, sizes, vdevs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bhype.lab.openzfs.vdevs import Pool, Vdev

SEE = "https://openzfs.github.io/openzfs-docs/msg/"
# Reason: message id, status, action.
REASONS = {
    "resilvering": (
        "",
        "One or more devices is currently being resilvered.  The pool will\n"
        "\tcontinue to function, possibly in a degraded state.",
        "Wait for the resilver to complete.",
    ),
    "suspended": (
        "ZFS-8000-HC",
        "One or more devices are faulted in response to IO failures.",
        "Make sure the affected devices are connected, then run 'zpool clear'.",
    ),
    "continue": (
        "ZFS-8000-JQ",
        "One or more devices are faulted in response to IO failures.",
        "Make sure the affected devices are connected, then run 'zpool clear'.",
    ),
    "data": (
        "ZFS-8000-8A",
        "One or more devices has experienced an error resulting in data\n"
        "\tcorruption.  Applications may be affected.",
        "Restore the file in question if possible.  Otherwise restore the\n\tentire pool from backup.",
    ),
    "faulted": (
        "",
        "One or more devices are faulted in response to persistent errors.\n"
        "\tSufficient replicas exist for the pool to continue functioning in a\n\tdegraded state.",
        "Replace the faulted device, or use 'zpool clear' to mark the device\n\trepaired.",
    ),
    "missing": (
        "ZFS-8000-2Q",
        "One or more devices could not be opened.  Sufficient replicas exist for\n"
        "\tthe pool to continue functioning in a degraded state.",
        "Attach the missing device and online it using 'zpool online'.",
    ),
    "label": (
        "ZFS-8000-4J",
        "One or more devices could not be used because the label is missing or\n"
        "\tinvalid.  Sufficient replicas exist for the pool to continue\n"
        "\tfunctioning in a degraded state.",
        "Replace the device using 'zpool replace'.",
    ),
    "failing": (
        "ZFS-8000-9P",
        "One or more devices has experienced an unrecoverable error.  An\n"
        "\tattempt was made to correct the error.  Applications are unaffected.",
        "Determine if the device needs to be replaced, and clear the errors\n"
        "\tusing 'zpool clear' or replace the device with 'zpool replace'.",
    ),
    "offline": (
        "",
        "One or more devices has been taken offline by the administrator.\n"
        "\tSufficient replicas exist for the pool to continue functioning in a\n\tdegraded state.",
        "Online the device using 'zpool online' or replace the device with\n\t'zpool replace'.",
    ),
    "removed": (
        "",
        "One or more devices has been removed by the administrator.\n"
        "\tSufficient replicas exist for the pool to continue functioning in a\n\tdegraded state.",
        "Online the device using zpool online' or replace the device with\n\t'zpool replace'.",
    ),
    "disabled": (
        "",
        "Some supported and requested features are not enabled on the pool.\n"
        "\tThe pool can still be used, but some features are unavailable.",
        "Enable all features using 'zpool upgrade'. Once this is done,\n"
        "\tthe pool may no longer be accessible by software that does not support\n"
        "\tthe features. See zpool-features(7) for details.",
    ),
}
CLASSES = {"dedup": "dedup", "special": "special", "log": "logs"}
HEALTHY = ("", "disabled")


def reason(pool: Pool) -> str:
    """What is to be said of the pool, a key of `REASONS`; "" for nothing."""
    if scanning.running(pool, "RESILVER"):
        return "resilvering"
    if vdevs.suspended(pool):
        return "continue" if pool["props"].get("failmode") == "continue" else "suspended"
    if pool.get("damaged"):
        return "data"
    problems: list[tuple[str, Callable[[Vdev], bool]]] = [
        ("faulted", lambda each: each["state"] == "FAULTED"),
        ("missing", lambda each: each["state"] == "UNAVAIL" and each["aux"] == vdevs.OPEN_FAILED),
        ("label", lambda each: each["state"] == "UNAVAIL"),
        ("failing", lambda each: any(each["errors"])),
        ("offline", lambda each: each["state"] == "OFFLINE"),
        ("removed", lambda each: each["state"] == "REMOVED"),
    ]
    found = list(_outside_replacing(pool))
    for key, is_so in problems:
        if any(is_so(each) for each in found):
            return key
    return "disabled" if any(value == "disabled" for value in pool["props"].values()) else ""


def _outside_replacing(pool: Pool) -> Iterator[Vdev]:
    def walk(vdev: Vdev) -> Iterator[Vdev]:
        if vdev["kind"] in vdevs.LEAVES:
            yield vdev
        elif vdev["kind"] != "replacing":
            for child in vdev.get("children", ()):
                yield from walk(child)

    for top in pool["tops"]:
        yield from walk(top)
    yield from pool["cache"]


class Style:
    """How devices are shown: style as in vdevs.name; exact numbers; slow I/Os, trims and only what is unhealthy."""

    def __init__(self, letters: set[str]) -> None:
        self.name = "g" if "g" in letters else "P" if "P" in letters else ""
        self.exact = "p" in letters
        self.slow = "s" in letters
        self.trim = "t" in letters
        self.initialize = "i" in letters
        self.unhealthy = "e" in letters
        self.verbose = "v" in letters
        self.width = 10


def text(name: str, pool: Pool, style: Style) -> str:
    """All that ``zpool status`` prints of one pool."""
    why = reason(pool)
    lines = [f"  pool: {name}\n", f" state: {pool['health']}\n"]
    if why:
        see, status, action = REASONS[why]
        lines += [f"status: {status}\n", f"action: {action}\n"]
        if see:
            lines.append(f"   see: {SEE}{see}\n")
    lines.append(scan_text(pool))
    if pool.get("checkpoint"):
        point = pool["checkpoint"]
        lines.append(
            f"checkpoint: created {time.ctime(point['at'])}, consumes {sizes.human(point['space'], '')}\n"
        )
    lines.append("config:\n\n")
    style.width = width(name, pool, style)
    lines.append(f"\t{'NAME':<{style.width}}  {'STATE':<8} {'READ':>5} {'WRITE':>5} {'CKSUM':>5}")
    lines.append(("  SLOW" if style.slow else "") + "\n")
    lines += _tree(name, pool, style)
    lines.append("\n" + _errors(pool, style))
    return "".join(lines)


def _errors(pool: Pool, style: Style) -> str:
    damaged = pool.get("damaged", [])
    if not damaged:
        return "errors: No known data errors\n"
    if not style.verbose:
        return f"errors: {len(damaged)} data errors, use '-v' for a list\n"
    files = "".join(f"{'':7} {path}\n" for path in damaged)
    return f"errors: Permanent errors have been detected in the following files:\n\n{files}"


def width(name: str, pool: Pool, style: Style) -> int:
    """Of the first column, as max_width()."""
    widest = max(10, len(name))

    def walk(vdev: Vdev, label: str, depth: int) -> None:
        nonlocal widest
        widest = max(widest, depth + len(label))
        for index, child in enumerate(vdev.get("children", ())):
            walk(child, vdevs.name(child, index=index, style=style.name), depth + 2)

    for top in pool["tops"]:
        walk(top, vdevs.name(top, style=style.name), 2)
    for each in pool["cache"] + pool["spares"]:
        walk(each, vdevs.name(each, style=style.name), 2)
    return widest


def _tree(name: str, pool: Pool, style: Style) -> Iterator[str]:
    totals = [0, 0, 0]
    for top in pool["tops"]:
        if vdevs.state(top)[0] not in ("ONLINE", "DEGRADED"):
            totals = [a + b for a, b in zip(totals, _counts(top), strict=True)]
    yield _row(pool, style, name, {"kind": "root"}, 0, state=vdevs.health(pool), counts=totals)
    for top in pool["tops"]:
        if top.get("class") == "" and top["kind"] != "hole":
            yield from _branch(pool, style, top, vdevs.name(top, style=style.name), 2)
    for key, head in CLASSES.items():
        tops = [top for top in pool["tops"] if top.get("class") == key and top["kind"] != "hole"]
        if tops:
            yield f"\t{head}\t\n"
        for top in tops:
            yield from _branch(pool, style, top, vdevs.name(top, style=style.name), 2)
    for head, group in (("cache", pool["cache"]), ("spares", pool["spares"])):
        if group:
            yield f"\t{head}\n"
        for each in group:
            yield from (
                _spare(pool, style, each)
                if head == "spares"
                else _branch(pool, style, each, vdevs.name(each, style=style.name), 2)
            )


def _spare(pool: Pool, style: Style, each: Vdev) -> Iterator[str]:
    used = any(other["guid"] == each["guid"] for top in pool["tops"] for other in vdevs.leaves(top))
    state = "INUSE" if used else "AVAIL" if each["state"] == "ONLINE" else each["state"]
    note = "  currently in use" if used else f"  {each['aux']}" if each["aux"] else ""
    label = vdevs.name(each, style=style.name)
    yield f"\t  {label:<{style.width - 2}}  {state:<8}{note}\n"


def _counts(vdev: Vdev) -> list[int]:
    found: list[int] = vdev.get("errors", [0, 0, 0])
    return found


def _branch(pool: Pool, style: Style, vdev: Vdev, label: str, depth: int) -> Iterator[str]:
    if style.unhealthy and not any(
        each["state"] != "ONLINE" or any(each["errors"]) for each in vdevs.leaves(vdev)
    ):
        return
    yield _row(pool, style, label, vdev, depth, state=vdevs.state(vdev), counts=_counts(vdev))
    for index, child in enumerate(vdev.get("children", ())):
        yield from _branch(pool, style, child, vdevs.name(child, index=index, style=style.name), depth + 2)


def _row(
    pool: Pool, style: Style, label: str, vdev: Vdev, depth: int, *, state: tuple[str, str], counts: list[int]
) -> str:
    word, aux = state
    shown = "FAULTED" if aux == vdevs.CORRUPT else word
    numbers = "".join(f" {number if style.exact else sizes.human(number, ''):>5}" for number in counts)
    line = f"\t{'':{depth}}{label:<{style.width - depth}}  {shown:<8}{numbers}"
    is_leaf = vdev["kind"] in vdevs.LEAVES
    if style.slow:
        line += f" {'0' if is_leaf else '-':>5}"
    if vdev.get("absent"):
        line += f"  was {vdev['path']}"
    elif aux:
        line += f"  {aux}"
    if is_leaf:
        line += _work(pool, vdev) + _trim(vdev, style)
    return line + "\n"


def _work(pool: Pool, leaf: Vdev) -> str:
    scan = pool.get("scan") or {}
    if not scanning.running(pool) or leaf["state"] != "ONLINE":
        return ""
    if scan["function"] == "RESILVER" and leaf["guid"] in scan["targets"]:
        return "  (resilvering)"
    return "  (repairing)" if scan["function"] == "SCRUB" and str(leaf["guid"]) in scan["rotten"] else ""


def _trim(leaf: Vdev, style: Style) -> str:
    trim = leaf.get("trim") or {}
    state = trim.get("state", "")
    found = "  (uninitialized)" if style.initialize else ""
    if not style.trim:
        return found + ("  (trimming)" if state == "ACTIVE" else "")
    if state not in ("ACTIVE", "SUSPENDED", "COMPLETE"):
        return found + ("  (trim unsupported)" if leaf.get("no_trim") else "  (untrimmed)")
    word = {"ACTIVE": "started at", "SUSPENDED": "suspended, started at", "COMPLETE": "completed at"}[state]
    return found + f"  ({scanning.trim_part(trim)}% trimmed, {word} {time.ctime(trim['at'])})"


def duration(seconds: float) -> str:
    """``00:00:05``, ``1 days 02:03:04`` (secs_to_dhms())."""
    total = int(seconds)
    days, hours, minutes, rest = total // 86400, total // 3600 % 24, total // 60 % 60, total % 60
    clock = f"{hours:02d}:{minutes:02d}:{rest:02d}"
    return f"{days} days {clock}" if days else clock


def scan_text(pool: Pool) -> str:
    """The lines of the last scrub or resilver, "" if there was none (print_scan_scrub_resilver_status())."""
    scan = pool.get("scan") or {}
    if not scan:
        return ""
    scrub = scan["function"] == "SCRUB"
    repaired = sizes.human(scan["processed"])
    if scan["state"] == "FINISHED":
        took = duration(scan["end"] - int(scan["start"]))
        verb = "scrub repaired" if scrub else "resilvered"
        return (
            f"  scan: {verb} {repaired} in {took} with {scan['errors']} errors on {time.ctime(scan['end'])}\n"
        )
    if scan["state"] == "CANCELED":
        return f"  scan: {'scrub' if scrub else 'resilver'} canceled on {time.ctime(scan['end'])}\n"
    start = time.ctime(scan["start"])
    if scan["paused"]:
        lines = f"  scan: scrub paused since {time.ctime(scan['paused'])}\n\tscrub started on {start}\n"
    else:
        lines = f"  scan: {'scrub' if scrub else 'resilver'} in progress since {start}\n"
    return lines + _progress(scan, scrub=scrub)


def _progress(scan: scanning.Scan, *, scrub: bool) -> str:
    done = scanning.part(scan)
    total = scan["examine"]
    issued = int(total * done)
    looked = min(total, int(issued * 1.5))
    elapsed = max(1, int(time.time() - scan["start"] - scan["waited"]))
    going = not scan["paused"]

    def speed(count: int) -> str:
        return f" at {sizes.human(count // elapsed)}/s" if going and count // elapsed else ""

    repaired = sizes.human(scan["processed"] if scrub else int(scan["processed"] * done))
    lines = (
        f"\t{sizes.human(looked)} / {sizes.human(total)} scanned{speed(looked)}, "
        f"{sizes.human(issued)} / {sizes.human(total)} issued{speed(issued)}\n"
        f"\t{repaired} {'repaired' if scrub else 'resilvered'}, {100 * done:.2f}% done"
    )
    if not going:
        return lines + "\n"
    rate = issued // elapsed
    if rate >= 10 * 1024**2:
        return lines + f", {duration((total - issued) // rate)} to go\n"
    return lines + ", no estimated completion time\n"
