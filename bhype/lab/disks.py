"""The lab's physical disks: device nodes below /dev that are sparse files, and what is wrong with them.

The state "disks" holds one entry per disk, by its name ("da1", "nda0"), in the order in which the kernel found them:

    size, sector, stripe: bytes; driver: "da" (SCSI, SAS), "ada" (SATA) or "nda" (NVMe); vendor, model, revision,
    serial; rpm: 0 for flash; hours: of operation when the lab was made
    parts: partitions of a GPT, each with type, label, start and count (in sectors) and use ("/", "swap" or "")
    pulled: the node is gone, its bytes wait in the state folder
    broken: since when (seconds since 1970) every read and write fails
    failing: since when SMART says that the disk will fail; hot: degrees to add to its temperature
    rotten: bytes that a scrub will find wrong, once
"""

from __future__ import annotations

import os
import time

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Disk = dict[str, Any]

MIB, GIB = 1024**2, 1024**3
SECTOR = 512
FIRST = 40  # the first sector that a partition may take: GPT's header and table lie before it


def _disk(driver: str, size: int, model: str, serial: str, **more: object) -> Disk:
    vendor = {"da": "SEAGATE", "ada": "ATA", "nda": "Samsung"}[driver]
    return {
        **{
            "driver": driver,
            "size": size,
            "sector": SECTOR,
            "stripe": 4096,
            "vendor": vendor,
            "model": model,
        },
        **{"serial": serial, "revision": "0003", "rpm": 7200 if driver == "da" else 0, "hours": 12345},
        **more,
    }


def default(size: int) -> dict[str, Disk]:
    """The disks of a new lab: the system's, the first pool's (of ``size`` bytes) and six that are free."""
    sas, nvme = "ST4000NM0025", "Samsung SSD 980 PRO 250GB"
    parts = [
        {"type": "efi", "label": "efiboot0", "start": FIRST, "count": 260 * 2048, "use": "/boot/efi"},
        {"type": "freebsd-swap", "label": "swap0", "start": 260 * 2048 + FIRST, "count": 4 * GIB // SECTOR,
         "use": "swap"},
        {"type": "freebsd-ufs", "label": "rootfs", "start": 4 * GIB // SECTOR + 260 * 2048 + FIRST,
         "count": 27 * GIB // SECTOR, "use": "/"},
    ]  # fmt: skip
    return {
        "nda0": _disk("nda", 32 * GIB, nvme, "S5GXNX0R100001", revision="5B2QGXA7", parts=parts),
        "da0": _disk("da", size, sas, "ZC1100D0"),
        **{f"da{n}": _disk("da", 64 * GIB, sas, f"ZC1100D{n}") for n in range(1, 5)},
        "ada0": _disk("ada", 48 * GIB, "Samsung SSD 870 EVO 500GB", "S62ANJ0R200001", revision="SVT02B6Q"),
        "nda1": _disk("nda", 16 * GIB, nvme, "S5GXNX0R100002", revision="5B2QGXA7"),
    }


def make(size: int) -> None:
    """Give the lab its disks, or their nodes again; what is there is kept. size: of the first pool's disk."""
    with core.state("disks") as disks:
        for name, disk in default(size).items():
            disks.setdefault(name, disk)
        for name, disk in disks.items():
            path = _bytes(name, pulled=bool(disk.get("pulled")))
            if not os.path.exists(path):
                with open(path, "wb") as file:
                    file.truncate(disk["size"])
            os.chmod(path, 0o640)
            if not disk.get("pulled"):
                for each in partitions(disk, name):
                    _touch(core.root(f"/dev/{each}"))


def _bytes(name: str, *, pulled: bool) -> str:
    return f"{core.folder()}/state/pulled-{name}" if pulled else core.root(f"/dev/{name}")


def _touch(path: str) -> None:
    if not os.path.exists(path):
        with open(path, "wb"):
            pass


def partitions(disk: Disk, name: str) -> list[str]:
    """Names of the disk's partitions: "nda0p1" ..."""
    return [f"{name}p{index}" for index, _ in enumerate(disk.get("parts", []), 1)]


def present() -> dict[str, Disk]:
    """The disks whose nodes are there."""
    return {
        name: disk for name, disk in core.peek("disks").items() if os.path.exists(core.root(f"/dev/{name}"))
    }


def users(disk: Disk) -> list[str]:
    """What the host uses of the disk: mount points, "swap"."""
    return [part["use"] for part in disk.get("parts", []) if part["use"]]


def of(path: str) -> str:
    """The name of the disk, or of the disk of the partition, at ``path``; "" for a plain file."""
    if not path.startswith("/dev/"):
        return ""
    name = path[5:]
    disks = core.peek("disks")
    if name in disks:
        return name
    return next((each for each, disk in disks.items() if name in partitions(disk, each)), "")


VERBS = ("pull", "insert", "break", "mend", "wear", "heat", "rot", "add")


def change(verb: str, name: str, amount: int = 0) -> None:
    """Do to a disk what happens to disks. Raises ValueError where that makes no sense.

    pull, insert: out of its slot and back in; break: from now on reads and writes fail; wear: SMART warns;
    mend: neither is so any more; heat: ``amount`` degrees more; rot: ``amount`` bytes go wrong unnoticed;
    add: a new disk of ``amount`` bytes.
    """
    now = int(time.time())
    with core.state("disks") as disks:
        if verb == "add":
            if name in disks or name.rstrip("0123456789") not in ("da", "ada", "nda"):
                raise ValueError(f"{name!r} is there, or no name of a disk")
            disks[name] = _disk(name.rstrip("0123456789"), amount or 64 * GIB, "LAB DISK", f"LAB{now}{name}")
        if name not in disks:
            raise ValueError(f"there is no disk {name!r}")
        disk = disks[name]
        if verb in ("pull", "insert") and bool(disk.get("pulled")) == (verb == "pull"):
            raise ValueError(f"{name} is {'out' if verb == 'pull' else 'in'} already")
        if verb in ("pull", "insert"):
            disk["pulled"] = verb == "pull"
            os.rename(_bytes(name, pulled=verb == "insert"), _bytes(name, pulled=verb == "pull"))
        elif verb == "mend":
            for key in ("broken", "failing", "hot", "rotten"):
                disk.pop(key, None)
        elif verb != "add":
            key = {"break": "broken", "wear": "failing", "heat": "hot", "rot": "rotten"}[verb]
            disk[key] = (amount or 20) if verb == "heat" else (amount or MIB) if verb == "rot" else now
        if verb == "add":
            with open(core.root(f"/dev/{name}"), "wb") as file:
                file.truncate(disk["size"])


def human(size: int) -> str:
    """As FreeBSD's humanize_number(3) in four characters: ``64G``, ``4.0G``, ``260M``."""
    units = "BKMGTPE"
    index, number = 0, float(size)
    while number >= 1000 and index < len(units) - 1:
        number /= 1024
        index += 1
    text = f"{number:.1f}" if number < 9.95 and index else f"{number:.0f}"
    return text + units[index]


def description(disk: Disk) -> str:
    """As geom(8) shows the model."""
    return f"{disk['vendor']} {disk['model']}" if disk["driver"] == "da" else str(disk["model"])


def lunid(disk: Disk) -> str:
    return f"5000c500{sum(map(ord, disk['serial'])) * 2654435761 % 2**32:08x}"


def modes(found: dict[str, Disk]) -> dict[str, str]:
    """How often each disk is open for reading, writing and exclusively, as GEOM counts: ``r1w1e1``."""
    from bhype.lab.openzfs import pools, vdevs

    in_pools = {
        of(each["path"])
        for pool in pools.opened().pools.values()
        for each in vdevs.all_leaves(pool)
        if each["state"] == "ONLINE"
    }
    result = {}
    for name, disk in found.items():
        count = len(users(disk))
        result[name] = (
            f"r{count}w{count}e{count + 1}" if count else "r1w1e1" if name in in_pools else "r0w0e0"
        )
    return result
