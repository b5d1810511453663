"""pciconf(8): the PCI devices of the host, and which of them are reserved for guests (driver ppt(4))."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from bhype.freebsd.command import Command, ParseError, Query

PROGRAM = "/usr/sbin/pciconf"
PPT = "ppt"
# What pciconf(8) calls a device that no driver has taken.
NO_DRIVER = "none"

_HEAD = re.compile(r"(\S*?)([0-9]*)@pci([0-9]+):([0-9]+):([0-9]+):([0-9]+):\s+(\S.*)")
_NUMBER = re.compile(r"(\w+)=0x([0-9a-fA-F]+)")
_NAME = re.compile(r"\s+(vendor|device|class|subclass)\s*=\s*(.*)")


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One function of a device of the host.

    driver: as "em" or "ppt", None when there is none; unit: its number, as in em0. class_code: base class, subclass
    and interface in three bytes; header: the type of its configuration header, 0 for an endpoint. The names are
    empty where the host's list has none.
    """

    driver: str | None
    unit: int
    domain: int
    bus: int
    slot: int
    function: int
    class_code: int = 0
    header: int = 0
    vendor: int = 0
    device: int = 0
    subvendor: int = 0
    subdevice: int = 0
    vendor_name: str = ""
    device_name: str = ""
    class_name: str = ""
    subclass_name: str = ""

    @property
    def selector(self) -> str:
        """As devctl(8) wants it."""
        return f"pci{self.domain}:{self.bus}:{self.slot}:{self.function}"

    @property
    def place(self) -> str:
        """As bhyve(8) and pptdevs of loader.conf(5) want it; they know only domain 0."""
        return f"{self.bus}/{self.slot}/{self.function}"

    @property
    def is_reserved(self) -> bool:
        return self.driver == PPT

    @property
    def is_endpoint(self) -> bool:
        """Whether a guest can have it: bridges stay the host's. (Bit 7 says that there are more functions.)"""
        return self.header & 0x7F == 0


def devices() -> Query[list[PciDevice]]:
    """All PCI devices, with the names of vendors and devices that the host's list knows."""
    return Query(Command((PROGRAM, "-lv")), _devices)


def _devices(text: str) -> list[PciDevice]:
    found: list[PciDevice] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        if not line[0].isspace():
            found.append(_head(number, line))
            continue
        match = _NAME.fullmatch(line.rstrip())
        if match and found:
            found[-1] = _named(found[-1], match[1], match[2].strip("'"))
    return found


def _named(device: PciDevice, key: str, value: str) -> PciDevice:
    match key:
        case "vendor":
            return replace(device, vendor_name=value)
        case "device":
            return replace(device, device_name=value)
        case "class":
            return replace(device, class_name=value)
    return replace(device, subclass_name=value)


def _head(number: int, line: str) -> PciDevice:
    match = _HEAD.fullmatch(line.rstrip())
    if not match:
        raise ParseError(f"line {number}: a PCI device expected: {line!r}")
    driver, unit, *place, rest = match.groups()
    values = {key: int(value, 16) for key, value in _NUMBER.findall(rest)}
    # Before FreeBSD 13: card=0xSSSSVVVV chip=0xDDDDVVVV.
    chip, card = values.get("chip", 0), values.get("card", 0)
    domain, bus, slot, function = (int(part) for part in place)
    return PciDevice(
        driver=None if driver == NO_DRIVER else driver,
        unit=int(unit or 0),
        domain=domain,
        bus=bus,
        slot=slot,
        function=function,
        class_code=values.get("class", 0),
        header=values.get("hdr", 0),
        vendor=values.get("vendor", chip & 0xFFFF),
        device=values.get("device", chip >> 16),
        subvendor=values.get("subvendor", card & 0xFFFF),
        subdevice=values.get("subdevice", card >> 16),
    )
