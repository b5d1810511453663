"""The API of a VM's hardware: the whole document, its devices, and what waits for the next start.

A device is an object as in vm.json (docs/vm.schema.json); ``slot`` names it. PATCH takes the keys to change, null takes
one away. Everything is checked by the rules of the forms and applies at the VM's next start.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from ninja import Body, Router, Schema
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in
from bhype.accounts.errors import ApiError
from bhype.tasks.api import TaskOut
from bhype.vmrun.devices import KINDS
from vms import plan, sizes, wanted
from vms.life.api import router as life_router
from vms.models import VM, Disk, Nic, new_serial
from vms.wanted import WantedError

from . import pages, pending, pins
from .ports import set_guard

router = Router()
Document = dict[str, Any]


class ConfigOut(Schema):
    """config: vm.json as it is wanted now, without the screen's password; task: what writes it, null when nothing
    has changed."""

    config: dict[str, Any]
    task: TaskOut | None


class DeviceOut(Schema):
    """device: as in vm.json; pending: how it differs from the guest that runs, in words."""

    slot: str
    kind: str
    label: str
    summary: str
    device: dict[str, Any]
    pending: list[str]


class DiskIn(Schema):
    """A new disk. size: bytes or text such as "20G"; backing: volume, file or path (then ``path``, which is never
    destroyed); options: its further keys in vm.json."""

    model_config = ConfigDict(extra="forbid")
    size: int | str | None = None
    bus: str = Disk.Bus.VIRTIO.value
    backing: str = Disk.Backing.VOLUME.value
    path: str = Field("", max_length=255)
    options: dict[str, Any] = {}


class DiskRow(Schema):
    id: int
    index: int
    slot: str
    bus: str
    backing: str
    size: int
    path: str
    serial: str
    is_attached: bool
    options: dict[str, Any]


class NicIn(Schema):
    """A new port on a switch; without ``mac`` it gets a new address. options: its further keys in vm.json."""

    model_config = ConfigDict(extra="forbid")
    switch: str
    model: str = Nic.Model.VIRTIO.value
    mac: str | None = None
    options: dict[str, Any] = {}


class GuardIn(Schema):
    model_config = ConfigDict(extra="forbid")
    guarded: bool


class NicRow(Schema):
    """may_spoof: it sends in the name of others, its switch does not guard it."""

    id: int
    index: int
    slot: str
    model: str
    mac: str
    shares_mac: bool
    may_spoof: bool
    switch: str | None
    backend: str
    is_attached: bool
    options: dict[str, Any]

    @staticmethod
    def resolve_switch(nic: Nic) -> str | None:
        return nic.switch.name if nic.switch else None


class VMDifferenceOut(Schema):
    """path: what to revert; before: as the guest runs; after: at the next start."""

    path: str
    label: str
    before: str
    after: str


class RevertIn(Schema):
    """path: of one difference; left out, all are put back."""

    model_config = ConfigDict(extra="forbid")
    path: str | None = Field(None, max_length=200)


def _find(request: HttpRequest, name: str, right: str = "vms.view") -> tuple[VM, Document]:
    vm = wanted.load(lookup(signed_in(request), VM, right, name=name).pk)
    return vm, plan.document(vm)


def _save(request: HttpRequest, vm: VM, document: Document, **more: Any) -> Document:
    """Apply, and answer with what is wanted now. Raises ApiError with all that is wrong in its message.

    Refused (409) when somebody has changed the VM since it was looked at: what he has done would be undone."""
    try:
        change, task = wanted.save(vm, document, signed_in(request), **{"revision": vm.revision, **more})
    except WantedError as error:
        raise refusal(error) from error
    if task is not None:
        fields = [found.path for found in pending.differences(change.before, change.after)][:50]
        audit.record(request, "vms.change", f"vm {vm.name}", {"fields": fields}, task=task)
    return {"config": plan.without_secrets(change.after), "task": task}


def refusal(error: WantedError) -> ApiError:
    """All that is wrong as one error; ``field`` is the first."""
    first = error.faults[0]
    if error.is_stale:
        return ApiError(409, "stale", first.message)
    told = "; ".join(
        ": ".join(filter(None, (one.where, one.field, one.message))) for one in error.faults[:20]
    )
    return ApiError(422, "invalid", told, first.field or first.where)


@router.get("/{name}/config", response=dict[str, Any], summary="vm.json as it is wanted")
def get_config(request: HttpRequest, name: str) -> Document:
    return plan.without_secrets(_find(request, name)[1])


@router.put("/{name}/config", response=ConfigOut, summary="Change all of a VM by its vm.json")
def put_config(
    request: HttpRequest,
    name: str,
    document: Body[Document],
    share_cpus: bool = False,  # noqa: FBT001, FBT002 - a query
) -> Document:
    """What the document lacks goes: disks and ports are detached, not destroyed. With "bhype": {"revision": N} it is
    refused (409) when somebody else has changed the VM since; without ``share_cpus``, also (409, "in_use") when it
    pins the VM anew to CPUs that other VMs are pinned to."""
    vm, before = _find(request, name, "vms.change")
    if not share_cpus and (taken := pins.shared(vm, before, document, signed_in(request))):
        raise ApiError(409, "in_use", f"Other VMs have these CPUs: {taken}.", "pinning")
    marks = document.get("bhype")
    revision = marks.get("revision") if isinstance(marks, dict) else None
    return _save(request, vm, document, revision=revision if isinstance(revision, int) else None)


# Devices.


def _number(document: Document, slot: str) -> int:
    number = pages.number_of(document, slot.replace("-", ":"))
    if number is None:
        raise ApiError(404, "not_found", "There is no such object, or it is not yours.")
    return number


@router.get("/{name}/devices", response=list[DeviceOut], summary="The devices of a VM")
def list_devices(request: HttpRequest, name: str) -> list[Document]:
    vm, _ = _find(request, name)
    shown = pages.of(vm)
    return [
        {
            "slot": row.slot,
            "kind": row.kind,
            "label": row.label,
            "summary": row.text,
            "device": entry,
            "pending": row.notes,
        }
        for row, entry in zip(shown.devices, shown.document["emulations"], strict=True)
    ]


@router.post("/{name}/devices", response=ConfigOut, summary="Add a device")
def add_device(request: HttpRequest, name: str, device: Body[Document]) -> Document:
    """As in vm.json; without ``slot`` it gets a free one. With a passed-through device, memory is wired."""
    vm, document = _find(request, name, "vms.change")
    document["emulations"].append(device)
    if device.get("device") == "passthru":
        document["wire_guest_mem"] = True
    return _save(request, vm, document)


@router.patch("/{name}/devices/{slot}", response=ConfigOut, summary="Change a device")
def change_device(request: HttpRequest, name: str, slot: str, changes: Body[Document]) -> Document:
    vm, document = _find(request, name, "vms.change")
    document["emulations"][_number(document, slot)] |= changes
    return _save(request, vm, document)


@router.delete("/{name}/devices/{slot}", response=ConfigOut, summary="Take a device out")
def remove_device(request: HttpRequest, name: str, slot: str) -> Document:
    """A disk or port is detached and kept."""
    vm, document = _find(request, name, "vms.change")
    del document["emulations"][_number(document, slot)]
    return _save(request, vm, document)


# Disks and ports, by their numbers.


@router.get("/{name}/disks", response=list[DiskRow], summary="The disks of a VM, detached ones too")
def list_disks(request: HttpRequest, name: str) -> list[Disk]:
    return list(_find(request, name)[0].disks.all())


@router.post("/{name}/disks", response=ConfigOut, summary="Add a disk")
def add_disk(request: HttpRequest, name: str, payload: DiskIn) -> Document:
    vm, document = _find(request, name, "vms.change")
    if payload.bus not in Disk.Bus.values or payload.backing not in Disk.Backing.values:
        raise ApiError(
            422,
            "invalid",
            "There is no such bus or backing.",
            "bus" if payload.bus not in Disk.Bus.values else "backing",
        )
    path = payload.path if payload.backing == Disk.Backing.PATH else plan.new_disk_path(vm, payload.backing)
    entry = {"ser": new_serial(), **payload.options, "device": payload.bus, "path": path}
    document["emulations"].append(entry)
    return _save(request, vm, document, sizes={path: _bytes(payload.size)})


def _bytes(size: int | str | None) -> int:
    try:
        return sizes.parse(size) if size is not None else 0
    except sizes.BadSize as error:
        raise ApiError(422, "invalid", str(error), "size") from error


# Beside what else can be done to the same address.
@life_router.patch("/{name}/disks/{int:index}", response=ConfigOut, summary="Change a disk's bus or options")
def change_disk(request: HttpRequest, name: str, index: int, changes: Body[Document]) -> Document:
    """Keys of the device, and "size" to let it grow."""
    vm, document = _find(request, name, "vms.change")
    disk = _attached(vm.disks.all(), index)
    size = changes.pop("size", None)
    if not isinstance(size, int | str | None):
        raise ApiError(422, "invalid", "Give a size such as 20G.", "size")
    entry = next(one for one in document["emulations"] if one.get("path") == disk.path)
    _patch(entry, changes, lambda kind: kind in Disk.Bus.values, fixed="path")
    return _save(request, vm, document, sizes={disk.path: _bytes(size)} if size is not None else {})


def _attached(rows: Any, index: int) -> Any:
    found = next((row for row in rows if row.index == index and row.is_attached), None)
    if found is None:
        raise ApiError(404, "not_found", "There is no such object, or it is not yours.")
    return found


def _patch(entry: Document, keys: Document, fits: Callable[[str], bool], fixed: str) -> None:
    """Change some keys of a device, which stays the disk or port that it is."""
    if fixed in keys or not fits(str(keys.get("device", entry["device"]))):
        raise ApiError(422, "invalid", "This makes it another device.", fixed if fixed in keys else "device")
    entry |= keys
    # What another bus or model does not know is left behind.
    known = {"device", "slot", "fix", *KINDS[entry["device"]].options, *keys}
    for key in set(entry) - known:
        del entry[key]


@router.get("/{name}/nics", response=list[NicRow], summary="The network ports of a VM, detached ones too")
def list_nics(request: HttpRequest, name: str) -> list[Nic]:
    return list(_find(request, name)[0].nics.all())


@router.post("/{name}/nics", response=ConfigOut, summary="Add a network port")
def add_nic(request: HttpRequest, name: str, payload: NicIn) -> Document:
    """For another backend than a switch add a device."""
    vm, document = _find(request, name, "vms.change")
    if payload.model not in Nic.Model.values:
        raise ApiError(422, "invalid", f"Models are {', '.join(Nic.Model.values)}.", "model")
    document["emulations"].append(
        {
            **payload.options,
            "device": payload.model,
            "type": "tap",
            "bridge": _bridge(vm, payload.switch),
            "mac": payload.mac,
        }
    )
    return _save(request, vm, document)


def _bridge(vm: VM, name: Any) -> str:
    found = next((switch for switch in vm.host.switches.all() if switch.name == name), None)
    if found is None:
        raise ApiError(422, "invalid", "There is no such switch.", "switch")
    return found.interface


@router.patch("/{name}/nics/{int:index}", response=ConfigOut, summary="Change a network port")
def change_nic(request: HttpRequest, name: str, index: int, changes: Body[Document]) -> Document:
    """Keys of the device, and "switch" to plug it into another one."""
    vm, document = _find(request, name, "vms.change")
    nic = _attached(vm.nics.all(), index)
    if "switch" in changes:
        changes = {**changes, "type": "tap", "bridge": _bridge(vm, changes["switch"])}
        del changes["switch"]
    entry = next(one for one in document["emulations"] if one.get("mac") == nic.mac)
    _patch(entry, changes, lambda kind: kind in Nic.Model.values, fixed="name" if nic.switch_id else "")
    return _save(request, vm, document)


@router.put("/{name}/nics/{int:index}/guard", response=NicRow, summary="Guard a network port, or not")
def guard_nic(request: HttpRequest, name: str, index: int, payload: GuardIn) -> Nic:
    """A guarded port sends with the MAC and IP addresses of its guest only, if its switch guards its ports."""
    vm, _ = _find(request, name, "network.change")
    nic: Nic = _attached(vm.nics.all(), index)
    set_guard(nic, guarded=payload.guarded)
    audit.record(request, "vms.guard", f"vm {vm.name}", {"mac": nic.mac, "guard": payload.guarded})
    return nic


@router.delete("/{name}/nics/{int:index}", response=ConfigOut, summary="Remove a network port")
def remove_nic(request: HttpRequest, name: str, index: int) -> Document:
    vm, document = _find(request, name, "vms.change")
    nic = next((row for row in vm.nics.all() if row.index == index), None)
    if nic is None:
        raise ApiError(404, "not_found", "There is no such object, or it is not yours.")
    document["emulations"] = [one for one in document["emulations"] if one.get("mac") != nic.mac]
    answer = _save(request, vm, document)
    vm.nics.filter(pk=nic.pk, is_attached=False).delete()
    return answer


# What waits.


@router.get("/{name}/pending", response=list[VMDifferenceOut], summary="What the next start changes")
def list_pending(request: HttpRequest, name: str) -> list[pending.Difference]:
    vm, document = _find(request, name)
    return pages.changes_of(vm, document)


@router.post("/{name}/revert", response=ConfigOut, summary="Put back what waits for the next start")
def revert(request: HttpRequest, name: str, payload: RevertIn | None = None) -> Document:
    vm, document = _find(request, name, "vms.change")
    if vm.running is None or not vm.is_on:
        raise ApiError(409, "conflict", f"{vm.name} is off: nothing waits for its next start.")
    path = payload.path if payload else None
    try:
        back = (
            pending.put_back(document, vm.running, path)
            if path
            else pending.all_back(copy.deepcopy(document), vm.running)
        )
    except LookupError as error:
        raise ApiError(422, "invalid", "Nothing differs there.", "path") from error
    return _save(request, vm, back)
