"""iostat(8): ``iostat -dx [-w seconds] [-c count] [disk ...]``, of which the first report is since the boot."""

from __future__ import annotations

import sys
import time

from bhype.lab import core, disks

HEADS = (
    "                        extended device statistics  ",
    "device       r/s     w/s     kr/s     kw/s  ms/r  ms/w  ms/o  ms/t qlen  %b  ",
)
USAGE = (
    "usage: iostat [-CdhIKoTxz?] [-c count] [-M core] [-n devs] [-N system]\n"
    "              [-t type,if,pass] [-w wait] [drives] [wait [count]]"
)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["iostat", *argv]))
    try:
        found, words = core.getopt(argv, "CdhIKoTxzc:n:t:w:")
    except core.BadOption as error:
        core.fail(f"iostat: illegal option -- {error.letter}\n{USAGE}")
    given = dict(found)
    try:
        count = int(given.get("c", "1"))
        seconds = float(given.get("w", "1"))
    except ValueError:
        core.fail("iostat: wait time is < 0")
    for turn in range(count):
        if turn:
            sys.stdout.flush()
            time.sleep(seconds)
        print("\n".join(HEADS))
        present = disks.present()
        modes = disks.modes(present)
        for name, disk in present.items():
            if words and name not in words:
                continue
            reads, writes = activity(modes[name])
            print(
                f"{name:<8} {reads:>7d} {writes:>7d} {reads * 18.0:>8.1f} {writes * 24.0:>8.1f} "
                f"{1 if disk['rpm'] else 0:>5d} {1 if disk['rpm'] else 0:>5d} {0:>5d} {0:>5d} {0:>4d} {reads:>3d} "
            )
    return 0


def activity(mode: str) -> tuple[int, int]:
    """Reads and writes per second: a little on disks in use, nothing on free ones."""
    if mode == "r0w0e0":
        return 0, 0
    wave = abs(int(time.time()) % 60 - 30)
    return 1 + wave // 6, 4 + wave // 3
