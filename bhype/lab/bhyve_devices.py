"""The devices of bhyve, one function per model: checks what bhyve's own initialisation checks.

Each gets the machine, its place and its configuration node, and adds a `Device` (see qemu.py for the kinds and
their values). What bhyve prints before it gives up is in ``freebsd/bhyve.md`` 4, 5 and 8.
"""

from __future__ import annotations

import os
import re
import stat
import termios
from collections.abc import Callable
from typing import Any

from bhype.lab import bhyve_fbuf, bhyve_host, bhyve_state, core
from bhype.lab.bhyve_config import Config, Node
from bhype.lab.bhyve_machine import Device, Machine, init_error

Place = tuple[int, int, int]

_MISSING = "No such file or directory"
_ROM_MAX = 16 << 20


def real(path: str) -> str:
    """Where FreeBSD's ``path`` lies on this machine."""
    return core.root(path) if path.startswith("/") else os.path.abspath(path)


def init(machine: Machine, config: Config) -> None:
    """Initialise all devices in the order of their places."""
    for place, node in _places(config):
        model = config.value(node, "device")
        where = ":".join(map(str, place))
        if model is None:
            core.warn(f'pci slot {where}: missing "device" value')
            init_error("Invalid argument")
        if model not in _MODELS:
            core.warn(f'pci slot {where}: unknown device "{model}"')
            init_error("Invalid argument")
        _MODELS[model](machine, place, node, config)


def _places(config: Config) -> list[tuple[Place, Node]]:
    places = []
    for bus, slots in (config.find("pci") or {}).items():
        for slot, functions in slots.items() if isinstance(slots, dict) else ():
            for function, node in functions.items() if isinstance(functions, dict) else ():
                if isinstance(node, dict) and (bus + slot + function).isdigit():
                    places.append(((int(bus), int(slot), int(function)), node))
    return sorted(places, key=lambda pair: pair[0])


# --- disks


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
        if not read_only:
            try:
                os.close(os.open(file, os.O_RDWR | os.O_NONBLOCK))
            except OSError:
                read_only = True
        if read_only:
            handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
            is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
            os.close(handle)
            if is_folder:
                raise IsADirectoryError(21, "Is a directory")
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
        "serial": config.value(node, "ser"), "discard": not config.node_flag(node, "nodelete"),
        "bootindex": config.value(node, "bootindex"),
    }  # fmt: skip


def _virtio_blk(machine: Machine, place: Place, node: Node, config: Config) -> None:
    disk = _disk(machine, config, node)
    machine.devices.append(Device("virtio-blk", place, disk))


def _nvme(machine: Machine, place: Place, node: Node, config: Config) -> None:
    sector = config.value(node, "sectsz")
    if sector is not None and sector not in ("512", "4096", "8192"):
        core.warn(f"nvme: Invalid sector size {sector}")
        init_error("Invalid argument")
    ram = config.value(node, "ram")
    if ram is None:
        disk = _disk(machine, config, node)
    elif ram.isdigit() and int(ram) > 0:
        disk = {"ram": int(ram) << 20, "serial": config.value(node, "ser"), "bootindex": None}
    else:
        core.warn("nvme: Unable to allocate RAM")
        init_error("Cannot allocate memory")
    machine.devices.append(Device("nvme", place, disk))


def _ahci(machine: Machine, place: Place, node: Node, config: Config) -> None:
    ports = node.get("port")
    drives = []
    for number, port in sorted(ports.items(), key=lambda pair: pair[0]) if isinstance(ports, dict) else ():
        if not isinstance(port, dict) or not number.isdigit() or int(number) > 31:
            continue
        kind = config.value(port, "type")
        if kind not in ("hd", "cd"):
            core.warn(f"pci_ahci: invalid port type {kind}")
            init_error("Invalid argument")
        empty = kind == "cd" and config.value(port, "path") is None
        drives.append({"port": int(number), "type": kind, **({} if empty else _disk(machine, config, port))})
    machine.devices.append(Device("ahci", place, {"ports": drives}))


# --- network


def _nic(machine: Machine, place: Place, node: Node, config: Config) -> None:
    model = config.value(node, "device")
    mac = config.value(node, "mac")
    if mac is not None and (
        not re.fullmatch(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}", mac)
        or int(mac.partition(":")[0], 16) & 1
        or not int(mac.replace(":", ""), 16)
    ):
        core.warn(f"Invalid MAC {mac}")
        init_error("Invalid argument")
    values: dict[str, Any] = {"model": model, "mac": mac or _own_mac(machine.name, place), "tap": None}
    mtu = config.value(node, "mtu")
    if mtu is not None and not (mtu.isdigit() and 68 <= int(mtu) <= 65535):
        core.warn(f"Invalid mtu {mtu}")
        init_error("Invalid argument")
    backend = config.value(node, "backend")
    if backend is not None:
        kind = config.value(node, "type") or ""
        if kind != "tap" and not re.fullmatch(r"(tap|vmnet)\d+", backend):
            # Netgraph, netmap and slirp are not in the lab's kernel; nothing else is known to bhyve.
            core.warn(f'Unable to find network backend "{backend}"')
            init_error("Invalid argument")
        _open_tap(machine, backend)
        values["tap"] = backend
        values["bridge"] = bhyve_host.bridge_of(backend)
    machine.devices.append(Device("nic", place, values))


def _open_tap(machine: Machine, tap: str) -> None:
    if not bhyve_host.has_tap(tap):
        reason = _MISSING
    elif not bhyve_state.open_tap(machine.name, tap):
        reason = "Device busy"
    else:
        machine.taps.append(tap)
        return
    core.warn(f"open of tap device /dev/{tap} failed")
    init_error(reason)


def _own_mac(name: str, place: Place) -> str:
    """bhyve's own choice: NetApp's prefix and a digest of ``slot-function-name``: it moves with the slot."""
    import hashlib

    digest = hashlib.md5(f"{place[1]}-{place[2]}-{name}".encode(), usedforsecurity=False).hexdigest()
    return f"00:a0:98:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"


# --- screen, input, others


def _xhci(machine: Machine, place: Place, node: Node, config: Config) -> None:
    slots = node.get("slot")
    tablets = 0
    for slot in slots.values() if isinstance(slots, dict) else ():
        device = config.value(slot, "device") if isinstance(slot, dict) else None
        if device != "tablet":
            core.warn(f'pci_xhci: unknown USB device "{device}"')
            init_error("Invalid argument")
        tablets += 1
    machine.devices.append(Device("xhci", place, {"tablets": tablets}))


def _9p(machine: Machine, place: Place, node: Node, config: Config) -> None:
    path = config.value(node, "path") or ""
    if not os.path.isdir(real(path)):
        core.warn(f"bhyve: Failed to open 9P share {path}: {_MISSING}")
        init_error(_MISSING)
    values = {
        "path": real(path),
        "tag": config.value(node, "sharename"),
        "read_only": config.node_flag(node, "ro"),
    }
    machine.devices.append(Device("virtio-9p", place, values))


def _console(machine: Machine, place: Place, node: Node, config: Config) -> None:
    ports = node.get("port")
    found = []
    for port in ports.values() if isinstance(ports, dict) else ():
        path = config.value(port, "path") if isinstance(port, dict) else None
        if not isinstance(port, dict) or not path:
            core.warn("vtcon: Missing path of a port")
            init_error("Invalid argument")
        if os.path.lexists(real(path)):
            core.warn("vtcon: bind: Address already in use")
            init_error("Address already in use")
        found.append({"name": config.value(port, "name"), "path": real(path)})
    if len(found) > 16:
        core.warn("vtcon: Too many ports")
        init_error("Invalid argument")
    machine.devices.append(Device("virtio-console", place, {"ports": found}))


def _plain(kind: str) -> Callable[[Machine, Place, Node, Config], None]:
    def add(machine: Machine, place: Place, node: Node, config: Config) -> None:
        machine.devices.append(Device(kind, place))

    return add


def _nothing(machine: Machine, place: Place, node: Node, config: Config) -> None:
    """QEMU's machine has its own host bridge."""


def _absent(machine: Machine, place: Place, node: Node, config: Config) -> None:
    """Devices of the host that a lab has none of: /dev/input and /dev/cam/ctl."""
    path = config.value(node, "path") or config.value(node, "dev") or "/dev/cam/ctl"
    core.warn(f"bhyve: Could not open {path}: {_MISSING}")
    init_error(_MISSING)


def _passthru(machine: Machine, place: Place, node: Node, config: Config) -> None:
    if not machine.wired:
        core.warn("bhyve: passthru requires guest memory to be wired")
        init_error()
    core.warn(f"bhyve: PCI device at {config.value(node, 'pptdev')} is not using the ppt(4) driver")
    init_error()


# --- serial ports and firmware


def _check_tty(path: str) -> str | None:
    """The reason why ``path`` is no console for bhyve, or None. nmdm(4) makes its nodes when they are opened."""
    if path == "stdio":
        return None
    if re.fullmatch(r"/dev/nmdm[^/]+[AB]", path):
        return None if bhyve_host.is_loaded("nmdm") else _MISSING
    try:
        handle = os.open(real(path), os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        return error.strerror or ""
    try:
        termios.tcgetattr(handle)
    except termios.error:
        return "Inappropriate ioctl for device"
    finally:
        os.close(handle)
    return None


def _uart(machine: Machine, place: Place, node: Node, config: Config) -> None:
    path = config.value(node, "path")
    reason = _check_tty(path) if path else None
    if reason is not None:
        core.warn(f"Unable to initialize backend '{path}' for pci uart at {place[1]}:{place[2]}")
        init_error(reason)
    machine.devices.append(Device("uart", place, {"path": path}))


def _lpc(machine: Machine, place: Place, node: Node, config: Config) -> None:
    if machine.lpc:
        core.warn("Only one LPC bridge is allowed.")
        init_error()
    if place[0] != 0:
        core.warn("LPC bridge can be present only on bus 0.")
        init_error()
    machine.lpc = True
    if machine.bootrom is not None:
        _rom(machine)
    for number in range(4):
        path = config.get(f"lpc.com{number + 1}.path")
        if path is None:
            continue
        reason = _check_tty(path)
        if path == "stdio" and "stdio" in machine.serials:
            reason = "Device busy"
        if reason is not None:
            core.warn(f"Unable to initialize backend '{path}' for LPC device com{number + 1}")
            init_error(reason)
        machine.serials[number] = path
    if config.find("tpm") is not None:
        core.warn("Failed to init TPM device")
        init_error(_MISSING)


def _rom(machine: Machine) -> None:
    rom, variables = machine.bootrom or "", machine.bootvars
    machine.bootrom = real(rom)
    try:
        with open(machine.bootrom, "rb") as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        core.warn(f'Error opening bootrom "{rom}": {error.strerror}')
        init_error(error.strerror or "")
    if size > _ROM_MAX or size < 4096 or size % 4096:
        core.warn(f"Invalid bootrom size {size}")
        init_error()
    if variables is None:
        return
    machine.bootvars = real(variables)
    try:
        with open(machine.bootvars, "r+b") as file:
            more = os.fstat(file.fileno()).st_size
    except OSError as error:
        core.warn(f'Error opening bootrom variable file "{variables}": {error.strerror}')
        init_error(error.strerror or "")
    if more < 4096 or more % 4096:
        core.warn(f"Invalid bootrom variable size {more}")
        init_error()
    if size + more > _ROM_MAX:
        core.warn(f"Invalid bootrom and variable aggregate size {size + more}")
        init_error()


_MODELS: dict[str, Callable[[Machine, Place, Node, Config], None]] = {
    "hostbridge": _nothing,
    "lpc": _lpc,
    "virtio-blk": _virtio_blk,
    "nvme": _nvme,
    "ahci": _ahci,
    "virtio-net": _nic,
    "e1000": _nic,
    "fbuf": bhyve_fbuf.init,
    "xhci": _xhci,
    "virtio-rnd": _plain("virtio-rnd"),
    "hda": _plain("hda"),
    "virtio-9p": _9p,
    "virtio-console": _console,
    "uart": _uart,
    "passthru": _passthru,
    "virtio-scsi": _absent,
    "virtio-input": _absent,
}
