"""What was exported of a VM: asked for, listed, taken along. The files are root's; the web process reads them by its
group (`folders.publish`)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

from django.conf import settings
from django.http import StreamingHttpResponse

from bhype.accounts.models import User
from bhype.freebsd import qemu_img
from bhype.host import LocalHost
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from bhype.ui.respond import attachment
from vms.models import VM, Disk

from . import folders, lineage

OVA, STREAM, IMAGE = "ova", "stream", "image"
OPERATIONS = {OVA: "vms.export_ova", STREAM: "vms.export_stream", IMAGE: "vms.export_image"}
FORMATS = {kind: label for kind, label in qemu_img.FORMATS.items() if kind in qemu_img.EXPORTS}
_LABELS = {"ova": "OVA package", "zfs": "ZFS stream"}


@dataclass(frozen=True, slots=True)
class Export:
    """One exported file. size: bytes."""

    name: str
    size: int
    made: datetime

    @property
    def label(self) -> str:
        ending = self.name.rpartition(".")[2]
        return _LABELS.get(ending) or f"{FORMATS.get(ending, ending)} image"


def exports(vm: VM) -> list[Export]:
    """The exported files of the VM, the newest first."""
    return sorted(_found(vm), key=lambda one: (one.made, one.name), reverse=True)


def _found(vm: VM) -> Iterator[Export]:
    try:
        entries = list(os.scandir(LocalHost(settings.BHYPE_ROOT).path(folders.export_folder(vm))))
    except OSError:  # nothing was exported yet
        return
    for entry in entries:
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(found.st_mode):
            yield Export(entry.name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def under_way(vm: VM, user: User) -> list[Task]:
    """The exports that are not finished, and the last one if it has failed; as far as the user may see them."""
    rows = Task.objects.visible_to(user).filter(subject=vm.subject, operation__in=OPERATIONS.values())
    return [
        task
        for number, task in enumerate(rows[:20])
        if not task.is_finished or (number == 0 and task.status != Task.Status.SUCCEEDED)
    ]


def problem_of(vm: VM, kind: str) -> str:
    """Why the VM cannot be exported that way now, as a sentence; "" when it can."""
    if vm.state in {VM.State.CREATING, VM.State.DELETING}:
        return f"{vm.name} is being {'created' if vm.state == VM.State.CREATING else 'deleted'}."
    if vm.state == VM.State.LOST:
        return f"The dataset of {vm.name} is not there."
    if kind == STREAM:
        is_linked = bool(lineage.of(vm).origins)
        return f"{vm.name} is a linked copy: promote it first." if is_linked else ""
    if vm.is_on:
        return f"{vm.name} is on: stop it first."
    return "" if own_disks(vm) or kind == OVA else f"{vm.name} has no disk of its own."


def own_disks(vm: VM) -> list[Disk]:
    """Those of which images can be made: not the host's own."""
    return [disk for disk in vm.disks.all() if disk.backing != Disk.Backing.PATH]


def begin(vm: VM, user: User, kind: str, *, disk: int | None = None, format: str = "") -> Task:
    """Ask for an export. kind: OVA, STREAM, or IMAGE with its disk and format. Raises Refused, naming the field."""
    if kind not in OPERATIONS:
        raise Refused("invalid", f"Choose one of {', '.join(OPERATIONS)}.", "kind")
    if problem := problem_of(vm, kind):
        raise Refused("conflict", problem, status=409)
    params: dict[str, Any] = {"vm_id": vm.pk}
    if kind == IMAGE:
        disks = own_disks(vm)
        index = disks[0].index if disk is None else disk
        if index not in {one.index for one in disks}:
            raise Refused("invalid", f"{vm.name} has no disk {index} of its own.", "disk")
        if (format or "qcow2") not in FORMATS:
            raise Refused("invalid", f"Choose one of {', '.join(FORMATS)}.", "format")
        params |= {"index": index, "format": format or "qcow2"}
    return ask(OPERATIONS[kind], params, user)


def download(vm: VM, name: str) -> StreamingHttpResponse | None:
    """The file as an answer; None when there is none of this name."""
    file = _open(vm, name)
    return attachment(file, name) if file else None


def _open(vm: VM, name: str) -> BinaryIO | None:
    if name not in {one.name for one in _found(vm)}:
        return None
    path = LocalHost(settings.BHYPE_ROOT).path(folders.export_path(vm, name))
    try:
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
    except OSError:
        return None
