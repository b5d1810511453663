"""The devices of a vm.json as rows: which row each entry is, and what becomes of rows that no entry is.

Entries are whole here: `wanted` has given them slots, and has checked their keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bhype.vmrun.devices import CD, KINDS, NETWORK_GROUP
from storage.models import Iso

from . import place, plan, sizes
from .models import VM, Device, Disk, Nic

Document = dict[str, Any]
# Where it is wrong, the key, and a sentence.
Fault = tuple[str, str, str]
_COLUMNS = frozenset({"device", "slot"})
# Of a port on a switch: what the row itself knows.
_OF_SWITCH = frozenset({"type", "name", "fix", "bridge", "description"})


def write_devices(
    vm: VM, entries: list[Document], given: Mapping[str, int]
) -> tuple[list[Disk], list[Fault]]:
    """Make the rows of a saved ``vm`` those that ``entries`` name.

    given: the sizes of disks that are new or to grow, in bytes, by path. Returns those disks, and what is wrong: the
    caller rolls back then."""
    writer = _Writer(vm, given, entries)
    for number, entry in enumerate(entries):
        where = f"emulations[{number}] {entry['device']}"
        if entry.get("path") == plan.seed_path(vm):
            writer.seed(where, entry)
        elif entry["device"] in Disk.Bus.values and "path" in entry:
            writer.disk(where, entry)
        elif KINDS[entry["device"]].group == NETWORK_GROUP:
            writer.nic(where, entry)
        else:
            writer.devices.append((where, entry))
    writer.finish()
    return writer.new_disks, writer.faults


def _options(entry: Document, without: frozenset[str] | set[str] = frozenset()) -> Document:
    return {key: value for key, value in entry.items() if key not in _COLUMNS and key not in without}


class _Writer:
    def __init__(self, vm: VM, given: Mapping[str, int], entries: list[Document]) -> None:
        self.vm, self.sizes = vm, given
        # Numbers that the names of the VM's own disks claim.
        self.named = {own[1] for entry in entries if (own := place.own_disk(vm, str(entry.get("path"))))}
        self.faults: list[Fault] = []
        self.new_disks: list[Disk] = []
        self.devices: list[tuple[str, Document]] = []
        self.old_disks = {disk.path: disk for disk in vm.disks.select_related("vm__pool")}
        self.old_nics = list(vm.nics.all())
        self.disks: set[int] = set()
        self.nics: set[int] = set()
        self.seed_slot = ""
        self.switches = {switch.interface: switch for switch in vm.host.switches.all()}

    # Disks.

    def disk(self, where: str, entry: Document) -> None:
        path = str(entry["path"])
        row = self.old_disks.get(path)
        row = self._new_disk(where, path) if row is None else self._grown(where, path, row)
        if row is None:
            return
        if row.pk in self.disks:
            self.faults.append((where, "path", "This disk is there twice."))
            return
        if self._is_shared(row, entry):
            self.faults.append((where, "path", f"Another VM of the host has the disk {path}."))
            return
        row.bus, row.slot, row.is_attached = entry["device"], entry["slot"], True
        row.serial = str(entry.get("ser", ""))
        row.options = _options(entry, {"path", "ser"})
        row.save()
        self.disks.add(row.pk)
        self.old_disks[path] = row

    def _new_disk(self, where: str, path: str) -> Disk | None:
        indexes = {disk.index for disk in self.old_disks.values()}
        own = place.own_disk(self.vm, path)
        backing, index = own or (
            Disk.Backing.PATH,
            next(n for n in range(1000) if n not in indexes | self.named),
        )
        if len(indexes) >= plan.DISKS_MAX:
            self.faults.append((where, "", f"A VM has at most {plan.DISKS_MAX} disks."))
            return None
        if index in indexes:
            self.faults.append((where, "path", f"There is a disk{index} already, kept in another way."))
            return None
        size = self.sizes.get(path, 0)
        if own and (problem := self._size_problem(size)):
            self.faults.append((where, "size", problem))
            return None
        host_path = "" if own else path
        row = Disk(vm=self.vm, index=index, backing=backing, host_path=host_path, size=size)
        if own:
            self.new_disks.append(row)
        return row

    def _grown(self, where: str, path: str, row: Disk) -> Disk | None:
        """The disk with the size that is asked for, if one is."""
        size = self.sizes.get(path, 0)
        if not size or size == row.size:
            return row
        if row.backing == Disk.Backing.PATH:
            problem: str | None = "It is not the panel's disk; its size is what it is."
        elif size < row.size:
            problem = "A disk cannot be made smaller: what lies behind its new end would be lost."
        else:
            problem = self._size_problem(size)
        if problem:
            self.faults.append((where, "size", problem))
            return None
        row.size = size
        self.new_disks.append(row)
        return row

    def _size_problem(self, size: int) -> str | None:
        if not size:
            return "Say how large the new disk is to be."
        if not plan.DISK_MIN <= size <= plan.DISK_MAX or size % sizes.MIB:
            return "A disk has a whole number of MiB, from 1M to 64T."
        return plan.disk_problem(size, self.vm.pool.size)

    def _is_shared(self, row: Disk, entry: Document) -> bool:
        """Two guests that write to one disk destroy what is on it."""
        if row.backing != Disk.Backing.PATH:
            return False
        others = Disk.objects.filter(vm__host=self.vm.host, host_path=row.host_path, is_attached=True)
        return any(not (entry.get("ro") and other.options.get("ro")) for other in others.exclude(vm=self.vm))

    # Network ports.

    def nic(self, where: str, entry: Document) -> None:
        on_switch = entry.get("type") in plan.SWITCH_TYPES
        switch = self.switches.get(str(entry.get("bridge"))) if on_switch else None
        row = self._old_nic(entry)
        if row is None:
            indexes = {nic.index for nic in self.old_nics}
            if len(indexes) >= plan.NICS_MAX:
                self.faults.append((where, "", f"A VM has at most {plan.NICS_MAX} network ports."))
                return
            row = Nic(vm=self.vm, index=next(n for n in range(1000) if n not in indexes), mac=plan.new_mac())
            self.old_nics.append(row)
        mac = str(entry.get("mac", row.mac)).lower()
        others = Nic.objects.filter(mac=mac).exclude(pk=row.pk).exclude(vm=self.vm, is_attached=False)
        if not (row.pk and row.mac == mac) and others.exists():
            self.faults.append((where, "mac", "Another network port has this MAC address."))
            return
        Nic.objects.filter(mac=mac, vm=self.vm, is_attached=False).exclude(pk=row.pk).delete()
        row.shares_mac = row.shares_mac and row.mac == mac
        row.mac, row.model, row.slot, row.switch = mac, entry["device"], entry["slot"], switch
        row.is_attached = True
        if switch is None:
            row.backend = str(entry.get("name", ""))
            row.options = _options(entry, {"mac", "name"})
        else:
            row.backend = ""
            row.options = _options(entry, _OF_SWITCH | {"mac"})
            if row.model == Nic.Model.VIRTIO and switch.mtu != 1500 and row.options.get("mtu") == switch.mtu:
                del row.options["mtu"]
            if switch.is_isolated:
                row.options.pop("private", None)
        row.save()
        self.nics.add(row.pk)

    def _old_nic(self, entry: Document) -> Nic | None:
        """By its tap, its address or its place, in that order."""
        free = [nic for nic in self.old_nics if nic.pk and nic.pk not in self.nics]
        mac = str(entry.get("mac", "")).lower()
        by_tap = [nic for nic in free if nic.switch_id and nic.port == entry.get("name")]
        by_mac = [nic for nic in free if nic.mac == mac]
        by_slot = [nic for nic in free if nic.is_attached and nic.slot == entry["slot"] and not mac]
        return next(iter([*by_tap, *by_mac, *by_slot]), None)

    # The seed of cloud-init, which has no row: it goes with the VM's settings.

    def seed(self, where: str, entry: Document) -> None:
        if not self.vm.cloud_init:
            self.faults.append((where, "path", "The VM has no settings for cloud-init; write them first."))
        elif self.seed_slot:
            self.faults.append((where, "path", "The seed is there twice."))
        elif entry["device"] not in plan.SEED_DEVICES:
            self.faults.append((where, "device", f"It is one of {', '.join(plan.SEED_DEVICES)}."))
        else:
            self.seed_slot = entry["slot"]
            kept = {key: value for key, value in self.vm.cloud_init.items() if key != "applied"}
            self._note_seed({**kept, "device": entry["device"], "slot": self.seed_slot})

    def _settle_seed(self) -> None:
        """A seed that the document does not have is new, and gets a slot, or was taken out."""
        if self.seed_slot or not plan.has_seed(self.vm):
            return
        if "slot" in self.vm.cloud_init:
            self._note_seed({**self.vm.cloud_init, "applied": plan.instance_id(self.vm)})
        else:
            self._note_seed({**self.vm.cloud_init, "slot": plan.free_slot(self.vm, plan.SEED_SLOT)})

    def _note_seed(self, values: Document) -> None:
        if values != self.vm.cloud_init:
            self.vm.cloud_init = values
            VM.objects.filter(pk=self.vm.pk).update(cloud_init=values)

    # Everything else.

    def finish(self) -> None:
        self.vm.disks.filter(is_attached=True).exclude(pk__in=self.disks).update(is_attached=False)
        self.vm.nics.filter(is_attached=True).exclude(pk__in=self.nics).update(is_attached=False)
        self._write_others()
        self._settle_seed()

    def _write_others(self) -> None:
        old = list(self.vm.devices.all())
        pairs: list[tuple[str, Document, Device | None]] = []
        for matches in (_is_same_place, _is_same, _is_same_kind):
            for where, entry in list(self.devices):
                if row := next((row for row in old if matches(row, entry)), None):
                    old.remove(row)
                    self.devices.remove((where, entry))
                    pairs.append((where, entry, row))
        for row in old:
            row.delete()
        for where, entry, found in [*pairs, *((where, entry, None) for where, entry in self.devices)]:
            row = found or Device(vm=self.vm)
            row.kind, row.slot, row.options, row.iso = entry["device"], entry["slot"], _options(entry), None
            if KINDS[row.kind].group == CD and "path" in entry:
                self._insert(where, row, str(entry["path"]))
            row.save()

    def _insert(self, where: str, drive: Device, path: str) -> None:
        """Put a medium into a drive: one of the library by its row, another by its path."""
        for pool in self.vm.host.pools.all():
            if place.is_library(pool.home, path):
                drive.iso = Iso.objects.filter(pool=pool, name=path.rpartition("/")[2]).first()
                if drive.iso is None:
                    self.faults.append((where, "path", f"There is no {path} in the library."))
                drive.options.pop("path")
                return


def _is_same_place(row: Device, entry: Document) -> bool:
    return bool(row.kind == entry["device"] and row.slot == entry["slot"])


def _is_same(row: Device, entry: Document) -> bool:
    return bool(row.kind == entry["device"] and row.options == _options(entry))


def _is_same_kind(row: Device, entry: Document) -> bool:
    return bool(row.kind == entry["device"])
