"""One start that differs from the others: from an install medium, and from the disk after the guest's first reboot."""

from __future__ import annotations

import re
from typing import Any

from bhype.freebsd import names
from bhype.hosts.models import Host
from storage.models import Iso
from vms import plan
from vms.models import VM, Device

Document = dict[str, Any]
# A target's name that no form offers.
TARGET = "iso-once"


def with_iso(vm: VM, document: Document, iso: Iso) -> Document:
    """``document`` with a target that has ``iso`` in a drive that the firmware tries before the disks. The guest's
    next reboot goes back to the main part, without it.

    The firmware tries the boot entries in its UEFI variables first, then the slots in their order. A boot index
    comes before both, where bhyve passes it on (fwcfg, FreeBSD 14) and the firmware reads it (SetBootOrderFromQemu
    in PlatformBootManagerLibBhyve, edk2-stable202408); an older one ignores it.
    """
    changed = {**document, "emulations": [dict(entry) for entry in document["emulations"]]}
    entries: list[Document] = changed["emulations"]
    empty = next((entry for entry in entries if entry["device"] == Device.CD and not entry.get("path")), None)
    drive: Document = {"device": Device.CD, "path": names.path(iso.path)}
    if empty is not None:
        # Its place is the right one; the next start brings it back.
        entries.remove(empty)
        drive |= {key: value for key, value in empty.items() if key == "slot"}
    drive.setdefault("slot", _slot(vm))
    target: Document = {"emulations": [drive], "next_target": "default"}
    if vm.firmware == VM.Firmware.UEFI and has_order(vm.host):
        target["fwcfg"] = "qemu"
    if "fwcfg" in target or changed.get("fwcfg") == "qemu" or any("bootindex" in entry for entry in entries):
        for entry in entries:
            if "bootindex" in entry:
                entry["bootindex"] = min(255, entry["bootindex"] + 1)
        drive["bootindex"] = 0
    changed["targets"] = {**(changed.get("targets") or {}), TARGET: target}
    return changed


def has_order(host: Host) -> bool:
    """Whether the host's bhyve passes a boot order on to the firmware."""
    major = re.match(r"[0-9]+", host.release)
    return major is not None and int(major[0]) >= 14


def _slot(vm: VM) -> str:
    """The last free slot before the disks, else any."""
    taken = {disk.slot for disk in vm.disks.all()} | {nic.slot for nic in vm.nics.all()}
    taken |= {device.slot for device in vm.devices.all()}
    before = (f"0:{number}:0" for number in range(plan.CD_SLOT, 0, -1))
    return next((slot for slot in before if slot not in taken), None) or plan.pick_slot(taken, plan.CD_SLOT)
