"""The PCI devices of the lab's host, and which driver has each: what pciconf, devctl and bhyve's passthru look at.

The state "pci" has ``devices``, in the order of their addresses::

    [{"address": [bus, slot, function], "name": "igb0" or "", "driver": what the kernel chose, "forced": driver or "",
      "detached": bool, "class", "vendor", "device", "subvendor", "subdevice", "rev", "hdr": ints,
      "vendor_name", "device_name", "class_name", "subclass_name": str, "vm": the VM that it is passed to or ""}]

name: empty when no driver has it (pciconf says ``none3``). As vmm(4) says, ppt takes a device only while vmm.ko is
loaded; those in the tunables pptdevs, pptdevs2 and pptdevs3 of /boot/loader.conf belong to it from the boot on.
"""

from __future__ import annotations

import re

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Device = dict[str, Any]

_INTEL, _NVIDIA, _SAMSUNG, _REALTEK = 0x8086, 0x10DE, 0x144D, 0x10EC
_VENDORS = {
    _INTEL: "Intel Corporation",
    _NVIDIA: "NVIDIA Corporation",
    _SAMSUNG: "Samsung Electronics Co Ltd",
    _REALTEK: "Realtek Semiconductor Co., Ltd.",
}
_CLASSES = {
    0x060000: ("bridge", "HOST-PCI"), 0x060400: ("bridge", "PCI-PCI"), 0x060100: ("bridge", "PCI-ISA"),
    0x030000: ("display", "VGA"), 0x040300: ("multimedia", "HDA"), 0x0C0330: ("serial bus", "USB"),
    0x010601: ("mass storage", "SATA"), 0x010802: ("mass storage", "NVM"), 0x020000: ("network", "ethernet"),
    0x0C0500: ("serial bus", "SMBus"),
}  # fmt: skip
# (bus, slot, function), name, class, vendor, device, device's name. Buses 1 and 3 have devices of several functions.
_DEVICES: tuple[tuple[tuple[int, int, int], str, int, int, int, str], ...] = (
    ((0, 0, 0), "hostb0", 0x060000, _INTEL, 0x3EC2, "8th Gen Core Processor Host Bridge/DRAM Registers"),
    ((0, 1, 0), "pcib1", 0x060400, _INTEL, 0x1901, "6th-10th Gen Core Processor PCIe Controller (x16)"),
    ((0, 2, 0), "vgapci0", 0x030000, _INTEL, 0x3E92, "CoffeeLake-S GT2 [UHD Graphics 630]"),
    ((0, 20, 0), "xhci0", 0x0C0330, _INTEL, 0xA36D, "Cannon Lake PCH USB 3.1 xHCI Host Controller"),
    ((0, 23, 0), "ahci0", 0x010601, _INTEL, 0xA352, "Cannon Lake PCH SATA AHCI Controller"),
    ((0, 31, 0), "isab0", 0x060100, _INTEL, 0xA305, "Z390 Chipset LPC/eSPI Controller"),
    ((0, 31, 4), "", 0x0C0500, _INTEL, 0xA323, "Cannon Lake PCH SMBus Controller"),
    ((0, 31, 6), "em0", 0x020000, _INTEL, 0x15BC, "Ethernet Connection (7) I219-V"),
    ((1, 0, 0), "vgapci1", 0x030000, _NVIDIA, 0x1CB3, "GP107GL [Quadro P400]"),
    ((1, 0, 1), "hdac0", 0x040300, _NVIDIA, 0x0FB9, "GP107GL High Definition Audio Controller"),
    ((2, 0, 0), "nvme0", 0x010802, _SAMSUNG, 0xA808, "NVMe SSD Controller SM981/PM981/PM983"),
    ((3, 0, 0), "igb0", 0x020000, _INTEL, 0x1521, "I350 Gigabit Network Connection"),
    ((3, 0, 1), "igb1", 0x020000, _INTEL, 0x1521, "I350 Gigabit Network Connection"),
    (
        (4, 0, 0),
        "re0",
        0x020000,
        _REALTEK,
        0x8168,
        "RTL8111/8168/8411 PCI Express Gigabit Ethernet Controller",
    ),
)


def boot(data: dict[str, Any], tunables: dict[str, str]) -> None:
    """The devices of a host that has just started."""
    if "devices" in data:
        return
    text = " ".join(tunables.get(name, "") for name in ("pptdevs", "pptdevs2", "pptdevs3"))
    reserved = {tuple(map(int, each)) for each in re.findall(r"(\d+)/(\d+)/(\d+)", text)}
    data["devices"] = []
    for where, name, kind, vendor, device, text in _DEVICES:
        class_name, subclass = _CLASSES[kind]
        driver = "ppt" if where in reserved else name.rstrip("0123456789")
        unit = _unit(data["devices"], driver) if driver else ""
        data["devices"].append({
            "address": list(where), "name": unit, "driver": driver, "forced": "", "detached": False,
            "class": kind, "vendor": vendor, "device": device, "subvendor": vendor, "subdevice": device ^ 0x1000,
            "rev": 0x10 if vendor == _INTEL else 0xA1, "hdr": 1 if kind == 0x060400 else 0,
            "vendor_name": _VENDORS[vendor], "device_name": text, "class_name": class_name,
            "subclass_name": subclass, "vm": "",
        })  # fmt: skip


def devices() -> list[Device]:
    found: list[Device] = core.peek("pci").get("devices", [])
    return found


def address(device: Device) -> tuple[int, int, int]:
    bus, slot, function = device["address"]
    return bus, slot, function


def by_name(name: str) -> Device | None:
    """The device that a driver has under ``name`` (``ppt0``), or None."""
    return next((each for each in devices() if each["name"] and each["name"] == name), None)


def find(data: dict[str, Any], text: str) -> Device | None:
    """devctl(8)'s ``pci0:1:0:0`` (also ``pci1:0:0``) or the name of an attached device."""
    match = re.fullmatch(r"pci(?:(\d+):)?(\d+):(\d+):(\d+)", text)
    found: Device
    for found in data.get("devices", []):
        if match:
            if int(match[1] or 0) == 0 and address(found) == tuple(map(int, match.groups()[1:])):
                return found
        elif found["name"] == text:
            return found
    return None


def attach(data: dict[str, Any], device: Device, driver: str) -> bool:
    """Let a driver probe a device; whether it took it. ppt takes all, others only those that are theirs."""
    device["name"] = ""
    is_ppt = driver == "ppt" and "vmm" in core.peek("kld").get("loaded", {})
    if not is_ppt and driver != _own(device):
        return False
    device["name"] = _unit(data["devices"], driver)
    device["detached"] = False
    return True


def _own(device: Device) -> str:
    """The driver that the kernel would choose."""
    return next(each[1].rstrip("0123456789") for each in _DEVICES if list(each[0]) == device["address"])


def rescan(data: dict[str, Any], device: Device) -> None:
    """As if the device had just appeared: the kernel's own choice of a driver."""
    device["forced"], device["detached"], device["name"] = "", False, ""
    driver = _own(device)
    device["driver"] = driver
    if driver:
        device["name"] = _unit(data["devices"], driver)


def _unit(devices: list[Device], driver: str) -> str:
    taken = {each["name"] for each in devices}
    number = 0
    while f"{driver}{number}" in taken:
        number += 1
    return f"{driver}{number}"


def assign(where: tuple[int, ...], vm: str) -> bool:
    """vm_assign_pptdev: False unless ppt has the device and no other VM does."""
    with core.state("pci") as data:
        for device in data.get("devices", []):
            if address(device) == where and device["name"].startswith("ppt") and device["vm"] in ("", vm):
                device["vm"] = vm
                return True
    return False


def release(vm: str, where: tuple[int, ...] | None = None) -> bool:
    """Take the devices of ``vm`` back, or the one at ``where``; whether there were any."""
    if not any(each["vm"] == vm for each in devices()):
        return False
    found = False
    with core.state("pci") as data:
        for device in data["devices"]:
            if device["vm"] == vm and where in (None, address(device)):
                device["vm"], found = "", True
    return found
