"""The API of VMs, under /api/v1/vms. Sizes are bytes; as input also text such as "2G"."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count, Q
from django.http import HttpRequest
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError, invalid
from bhype.accounts.models import User
from bhype.console.api import Opened, open_console
from bhype.tasks import Refused, ask
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from network.models import Switch
from storage.models import Iso, Pool

from . import pages, wanted
from .addresses import pages as addresses
from .forms import EditVMForm, VMForm, values
from .life import bulk
from .models import VM, VMQuerySet

router = Router()
Size = int | str


class VMDiskIn(Schema):
    model_config = ConfigDict(extra="forbid")
    size: Size


class VMDiskOut(Schema):
    index: int
    bus: str
    size: int
    path: str


class VMAddressOut(Schema):
    """source: "static" (given for good, or told by cloud-init), "lease" (by DHCP) or "neighbour" (only seen)."""

    address: str
    source: str


class NicOut(Schema):
    index: int
    switch: str
    model: str
    mac: str
    addresses: list[VMAddressOut]

    @staticmethod
    def resolve_switch(nic: Any) -> str:
        return str(nic.switch.name) if nic.switch else ""

    @staticmethod
    def resolve_addresses(nic: Any) -> Any:
        return nic.known


class VMChange(Schema):
    """What can be changed; what is left out stays. ``revision``: refuse (409) when it is not the VM's any more."""

    model_config = ConfigDict(extra="forbid")
    cpus: int | None = None
    memory: Size | None = None
    iso: str | None = None
    owner: str | None = None
    has_screen: bool | None = None
    screen: str | None = None
    has_serial: bool | None = None
    utc_clock: bool | None = None
    autostart: bool | None = None
    tags: list[str] | None = None
    notes: str | None = None
    revision: int | None = None


class VMIn(VMChange):
    """A new VM. Only its name is needed; ``"disks": []`` makes one without a disk. preset: the operating system, of
    which the devices are where nothing else is said; static_lease: DHCP always gives it the same address; passphrase:
    encrypts the VM."""

    name: str
    disks: list[VMDiskIn] | None = None
    switch: str | None = None
    start: bool = False
    pool: str | None = None
    disk_bus: str | None = None
    nic_model: str | None = None
    mac: str | None = None
    static_lease: bool = False
    preset: str | None = Field(None, max_length=40)
    passphrase: str | None = Field(None, max_length=512)


class VMOut(Schema):
    id: int
    uuid: str
    name: str
    host: str
    pool: str
    owner: str | None
    state: str
    reason: str
    cpus: int
    memory: int
    iso: str | None
    disks: list[VMDiskOut]
    nics: list[NicOut]
    tags: list[str]
    notes: str
    has_screen: bool
    screen: str
    has_serial: bool
    utc_clock: bool
    autostart: bool
    revision: int
    created_at: datetime
    started_at: datetime | None
    exit_code: int | None
    cpu_percent: float
    memory_used: int

    @staticmethod
    def resolve_uuid(vm: VM) -> str:
        return str(vm.uuid)

    @staticmethod
    def resolve_host(vm: VM) -> str:
        return vm.host.name

    @staticmethod
    def resolve_pool(vm: VM) -> str:
        return vm.pool.name

    @staticmethod
    def resolve_owner(vm: VM) -> str | None:
        return vm.owner.username if vm.owner else None

    @staticmethod
    def resolve_iso(vm: VM) -> str | None:
        return vm.iso.name if vm.iso else None

    @staticmethod
    def resolve_screen(vm: VM) -> str:
        return f"{vm.screen_width}x{vm.screen_height}"

    @staticmethod
    def resolve_tags(vm: VM) -> list[str]:
        return [tag.name for tag in vm.tags.all()]


class VMList(Schema):
    items: list[VMOut]
    count: int


class VMQuery(Schema):
    """q: part of the name, the notes, a MAC or an IP address; state: a state, or several between commas."""

    # SQLite takes no longer patterns than 50,000 bytes; nothing here is as long as this.
    q: str = Field("", max_length=100)
    state: str = Field("", max_length=200)
    tag: str = Field("", max_length=100)
    limit: int = Field(100, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=10**9)


class Changed(Schema):
    """task: what writes vm.json, where the change reaches bhyve; it applies at the next start."""

    vm: VMOut
    task: TaskOut | None


class StartIn(Schema):
    """iso: start from this medium, and from the disk after the guest's first reboot; target: one of vm.json's; force:
    although the host's memory is short, for admins."""

    iso: str = Field(default="", max_length=128)
    target: str = Field(default="", max_length=64)
    force: bool = False


class StopIn(Schema):
    """Seconds that the guest has to power off, by default those of the VM; then_poweroff: pull the plug after them."""

    timeout: int | None = Field(None, ge=1, le=3600)
    then_poweroff: bool = False


class DeleteVMIn(Schema):
    """The VM's name once more, as a safeguard. keep_disks: its dataset stays, and is listed as an orphan."""

    confirm: str = ""
    keep_disks: bool = False


class ConsoleIn(Schema):
    """kind: "vnc", "serial", "serial2" to "serial4", by default the first that it has; take_over: get the screen, or
    the control of a serial line, from whoever has it; watch: only look at it."""

    kind: str = ""
    take_over: bool = False
    watch: bool = False


class BulkIn(Schema):
    """The VMs of ``names``, or all with the tag; parallel: how many at a time."""

    names: list[str] = Field([], max_length=bulk.LIMIT)
    tag: str = Field("", max_length=32)
    action: str
    parallel: int = Field(bulk.PARALLEL, ge=1, le=bulk.PARALLEL_MAX)


class BulkOut(Schema):
    """For each VM a task, or why there is none."""

    name: str
    task: TaskOut | None
    error: str | None


def _rows() -> VMQuerySet:
    return pages.with_hardware(VM.objects.all())


def _find(request: HttpRequest, name: str, right: str = "vms.view") -> VM:
    """The VM, if the caller holds ``right`` on it; a right that is missing looks as the VM does."""
    found = lookup(signed_in(request), VM, right, name=name)
    return _rows().get(pk=found.pk)


@router.get("", response=VMList, summary="List VMs")
def list_vms(request: HttpRequest, query: Query[VMQuery]) -> dict[str, Any]:
    if "\0" in query.q + query.tag + query.state:
        raise ApiError(422, "invalid", "A filter has no NUL.")
    rows = VM.objects.visible_to(signed_in(request))
    if query.q:
        rows = rows.filter(
            Q(name__icontains=query.q)
            | Q(notes__icontains=query.q)
            | Q(nics__mac__icontains=query.q)
            | Q(pk__in=addresses.with_address(query.q).values("vm"))
        )
    if query.tag:
        rows = rows.filter(tags__name=query.tag)
    if query.state:
        rows = rows.filter(state__in=query.state.split(","))
    rows = rows.distinct()
    count = rows.aggregate(count=Count("pk", distinct=True))["count"]
    shown = pages.with_hardware(rows).order_by("name", "pk")
    items = list(shown[query.offset : query.offset + query.limit])
    addresses.attach(items)
    return {"items": items, "count": count}


@router.post("", response={202: TaskOut}, summary="Create a VM")
def create_vm(request: HttpRequest, payload: VMIn) -> Status[Task]:
    user = require(request, "vms.create")
    form = VMForm(user=user, initial={"preset": payload.preset} if payload.preset else {})
    data = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    data |= {"switch": "", "start": payload.start} | dict(_as_form_data(payload, form))
    form = VMForm(data, user=user)
    made = form.save(user) if form.is_valid() else None
    if made is None:
        raise invalid(form, disk_size="disks")
    vm, task = made
    audit.record(request, "vms.create", f"vm {vm.name}", task=task)
    return Status(202, task)


def _as_form_data(payload: VMChange, form: VMForm | EditVMForm) -> Iterator[tuple[str, Any]]:
    """What the caller has said, in the form's words: names become keys, and a name of nothing an invalid key."""
    said = payload.model_dump(exclude_unset=True)
    host = form.host
    choices: dict[str, Any] = {
        "iso": Iso.objects.filter(pool__host=host),
        "switch": Switch.objects.filter(host=host),
        "pool": Pool.objects.filter(host=host),
        "owner": User.objects.all(),
    }
    for name, value in said.items():
        if name == "disks":
            yield (
                "disk_size",
                [str(disk["size"]) for disk in value] or ["0"] if value is not None else ["20G"],
            )
        elif name in choices:
            column = "username" if name == "owner" else "name"
            yield name, _key(choices[name], column, value) if value else ""
        elif name == "passphrase":
            yield from (("passphrase", value or ""), ("again", value or ""))
        elif value is not None or name in {"notes", "tags", "mac"}:
            yield name, "" if value is None else value


def _key(rows: Any, column: str, value: str) -> Any:
    """The key of the row with this name; a value that no field accepts when there is none."""
    if "\0" in value or len(value) > 255:
        return "-"
    return rows.filter(**{column: value}).values_list("pk", flat=True).first() or "-"


@router.post("/bulk", response=list[BulkOut], summary="One power action on many VMs")
def bulk_action(request: HttpRequest, payload: BulkIn) -> list[dict[str, Any]]:
    """A result for each name; names that are missing or not yours say so. One refusal stops no other."""
    if payload.action not in pages.POWER:
        raise ApiError(422, "invalid", f"Actions are {', '.join(pages.POWER)}.", "action")
    user = signed_in(request)
    wanted = [name for name in dict.fromkeys(payload.names) if "\0" not in name]
    rows = VM.objects.visible_to(user).select_related("host", "owner")
    if payload.tag:
        found = list(rows.filter(tags__name=payload.tag.replace("\0", "")).order_by("name")[: bulk.LIMIT])
        wanted = [vm.name for vm in found]
    else:
        found = list(rows.filter(name__in=wanted))
    done = bulk.act(payload.action, found, user, parallel=payload.parallel)
    outcomes = {outcome.vm.name: outcome for outcome in done}
    results = []
    for name in wanted if payload.tag else dict.fromkeys(payload.names):
        outcome = outcomes.get(name)
        task = outcome.task if outcome else None
        error = (outcome.error if outcome else "There is no such VM, or it is not yours.") or None
        if task:
            audit.record(request, f"vms.{payload.action}", f"vm {name}", task=task)
        results.append({"name": name, "task": task, "error": error})
    return results


@router.get("/{name}", response=VMOut, summary="One VM")
def get_vm(request: HttpRequest, name: str) -> VM:
    return pages.shown(_find(request, name))


@router.patch("/{name}", response=Changed, summary="Change a VM")
def change_vm(request: HttpRequest, name: str, payload: VMChange) -> dict[str, Any]:
    user = signed_in(request)
    vm = _find(request, name, "vms.change")
    with transaction.atomic():
        if payload.revision is None:
            # The newest is changed: nobody comes between the look and the write.
            wanted.lock(vm.pk)
            vm = _rows().get(pk=vm.pk)
        form = EditVMForm(user=user, vm=vm)
        form = EditVMForm(values(vm) | dict(_as_form_data(payload, form)), user=user, vm=vm)
        saved = form.save(user) if form.is_valid() else None
        if saved is None:
            raise invalid(form, disk_size="disks")
    changed, task = saved
    fields = sorted(payload.model_dump(exclude_unset=True))
    audit.record(request, "vms.change", f"vm {name}", {"fields": fields}, task=task)
    return {"vm": pages.shown(changed), "task": task}


@router.delete("/{name}", response={202: TaskOut}, summary="Delete a VM with its disks")
def delete_vm(
    request: HttpRequest, name: str, payload: DeleteVMIn | None = None, confirm: str = ""
) -> Status[Task]:
    """Needs the name again: ``{"confirm": NAME}`` in the body, or ``?confirm=NAME``."""
    vm = _find(request, name, "vms.delete")
    if name not in {confirm, payload.confirm if payload else ""}:
        raise ApiError(422, "invalid", f"Say the VM's name to delete it with its disks: {name}.", "confirm")
    keep = {"keep_disks": True} if payload and payload.keep_disks else {}
    return Status(202, _ask(request, vm, "delete", **keep))


@router.get("/{name}/command", response=dict[str, str], summary="The bhyve command")
def get_command(request: HttpRequest, name: str) -> dict[str, str]:
    return {"command": pages.command_line(_find(request, name))}


@router.post("/{name}/start", response={202: TaskOut}, summary="Start")
def start_vm(request: HttpRequest, name: str, payload: StartIn | None = None) -> Status[Task]:
    vm = _find(request, name, "vms.operate")
    wanted = payload or StartIn()
    params: dict[str, Any] = {key: value for key in ("target", "force") if (value := getattr(wanted, key))}
    if wanted.iso:
        key = _key(Iso.objects.filter(pool__host=vm.host), "name", wanted.iso)
        if key == "-":
            raise ApiError(422, "invalid", "There is no such medium in the library.", "iso")
        params["iso_id"] = key
    if wanted.force and not signed_in(request).can("hosts.change"):
        raise ApiError(
            422, "invalid", "Only an admin may start a VM that the host has no memory for.", "force"
        )
    return Status(202, _ask(request, vm, "start", **params))


@router.post("/{name}/stop", response={202: TaskOut}, summary="Press the power button (ACPI)")
def stop_vm(request: HttpRequest, name: str, payload: StopIn | None = None) -> Status[Task]:
    vm = _find(request, name, "vms.operate")
    return Status(202, _ask(request, vm, "stop", **_said(payload)))


@router.post("/{name}/restart", response={202: TaskOut}, summary="Shut down and start again")
def restart_vm(request: HttpRequest, name: str, payload: StopIn | None = None) -> Status[Task]:
    vm = _find(request, name, "vms.operate")
    return Status(202, _ask(request, vm, "restart", **_said(payload)))


@router.post("/{name}/poweroff", response={202: TaskOut}, summary="Pull the plug")
def poweroff_vm(request: HttpRequest, name: str) -> Status[Task]:
    return Status(202, _ask(request, _find(request, name, "vms.operate"), "poweroff"))


@router.post("/{name}/reset", response={202: TaskOut}, summary="Press the reset button")
def reset_vm(request: HttpRequest, name: str) -> Status[Task]:
    return Status(202, _ask(request, _find(request, name, "vms.operate"), "reset"))


def _said(payload: Schema | None) -> dict[str, Any]:
    return payload.model_dump(exclude_unset=True) if payload else {}


def _ask(request: HttpRequest, vm: VM, action: str, **params: Any) -> Task:
    """The task, or ApiError 409 when the VM's state does not allow it."""
    user = signed_in(request)
    if why := pages.row_of(vm, user).refusals.get(action):
        raise ApiError(409, "conflict", f"{vm.name}: {why}")
    try:
        task = ask(f"vms.{action}", {"vm_id": vm.pk, **params}, user)
    except Refused as refused:
        raise ApiError(refused.status, refused.code, refused.message, refused.field) from refused
    audit.record(request, f"vms.{action}", f"vm {vm.name}", task=task)
    return task


@router.post("/{name}/console", response=dict[str, Any], summary="Open a console")
def console(request: HttpRequest, name: str, payload: ConsoleIn | None = None) -> Opened:
    """A ticket, to be spent within seconds at the WebSocket ``path`` with ``?ticket=``. ``right``: "watch" where
    nothing that is sent will reach the guest."""
    wanted = payload or ConsoleIn()
    opened = open_console(request, "vm", name, wanted.kind, take_over=wanted.take_over, watch=wanted.watch)
    audit.record(request, "vms.console", f"vm {name}", {"kind": opened["kind"]})
    return opened
