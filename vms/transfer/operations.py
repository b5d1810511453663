"""What the worker does to bring VMs in and out, and to copy them. Each can be broken off anywhere: what is half made
goes again, and the VM that it was made from is as it was.

An import has a row from the beginning, in state "creating": it holds the name, and is what is tidied up.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction
from pydantic import BaseModel, Field, field_validator

from bhype.accounts.models import User
from bhype.freebsd import names, qemu_img, zfs
from bhype.host import CommandError, CommandStopped
from bhype.live import publish
from bhype.tasks import Cancelled, OperationFailed, Refused, Run, ask
from bhype.tasks.models import Task
from storage.datasets import destroying
from storage.models import Pool
from vms import parts, place, plan, wanted
from vms.models import VM, Disk
from vms.operating import (
    State,
    VmParams,
    forget_row,
    mark,
    require_off,
    require_whole,
    row_of,
    vm_of,
    vm_operation,
)
from vms.sizes import MIB

from . import copies, folders, images, ova, ova_writer, stream

FAILURES = (CommandError, OperationFailed, Cancelled, OSError)


class CloneParams(VmParams):
    """vm_id: the copy, in state "creating" (`copies.make`); linked: it shares what it has not changed; snapshot: of the
    source, the one that it is of, "" for now."""

    source_id: int
    linked: bool = False
    snapshot: str = Field("", max_length=200)


class DiskParams(VmParams):
    index: int = Field(ge=0, le=999)


class FileParams(BaseModel):
    """file: FILE or USER/FILE in the imports of the VM's pool."""

    file: str = Field(max_length=160)

    @field_validator("file")
    @classmethod
    def _is_file(cls, value: str) -> str:
        if not folders.is_file(value):
            raise ValueError("This is not the name of a file for import.")
        return value


class ExportParams(VmParams):
    """file: the name of an exported file."""

    file: str = Field(max_length=160)

    @field_validator("file")
    @classmethod
    def _is_file(cls, value: str) -> str:
        if not folders.is_file(value) or "/" in value:
            raise ValueError("This is not the name of an exported file.")
        return value


class ImportImageParams(DiskParams, FileParams):
    """Writes the image over the disk ``index``; what is on that is lost."""


class ExportImageParams(DiskParams):
    format: str = "qcow2"

    @field_validator("format")
    @classmethod
    def _is_format(cls, value: str) -> str:
        if value not in qemu_img.EXPORTS:
            raise ValueError(f"Choose one of {', '.join(qemu_img.EXPORTS)}.")
        return value


class ImportParams(VmParams, FileParams):
    """vm_id: a row in state "creating" (`begin`); mark: the UUID that it had then."""

    mark: uuid.UUID


# Copies.


@vm_operation("vms.clone", "Copy a VM as {vm}", right="vms.create", recover="vms.recover_clone")
def clone(run: Run, params: CloneParams) -> None:
    """Make a full or linked copy of another VM, which may be running: the copy starts as after a power failure."""
    copy = vm_of(params)
    source = VM.objects.select_related("host", "pool").filter(pk=params.source_id).first()
    if copy.state != State.CREATING:
        raise OperationFailed(f"{copy.name} has been created already.")
    run.redact(copy.vnc_password)
    try:
        if source is None or not _may(run, source):
            raise OperationFailed("The VM to copy does not exist any more, or is not yours.")
        if problem := copies.problem_of(source):
            raise OperationFailed(problem)
        if source.is_on:
            run.log(f"{source.name} is on: {copy.name} will start as after a power failure.")
        copies.build(run, source, copy, linked=params.linked, of=params.snapshot)
    except FAILURES:
        ask("vms.recover_clone", params, None)
        raise
    mark(copy, State.STOPPED)


def _may(run: Run, source: VM) -> bool:
    return run.user is None or run.user.can("vms.change", owner_id=source.owner_id)


@vm_operation("vms.recover_clone", "Tidy up after the copy {vm}", right=None)
def recover_clone(run: Run, params: CloneParams) -> None:
    """Remove a copy that was broken off, and its snapshot in the source. A finished copy is left as it is."""
    copy = row_of(params)
    if copy is None or copy.state != State.CREATING:
        run.log("There is nothing to tidy up.")
        return
    source = VM.objects.select_related("host", "pool").filter(pk=params.source_id).first()

    def remove() -> None:
        parts.remove(run, copy)
        if source is not None:
            destroying.marked_snapshots(run, source.dataset, copies.snapshot_name(copy), str(copy.uuid))

    _take_back(run, copy, remove)


def _take_back(run: Run, vm: VM, remove: Callable[[], None]) -> None:
    """Remove what was half made, then the row; where that fails, the row stays and says why."""
    try:
        remove()
    except FAILURES as error:
        if run.cancelled or not isinstance(error, Cancelled | CommandStopped):
            mark(vm, State.FAILED, f"It could not be removed: {error}")
        raise
    forget_row(vm)


@vm_operation("vms.promote", "Make {vm} independent", right="vms.change")
def promote(run: Run, params: VmParams) -> None:
    """Let a linked clone own what it shares. The VM that it was made from then depends on it, not it on that one."""
    vm = vm_of(params)
    require_whole(vm)
    place.check(run.host, vm)
    copies.promote(run, vm)


# Disk images.


def _disk(vm: VM, params: DiskParams) -> Disk:
    """The disk of ``vm``, which is the very row that is checked. Raises OperationFailed."""
    disk = vm.disks.filter(index=params.index).first()
    if disk is None:
        raise OperationFailed(f"It has no disk {params.index}.")
    if disk.backing == Disk.Backing.PATH:
        raise OperationFailed(f"{disk.path} is the host's own: it is neither written nor read here.")
    return disk


@vm_operation(
    "vms.import_image", "Write an image to a disk of {vm}", right="vms.change", recover="vms.recover_image"
)
def import_image(run: Run, params: ImportImageParams) -> None:
    """Write a disk image over a disk of a VM that is off, growing it where needed.

    The disk is detached meanwhile, and stays so when this is broken off: no guest starts from half an image.
    """
    vm = vm_of(params)
    require_off(run, vm)
    disk = _disk(vm, params)
    place.check(run.host, vm)
    run.redact(vm.vnc_password)
    with folders.workspace(run, vm.pool) as space:
        path = folders.take(run, vm.pool, params.file, space)
        info = images.examine(run, path)
        run.log(f"A {qemu_img.FORMATS[info.kind]} image of {info.size // MIB} MiB.")
        was_attached = disk.is_attached
        Disk.objects.filter(pk=disk.pk).update(is_attached=False)
        images.write(run, disk, path, info)
    with transaction.atomic():
        Disk.objects.filter(pk=disk.pk).update(is_attached=was_attached)
        publish(vm.subject)
    parts.complete(run, wanted.load(vm.pk))


@vm_operation("vms.recover_image", "Look after a disk of {vm}", right=None)
def recover_image(run: Run, params: ImportImageParams) -> None:
    """Write down that the disk holds half an image; it is detached."""
    vm = row_of(params)
    if vm is None or not vm.disks.filter(index=params.index, is_attached=False).exists():
        run.log("There is nothing to look after.")
        return
    run.log(f"Disk {params.index} holds only a part of the image. Import it again, then attach it.")
    parts.complete(run, wanted.load(vm.pk))
    publish(vm.subject)


@vm_operation("vms.export_image", "Export a disk of {vm}", right="vms.change")
def export_image(run: Run, params: ExportImageParams) -> None:
    """Write a disk of a VM that is off as an image, NAME-diskN.FORMAT, to the exports of its pool."""
    vm = vm_of(params)
    require_off(run, vm)
    disk = _disk(vm, params)
    place.check(run.host, vm)
    with folders.workspace(run, vm.pool) as space:
        images.read(run, disk, f"{space}/export", params.format)
        folders.publish(run, vm, f"{space}/export", f"{vm.name}-disk{disk.index}.{params.format}")


# Whole VMs.


def begin(
    operation: str, pool: Pool, name: str, file: str, user: User, *, owner: User | None = None
) -> tuple[VM, Task]:
    """Make the row of a VM that is to come from a file, and ask for its import. operation: "vms.import_stream" or
    "vms.import_ova". Raises Refused, naming the field."""
    try:
        names.vm_name(name)
    except names.BadName as error:
        raise Refused("invalid", str(error), "name") from error
    if not pool.is_adopted:
        raise Refused("invalid", "This pool does not belong to bHype.", "pool")
    for _ in range(8):
        used = VM.objects.filter(host=pool.host).values_list("vnc_port", flat=True)
        vm = VM(
            host=pool.host,
            pool=pool,
            owner=owner or user,
            name=name,
            memory=plan.MEMORY_MIN,
            vnc_port=plan.free_vnc_port(used, settings.VNC_FIRST_PORT),
            vnc_password=plan.new_vnc_password(),
        )
        try:
            with transaction.atomic():
                vm.save()
                params = {"vm_id": vm.pk, "file": file, "mark": str(vm.uuid)}
                return vm, ask(operation, params, user)
        except IntegrityError:
            if VM.objects.filter(host=pool.host, name=name).exists():
                raise Refused("conflict", "There is already a VM of this name.", "name", 409) from None
    raise Refused("conflict", "Too many VMs are being made at once. Try again.", status=409)


@vm_operation("vms.export_stream", "Export {vm} as a ZFS stream", right="vms.change")
def export_stream(run: Run, params: VmParams) -> None:
    """Write the whole VM as one ZFS stream, NAME.zfs, to the exports of its pool; it may be running."""
    vm = vm_of(params)
    require_whole(vm)
    stream.export(run, vm, f"{vm.name}.zfs")


@vm_operation(
    "vms.import_stream", "Import {vm} from a ZFS stream", right="vms.create", recover="vms.recover_import"
)
def import_stream(run: Run, params: ImportParams) -> None:
    """Make a VM of a ZFS stream. Undone when it fails."""
    _import(run, params, lambda vm: stream.receive(run, vm, params.file))


@vm_operation("vms.import_ova", "Import {vm} from an OVA", right="vms.create", recover="vms.recover_import")
def import_ova(run: Run, params: ImportParams) -> None:
    """Make a VM of an OVA package. Undone when it fails."""
    _import(run, params, lambda vm: _unpack(run, vm, params.file))


def _import(run: Run, params: ImportParams, work: Callable[[VM], None]) -> None:
    vm = vm_of(params)
    if vm.state != State.CREATING:
        raise OperationFailed(f"{vm.name} has been created already.")
    run.redact(vm.vnc_password)
    try:
        place.check(run.host, vm)
        work(vm)
    except FAILURES:
        ask("vms.recover_import", params, None)
        raise
    mark(vm, State.STOPPED)


@vm_operation("vms.recover_import", "Tidy up after the import of {vm}", right=None)
def recover_import(run: Run, params: ImportParams) -> None:
    """Remove a VM of which the import was broken off: all that was received for it goes, and the row."""
    vm = row_of(params)
    if vm is None or vm.state != State.CREATING:
        run.log("There is nothing to tidy up.")
        return

    def remove() -> None:
        there = parts.listed(run, vm.dataset)
        if vm.dataset not in there:
            return
        found = run.host.query(zfs.get_property(vm.dataset, zfs.ID_PROPERTY))
        if not found.is_local or found.value not in {str(vm.uuid), str(params.mark)}:
            raise OperationFailed(f"{vm.dataset} was not made for {vm.name} by bHype and is left alone.")
        parts.require_no_clones(run, vm.pool.home, vm.dataset)
        parts.destroy_tree(run, there, vm.dataset)

    _take_back(run, vm, remove)


def _unpack(run: Run, vm: VM, file: str) -> None:
    with folders.workspace(run, vm.pool) as space:
        path = folders.take(run, vm.pool, file, space)
        local = Path(run.host.path(path))
        with local.open("rb") as package:
            try:
                machine = ova.read(package, local.stat().st_size)
            except ova.BadOva as error:
                raise OperationFailed(f"This package cannot be imported. {error}") from error
            for note in machine.notes:
                run.log(note)
            found = _examine_disks(run, space, package, machine)
            disks = [f"/dev/zvol/{vm.dataset}/disk{number}" for number in range(len(found))]
            sizes = {disk: images.rounded(info.size) for disk, info in zip(disks, found, strict=True)}
            switch = vm.host.switches.by_use().first()
            document = machine.document(disks, switch.interface if switch else "")
            document["com1"] = f"/dev/nmdm-{vm.name}.1A"
            stream.write_row(run, vm, stream.localised(vm, document, {}), sizes)
            fresh = wanted.load(vm.pk)
            parts.make(run, fresh)
            rows = list(fresh.disks.order_by("index"))
            for number, (row, info) in enumerate(zip(rows, found, strict=True)):
                span = (20 + 75 * number / len(rows), 20 + 75 * (number + 1) / len(rows))
                images.write(run, row, f"{space}/disk{number}", info, span)


def _examine_disks(run: Run, space: str, package: object, machine: ova.Machine) -> list[images.ImageInfo]:
    """Extract the package's disks into the workspace, checking their hashes and what they are."""
    found = []
    for number, disk in enumerate(machine.disks):
        path = f"{space}/disk{number}"

        def told(count: int, number: int = number, size: int = disk.member.size) -> None:
            run.stage(f"Unpacking disk {number}", percent=2 + 18 * count / max(size, 1))
            run.check_cancelled()

        try:
            with Path(run.host.path(path)).open("xb") as out:
                ova.extract(package, machine, disk.member, out, told)  # type: ignore[arg-type]
        except ova.BadOva as error:
            raise OperationFailed(f"This package cannot be imported. {error}") from error
        found.append(images.examine(run, path))
    return found


@vm_operation("vms.export_ova", "Export {vm} as an OVA", right="vms.change")
def export_ova(run: Run, params: VmParams) -> None:
    """Write a VM that is off as a package for other tools, NAME.ova, to the exports of its pool."""
    vm = vm_of(params)
    require_off(run, vm)
    place.check(run.host, vm)
    with folders.workspace(run, vm.pool) as space:
        written = []
        for disk in vm.disks.filter(is_attached=True).exclude(backing=Disk.Backing.PATH):
            path = f"{space}/disk{disk.index}"
            images.read(run, disk, path, "vmdk", stream_optimized=True)
            run.stage(f"Reading the image of disk {disk.index}")
            with Path(run.host.path(path)).open("rb") as file:
                sha256, size = ova_writer.digest(file, lambda _: run.check_cancelled())
            name = f"{vm.name}-disk{disk.index}.vmdk"
            written.append(
                (ova_writer.WrittenDisk(name, size, disk.size, sha256, disk.bus), Path(run.host.path(path)))
            )
        document = plan.document(wanted.load(vm.pk))
        text = ova_writer.envelope(document, [disk for disk, _ in written])
        run.stage("Writing the package")
        _write(run, space, vm.name, text, written)
        folders.publish(run, vm, f"{space}/export", f"{vm.name}.ova")


def _write(
    run: Run, space: str, name: str, text: str, written: list[tuple[ova_writer.WrittenDisk, Path]]
) -> None:
    files = [(disk, path.open("rb")) for disk, path in written]
    try:
        with Path(run.host.path(f"{space}/export")).open("xb") as out:
            ova_writer.write(out, name, text, files, lambda _: run.check_cancelled())
    finally:
        for _, file in files:
            file.close()


@vm_operation("vms.remove_export", "Remove an exported file of {vm}", right="vms.change")
def remove_export(run: Run, params: ExportParams) -> None:
    """Remove one of the VM's exported files, which are root's."""
    vm = vm_of(params)
    folders.withdraw(run, vm, params.file)
    publish(vm.subject)
