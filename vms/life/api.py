"""The API of a VM's life: its name, copies, disks and cables, below /api/v1/vms; /boot is of all VMs."""

from __future__ import annotations

from typing import Literal

from django.db import transaction
from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError, invalid
from bhype.hosts.models import Host
from bhype.tasks.api import TaskOut
from bhype.tasks.errors import not_found
from bhype.tasks.models import Task
from bhype.tasks.requested import by_api
from vms import sizes
from vms.models import VM, Disk, Nic

from . import bulk, renaming
from .forms import CloneForm, LifeForm, attach
from .orphans import kept_disks

router, boot = Router(), Router()


class RenameVMIn(Schema):
    name: str = Field(max_length=64)


class CloneIn(Schema):
    """linked: share what neither has changed; keep_macs: only where the source goes; snapshot: the one that the copy is
    of, "" for now."""

    name: str = Field(max_length=64)
    linked: bool = False
    keep_macs: bool = False
    snapshot: str = Field("", max_length=200)


class LifeChange(Schema):
    """What is left out stays. health: "tcp:ADDRESS:PORT", "serial:TEXT" or "". is_protected: it cannot be deleted.
    is_production: it joins what is done to all in production."""

    model_config = ConfigDict(extra="forbid")
    autostart: bool | None = None
    start_order: int | None = None
    start_delay: int | None = None
    health: str | None = None
    health_seconds: int | None = None
    stop_seconds: int | None = None
    is_protected: bool | None = None
    is_production: bool | None = None


class LifeOut(Schema):
    name: str
    autostart: bool
    start_order: int
    start_delay: int
    health: str
    health_seconds: int
    stop_seconds: int
    is_protected: bool
    is_production: bool


class GrowIn(Schema):
    """size: bytes, or text such as "40G"."""

    size: int | str


class MoveDiskIn(Schema):
    """vm: the name of the VM that gets the disk."""

    vm: str = Field(max_length=64)


class GiveIn(Schema):
    """disk: the id of a volume that was kept of a deleted VM, as in /datasets."""

    disk: int


class RemoveIn(Schema):
    """confirm: NAME/diskINDEX, as a safeguard."""

    confirm: str = Field("", max_length=64)


class LinkIn(Schema):
    link: Literal["up", "down"]


class LimitIn(Schema):
    """As in vm.json; what is left out stays, null takes away. rates: {MAC address: {"rate_in": "10M"}}."""

    model_config = ConfigDict(extra="forbid")
    limits: dict[str, int | str | None] | None = None
    nice: int | None = None
    protect: bool | None = None
    rates: dict[str, dict[str, str | None]] = {}


class StopAllIn(Schema):
    parallel: int = Field(default=bulk.PARALLEL, ge=1, le=bulk.PARALLEL_MAX)


def _find(request: HttpRequest, name: str, right: str = "vms.change") -> VM:
    vm = lookup(signed_in(request), VM, right, name=name)
    return VM.objects.select_related("host", "pool", "owner").get(pk=vm.pk)


@router.post("/{name}/rename", response={202: TaskOut}, summary="Rename")
def rename_vm(request: HttpRequest, name: str, payload: RenameVMIn) -> Status[Task]:
    vm = _find(request, name)
    if problem := renaming.problem_of(vm, payload.name):
        raise ApiError(422, "invalid", problem, "name")
    if vm.is_on:
        raise ApiError(409, "conflict", f"{vm.name} is on. Stop it first.")
    return by_api(request, f"vm {name}", "vms.rename", vm_id=vm.pk, name=payload.name)


@router.post("/{name}/clone", response={202: TaskOut}, summary="Clone")
def clone_vm(request: HttpRequest, name: str, payload: CloneIn) -> Status[Task]:
    vm, user = _find(request, name), require(request, "vms.create")
    form = CloneForm(payload.model_dump(), vm=vm, user=user)
    made = form.save() if form.is_valid() else None
    if made is None:
        raise invalid(form)
    audit.record(request, "vms.clone", f"vm {name}", {"name": made[0].name}, task=made[1])
    return Status(202, made[1])


@router.get("/{name}/life", response=LifeOut, summary="How it starts and stops")
def get_life(request: HttpRequest, name: str) -> VM:
    return _find(request, name, "vms.view")


@router.patch("/{name}/life", response=LifeOut, summary="Change how it starts and stops")
def change_life(request: HttpRequest, name: str, payload: LifeChange) -> VM:
    vm = _find(request, name)
    said = {key: value for key, value in payload.model_dump(exclude_unset=True).items() if value is not None}
    now = {field: getattr(vm, field) for field in LifeForm.Meta.fields}
    form = LifeForm(now | said, instance=vm)
    if not form.is_valid():
        raise invalid(form)
    form.write()
    audit.record(request, "vms.change", f"vm {name}", {"fields": sorted(said)})
    return VM.objects.get(pk=vm.pk)


# Disks, variables, cables, limits.


def _disk(request: HttpRequest, name: str, index: int) -> Disk:
    vm = _find(request, name)
    found = Disk.objects.select_related("vm__pool").filter(vm=vm, index=min(index, 32767)).first()
    if found is None:
        raise not_found()
    return found


def _what(disk: Disk) -> str:
    return f"vm {disk.vm.name} disk {disk.index}"


@router.post("/{name}/disks/{int:index}/grow", response={202: TaskOut}, summary="Grow a disk")
def grow_disk(request: HttpRequest, name: str, index: int, payload: GrowIn) -> Status[Task]:
    disk = _disk(request, name, index)
    try:
        size = sizes.parse(payload.size)
    except sizes.BadSize as error:
        raise ApiError(422, "invalid", str(error), "size") from error
    if size <= disk.size:
        raise ApiError(422, "invalid", f"It has {sizes.human(disk.size)} already; a disk only grows.", "size")
    return by_api(request, _what(disk), "vms.grow_disk", disk_id=disk.pk, size=size)


@router.post("/{name}/disks/{int:index}/attach", response={202: TaskOut}, summary="Plug a disk in")
def attach_disk(request: HttpRequest, name: str, index: int) -> Status[Task]:
    """It applies at the VM's next start."""
    return _plug(request, _disk(request, name, index), attached=True)


@router.post("/{name}/disks/{int:index}/detach", response={202: TaskOut}, summary="Plug a disk out")
def detach_disk(request: HttpRequest, name: str, index: int) -> Status[Task]:
    """Its data is kept. It applies at the VM's next start."""
    return _plug(request, _disk(request, name, index), attached=False)


def _plug(request: HttpRequest, disk: Disk, *, attached: bool) -> Status[Task]:
    with transaction.atomic():
        task = attach(disk, signed_in(request), attached=attached)
        audit.record(request, "vms.attach" if attached else "vms.detach", _what(disk), task=task)
    return Status(202, task)


@router.post("/{name}/disks/{int:index}/move", response={202: TaskOut}, summary="Move a disk to another VM")
def move_disk(request: HttpRequest, name: str, index: int, payload: MoveDiskIn) -> Status[Task]:
    """Both are off and in one pool; it arrives detached."""
    disk = _disk(request, name, index)
    other = _find(request, payload.vm)
    return by_api(request, _what(disk), "vms.move_disk", disk_id=disk.pk, vm_id=other.pk)


@router.post("/{name}/disks/give", response={202: TaskOut}, summary="Give it a disk of a deleted VM")
def give_disk(request: HttpRequest, name: str, payload: GiveIn) -> Status[Task]:
    """The VM is off, and in the pool of the disk; it arrives detached. /orphans lists what was kept of deleted VMs."""
    vm = _find(request, name)
    require(request, "storage.change")
    disk = next((disk for disk in kept_disks(vm.host) if disk.pk == payload.disk), None)
    if disk is None or disk.pool_id != vm.pool_id:
        raise ApiError(422, "invalid", f"There is no such disk of a deleted VM in {vm.pool.name}.", "disk")
    return by_api(request, f"vm {name}", "vms.give_disk", vm_id=vm.pk, dataset_id=disk.pk)


@router.delete("/{name}/disks/{int:index}", response={202: TaskOut}, summary="Destroy a disk")
def remove_disk(
    request: HttpRequest, name: str, index: int, payload: RemoveIn | None = None, confirm: str = ""
) -> Status[Task]:
    """Needs its name: ``{"confirm": "NAME/diskINDEX"}`` in the body, or ``?confirm=``."""
    disk = _disk(request, name, index)
    wanted = f"{disk.vm.name}/disk{disk.index}"
    if wanted not in {confirm, payload.confirm if payload else ""}:
        raise ApiError(422, "invalid", f"Say the disk's name to destroy it: {wanted}.", "confirm")
    return by_api(request, _what(disk), "vms.remove_disk", disk_id=disk.pk)


@router.post("/{name}/reset-vars", response={202: TaskOut}, summary="Reset the UEFI variables")
def reset_vars(request: HttpRequest, name: str) -> Status[Task]:
    """The old ones are kept beside them, as .bak."""
    return by_api(request, f"vm {name}", "vms.reset_vars", vm_id=_find(request, name).pk)


@router.post(
    "/{name}/nics/{int:index}/link", response={202: TaskOut}, summary="Plug a network port in or out"
)
def set_link(request: HttpRequest, name: str, index: int, payload: LinkIn) -> Status[Task]:
    """Now where the guest runs, and for its next starts."""
    nic = Nic.objects.filter(vm=_find(request, name), index=min(index, 32767)).first()
    if nic is None:
        raise not_found()
    return by_api(request, f"vm {name} port {nic.mac}", "vms.set_link", nic_id=nic.pk, link=payload.link)


@router.post("/{name}/limits", response={202: TaskOut}, summary="Limit what it uses of its host")
def set_limits(request: HttpRequest, name: str, payload: LimitIn) -> Status[Task]:
    """Now where the guest runs, and for its next starts."""
    said = payload.model_dump(exclude_unset=True)
    return by_api(request, f"vm {name}", "vms.set_limits", vm_id=_find(request, name).pk, **said)


# All VMs.


@boot.get("", response=list[LifeOut], summary="The VMs that start with the host, in order")
def boot_order(request: HttpRequest) -> list[VM]:
    rows = VM.objects.visible_to(signed_in(request)).filter(host=Host.objects.this(), autostart=True)
    return list(rows.order_by("start_order", "name"))


@boot.post("/start", response={202: TaskOut}, summary="Start them now")
def boot_start(request: HttpRequest) -> Status[Task]:
    return by_api(request, "all VMs", "vms.autostart")


@boot.post("/stop", response={202: TaskOut}, summary="Stop all VMs in order")
def boot_stop(request: HttpRequest, payload: StopAllIn | None = None) -> Status[Task]:
    """As a shutdown of the host does: each guest has its time, then it is powered off."""
    wanted = payload or StopAllIn()
    return by_api(request, "all VMs", "vms.stop_all", parallel=wanted.parallel)
