"""A whole VM as one ZFS stream: what ``zfs send -R`` writes of its dataset, with vm.json in it.

Such a file is a backup that zfs(8) alone can restore. An import is more careful, as the file is somebody's: the
stream is looked at before it is received (bhype.freebsd.zstream), arrives unmounted under the VM's own name with
nothing set that could reach beyond it, loses its snapshots (they could bring back what was refused), and its vm.json
then passes `wanted.apply` as a form does (T9).
"""

from __future__ import annotations

import json
import os
import re
import uuid
from typing import Any

from django.db import transaction

from bhype.freebsd import zfs, zstream
from bhype.freebsd.command import ParseError
from bhype.freebsd.zstream import Contents
from bhype.host import CommandFailed, FileSink, FileSource
from bhype.live import publish
from bhype.tasks import OperationFailed, Run
from storage.models import Iso
from vms import parts, place, plan, wanted
from vms.models import VM, Disk, Nic

from . import copies, folders

Document = dict[str, Any]
VM_JSON_MAX = 1 << 18
MAX_DATASETS = 64
_DISK = re.compile(r"disk(0|[1-9][0-9]{0,2})")
_DISK_PATH = re.compile(r"/(?:dev/zvol/)?(?:[^/]+/)+(disk(?:0|[1-9][0-9]{0,2}))(\.img)?")
# What must not come out of a stream: what mounts, shares or delegates something, runs something, lets others in, or
# takes room from others. The rest (compression, block sizes, ...) is how the data is kept.
WITHOUT = (
    "mountpoint", "canmount", "sharenfs", "sharesmb", "jailed", "quota", "reservation", "refquota",
    "refreservation", "filesystem_limit", "snapshot_limit", "readonly", "snapdir", "volmode", "sync", "dedup",
    "aclmode", "aclinherit", "acltype", "copies", "checksum",
)  # fmt: skip
# What lies in a VM's dataset need not be run, and is no device.
SAFE = {"exec": "off", "setuid": "off", "devices": "off"}


# Out.


def snapshot_of(vm: VM, task: int) -> str:
    return f"{vm.dataset}@bhype-export-{task}"


def export(run: Run, vm: VM, name: str) -> None:
    """Write the VM, as it is at one moment, to the file ``name`` of the exports."""
    place.check(run.host, vm)
    found = parts.datasets(run, vm)
    if origins := copies.origins_of(found.values(), vm.dataset):
        owners = ", ".join(copies.names_of(origins.values(), f"{vm.pool.home}/vms"))
        raise OperationFailed(
            f"{vm.name} is a linked clone of {owners}: a stream of it is nothing without that. Promote it first."
        )
    tidy(run, vm)
    with folders.workspace(run, vm.pool) as space:
        snapshot = snapshot_of(vm, run.task.pk)
        run.host.run(zfs.snapshot(snapshot, {zfs.ID_PROPERTY: str(vm.uuid)}, recursive=True))
        try:
            total = max(1, run.host.query(zfs.send_size(snapshot, replicate=True)))

            def told(count: int) -> None:
                run.stage("Writing the stream", percent=100 * min(count, total) / total)

            run.host.pipe(zfs.send(snapshot, replicate=True), FileSink(f"{space}/export"), told)
        finally:
            tidy(run, vm)
        folders.publish(run, vm, f"{space}/export", name)


def tidy(run: Run, vm: VM) -> None:
    """Destroy the snapshots that exports of the VM have left; no export runs while its lock is held."""
    for info in run.host.query(zfs.list_snapshots(vm.dataset)):
        tail = info.name.partition("@")[2]
        if tail.startswith("bhype-export-") and info.bhype_id == str(vm.uuid):
            run.host.run(zfs.destroy(info.name))


# In.


def look(run: Run, path: str) -> Contents:
    """What the stream at the host's ``path`` holds. Raises OperationFailed for one that is not taken."""
    run.stage("Reading the stream", percent=1)
    try:
        found = run.host.query(zstream.dump(path))
        problem = zstream.problem_of(found)
    except ParseError as error:
        raise OperationFailed(f"This stream cannot be imported: {error}.") from error
    except CommandFailed as error:
        raise OperationFailed(
            f"This file cannot be imported: it is no whole ZFS stream ({error.result.stderr.strip()[-200:]})."
        ) from error
    top = found.top.partition("@")[0]
    kinds = {each.name.partition("@")[0]: each.kind for each in found.substreams}
    below = {name.removeprefix(top + "/"): kind for name, kind in kinds.items() if name != top}
    if kinds.get(top) != "filesystem":
        problem = problem or "It is no VM: that is a filesystem with the volumes of its disks."
    elif strange := [name for name, kind in below.items() if kind != "volume" or not _DISK.fullmatch(name)]:
        problem = problem or f"It holds {strange[0]}, which is no disk of a VM."
    if len(kinds) > MAX_DATASETS:
        problem = problem or f"It holds more than {MAX_DATASETS} datasets."
    if problem:
        raise OperationFailed(f"This stream cannot be imported. {problem}")
    return found


def receive(run: Run, vm: VM, file: str) -> None:
    """Make the dataset of a VM in state "creating" from a file of the imports, and the row what its vm.json says."""
    with folders.workspace(run, vm.pool) as space:
        path = folders.take(run, vm.pool, file, space)
        look(run, path)
        found = parts.listed(run, vm.dataset)
        if found:
            raise OperationFailed(f"{vm.dataset} is there already.")
        size = max(1, run.host.size(path))

        def told(count: int) -> None:
            run.stage("Receiving the stream", percent=5 + 80 * count / size)

        arriving = {zfs.ID_PROPERTY: str(vm.uuid), **SAFE}
        run.host.pipe(
            FileSource(path), zfs.receive(vm.dataset, arriving, without=WITHOUT, mounted=False), told
        )
    volumes = _settle(run, vm)
    found_document = _document(run, vm)
    _become(run, vm, found_document, volumes)


def _settle(run: Run, vm: VM) -> dict[str, int]:
    """Check what has arrived, drop its snapshots, mark and mount it; the sizes of its volumes by name."""
    found = parts.listed(run, vm.dataset)
    expected = f"/{vm.dataset}"
    for info in found.values():
        below = info.name.removeprefix(vm.dataset).lstrip("/")
        is_fine = info.kind == "volume" and _DISK.fullmatch(below) if below else info.mountpoint == expected
        if not is_fine or info.bhype_id != str(vm.uuid) or info.origin:
            raise OperationFailed(f"{info.name} has arrived, which is no part of a VM.")
    for each in run.host.query(zfs.list_snapshots(vm.dataset)):
        run.host.run(zfs.destroy(each.name))
    for name, info in found.items():
        if info.kind == "volume":
            run.host.run(zfs.set_property(name, zfs.ID_PROPERTY, str(vm.uuid)))
            run.host.run(zfs.set_property(name, "volmode", "dev"))
    run.host.run(zfs.mount(vm.dataset))
    # It is root that will follow what lies there.
    folders.make_roots_own(run, f"/{vm.dataset}")
    return {name: info.volsize for name, info in found.items() if info.kind == "volume"}


def _document(run: Run, vm: VM) -> Document:
    path = run.host.path(plan.config_path(vm))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            raw = file.read(VM_JSON_MAX + 1)
        found = json.loads(raw.decode()) if len(raw) <= VM_JSON_MAX else None
    except (OSError, ValueError, RecursionError) as error:
        raise OperationFailed(f"The stream holds no vm.json that can be read: {error}") from error
    if not isinstance(found, dict):
        raise OperationFailed("The stream holds no vm.json that can be read.")
    return found


def localised(vm: VM, document: Document, volumes: dict[str, int]) -> Document:
    """A vm.json of another VM, or another host, as one of ``vm``: its disks, lines, switches and media. What is left
    to check is for `wanted.apply`; nothing here trusts the document."""
    kept = {key: value for key, value in document.items() if key not in {"bhype", "name", "uuid", "graphic"}}
    after: Document = plan.renamed(kept, str(document.get("name")), vm.name)
    if isinstance(document.get("graphic"), dict):
        screen = document["graphic"]
        after["graphic"] = {
            key: value for key, value in screen.items() if key not in {"host", "port", "password"}
        }
    for number in range(1, 5):
        if str(after.get(f"com{number}")).startswith("/dev/nmdm-"):
            after[f"com{number}"] = f"/dev/nmdm-{vm.name}.{number}A"
    if "varfile" in after:
        after["varfile"] = plan.vars_path(vm)
    if isinstance(after.get("tpm"), dict):
        after["tpm"] = {key: value for key, value in after["tpm"].items() if key != "state"}
    entries = after.get("emulations")
    if isinstance(entries, list):
        switches = [switch.interface for switch in vm.host.switches.by_use()]
        after["emulations"] = [_local(vm, entry, volumes, switches) for entry in entries]
    return after


def _local(vm: VM, entry: Any, volumes: dict[str, int], switches: list[str]) -> Any:
    if not isinstance(entry, dict):
        return entry
    found = dict(entry)
    path = str(entry.get("path", ""))
    disk = _DISK_PATH.fullmatch(path)
    if entry.get("device") in Disk.Bus.values and disk:
        if disk[2]:
            found["path"] = f"/{vm.dataset}/{disk[1]}.img"
        elif f"{vm.dataset}/{disk[1]}" in volumes:
            found["path"] = f"/dev/zvol/{vm.dataset}/{disk[1]}"
    elif entry.get("device") == "ahci-cd" and path:
        name = path.rpartition("/")[2]
        iso = Iso.objects.filter(pool__host=vm.host, name=name).first() if "\0" not in name else None
        found.pop("path")
        found |= {"path": iso.path} if iso else {}
    elif "bridge" in entry and entry.get("type", "tap") == "tap":
        found = {key: value for key, value in found.items() if key not in {"name", "description", "fix"}}
        if entry["bridge"] not in switches and switches:
            found["bridge"] = switches[0]
        mac = str(entry.get("mac", "")).lower()
        if Nic.objects.filter(mac=mac).exists():
            found.pop("mac")
    return found


def _become(run: Run, vm: VM, document: Document, volumes: dict[str, int]) -> None:
    """Let the row be what the document says, with the rights of who asked; then make the rest of the VM."""
    sizes = {f"/dev/zvol/{name}": size for name, size in volumes.items()}
    for path in folders.plain_files(run, f"/{vm.dataset}"):
        if re.fullmatch(r"disk[0-9]{1,3}\.img", path.rpartition("/")[2]):
            sizes[path] = run.host.size(path)
    write_row(run, vm, localised(vm, document, volumes), sizes)
    _keep_uuid(run, vm, document.get("uuid"), volumes)
    parts.complete(run, wanted.load(vm.pk))


def _keep_uuid(run: Run, vm: VM, text: Any, volumes: dict[str, int]) -> None:
    """Guests know themselves by their UUID: it stays, unless the VM it came from is still here."""
    wanted_uuid = known_uuid(text)
    if wanted_uuid is None:
        run.log(f"It has the new UUID {vm.uuid}.")
        return
    # The row first: recovery knows both, and destroys nothing that has neither.
    VM.objects.filter(pk=vm.pk).update(uuid=wanted_uuid)
    for name in (vm.dataset, *volumes):
        run.host.run(zfs.set_property(name, zfs.ID_PROPERTY, str(wanted_uuid)))


def write_row(run: Run, vm: VM, document: Document, sizes: dict[str, int]) -> None:
    """`wanted.apply` for a VM whose row waits in state "creating". Raises OperationFailed with all that is wrong."""
    try:
        with transaction.atomic():
            change = wanted.apply(vm, document, run.user, sizes=sizes)
            publish(change.vm.subject, "vms")
    except wanted.WantedError as error:
        for fault in error.faults:
            run.log(f"{fault.where}: {fault.field}: {fault.message}")
        raise OperationFailed(f"Its description cannot be taken: {error}") from error
    detached = [disk.path for disk in change.vm.disks.filter(is_attached=False)]
    if detached:
        run.log(f"Not attached: {', '.join(detached)}")


def known_uuid(text: Any) -> uuid.UUID | None:
    """The UUID if it is one that no VM has."""
    try:
        found = uuid.UUID(str(text))
    except ValueError:
        return None
    return None if VM.objects.filter(uuid=found).exists() else found
