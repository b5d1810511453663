"""bhyve(8): the command line of a VM, and what its exit status means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from bhype.freebsd import names
from bhype.freebsd.command import Command

PROGRAM = "/usr/sbin/bhyve"

# Options are split at commas without an escape; % and \ start expansions (bhyve_config(5)); the rest is text.
_WORD = re.compile(r"[^,%\\\x00-\x1f\x7f]+")


def word(value: str) -> str:
    """Return ``value`` if it can stand between two commas of an option, else raise BadName."""
    if not _WORD.fullmatch(value):
        raise names.BadName(f"{value!r} has a character that bhyve does not take literally (one of , % \\).")
    return value


@dataclass(frozen=True, slots=True)
class Topology:
    """cpus: virtual CPUs. Without sockets, cores and threads bhyve makes each a socket of its own."""

    cpus: int
    sockets: int | None = None
    cores: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.cpus <= 65535:
            raise names.BadName(f"{self.cpus} is not a number of CPUs.")
        if self.sockets is not None and self.sockets * self.cores * self.threads != self.cpus:
            shape = f"{self.sockets} sockets of {self.cores} cores of {self.threads} threads"
            raise names.BadName(f"{shape} are not {self.cpus} CPUs.")

    def __str__(self) -> str:
        if self.sockets is None:
            return str(self.cpus)
        # All four, or bhyve takes the number of CPUs for the sockets and finds a mismatch.
        return f"cpus={self.cpus},sockets={self.sockets},cores={self.cores},threads={self.threads}"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A place on the virtual PCI bus."""

    bus: int
    slot: int
    function: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.bus <= 255 and 0 <= self.slot <= 31 and 0 <= self.function <= 7):
            raise names.BadName(f"{self} is not a PCI slot: a bus has slots 0 to 31 with functions 0 to 7.")

    def __str__(self) -> str:
        return f"{self.bus}:{self.slot}:{self.function}"

    @property
    def node(self) -> str:
        """The name of this place in a configuration file, bhyve_config(5)."""
        return f"pci.{self.bus}.{self.slot}.{self.function}"


@dataclass(frozen=True, slots=True)
class Slot:
    """A device in its place. device: as "virtio-blk,/dev/zvol/...", checked by who made it; secrets: further
    options of the device that must not be seen in ps(1), by their names of bhyve_config(5)."""

    address: Address
    device: str
    secrets: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.address},{self.device}"


@dataclass(frozen=True, slots=True)
class Machine:
    """One VM as bhyve sees it. memory: bytes; lpc: as "com1,/dev/nmdm-web1.1A"; pins: pairs of a virtual CPU and a
    CPU of the host; fw_cfg: as "opt/org.example/key,string=value"; variables: settings of bhyve_config(5) by name;
    options: extra words; secret_file: FreeBSD's path of the file with the secrets of all slots, passed by -k when
    there are any.

    The flags are those of bhyve(8): acpi -A, wire_memory -S, yield_on_hlt -H, yield_on_pause -P, no_msix -W,
    no_mptable -Y, utc_clock -u, ignore_msr -w, destroy_on_poweroff -D, guest_in_core -C, x2apic -x, strict_io -e.
    """

    name: str
    topology: Topology
    memory: int
    slots: tuple[Slot, ...] = ()
    lpc: tuple[str, ...] = ()
    uuid: str | None = None
    gdb: str | None = None
    keyboard: str | None = None
    pins: tuple[tuple[int, int], ...] = ()
    fw_cfg: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()
    secret_file: str | None = None
    acpi: bool = True
    wire_memory: bool = False
    yield_on_hlt: bool = True
    yield_on_pause: bool = False
    no_mptable: bool = False
    no_msix: bool = False
    utc_clock: bool = True
    ignore_msr: bool = False
    destroy_on_poweroff: bool = False
    guest_in_core: bool = False
    x2apic: bool = False
    strict_io: bool = False

    @property
    def secrets(self) -> str:
        """The content of ``secret_file``, empty when nothing is secret."""
        return "".join(
            f"{slot.address.node}.{key}={_secret(value)}\n"
            for slot in self.slots
            for key, value in slot.secrets
        )


def command(machine: Machine) -> Command:
    """The whole command line, its parts always in the same order."""
    flags = (
        ("-A", machine.acpi),
        ("-S", machine.wire_memory),
        ("-H", machine.yield_on_hlt),
        ("-P", machine.yield_on_pause),
        ("-W", machine.no_msix),
        ("-Y", machine.no_mptable),
        ("-u", machine.utc_clock),
        ("-w", machine.ignore_msr),
        ("-D", machine.destroy_on_poweroff),
        ("-C", machine.guest_in_core),
        ("-x", machine.x2apic),
        ("-e", machine.strict_io),
    )
    argv = [PROGRAM, *(flag for flag, wanted in flags if wanted)]
    # Always with a unit: a bare number means megabytes or bytes, depending on its size.
    argv += ["-c", str(machine.topology), "-m", f"{-(-machine.memory // 1024)}K"]
    for vcpu, cpu in machine.pins:
        argv += ["-p", f"{vcpu}:{cpu}"]
    for flag, value in (("-G", machine.gdb), ("-U", machine.uuid), ("-K", machine.keyboard)):
        if value is not None:
            argv += [flag, value]
    for item in machine.fw_cfg:
        argv += ["-f", item]
    for slot in machine.slots:
        argv += ["-s", str(slot)]
    for device in machine.lpc:
        argv += ["-l", device]
    # After -s, as all that may speak of a slot: bhyve refuses one that has a node already.
    for name, value in machine.variables:
        argv += ["-o", f"{name}={value}"]
    argv += machine.options
    if machine.secret_file and machine.secrets:
        argv += ["-k", names.path(machine.secret_file)]
    return Command((*argv, names.machine(machine.name)))


def _secret(value: str) -> str:
    """A value for a configuration file: the rest of its line."""
    if not value or not value.isprintable() or "%" in value or "\\" in value:
        raise names.BadName("A password for bhyve has no line end, % or \\.")
    return value


class ExitStatus(IntEnum):
    """How bhyve ended (bhyve(8), "EXIT STATUS"; sysexits(3))."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitStatus:
        status = int.__new__(cls, value)
        status._value_ = value
        status.meaning = meaning
        return status

    REBOOT = 0, "The guest rebooted."
    POWEROFF = 1, "The guest powered off."
    HALT = 2, "The guest halted."
    TRIPLE_FAULT = 3, "The guest ended in a triple fault."
    ERROR = 4, "bhyve could not run the guest."
    USAGE = 64, "bhyve refused its command line."
    OSERR = 71, "bhyve could not set up the guest."
    SUSPEND = 100, "The guest was suspended for an unknown reason."


def meaning(code: int) -> str:
    """A sentence for bhyve's exit status, or minus the number of the signal that ended it."""
    if code < 0:
        return f"bhyve was killed by signal {-code}."
    try:
        return ExitStatus(code).meaning  # type: ignore[call-arg]
    except ValueError:
        return f"bhyve ended with exit status {code}."
