"""From bhyve's configuration to the machine that runs: everything that bhyve checks before the guest starts.

Texts and statuses are those of FreeBSD 14 (``freebsd/bhyve.md`` 2, 4, 5, 8).
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import Any, NoReturn

from bhype.lab import bhyve_host, bhyve_state, core
from bhype.lab.bhyve_config import Config

NAME_MAX = 229
_UINT16 = 65535


@dataclass
class Device:
    """One device of the machine. ``kind`` and ``values`` are what qemu.py understands, see there."""

    kind: str
    slot: tuple[int, int, int]  # bus, slot, function
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Machine:
    """What is to run. Sizes in bytes; paths are those of this machine, not of the lab's FreeBSD.

    serials: what the ports com1-com4 are joined to: None, "stdio" or FreeBSD's path of a tty.
    screen: None or the fbuf's address, port, width, height, password (or None), wait.
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
    bootrom: str | None = None
    bootvars: str | None = None
    lpc: bool = False
    serials: list[str | None] = field(default_factory=lambda: [None] * 4)
    screen: dict[str, Any] | None = None
    devices: list[Device] = field(default_factory=list)
    taps: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def basics(config: Config) -> Machine:
    """Topology, memory and switches: what is checked before the kernel is asked for a VM."""
    name = config.get("name") or ""
    cpus, sockets, cores, threads = _topology(config)
    for vcpu in range(cpus):
        pins = config.get(f"vcpu.{vcpu}.cpuset")
        if pins is not None and not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", pins):
            core.fail(f"bhyve: invalid cpuset for vcpu {vcpu}: '{pins}'", 4)
    size = config.get("memory.size") or ""
    memory = _size(size)
    if memory is None:
        core.fail(f"bhyve: invalid memsize '{size}'", 64)
    return Machine(
        name, cpus, sockets, cores, threads, memory,
        uuid=config.get("uuid"),
        acpi=config.flag("acpi_tables"),
        utc=not config.flag("rtc.use_localtime", default=True),
        destroy_on_poweroff=config.flag("destroy_on_poweroff"),
        wired=config.flag("memory.wired"),
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
    if is_new and not machine.bootrom:
        core.fail("virtual machine cannot be booted", 4)
    limit = bhyve_host.cpus()
    if machine.cpus > limit:
        core.fail(f"{machine.cpus} vCPUs requested but only {limit} available", 4)
    if machine.memory == 0:
        core.fail("Unable to setup memory (22)", 4)
    if machine.memory > bhyve_host.memory():
        core.fail("Unable to setup memory (12)", 4)


def finish(machine: Machine) -> None:
    """What comes after the devices: the SMBIOS table needs a real UUID."""
    if machine.uuid is not None:
        try:
            machine.uuid = str(uuid.UUID(machine.uuid))
        except ValueError:
            raise core.Exit(4) from None


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


def _size(text: str) -> int | None:
    """vm_parse_memsize: bytes, or megabytes when a bare number is smaller than one megabyte."""
    match = re.fullmatch(r"\s*(\d+)([kmgt]?)b?", text, re.IGNORECASE)
    if not match:
        return None
    number = int(match[1])
    if not match[2]:
        return number << 20 if number < 1 << 20 else number
    return number << 10 * (" kmgt".index(match[2].lower()))
