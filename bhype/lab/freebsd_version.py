"""freebsd-version(1): kernel, running kernel and user land are of one patch level."""

from __future__ import annotations

from bhype.lab import core
from bhype.lab.uname import release

USAGE = "usage: freebsd-version [-kru] [-j jail]"


def main(argv: list[str]) -> int:
    core.fault(" ".join(["freebsd-version", *argv]))
    try:
        found, rest = core.getopt(argv, "kru")
    except core.BadOption:
        core.fail(USAGE, 1)
    if rest:
        core.fail(USAGE, 1)
    for _ in {letter for letter, _ in found} or {"u"}:
        print(release())
    return 0
