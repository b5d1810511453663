"""diskinfo(8) (usr.sbin/diskinfo/diskinfo.c)."""

from __future__ import annotations

import os

from bhype.lab import core, disks
from bhype.lab.openzfs import files, spec

USAGE = "usage: diskinfo [-cipsStvw] disk ..."


def main(argv: list[str]) -> int:
    core.fault(" ".join(["diskinfo", *argv]))
    try:
        found, names = core.getopt(argv, "cipsStvw")
    except core.BadOption as error:
        core.fail(f"diskinfo: illegal option -- {error.letter}\n{USAGE}")
    letters = {letter for letter, _ in found}
    if not names:
        core.fail(USAGE)
    return max(_one(name, letters) for name in names)


def _one(word: str, letters: set[str]) -> int:
    path = word if word.startswith("/") else f"/dev/{word}"
    if not os.path.exists(core.root(path)):
        core.warn(f"diskinfo: {word}: No such file or directory")
        return 1
    if path.startswith("/dev/zvol/"):
        files.own(core.root(path))  # bHype asks before a program of its own writes to it
    name = disks.of(path)
    disk = core.peek("disks").get(name, {"sector": 512, "stripe": 0, "driver": "", "rpm": 0, "serial": ""})
    if "s" in letters:
        print(disk["serial"])
        return 0
    size = spec.size_of(path)
    nvme = disk["driver"] == "nda"
    heads, sectors = (0, 0) if nvme or not name else (255, 63)
    cylinders = size // disk["sector"] // (heads * sectors) if heads else 0
    numbers = [disk["sector"], size, size // disk["sector"], disk["stripe"], 0]
    if heads:
        numbers += [cylinders, heads, sectors]
    if "v" not in letters:
        print("\t".join([word, *map(str, numbers)]))
        return 0
    print(word)
    texts = (
        *("# sectorsize", f"# mediasize in bytes ({disks.human(size)})", "# mediasize in sectors"),
        *("# stripesize", "# stripeoffset", "# Cylinders according to firmware."),
        *("# Heads according to firmware.", "# Sectors according to firmware."),
    )
    for number, text in zip(numbers, texts, strict=False):
        print(f"\t{number:<12}\t{text}")
    if name:
        print(f"\t{disks.description(disk):<12}\t# Disk descr.")
        print(f"\t{disk['serial']:<12}\t# Disk ident.")
        print(f"\t{'No' if disk['rpm'] else 'Yes':<12}\t# TRIM/UNMAP support")
        print(f"\t{disk['rpm']:<12}\t# Rotation rate in RPM")
        print(f"\t{'Not_Zoned':<12}\t# Zone Mode")
    print()
    return 0
