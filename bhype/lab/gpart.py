"""gpart(8): ``gpart show [-lp] [geom ...]``, which changes nothing (gpart_show_geom() in sbin/geom/class/part)."""

from __future__ import annotations

from bhype.lab import core, disks


def main(argv: list[str]) -> int:
    core.fault(" ".join(["gpart", *argv]))
    if not argv or argv[0] != "show":
        core.fail("gpart: Unknown command: " + (argv[0] if argv else "") + ".")
    try:
        found, names = core.getopt(argv[1:], "lpr")
    except core.BadOption:
        core.fail("gpart: Invalid usage.")
    letters = {letter for letter, _ in found}
    tables = {name: disk for name, disk in disks.present().items() if disk.get("parts")}
    code = 0
    for name in names or list(tables):
        short = name.removeprefix("/dev/")
        if short not in tables:
            core.warn(f"gpart: No such geom: {short}.")
            code = 1
            continue
        print(_table(short, tables[short], letters))
    return code


def _table(name: str, disk: disks.Disk, letters: set[str]) -> str:
    sector = disk["sector"]
    last = disk["size"] // sector - disks.FIRST - 1
    width = len(str(last))
    labels = {
        index: f"{name}p{index}" if "p" in letters else part["label"] if "l" in letters else str(index)
        for index, part in enumerate(disk["parts"], 1)
    }
    column = max(len(name), *(len(label) for label in labels.values())) if "p" in letters else len(name)
    lines = [
        f"=>{disks.FIRST:>{width}}  {last - disks.FIRST + 1:>{width}}  {name:>{column}}  GPT  "
        f"({disks.human((last - disks.FIRST + 1) * sector)})"
    ]

    def row(start: int, count: int, label: str, kind: str) -> str:
        size = disks.human(count * sector)
        return f"  {start:>{width}}  {count:>{width}}  {label:>{column}}  {kind}  ({size})"

    at = disks.FIRST
    for index, part in enumerate(disk["parts"], 1):
        if at < part["start"]:
            lines.append(row(at, part["start"] - at, "", "- free -"))
        kind = part["label"] if "l" in letters else part["type"]
        label = str(index) if "l" in letters else labels[index]
        lines.append(row(part["start"], part["count"], label, kind))
        at = part["start"] + part["count"]
    if at <= last:
        lines.append(row(at, last - at + 1, "", "- free -"))
    return "\n".join(lines) + "\n"
