"""What the worker does to the disks, the UEFI variables and the cables of VMs.

A disk is never lost by half: it grows or goes in one command of zfs(8), and a volume on its way to another VM carries
``org.bhype:moved``, "DISK FROM-VM" by the numbers of their rows, until all else has followed it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol

from django.db import transaction
from pydantic import BaseModel, Field

from bhype.freebsd import zfs
from bhype.host import CommandError
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from bhype.vmrun import changes, client
from vms import edited, parts, place, plan, wanted
from vms.life import power
from vms.models import VM, Disk, Nic
from vms.operating import VmParams, changed, find, require_off, require_whole, vm_of, vm_operation
from vms.sizes import MIB, human

from . import pending

Document = dict[str, Any]
MOVED_PROPERTY = "org.bhype:moved"


class DiskParams(BaseModel):
    disk_id: int


class GrowParams(DiskParams):
    """size: bytes."""

    size: int = Field(gt=0, le=plan.DISK_MAX)


class MoveParams(DiskParams):
    """vm_id: the VM that gets the disk."""

    vm_id: int


class SettleParams(DiskParams):
    vm_id: int = 0


class LinkParams(BaseModel):
    nic_id: int
    link: Literal["up", "down"]


class PlugParams(BaseModel):
    nic_id: int


class LimitParams(VmParams):
    """As in vm.json; what is left out stays, null takes away. rates: {MAC address: {"rate_in": "10M"}}."""

    limits: dict[str, int | str | None] | None = None
    nice: int | None = None
    protect: bool | None = None
    rates: dict[str, dict[str, str | None]] = {}


def _disk_row(params: DiskParams) -> Disk | None:
    return Disk.objects.select_related("vm__host", "vm__pool").filter(pk=params.disk_id).first()


def _vm_of_disk(params: DiskParams) -> VM | None:
    disk = _disk_row(params)
    return disk.vm if disk else None


def _words(params: DiskParams) -> dict[str, str]:
    disk = _disk_row(params)
    name, index, key = (disk.vm.name, disk.index, disk.vm_id) if disk else ("a VM", params.disk_id, 0)
    return {"vm": name, "disk": str(index), "owner": str(key)}


def _disk(params: DiskParams) -> Disk:
    disk = _disk_row(params)
    if disk is None:
        raise OperationFailed("The disk does not exist any more.")
    require_whole(disk.vm)
    return disk


# An operation on a disk, of which one runs at a time on its VM.
_disk_operation = partial(
    operation, right="vms.change", lock="vm:{owner}", subject="vm:{owner}", target=_vm_of_disk, describe=_words,
    recover="vms.settle_disk",
)  # fmt: skip


@_disk_operation("vms.grow_disk", "Grow disk {disk} of {vm}")
def grow_disk(run: Run, params: GrowParams) -> None:
    """Make a disk larger. A running guest sees it at its VM's next start at the latest (freebsd/bhyve.md)."""
    disk = _disk(params)
    vm = disk.vm
    if disk.backing == Disk.Backing.PATH:
        raise OperationFailed(f"{disk.host_path} is the host's; bHype does not change it.")
    if params.size < disk.size:
        raise OperationFailed(f"Disk {disk.index} has {human(disk.size)}; a disk only grows, never shrinks.")
    if params.size % MIB:
        raise OperationFailed("A disk has a whole number of MiB.")
    if problem := plan.disk_problem(params.size, vm.pool.size):
        raise OperationFailed(problem)
    place.check(run.host, vm)
    found = parts.datasets(run, vm)
    if disk.backing == Disk.Backing.VOLUME and disk.dataset not in found:
        raise OperationFailed(f"{disk.dataset} is not there.")
    before, disk.size = disk.size, params.size
    _resize(vm, disk)
    try:
        parts.make_disk(run, disk, found)
    except (CommandError, OSError):
        disk.size = before
        _resize(vm, disk)
        raise
    seen = "at the VM's next start" if power.is_on(run.host, vm.name) else "at once"
    run.log(
        f"Disk {disk.index} has {human(disk.size)} now; the guest sees it {seen}. Its file system grows inside it."
    )
    run.result(size=disk.size, seen=seen)


def _resize(vm: VM, disk: Disk) -> None:
    with transaction.atomic():
        # The VM first, as `wanted.apply` has it: two that wait for each other would be broken off by PostgreSQL.
        changed(vm)
        Disk.objects.filter(pk=disk.pk).update(size=disk.size)


@_disk_operation("vms.remove_disk", "Remove disk {disk} of {vm}")
def remove_disk(run: Run, params: DiskParams) -> None:
    """Destroy a disk that no guest has: of a VM that is off, or one that was detached before the VM's last start."""
    disk = _disk(params)
    vm = disk.vm
    if vm.is_protected:
        raise OperationFailed(f"{vm.name} is protected. Take its protection away first.")
    if power.is_on(run.host, vm.name):
        if disk.is_attached:
            raise OperationFailed(f"{vm.name} is on. Detach the disk or stop the VM first.")
        if disk.path in str(client.running_document(run.host, vm.name)):
            raise OperationFailed(
                f"The running guest of {vm.name} still has disk {disk.index}, until its next start."
            )
    place.check(run.host, vm)
    edited.require_answered(run.host, vm)
    parts.destroy_disk(run, disk)
    _forget(run, disk)


def _forget(run: Run, disk: Disk) -> None:
    vm = disk.vm
    with transaction.atomic():
        changed(vm)
        disk.delete()
    parts.write_config(run, wanted.load(vm.pk))


@_disk_operation("vms.move_disk", "Move disk {disk} of {vm} to another VM")
def move_disk(run: Run, params: MoveParams) -> None:
    """Give a volume with its data to another VM of the same pool, while both are off. It is not plugged in there:
    that is the owner's choice."""
    disk, other = _disk(params), find(params.vm_id)
    vm = disk.vm
    if other is None or not (run.user is None or run.user.can("vms.change", owner_id=other.owner_id)):
        raise OperationFailed("There is no such VM, or it is not yours to change.")
    if other.pk == vm.pk:
        raise OperationFailed(f"Disk {disk.index} is {vm.name}'s already.")
    if disk.backing != Disk.Backing.VOLUME:
        raise OperationFailed("Only ZFS volumes can be moved; files stay in their VM's dataset.")
    if other.pool_id != vm.pool_id:
        raise OperationFailed(f"{other.name} lies in another pool; a volume moves within one.")
    for each in (vm, other):
        if each.is_protected:
            raise OperationFailed(f"{each.name} is protected. Take its protection away first.")
        require_off(run, each)
        place.check(run.host, each)
        edited.require_answered(run.host, each)
    if disk.dataset not in parts.datasets(run, vm) or other.dataset not in (
        theirs := parts.datasets(run, other)
    ):
        raise OperationFailed("The volume, or the dataset it would move to, is not there.")
    index = _free_index(other, set(theirs))
    run.host.run(zfs.set_property(disk.dataset, MOVED_PROPERTY, f"{disk.pk} {vm.pk}"))
    run.host.run(zfs.rename(disk.dataset, f"{other.dataset}/disk{index}"))
    _arrive(run, disk, vm.pk, other, index)
    run.result(vm=other.name, index=index)


def _free_index(vm: VM, datasets: set[str]) -> int:
    taken = set(vm.disks.values_list("index", flat=True))
    return next(n for n in range(1000) if n not in taken and f"{vm.dataset}/disk{n}" not in datasets)


def _arrive(run: Run, disk: Disk, source: int, vm: VM, index: int) -> None:
    """The volume is among those of ``vm``: let its row, its mark and both vm.json follow."""
    volume = f"{vm.dataset}/disk{index}"
    if (disk.vm_id, disk.index) != (vm.pk, index):
        slot = plan.free_slot(vm, plan.DISK_SLOT)
        with transaction.atomic():
            for each in VM.objects.filter(pk__in=(source, vm.pk)).order_by("pk"):
                changed(each)
            Disk.objects.filter(pk=disk.pk).update(vm=vm, index=index, slot=slot, is_attached=False)
    run.host.run(zfs.set_property(volume, zfs.ID_PROPERTY, str(vm.uuid)))
    for each in VM.objects.filter(pk__in=(source, vm.pk)):
        parts.write_config(run, wanted.load(each.pk))
    run.host.run(zfs.set_property(volume, MOVED_PROPERTY, "no"))


@_disk_operation(
    "vms.settle_disk", "Finish what was begun with disk {disk} of {vm}", right=None, recover=None
)
def settle_disk(run: Run, params: SettleParams) -> None:
    """Bring row and volume together after the worker died, or was stopped, in the middle of a change."""
    disk = _disk_row(params)
    other = find(params.vm_id) if params.vm_id else None
    if disk is None or disk.backing != Disk.Backing.VOLUME:
        run.log("There is nothing to finish.")
        return
    if other is not None and (moved := _moved_to(run, disk, other)):
        _arrive(run, disk, moved[0], other, moved[1])
        return
    found = parts.listed(run, disk.vm.dataset)
    if disk.dataset in found:
        place.check(run.host, disk.vm)
        parts.make_disk(run, disk, parts.datasets(run, disk.vm))
    elif disk.vm.dataset in found:
        run.log(f"{disk.dataset} is gone; so goes its row.")
        _forget(run, disk)


def _moved_to(run: Run, disk: Disk, vm: VM) -> tuple[int, int] | None:
    """The VM from which the volume of ``disk`` comes, and its number in ``vm``'s dataset; None when it is not there."""
    for name in parts.listed(run, vm.dataset, depth=1):
        last = name.rpartition("/")[2]
        if not last.startswith("disk") or not last[4:].isdigit():
            continue
        mark = run.host.query(zfs.get_property(name, MOVED_PROPERTY))
        row, _, source = (mark.value or "").partition(" ")
        if mark.is_local and row == str(disk.pk) and source.isdigit():
            return int(source), int(last[4:])
    return None


# Variables, cables and limits.


@vm_operation("vms.reset_vars", "Reset the UEFI variables of {vm}", right="vms.change")
def reset_vars(run: Run, params: VmParams) -> None:
    """Give the VM fresh UEFI variables: its boot entries are forgotten. The old ones are kept beside them as .bak."""
    vm = vm_of(params)
    require_off(run, vm)
    if vm.firmware != vm.Firmware.UEFI:
        raise OperationFailed(f"{vm.name} does not boot by UEFI: it has no variables.")
    if not run.host.exists(plan.FIRMWARE_VARS):
        raise OperationFailed(parts.NO_FIRMWARE)
    place.check(run.host, vm)
    path = plan.vars_path(vm)
    if run.host.exists(path):
        run.host.copy(path, f"{path}.bak", 0o600)
    run.host.copy(plan.FIRMWARE_VARS, path, 0o600)


class NicParams(Protocol):
    nic_id: int


def _nic_row(params: NicParams) -> Nic | None:
    return Nic.objects.select_related("vm__host", "switch").filter(pk=params.nic_id).first()


def _vm_of_nic(params: NicParams) -> VM | None:
    nic = _nic_row(params)
    return nic.vm if nic else None


def _nic_words(params: NicParams) -> dict[str, str]:
    nic = _nic_row(params)
    return {
        "verb": "Plug in" if getattr(params, "link", "") == "up" else "Unplug",
        "switch": str(nic.switch) if nic else "a switch",
        "vm": nic.vm.name if nic else "a VM",
        "mac": nic.mac if nic else str(params.nic_id),
        "owner": str(nic.vm_id if nic else 0),
    }


_nic_operation = partial(
    operation,
    right="vms.change",
    lock="vm:{owner}",
    subject="vm:{owner}",
    target=_vm_of_nic,
    describe=_nic_words,
)


@_nic_operation("vms.set_link", "{verb} port {mac} of {vm}")
def set_link(run: Run, params: LinkParams) -> None:
    """Plug a network port of the VM in or out: now where the guest runs, and for its next starts."""
    nic = _nic_row(params)
    if nic is None:
        raise OperationFailed("The network port does not exist any more.")

    def link(document: Document) -> None:
        _entry(document, nic.mac)["link"] = params.link

    vm = _apply(run, nic.vm_id, link)
    if power.is_on(run.host, vm.name):
        entry = _entry(plan.document(vm), nic.mac)
        power.request(run, vm, "link", device=entry.get("name", ""), up=params.link == "up")
        _runs_now(vm)


@_nic_operation("vms.plug", "Plug port {mac} of {vm} into {switch}")
def plug(run: Run, params: PlugParams) -> None:
    """Plug a port of a running guest into the switch, and the VLANs, that its row says. What is off has nothing to be
    plugged; a port of a VALE switch is plugged in by a start only."""
    nic = _nic_row(params)
    if nic is None:
        raise OperationFailed("The network port does not exist any more.")
    vm = wanted.load(nic.vm_id)
    if not power.is_on(run.host, vm.name):
        return
    place.check(run.host, vm)
    entry = _entry(plan.document(vm), nic.mac)
    if entry.get("type") != "tap":
        raise OperationFailed("Ports of VALE switches are plugged in at the start of their VM.")
    port = {key: entry.get(key) for key in changes.PORT}
    power.request(run, vm, "port", device=entry.get("name", ""), port=port)
    _runs_now(vm, nic.mac)


@vm_operation("vms.set_limits", "Set the limits of {vm}", right="vms.change")
def set_limits(run: Run, params: LimitParams) -> None:
    """Limit what the VM uses of its host: now where the guest runs, and for its next starts. What the host cannot
    apply is told in the log."""
    vm = vm_of(params)
    require_whole(vm)
    told = params.model_dump(include={"limits", "nice", "protect"} & params.model_fields_set)
    told["rates"] = {}

    def limit(document: Document) -> None:
        for key in ("nice", "protect"):
            if key in told:
                document[key] = told[key]
        if "limits" in told:
            limits = {**(document.get("limits") or {}), **(told["limits"] or {})} if told["limits"] else {}
            document["limits"] = {key: value for key, value in limits.items() if value is not None} or None
        for mac, rates in params.rates.items():
            entry = _entry(document, mac)
            entry |= rates
            told["rates"][entry.get("name", "")] = rates

    vm = _apply(run, vm.pk, limit)
    if power.is_on(run.host, vm.name):
        state = power.request(run, vm, "limits", **told)
        _runs_now(vm)
        for sentences in (state.get("warnings") or {}).values():
            run.log("\n".join(sentences))


def _runs_now(vm: VM, plugged: str = "") -> None:
    """What was changed in the running guest waits for no start."""
    if vm.running is not None:
        running = pending.with_live(vm.running, plan.document(vm), plugged)
        VM.objects.filter(pk=vm.pk).update(running=running)


def _entry(document: Document, mac: str) -> Document:
    """The network device with this address. Raises OperationFailed."""
    for entry in document["emulations"]:
        if entry.get("mac") == mac.lower():
            found: Document = entry
            return found
    raise OperationFailed(f"The VM has no network port {mac} that is plugged in.")


def _apply(run: Run, pk: int, change: Callable[[Document], None]) -> VM:
    """Let ``change`` alter the document of a VM, the rows say the same, and vm.json after them. Raises
    OperationFailed."""
    try:
        with transaction.atomic():
            # Held from the look on: what somebody changes on a page meanwhile comes before it or after it.
            wanted.lock(pk)
            vm = wanted.load(pk)
            run.redact(vm.vnc_password)
            document = plan.document(vm)
            change(document)
            vm = wanted.apply(vm, document, run.user).vm
    except wanted.WantedError as error:
        raise OperationFailed(str(error)) from error
    place.check(run.host, vm)
    parts.write_config(run, vm)
    publish(vm.subject)
    return vm
