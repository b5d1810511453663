"""bhyve's disks: their backing files and options, as block_if.c, pci_virtio_block.c, pci_nvme.c, pci_ahci.c and
pci_virtio_scsi.c check them (``freebsd/bhyve.md`` 4.2, 4.3).

Without effect in the lab: nocache and direct (the host's cache is not the guest's affair), qsz, ioslots and iid.
A SATA disk's logical sectors are always 512 bytes, since QEMU has no others.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from typing import Any

from bhype.lab import core
from bhype.lab.bhyve_config import Config, Node
from bhype.lab.bhyve_machine import Device, Machine, Place, init_error, real
from bhype.lab.openzfs import files

_CTL = "/dev/cam/ctl"


def virtio_blk(machine: Machine, place: Place, node: Node, config: Config) -> None:
    machine.devices.append(Device("virtio-blk", place, _disk(machine, config, node)))


def nvme(machine: Machine, place: Place, node: Node, config: Config) -> None:
    sector = config.value(node, "sectsz")
    if sector is not None and sector not in ("512", "4096", "8192"):
        core.warn(f"nvme: Invalid sector size {sector}")
        init_error("Invalid argument")
    if (config.value(node, "dsm") or "auto") not in ("auto", "enable", "disable"):
        core.warn("nvme: Invalid dsm value")
        init_error("Invalid argument")
    ram = config.value(node, "ram")
    if ram is None:
        disk = _disk(machine, config, node)
        disk["discard"] = disk["discard"] and config.value(node, "dsm") != "disable"
    elif ram.isdigit() and int(ram) > 0:
        disk = {"ram": int(ram) << 20, "bootindex": config.value(node, "bootindex")}
    else:
        core.warn("nvme: Unable to allocate RAM")
        init_error("Cannot allocate memory")
    if sector is not None:
        disk |= {"logical": int(sector), "physical": max(int(sector), disk.get("physical") or 0)}
    # pci_nvme.c: the serial number is made from the place, not from the path.
    disk["serial"] = config.value(node, "ser") or f"NVME-{place[1]}-{place[2]}"
    disk["queues"] = _number(config.value(node, "maxq"))
    disk["eui64"] = _number(config.value(node, "eui64"))
    machine.devices.append(Device("nvme", place, disk))


def ahci(machine: Machine, place: Place, node: Node, config: Config) -> None:
    ports = node.get("port")
    drives = []
    numbered = ports.items() if isinstance(ports, dict) else ()
    for number, port in sorted(numbered, key=lambda pair: (len(pair[0]), pair[0])):
        if not isinstance(port, dict) or not number.isdigit() or int(number) > 31:
            continue
        kind = config.value(port, "type")
        if kind not in ("hd", "cd"):
            core.warn(f"pci_ahci: invalid port type {kind}")
            init_error("Invalid argument")
        empty = kind == "cd" and config.value(port, "path") is None
        drive = {"port": int(number), "type": kind, **({} if empty else _disk(machine, config, port))}
        drive |= {"serial": drive.get("serial") or config.value(port, "ser")}
        drive |= {key: config.value(port, key) for key in ("model", "rev")}
        drive["ssd"] = config.value(port, "nmrr") == "1"
        drives.append(drive)
    machine.devices.append(Device("ahci", place, {"ports": drives}))


def virtio_scsi(machine: Machine, place: Place, node: Node, config: Config) -> None:
    """A LUN of ctl(4): in the lab, what lies at the device's path is an image, or a link to one."""
    path = config.value(node, "dev") or _CTL
    file = real(path)
    try:
        os.close(os.open(file, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        core.warn(f"cannot open {path}: {error.strerror}")
        init_error(error.strerror or "")
    machine.files.append(file)
    values = {
        "path": file, "read_only": False, "logical": 0, "physical": 0, "serial": None, "discard": True,
        "bootindex": config.value(node, "bootindex"),
    }  # fmt: skip
    machine.devices.append(Device("virtio-scsi", place, values))


def _disk(machine: Machine, config: Config, node: Node) -> dict[str, Any]:
    """Open a backing file as block_if.c does: read-write, else read-only without a word, else an error."""
    path = config.value(node, "path")
    if path is None:
        core.warn('Missing "path" for block device.')
        init_error("Invalid argument")
    file = real(path)
    read_only = config.node_flag(node, "ro")
    size = config.value(node, "sectorsize")
    logical, physical = 0, 0
    if size is not None:
        match = re.fullmatch(r"(\d+)(?:/(\d+))?", size)
        if not match:
            core.warn(f'Invalid sector size "{size}"')
            init_error("Invalid argument")
        logical, physical = int(match[1]), int(match[2] or match[1])
    try:
        read_only = _open(file, read_only=read_only)
    except OSError as error:
        core.warn(f"bhyve: Could not open backing file: {path}: {error.strerror}")
        init_error(error.strerror or "")
    wrong = (logical & (logical - 1)) or (physical & (physical - 1)) or logical % 512 or physical < logical
    if wrong or (logical == 0 and size is not None):
        core.warn(f"Invalid sector size {logical}/{physical}")
        init_error("Invalid argument")
    machine.files.append(file)
    return {
        "path": file, "read_only": read_only, "logical": logical, "physical": physical,
        "serial": config.value(node, "ser") or _serial(path),
        "discard": not config.node_flag(node, "nodelete"), "bootindex": config.value(node, "bootindex"),
    }  # fmt: skip


def _open(file: str, *, read_only: bool) -> bool:
    """Try the file; returns whether it is read-only."""
    if not read_only:
        files.own(file)  # a clone that has shared its bytes until now
        try:
            os.close(os.open(file, os.O_RDWR | os.O_NONBLOCK))
        except OSError:
            read_only = True
        else:
            return False
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
    os.close(handle)
    if is_folder:
        raise IsADirectoryError(21, "Is a directory")
    return read_only


def _serial(path: str) -> str:
    """bhyve's own choice, which moves with the path: "BHYVE-" and the first six bytes of its MD5 digest."""
    digest = hashlib.md5(path.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest().upper()
    return f"BHYVE-{digest[0:4]}-{digest[4:8]}-{digest[8:12]}"


def _number(text: str | None) -> int | None:
    try:
        return int(text or "", 0) or None
    except ValueError:
        return None
