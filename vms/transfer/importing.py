"""A foreign VM (`bhype.foreign`) as one of this host: its disks, network ports, media and lines become the panel's.

What results is a document for `wanted.apply`, with whose rules and rights it is checked as a form is (T9). Rows
only; nothing of the host is touched.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from bhype.accounts.models import User
from bhype.foreign import Imported, SourceDisk
from bhype.foreign.imported import disks as disks_of
from bhype.tasks import ask
from bhype.tasks.models import Task
from bhype.vmrun.devices import CD, DISK, KINDS, NETWORK_GROUP
from bhype.vmrun.rundir import RUN_DIR
from network.models import Switch
from storage.models import Iso, Pool
from vms import plan, wanted
from vms.models import VM, Nic, Tag
from vms.sizes import GIB, MIB

Document = dict[str, Any]
DEFAULT_SIZE = 20 * GIB
EMPTY, PATH, NOTHING, MOVED = "empty", "path", "none", "moved"
_TAG = re.compile(r"[a-z0-9][a-z0-9._:-]{0,31}")
TAGS_MAX = 16


@dataclass(frozen=True, slots=True)
class DiskChoice:
    """What becomes of a disk: an EMPTY one of ``size`` bytes is made, it is used where it lies (PATH), it comes along
    with the dataset and is then called ``name`` there (MOVED), or NOTHING."""

    what: str = EMPTY
    size: int = DEFAULT_SIZE
    name: str = ""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the person who imports decides. disks, media and nics: by the index of the device in the document; a
    medium None is an empty drive, a switch None leaves the network port out. new_macs: the addresses are not taken.
    """

    disks: Mapping[int, DiskChoice] = field(default_factory=dict)
    media: Mapping[int, Iso | None] = field(default_factory=dict)
    nics: Mapping[int, Switch | None] = field(default_factory=dict)
    new_macs: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A document for `wanted.apply`, the sizes of its new disks by path, and which device of the source each of its
    devices is."""

    document: Document
    sizes: dict[str, int]
    sources: list[int]


def simple(imported: Imported) -> Imported:
    """With each drive of a shared SATA controller on one of its own: a disk of the panel is a device."""
    entries: list[Document] = []
    known = {disk.path: disk for disk in imported.disks}
    notes = list(imported.notes)
    for entry in imported.document.get("emulations") or ():
        ports = entry.get("ports") if isinstance(entry, dict) and entry.get("device") == "ahci" else None
        if not isinstance(ports, list) or not all(isinstance(port, dict) for port in ports):
            entries.append(entry)
            continue
        notes.append("Each drive of its SATA controller got a controller of its own.")
        for number, port in enumerate(ports):
            kept = {key: value for key, value in port.items() if key != "type"}
            slot = {"slot": entry["slot"]} if not number and "slot" in entry else {}
            entries.append({"device": f"ahci-{port.get('type', 'hd')}", **slot, **kept})
    document = {**imported.document, "emulations": entries}
    formats = {path: disk.format for path, disk in known.items()}
    sizes = {path: disk.size for path, disk in known.items() if disk.size is not None}
    found = tuple(disks_of(document, formats, sizes))
    return replace(imported, document=document, disks=found, notes=tuple(dict.fromkeys(notes)))


def is_plugged(entry: Document) -> bool:
    """Whether a device is a network port on a tap, which the panel plugs into a switch."""
    kind = KINDS.get(str(entry.get("device")))
    return bool(kind and kind.group == NETWORK_GROUP and entry.get("type", "tap") in ("tap", "vmnet"))


def switch_for(entry: Document, switches: list[Switch]) -> Switch | None:
    """The switch that a network port most likely means: by its bridge or its name, else the first."""
    bridge = str(entry.get("bridge", ""))
    named = [one for one in switches if bridge in {one.interface, one.name, f"vm-{one.name}"}]
    return next(iter([*named, *switches]), None)


def medium_for(disk: SourceDisk, media: list[Iso]) -> Iso | None:
    name = disk.path.rpartition("/")[2]
    return next((iso for iso in media if iso.name == name), None)


def size_for(disk: SourceDisk) -> int:
    """Whole MiB, as large as the source tells."""
    return -(-(disk.size or DEFAULT_SIZE) // MIB) * MIB


def defaults(imported: Imported, pool: Pool | None) -> Choices:
    """What is chosen when nobody says: empty disks of the size they had, media of the library, likely switches."""
    host = pool.host if pool else None
    switches = list(host.switches.by_use()) if host else []
    media = list(Iso.objects.filter(pool__host=host).select_related("pool")) if host else []
    entries = imported.document.get("emulations") or []
    return Choices(
        disks={one.device: DiskChoice(EMPTY, size_for(one)) for one in imported.disks if not one.is_cd},
        media={one.device: medium_for(one, media) for one in imported.disks if one.is_cd},
        nics={
            index: switch_for(entry, switches)
            for index, entry in enumerate(entries)
            if isinstance(entry, dict) and is_plugged(entry)
        },
    )


def localised(imported: Imported, vm: VM, choices: Choices) -> Plan:
    """The document of ``vm`` (not yet saved, with host, pool and name) that the source becomes."""
    after = copy.deepcopy(
        {key: value for key, value in imported.document.items() if key not in {"bhype", "$schema"}}
    )
    after["name"] = vm.name
    _lines(after, vm)
    if isinstance(screen := after.get("graphic"), dict):
        # The gateway serves every screen, by a port and a password of the panel's.
        after["graphic"] = {
            key: value for key, value in screen.items() if key not in {"host", "port", "password"}
        }
    if isinstance(tpm := after.get("tpm"), dict) and tpm.get("type") == "swtpm" and "path" not in tpm:
        tpm.pop("state", None)
    sizes: dict[str, int] = {}
    entries: list[Any] = []
    sources: list[int] = []
    for index, entry in enumerate(after.get("emulations") or ()):
        kept = _entry(vm, index, entry, choices, sizes)
        if kept is not None:
            entries.append(kept)
            sources.append(index)
    after["emulations"] = entries
    return Plan(after, sizes, sources)


def _lines(document: Document, vm: VM) -> None:
    """A null-modem device, or the terminal of who typed the command, becomes the VM's own line."""
    for number in range(1, 5):
        line = str(document.get(f"com{number}", ""))
        if line == "stdio" or line.startswith("/dev/nmdm"):
            document[f"com{number}"] = f"/dev/nmdm-{vm.name}.{number}A"


def _entry(vm: VM, index: int, entry: Any, choices: Choices, sizes: dict[str, int]) -> Any:
    kind = KINDS.get(str(entry.get("device"))) if isinstance(entry, dict) else None
    if kind is None:
        return entry
    if str(entry.get("slot")) in {"0:31:0", "31"}:
        # The LPC bridge's here.
        del entry["slot"]
    if index in choices.disks and kind.group == DISK:
        return _disk(vm, entry, choices.disks[index], sizes)
    if kind.group == CD:
        entry.pop("path", None)
        iso = choices.media.get(index)
        return entry | ({"path": iso.path} if iso else {})
    if kind.group == NETWORK_GROUP and is_plugged(entry):
        return _port(entry, choices.nics.get(index), new_mac=choices.new_macs)
    if kind.name == "virtio-console" and isinstance(entry.get("ports"), list):
        entry["ports"] = [_socket(vm, number, port) for number, port in enumerate(entry["ports"], 1)]
    return entry


def _disk(vm: VM, entry: Document, choice: DiskChoice, sizes: dict[str, int]) -> Document | None:
    if choice.what == NOTHING:
        return None
    if choice.what == EMPTY:
        entry["path"] = f"/dev/zvol/{vm.dataset}/disk{len(sizes)}"
    elif choice.what == MOVED:
        is_file = choice.name.endswith(".img")
        entry["path"] = f"{'' if is_file else '/dev/zvol'}/{vm.dataset}/{choice.name}"
    if choice.what in {EMPTY, MOVED}:
        sizes[entry["path"]] = choice.size
    return entry


def _port(entry: Document, switch: Switch | None, *, new_mac: bool) -> Document | None:
    if switch is None:
        return None
    without = {"name", "type", "fix", "description", *({"mac"} if new_mac else ())}
    return {key: value for key, value in entry.items() if key not in without} | {"bridge": switch.interface}


def _socket(vm: VM, number: int, port: Any) -> Any:
    """A virtio console's port, with its socket in the VM's run directory."""
    name = port.get("name") if isinstance(port, dict) else None
    path = f"{RUN_DIR}/{vm.name}/console-{number}.sock"
    return {"name": name, "path": path} if name else {"path": path}


def new_vm(pool: Pool, name: str, owner: User) -> VM:
    """The row that a document is applied to; not saved."""
    used = VM.objects.filter(host=pool.host).values_list("vnc_port", flat=True)
    return VM(
        host=pool.host,
        pool=pool,
        owner=owner,
        name=name,
        vnc_port=plan.free_vnc_port(used, settings.VNC_FIRST_PORT),
        vnc_password=plan.new_vnc_password(),
    )


def write(vm: VM, imported: Imported, planned: Plan, user: User) -> wanted.Change:
    """Make the rows. Raises WantedError; a transaction is the caller's."""
    change = wanted.apply(vm, planned.document, user, create=True, sizes=planned.sizes)
    about = imported.about
    if about.description or about.autostart:
        description = about.description.replace("\0", "")[:10_000]
        VM.objects.filter(pk=change.vm.pk).update(notes=description, autostart=about.autostart)
    tags = [tag for tag in (tag.lower() for tag in about.tags) if _TAG.fullmatch(tag)][:TAGS_MAX]
    Tag.objects.bulk_create([Tag(name=name) for name in tags], ignore_conflicts=True)
    change.vm.tags.set(Tag.objects.filter(name__in=tags))
    return change


def faults(vm: VM, imported: Imported, planned: Plan, user: User) -> tuple[wanted.Fault, ...]:
    """What `write` would refuse; nothing is kept."""
    try:
        with transaction.atomic():
            write(copy.copy(vm), imported, planned, user)
            transaction.set_rollback(True)
    except wanted.WantedError as error:
        return error.faults
    return ()


def create(
    vm: VM, imported: Imported, planned: Plan, user: User, operation: str = "vms.create", **params: Any
) -> tuple[VM, Task]:
    """Make the rows and ask for the VM's creation, all or nothing. Raises WantedError and Refused."""
    try:
        with transaction.atomic():
            change = write(vm, imported, planned, user)
            return change.vm, ask(operation, {"vm_id": change.vm.pk, **params}, user)
    except IntegrityError as error:
        raise wanted.WantedError(
            [wanted.Fault("vm", "name", "There is already a VM of this name.")]
        ) from error


def conflicts(imported: Imported) -> list[str]:
    """Sentences on what another VM of the panel has already."""
    found = []
    if (
        (uuid := str(imported.document.get("uuid", "")))
        and _is_uuid(uuid)
        and VM.objects.filter(uuid=uuid).exists()
    ):
        found.append("Another VM has its UUID: it gets a new one.")
    if taken_macs(imported):
        found.append("Other VMs have its MAC addresses: let it have new ones.")
    return found


def taken_macs(imported: Imported) -> set[str]:
    """Its MAC addresses that network ports of the panel have."""
    entries = [entry for entry in imported.document.get("emulations") or () if isinstance(entry, dict)]
    macs = {str(entry.get("mac")).lower() for entry in entries if "mac" in entry}
    return set(Nic.objects.filter(mac__in=macs).values_list("mac", flat=True))


def _is_uuid(text: str) -> bool:
    return re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) is not None
