"""swapinfo(8)."""

from __future__ import annotations

from bhype.lab import core, disks


def main(argv: list[str]) -> int:
    core.fault(" ".join(["swapinfo", *argv]))
    try:
        core.getopt(argv, "bghkmh")
    except core.BadOption:
        core.fail("usage: swapinfo [-ghkmA]")
    print(f"{'Device':<15} {'1K-blocks':>10} {'Used':>8} {'Avail':>8} Capacity")
    for name, disk in disks.present().items():
        for index, part in enumerate(disk.get("parts", []), 1):
            if part["use"] == "swap":
                blocks = part["count"] * disk["sector"] // 1024
                print(f"{f'/dev/{name}p{index}':<15} {blocks:>10} {0:>8} {blocks:>8} {0:>5}%")
    return 0
