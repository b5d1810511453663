"""The PCI devices of a host: which a guest can have, which the host lives on, and whose they are.

Reserved means that the driver ppt(4) has it; only then can a guest (bhyve(8), "passthru"). No I/O but of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from bhype.freebsd import pciconf
from bhype.freebsd.ifconfig import Interface

from .models import Host, PciDevice

# Base classes of PCI devices, as in sys/dev/pci/pcireg.h (PCIC_*).
STORAGE, NETWORK, BRIDGE = 0x01, 0x02, 0x06
# loader.conf(5) takes at most that many characters for one variable; there are pptdevs, pptdevs2 and pptdevs3.
LONGEST = 128
VARIABLES = ("pptdevs", "pptdevs2", "pptdevs3")
# What an administrator does at the host where it gives no devices to VMs.
ALLOWING = 'Start bHype there with "passthru" in BHYPE_ALLOW.'


@dataclass(frozen=True, slots=True)
class Owner:
    """Who uses a device: a name, and the page about it ("" for those who may not see it)."""

    name: str
    url: str = ""


Owners = Callable[[Host], dict[str, Owner]]
_owners: list[Owners] = []


def register(owners: Owners) -> None:
    """Let a room above tell whose devices are: ``owners(host)`` by address, as "pci0:1:0:0". Called from
    ``AppConfig.ready``."""
    if owners not in _owners:
        _owners.append(owners)


def owners(host: Host) -> dict[str, Owner]:
    """Who uses which device of ``host``, by address."""
    return {address: owner for ask in _owners for address, owner in ask(host).items()}


def kept(device: pciconf.PciDevice, interfaces: Iterable[Interface]) -> str:
    """Why the host needs the device for itself, as a sentence; "" when a guest may have it."""
    kind = device.class_code >> 16
    if not device.is_endpoint or kind == BRIDGE:
        return "It is a bridge of the host's own."
    if device.domain != 0:
        return "bhyve reaches only devices of PCI domain 0."
    if device.driver in {None, pciconf.PPT}:
        return ""
    name = driver_name(device)
    if kind == STORAGE:
        return f"The host may have disks on {name}. Reserve it in /boot/loader.conf if it has none."
    if kind == NETWORK:
        uses = {one.name: one for one in interfaces}
        member = next((one.name for one in uses.values() if name in one.members), "")
        if member:
            return f"{name} is part of {member}."
        if name in uses and (uses[name].is_up or uses[name].addresses):
            return f"The host uses {name}: take it down first (ifconfig {name} down)."
    return ""


def driver_name(device: pciconf.PciDevice) -> str:
    """As "igb0"; "" without a driver."""
    return f"{device.driver}{device.unit}" if device.driver else ""


@dataclass(frozen=True, slots=True)
class Line:
    """One function as the page shows it."""

    device: PciDevice
    owner: Owner | None

    @property
    def state(self) -> str:
        if self.owner:
            return "used"
        return "reserved" if self.device.is_reserved else "kept" if self.device.kept else "host"

    @property
    def why_not_release(self) -> str:
        return f"{self.owner.name} has it: take it out of that VM first." if self.owner else ""


@dataclass(frozen=True, slots=True)
class Slot:
    """The functions of one physical device: a guest that has one of them should have all."""

    place: str
    lines: list[Line]

    @property
    def is_split(self) -> bool:
        """Whether some of its functions are reserved and others, which could be, are not."""
        able = [line.device.is_reserved for line in self.lines if not line.device.kept]
        return any(able) and not all(able)


def slots(host: Host) -> list[Slot]:
    """All devices of ``host``, those of one slot together."""
    whose = owners(host)
    found: dict[str, Slot] = {}
    for device in host.pci_devices.all():
        slot = found.setdefault(device.slot_place, Slot(device.slot_place, []))
        slot.lines.append(Line(device, whose.get(device.address)))
    return list(found.values())


def loader_lines(places: Iterable[str]) -> Iterator[str]:
    """What loader.conf(5) needs to reserve the devices at ``places`` ("1/0/0") at each boot; vmm(4) must be loaded
    by the loader, too, or the host's own drivers are first."""
    yield 'vmm_load="YES"'
    chunks = [""]
    for place in places:
        if len(chunks[-1]) + len(place) + 1 > LONGEST:
            chunks.append("")
        chunks[-1] = f"{chunks[-1]} {place}".strip()
    for name, chunk in zip(VARIABLES, chunks, strict=False):
        if chunk:
            yield f'{name}="{chunk}"'
