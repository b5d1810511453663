"""The devices of bhyve, one function per model: checks what bhyve's own initialisation checks.

Each gets the machine, its place and its configuration node, and adds a `Device` (see qemu.py for the kinds and
their values). What bhyve prints before it gives up is in ``freebsd/bhyve.md`` 4, 5 and 8, and in the sources of
usr.sbin/bhyve: pci_virtio_9p.c, pci_virtio_input.c, pci_passthru.c.

Checked only, since nothing can stand in for them: passthru (the guest does not see the device), and the sound
card of hda, which plays nothing. A virtio-input is a keyboard of QEMU's, whatever the host's device is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from bhype.lab import bhyve_disks, bhyve_fbuf, bhyve_lpc, bhyve_nics, core, pci
from bhype.lab.bhyve_config import Config, Node
from bhype.lab.bhyve_machine import Device, Machine, Place, init_error, real

_MISSING = "No such file or directory"
_TAG_MAX = 256


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
    read_only = config.node_flag(node, "ro")
    path, share = config.value(node, "path"), config.value(node, "sharename")
    if path is None:
        core.warn("virtio-9p: path required")
        init_error("Invalid argument")
    try:
        os.close(os.open(real(path), os.O_RDONLY | os.O_DIRECTORY))
    except OSError as error:
        core.warn(f"virtio-9p: failed to open '{path}': {error.strerror}")
        init_error(error.strerror or "")
    if share is None:
        core.warn("virtio-9p: share name required")
        init_error("Invalid argument")
    if len(share.encode()) > _TAG_MAX:
        core.warn(f"virtio-9p: share name too long ({_TAG_MAX} octet limit)")
        init_error("Invalid argument")
    values = {"path": real(path), "tag": share, "read_only": read_only}
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


def _virtio_rnd(machine: Machine, place: Place, node: Node, config: Config) -> None:
    machine.devices.append(Device("virtio-rnd", place))


def _nothing(machine: Machine, place: Place, node: Node, config: Config) -> None:
    """QEMU's machine has its own host bridge."""


def _hda(machine: Machine, place: Place, node: Node, config: Config) -> None:
    for name in ("play", "rec"):
        path = config.value(node, name)
        if path is not None and not os.path.exists(real(path)):
            init_error(_MISSING)  # pci_hda.c prints its reason only when built for debugging
    machine.devices.append(Device("hda", place))


def _virtio_input(machine: Machine, place: Place, node: Node, config: Config) -> None:
    path = config.value(node, "path")
    if path is None:
        core.warn("pci_vtinput_init: missing required path config value")
        init_error("Invalid argument")
    if not os.path.exists(real(path)):
        core.warn(f"pci_vtinput_init: failed to open {path}")
        init_error(_MISSING)
    machine.devices.append(Device("virtio-input", place))


def _passthru(machine: Machine, place: Place, node: Node, config: Config) -> None:
    if not machine.wired:
        core.warn("bhyve: passthru requires guest memory to be wired")
        init_error()
    name = config.value(node, "pptdev")
    if name is not None:
        device = pci.by_name(name)
        if not re.fullmatch(r".*[^0-9][0-9]+", name):
            core.warn(f"Invalid passthru device name {name}")
            init_error()
        if device is None:
            core.warn(f"Passthru device {name} not found")
            init_error()
        address: tuple[int, ...] = pci.address(device)
    else:
        for key in ("bus", "slot", "func"):
            if config.value(node, key) is None:
                core.warn(f"passthru: missing required {key} setting")
                init_error()
        address = tuple(bhyve_fbuf.atoi(config.value(node, key) or "") for key in ("bus", "slot", "func"))
    if not pci.assign(address, machine.name):
        core.warn(f"bhyve: PCI device at {'/'.join(map(str, address))} is not using the ppt(4) driver")
        init_error()
    rom = config.value(node, "rom")
    if rom is not None and not os.path.isfile(real(rom)):
        core.warn(f'bhyve: passthru_init_rom: can\'t open romfile "{rom}"')
        init_error(_MISSING)


_MODELS: dict[str, Callable[[Machine, Place, Node, Config], None]] = {
    "hostbridge": _nothing,
    "lpc": bhyve_lpc.init,
    "virtio-blk": bhyve_disks.virtio_blk,
    "nvme": bhyve_disks.nvme,
    "ahci": bhyve_disks.ahci,
    "virtio-scsi": bhyve_disks.virtio_scsi,
    "virtio-net": bhyve_nics.init,
    "e1000": bhyve_nics.init,
    "fbuf": bhyve_fbuf.init,
    "xhci": _xhci,
    "virtio-rnd": _virtio_rnd,
    "hda": _hda,
    "virtio-9p": _9p,
    "virtio-console": _console,
    "virtio-input": _virtio_input,
    "uart": bhyve_lpc.uart,
    "passthru": _passthru,
}
