"""nvmecontrol(8): ``nvmecontrol devlist`` (sbin/nvmecontrol/devlist.c)."""

from __future__ import annotations

from bhype.lab import core, disks


def main(argv: list[str]) -> int:
    core.fault(" ".join(["nvmecontrol", *argv]))
    if not argv or argv[0] != "devlist":
        core.fail("Usage:\n    nvmecontrol devlist [--human]")
    found = {name: disk for name, disk in disks.present().items() if disk["driver"] == "nda"}
    for name, disk in found.items():
        controller = f"nvme{name.removeprefix('nda')}"
        print(f"{controller:>6}: {disks.description(disk)}")
        print(f"    {controller}ns1 ({disk['size'] // 1024**2}MB)")
    if not found:
        core.fail("No NVMe controllers found.")
    return 0
