"""kldstat(8)."""

from __future__ import annotations

from bhype.lab import core
from bhype.lab.kldload import BUILT_IN, MODULES, module_of

USAGE = "usage: kldstat [-d] [-h] [-q] [-v] [-i id] [-n filename]\n       kldstat [-d] [-q] [-m modname]"
KERNEL = ("1", "30", "0xffffffff80200000", "1f3c6c0", "kernel")


def main(argv: list[str]) -> int:
    core.fault(" ".join(["kldstat", *argv]))
    try:
        found, rest = core.getopt(argv, "dhi:m:n:qv")
    except core.BadOption as error:
        problem = "option requires an argument" if error.missing else "illegal option"
        core.fail(f"kldstat: {problem} -- {error.letter}\n{USAGE}", 1)
    if rest:
        core.fail(USAGE, 1)
    given = dict(found)
    quiet = "q" in given
    loaded = core.peek("kld").get("loaded", {})
    if "m" in given:
        name = module_of(given["m"]) if not given["m"].endswith(".ko") else given["m"]
        if name not in loaded and name not in BUILT_IN:
            return _missing(f"can't find module {given['m']}", quiet=quiet)
        if not quiet:
            number = loaded.get(name, {"id": 1})["id"]
            print(f"Id  Refs Name\n{number:3d}    1 {given['m']}")
        return 0
    rows = [KERNEL, *_rows(loaded)]
    if "n" in given:
        name = module_of(given["n"])
        if name not in loaded and given["n"] != "kernel":
            return _missing(f"can't find file {given['n']}", quiet=quiet)
        rows = [row for row in rows if row[4] in (name + ".ko", given["n"])]
    elif "i" in given:
        rows = [row for row in rows if row[0] == given["i"]]
        if not rows:
            return _missing(f"can't find file with id {given['i']}", quiet=quiet)
    if not quiet:
        print("Id Refs Address                Size Name")
        for number, refs, address, size, name in rows:
            print(f"{number:>2} {refs:>4} {address:>18} {size:>8} {name}")
    return 0


def _missing(problem: str, *, quiet: bool) -> int:
    if not quiet:
        core.warn(f"kldstat: {problem}: No such file or directory")
    return 1


def _rows(loaded: dict[str, dict[str, int]]) -> list[tuple[str, str, str, str, str]]:
    rows = []
    address = 0xFFFFFFFF82800000
    for name, entry in sorted(loaded.items(), key=lambda item: item[1]["id"]):
        rows.append((str(entry["id"]), "1", f"0x{address:x}", f"{MODULES[name]:x}", f"{name}.ko"))
        address += MODULES[name] + 0x1000 & ~0xFFF
    return rows
