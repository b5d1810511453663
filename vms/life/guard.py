"""Whether the host has the memory for one more VM, ZFS's cache (ARC) in view.

What a guest touches is the host's to back, so the memory of every VM that is on counts in full, wired or not; the ARC
gives way to it, but not below its minimum. A wired guest (bhyve -S) takes all at once: it must be there now, or be
given up by the ARC at once. Facts: bhyve(8); arc_available_memory() and arc_c_min in OpenZFS's arc.c.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bhype.freebsd import sysctl
from bhype.host import LocalHost
from bhype.hosts.models import Host
from bhype.vmrun import fields
from vms import plan
from vms.models import VM, Nic
from vms.sizes import GIB, MIB, human

# arc.min is the name since FreeBSD 14; 0 stands for the default.
_ARC_MIN = ("kstat.zfs.misc.arcstats.c_min", "vfs.zfs.arc.min", "vfs.zfs.arc_min")
_FREE = tuple(f"vm.stats.vm.v_{kind}_count" for kind in ("free", "inactive", "laundry"))
NAMES = (
    "hw.physmem",
    "hw.pagesize",
    "kstat.zfs.misc.arcstats.size",
    "kstat.zfs.misc.arcstats.c_max",
    *_ARC_MIN,
    *_FREE,
)


@dataclass(frozen=True, slots=True)
class Memory:
    """A host's memory in bytes. free: with what the kernel takes back at once; arc, arc_min, arc_max: of ZFS's cache,
    now, at least and at most."""

    total: int
    free: int
    arc: int
    arc_min: int
    arc_max: int

    @property
    def reserve(self) -> int:
        """What is left to the host itself."""
        return min(self.total // 10, GIB)

    @property
    def room(self) -> int:
        """What all VMs together can have."""
        return max(0, self.total - self.reserve - self.arc_min)


def look(host: LocalHost) -> Memory:
    """Ask sysctl(8). Raises CommandError."""
    found = {
        name: int(value) for name, value in host.query(sysctl.read(*NAMES)).items() if value.strip().isdigit()
    }
    total = found.get("hw.physmem", 0)
    page = found.get("hw.pagesize", 4096)
    # arc_set_limits(): a thirty-second of the memory, at least 32 MiB.
    least = next((found[name] for name in _ARC_MIN if found.get(name)), max(total // 32, 32 * MIB))
    return Memory(
        total,
        page * sum(found.get(name, 0) for name in _FREE),
        found.get("kstat.zfs.misc.arcstats.size", 0),
        least,
        found.get("kstat.zfs.misc.arcstats.c_max", 0),
    )


def committed(host: Host, besides: VM) -> int:
    """The memory of the VMs of ``host`` that are on, or about to be, without ``besides``."""
    on = VM.objects.filter(host=host, state__in=plan.ON).exclude(pk=besides.pk)
    return sum(needed(vm) for vm in on.prefetch_related("devices"))


def needed(vm: VM) -> int:
    """The bytes that ``vm`` takes at most, whichever of its targets it is started with: of its guest, and of its
    disks that are kept in memory."""
    # A row that is not saved yet has no devices.
    devices = vm.devices.all() if vm.pk else ()
    disks = _in_memory(device.options for device in devices if device.kind == "nvme")
    most = vm.memory + disks
    targets = vm.settings.get("targets")
    for part in targets.values() if isinstance(targets, dict) else ():
        if isinstance(part, dict):
            entries = part.get("emulations")
            more = (
                _in_memory(one for one in entries if isinstance(one, dict))
                if isinstance(entries, list)
                else 0
            )
            most = max(most, _read(fields.memory, part.get("mem", vm.memory)) + disks + more)
    return most


def _in_memory(entries: Iterable[dict[str, Any]]) -> int:
    return sum(_read(fields.count, entry["ram"]) * MIB for entry in entries if entry.get("ram") is not None)


def _read(field: fields.Field, value: Any) -> int:
    """What is no number fits nowhere; the check of the whole says it better."""
    with suppress(ValueError):
        return int(field(value))
    return 0


def twin(vm: VM) -> str | None:
    """Why ``vm`` cannot be on beside another VM that has one of its MAC addresses on the same switch, or None."""
    for nic in vm.nics.filter(is_attached=True).select_related("switch"):
        same = Nic.objects.filter(mac=nic.mac, switch=nic.switch, is_attached=True, vm__state__in=plan.ON)
        if other := same.exclude(vm=vm).exclude(switch=None).select_related("vm").first():
            return (
                f"{other.vm.name} is on and has the MAC address {nic.mac} on the same switch."
                " Stop it, or give one of the two another address."
            )
    return None


def problem(vm: VM, memory: Memory, others: int) -> str | None:
    """Why ``vm`` should not be started beside VMs that have ``others`` bytes, with the mend; or None."""
    wanted = needed(vm)
    if wanted > memory.room - others:
        return (
            f"It needs {human(wanted)}, but the running VMs have {human(others)} of the {human(memory.room)} that"
            f" VMs can have: the host has {human(memory.total)}, {human(memory.reserve)} is its own, and ZFS's cache"
            f" (ARC, now {human(memory.arc)} of at most {human(memory.arc_max)}) never has less than"
            f" {human(memory.arc_min)}. Stop another VM or give this one less memory."
        )
    spare = memory.free + max(0, memory.arc - memory.arc_min)
    if vm.settings.get("wire_guest_mem") and vm.memory > spare:
        return (
            f"Its memory is wired, so all {human(vm.memory)} must be there now: {human(memory.free)} is free, and"
            f" ZFS's cache (ARC) can give up {human(spare - memory.free)}. Stop another VM, give this one less memory,"
            " do not wire it, or lower vfs.zfs.arc.max."
        )
    return None
