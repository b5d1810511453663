"""devctl(8): which driver of the kernel has a device."""

from __future__ import annotations

import re

from bhype.freebsd.command import Command
from bhype.freebsd.names import BadName

PROGRAM = "/usr/sbin/devctl"
_ADDRESS = re.compile(r"pci[0-9]{1,5}:[0-9]{1,3}:[0-9]{1,2}:[0-7]")
_DRIVER = re.compile(r"[a-z][a-z0-9_]{0,31}")


def set_driver(address: str, driver: str) -> Command:
    """Give the device at ``address`` (as "pci0:1:0:0") to ``driver``, taking it from the one it has."""
    if not _DRIVER.fullmatch(driver):
        raise BadName(f"{driver!r} is not the name of a driver.")
    return Command((PROGRAM, "set", "driver", "-f", _address(address), driver))


def clear_driver(address: str) -> Command:
    """Undo set_driver: the kernel looks for a driver as if the device had just appeared."""
    return Command((PROGRAM, "clear", "driver", "-f", _address(address)))


def _address(address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        raise BadName(f"{address!r} is not the address of a PCI device such as pci0:1:0:0.")
    return address
