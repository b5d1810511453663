"""From bhyve's configuration to the machine that runs: everything that bhyve checks before the guest starts.

Texts and statuses are those of FreeBSD 14 (``freebsd/bhyve.md`` 2, 4, 5, 8).
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import uuid
from dataclasses import dataclass, field
from typing import Any, NoReturn

from bhype.lab import bhyve_host, bhyve_state, core
from bhype.lab.bhyve_config import Config

Place = tuple[int, int, int]  # bus, slot, function

NAME_MAX = 229
_UINT16 = 65535


@dataclass
class Device:
    """One device of the machine. ``kind`` and ``values`` are what qemu.py understands, see there."""

    kind: str
    slot: Place
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Machine:
    """What is to run. Sizes in bytes; paths are those of this machine, not of the lab's FreeBSD.

    serials: what the ports com1-com4 are joined to: None, "stdio", ``tcp=ADDRESS:PORT`` or FreeBSD's path of a tty;
      listeners: the bound sockets of those with TCP, by that text.
    screen: None or the fbuf's address, port, width, height, password (or None), wait.
    loaded: what a loader has put into the VM (`bhyve_state.load`) when there is no boot ROM.
    items: fw_cfg items that the guest can see. tpm: the connection to the TPM's emulator.
    smbios: the variables system.*, bios.*, board.* and chassis.* that were set. gdb: address, port, wait.
    nodes: the netgraph sockets that this bhyve holds (netgraph.py). wires: descriptors of taps (wires_tap.py).
    """

    name: str
    cpus: int
    sockets: int
    cores: int
    threads: int
    memory: int
    uuid: str | None
    acpi: bool
    utc: bool
    destroy_on_poweroff: bool
    wired: bool
    keyboard: str | None = None
    gdb: dict[str, Any] | None = None
    smbios: dict[str, str] = field(default_factory=dict)
    items: list[tuple[str, bytes]] = field(default_factory=list)
    loaded: dict[str, Any] | None = None
    tpm: socket.socket | None = None
    bootrom: str | None = None
    bootvars: str | None = None
    lpc: bool = False
    serials: list[str | None] = field(default_factory=lambda: [None] * 4)
    listeners: dict[str, socket.socket] = field(default_factory=dict)
    screen: dict[str, Any] | None = None
    devices: list[Device] = field(default_factory=list)
    taps: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    wires: list[int] = field(default_factory=list)


def real(path: str) -> str:
    """Where FreeBSD's ``path`` lies on this machine."""
    return core.root(path) if path.startswith("/") else os.path.abspath(path)


def basics(config: Config) -> Machine:
    """Topology, memory and switches: what is checked before the kernel is asked for a VM."""
    name = config.get("name") or ""
    cpus, sockets, cores, threads = _topology(config)
    for vcpu in range(cpus):
        pins = config.get(f"vcpu.{vcpu}.cpuset")
        if pins is not None and not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", pins):
            core.fail(f"bhyve: invalid cpuset for vcpu {vcpu}: '{pins}'", 4)
    size = config.get("memory.size") or ""
    memory = parse_size(size)
    if memory is None:
        core.fail(f"bhyve: invalid memsize '{size}'", 64)
    return Machine(
        name, cpus, sockets, cores, threads, memory,
        uuid=config.get("uuid"),
        acpi=config.flag("acpi_tables"),
        utc=not config.flag("rtc.use_localtime", default=True),
        destroy_on_poweroff=config.flag("destroy_on_poweroff"),
        wired=config.flag("memory.wired"),
        keyboard=config.get("keyboard.layout"),
        smbios={
            f"{group}.{name}": config.get(f"{group}.{name}") or ""
            for group in ("bios", "system", "board", "chassis") for name in config.find(group) or ()
        },
        # Behind the interface of bhyve's own firmware (fwctl) there are no such items.
        items=config.items if config.get("lpc.fwcfg") == "qemu" else [],
        bootrom=config.get("lpc.bootrom"),
        bootvars=config.get("lpc.bootvars"),
    )  # fmt: skip


def enter_kernel(machine: Machine, argv: list[str]) -> None:
    """Create or reuse ``/dev/vmm/NAME`` and give it CPUs and memory, as vmm(4) allows.

    argv is what ps(1) shows of this process. The caller releases the VM at the end (`bhyve_state.release`).
    """
    if not bhyve_host.is_loaded("vmm"):
        core.fail("vm_create: No such file or directory", 4)
    if len(machine.name.encode()) > NAME_MAX or "/" in machine.name:
        core.fail("vm_create: Invalid argument", 4)
    try:
        bhyve_state.create(machine.name)
    except FileExistsError:
        is_new = False
    else:
        is_new = True
    if not bhyve_state.claim(machine.name, argv):
        core.fail("vm_reinit: Device busy" if machine.bootrom else "vm_open: Device busy", 4)
    if not machine.bootrom:
        if is_new:
            core.fail("virtual machine cannot be booted", 4)
        machine.loaded = bhyve_state.take_loaded(machine.name)
    limit = bhyve_host.cpus()
    if machine.cpus > limit:
        core.fail(f"{machine.cpus} vCPUs requested but only {limit} available", 4)
    if machine.memory == 0:
        core.fail("Unable to setup memory (22)", 4)
    if machine.memory > bhyve_host.memory():
        core.fail("Unable to setup memory (12)", 4)
    if machine.loaded and machine.loaded["memory"] != machine.memory:
        core.fail("Unable to setup memory (22)", 4)  # the segment that the loader made has another size


def finish(machine: Machine, config: Config) -> None:
    """What comes around the devices: the debugger's port, and the SMBIOS table's UUID."""
    _debugger(machine, config)
    if machine.uuid is None:
        # smbiostbl.c: made of the VM's and the host's name, so that a VM keeps it.
        digest = hashlib.md5(
            f"{machine.name}{bhyve_host.hostname()}".encode(), usedforsecurity=False
        ).digest()
        machine.uuid = str(uuid.UUID(bytes=digest, version=3))
    else:
        try:
            machine.uuid = str(uuid.UUID(machine.uuid))
        except ValueError:
            raise core.Exit(4) from None


def _debugger(machine: Machine, config: Config) -> None:
    """gdb.c: the port is bound before the guest starts."""
    text = config.get("gdb.port")
    if text is None:
        return
    port = int(text) if text.isdigit() else 0
    if not port:
        return  # 0: no debugger
    address = config.get("gdb.address") or "localhost"
    try:
        family, kind, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError):
        core.fail("bhyve: gdb address resolution: Name does not resolve", 1)
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except (OSError, OverflowError) as error:
            core.fail(f"bhyve: gdb socket bind: {getattr(error, 'strerror', None) or error}", 1)
    machine.gdb = {"address": where[0], "port": port, "wait": config.flag("gdb.wait")}


def init_error(reason: str = "No error: 0") -> NoReturn:
    core.fail(f"Device emulation initialization error: {reason}", 4)


def _topology(config: Config) -> tuple[int, int, int, int]:
    given = config.get("cpus")
    cpus = _number("cpus", given) if given is not None else 1
    cores, threads = (_number(name, config.get(name) or "1") for name in ("cores", "threads"))
    value = config.get("sockets")
    sockets = _number("sockets", value) if value is not None else cpus
    product = sockets * cores * threads
    if product > _UINT16:
        core.fail(f"bhyve: Computed number of vCPUs too high: {product}", 4)
    if given is not None and cpus != product:
        core.fail(
            f"bhyve: Topology ({sockets} sockets, {cores} cores, {threads} threads) "
            f"does not match {cpus} vCPUs", 4,
        )  # fmt: skip
    return product, sockets, cores, threads


def _number(name: str, text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = 0
    if not 1 <= number <= _UINT16:
        core.fail(f"bhyve: Invalid value for {name}: '{text}'", 4)
    return number


def parse_size(text: str) -> int | None:
    """vm_parse_memsize: bytes, or megabytes when a bare number is smaller than one megabyte."""
    match = re.fullmatch(r"\s*(\d+)([kmgt]?)b?", text, re.IGNORECASE)
    if not match:
        return None
    number = int(match[1])
    if not match[2]:
        return number << 20 if number < 1 << 20 else number
    return number << 10 * (" kmgt".index(match[2].lower()))
