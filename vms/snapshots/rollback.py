"""Going back to a snapshot of a whole VM: its disks, its UEFI variables and its vm.json, of one moment.

zfs(8) rolls back one dataset at a time. So the row notes the snapshot first (VM.rolling_back_to): until all datasets
are back the VM neither starts nor changes, and whoever dies on the way is followed by `vms.finish_rollback`, which
rolls all of them back once more. The vm.json that comes back goes through `wanted.apply` like any other: before
anything is touched, with the rights of the person who asks.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from bhype.accounts.models import User
from bhype.freebsd import zfs, zfs_snapshots
from bhype.freebsd.zfs_snapshots import SnapshotDetail
from bhype.host import CommandFailed
from bhype.live import publish
from bhype.tasks import OperationFailed, Run
from bhype.vmrun.config import load as load_json
from bhype.vmrun.devices import KINDS, NETWORK_GROUP
from bhype.vmrun.problems import Unfit
from bhype.vmrun.rundir import RUN_DIR
from storage.snapshots import moments
from storage.snapshots import observe as snapshots_observe
from storage.snapshots.moments import Moment
from vms import edited, parts, place, plan, wanted
from vms.hardware import pending
from vms.life import power
from vms.models import VM, Disk
from vms.operating import require_off
from vms.wanted import WantedError

Document = dict[str, Any]
# GEOM holds a volume for a moment after the last close.
BUSY_SECONDS = 10.0


@dataclass
class Plan:
    """What a rollback would do. goes: newer snapshots, by full name; blocked: why it cannot be, as sentences; warnings:
    what stays as it is, or is lost besides; changes: of vm.json; faults: why that of the snapshot cannot come back."""

    moment: Moment
    goes: list[SnapshotDetail] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    changes: list[pending.Difference] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def told(self) -> Document:
        """As a task's result."""
        return {
            "snapshot": self.moment.name,
            "at": self.moment.root.created.isoformat(),
            "datasets": [part.dataset for part in self.moment.parts],
            "goes": [
                {"name": one.name, "at": one.created.isoformat(), "kind": one.kind, "note": one.note}
                for one in self.goes
            ],
            "written": sum(part.written for part in self.goes),
            "blocked": self.blocked,
            "warnings": self.warnings,
            "changes": [
                {"label": one.label, "before": one.before, "after": one.after} for one in self.changes
            ],
            "faults": self.faults,
        }


# What would be.


def look(run: Run, vm: VM, name: str, user: User | None) -> Plan:
    """What going back to the snapshot would do. Raises OperationFailed when there is no such snapshot."""
    current = parts.datasets(run, vm)
    raw: list[SnapshotDetail] = run.host.query(zfs_snapshots.details(vm.dataset, recursive=True))
    found = Plan(_moment(vm, raw, name))
    inside = {part.dataset for part in found.moment.parts}
    txg = found.moment.root.txg
    found.goes = [one for one in raw if one.dataset in inside and one.txg > txg]
    for one in found.goes:
        if why := _obstacle(one):
            found.blocked.append(f"{one.name}: {why}")
    for dataset in sorted(current.keys() - inside):
        found.warnings.append(f"{dataset} is newer than the snapshot: it stays as it is, unplugged.")
    if any(one.is_common for one in found.goes):
        found.warnings.append("Its replica begins anew: the last snapshot that it has, too, goes.")
    document = _past(run, vm, name)
    if document is None:
        found.faults.append("The snapshot has no vm.json that can be read.")
        return found
    _compare(found, vm, adapted(vm, document, _have(run, vm, inside, name)), user)
    return found


def _moment(vm: VM, raw: list[SnapshotDetail], name: str) -> Moment:
    moment = next((one for one in moments.moments(vm.dataset, raw) if one.name == name), None)
    if moment is None:
        raise OperationFailed(f"{vm.name} has no snapshot called {name} any more.")
    return moment


def _obstacle(one: SnapshotDetail) -> str:
    if one.clones:
        return f"{', '.join(one.clones)} lives on it. Promote or delete that first."
    if one.holds:
        return "it is held. Release it first."
    return "" if one.kind else "bHype did not take it. Destroy it with zfs(8) first, if nobody needs it."


def _past(run: Run, vm: VM, name: str) -> Document | None:
    """The vm.json of the snapshot."""
    return _read(run, f"/{vm.dataset}/.zfs/snapshot/{name}/vm.json")[0]


def _read(run: Run, path: str) -> tuple[Document | None, bytes]:
    """A vm.json and its text; no document where it is none. Links are not followed."""
    try:
        descriptor = os.open(run.host.path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None, b""
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(wanted.DOCUMENT_MAX + 1)
    try:
        return load_json(data.decode()), data
    except (Unfit, ValueError, RecursionError):
        return None, data


def _have(run: Run, vm: VM, volumes: set[str], name: str) -> set[str]:
    """The paths of the VM's own disks that will be there: volumes that come back, and files of the snapshot."""
    files = run.host.listdir(f"/{vm.dataset}/.zfs/snapshot/{name}")
    return {f"/dev/zvol/{volume}" for volume in volumes} | {f"/{vm.dataset}/{file}" for file in files}


def adapted(vm: VM, document: Document, have: set[str]) -> Document:
    """A vm.json of the past as one of today: with the VM's name, screen and taps of now, and without disks that are
    gone. Pure."""
    old = str(document.get("name", vm.name))
    text = json.dumps({key: value for key, value in document.items() if key != "bhype"})
    if old != vm.name:
        home = vm.dataset.rpartition("/")[0]
        for pattern in (f"{home}/{{}}/", f"{RUN_DIR}/{{}}/", "/dev/nmdm-{}."):
            text = text.replace(pattern.format(old), pattern.format(vm.name))
    found: Document = json.loads(text)
    found |= {"name": vm.name, "uuid": str(vm.uuid)}
    if isinstance(graphic := found.get("graphic"), dict):
        graphic |= {"host": plan.VNC_ADDRESS, "port": vm.vnc_port, "password": vm.vnc_password}
    entries = found.get("emulations")
    if isinstance(entries, list):
        found["emulations"] = [_device(entry) for entry in entries if _is_there(vm, entry, have)]
    return found


def _is_there(vm: VM, entry: Any, have: set[str]) -> bool:
    path = str(entry.get("path", "")) if isinstance(entry, dict) else ""
    if path == f"/{vm.dataset}/seed.iso":
        return bool(vm.cloud_init)
    return not place.is_own_disk(vm, path) or path in have


def _device(entry: Any) -> Any:
    kind = KINDS.get(str(entry.get("device"))) if isinstance(entry, dict) else None
    if kind is None or kind.group != NETWORK_GROUP or "bridge" not in entry:
        return entry
    # The tap is the row's.
    return {key: value for key, value in entry.items() if key not in {"name", "description"}}


def _compare(found: Plan, vm: VM, document: Document, user: User | None) -> None:
    """Note what of the configuration changes, and why it cannot: by doing it, and taking it back."""
    try:
        with transaction.atomic():
            change = wanted.apply(wanted.load(vm.pk), document, user)
            transaction.set_rollback(True)
    except WantedError as error:
        found.faults = [f"{fault.where}: {fault.field}: {fault.message}" for fault in error.faults]
        return
    found.changes = pending.differences(change.before, change.after)


# Doing it.


def begin(run: Run, vm: VM, name: str, expected: list[str] | None, *, keep_config: bool) -> None:
    """Check all that can be checked, note the snapshot in the row, and go back. expected: the newer snapshots that the
    person has seen to go; None: whatever there is."""
    require_off(run, vm)
    edited.require_answered(run.host, vm)
    run.stage("Looking at what is lost", percent=5)
    found = look(run, vm, name, run.user)
    problems = found.blocked + ([] if keep_config else found.faults)
    if problems:
        raise OperationFailed(f"{vm.name} cannot go back to {name}. " + " ".join(problems))
    if expected is not None and (unseen := {one.name for one in found.goes} - set(expected)):
        raise OperationFailed(
            f"Snapshots were taken since you looked, and would be lost: {', '.join(sorted(unseen))}. Look again."
        )
    _note(vm, name)
    finish(run, vm, keep_config=keep_config)


def _note(vm: VM, name: str) -> None:
    with transaction.atomic():
        VM.objects.filter(pk=vm.pk).update(rolling_back_to=name)
        publish(vm.subject, "vms")
    vm.rolling_back_to = name


def finish(run: Run, vm: VM, *, keep_config: bool) -> None:
    """Roll back all datasets of the snapshot that the row names, then let rows and vm.json follow."""
    name = vm.rolling_back_to
    if power.is_on(run.host, vm.name):
        raise OperationFailed(f"{vm.name} is on. Stop it first.")
    parts.datasets(run, vm)
    raw: list[SnapshotDetail] = run.host.query(zfs_snapshots.details(vm.dataset, recursive=True))
    try:
        moment = _moment(vm, raw, name)
    except OperationFailed:
        # Nobody can go there any more; its disks are as whole as they can be.
        _note(vm, "")
        raise
    _require_ours(run, vm, raw, moment)
    # The filesystem with vm.json last.
    for number, part in enumerate(reversed(moment.parts)):
        run.stage(f"Rolling back {part.dataset}", percent=10 + 70 * number // len(moment.parts))
        try:
            _roll_back(run, part.name)
        except CommandFailed as error:
            if number == 0 and "cannot rollback" in error.result.stderr and not _is_resumed(run):
                # zfs(8) has refused the first: all is as it was.
                _note(vm, "")
            raise
    snapshots_observe.refresh(run.host, vm.pool, vm.dataset)
    run.stage("Bringing the configuration back", percent=85)
    _follow(run, vm, {part.dataset for part in moment.parts}, keep_config=keep_config)


def _require_ours(run: Run, vm: VM, raw: list[SnapshotDetail], moment: Moment) -> None:
    """Raise OperationFailed when something newer would go that may not: the row may be older than that, and the web
    process can write it."""
    inside = {part.dataset for part in moment.parts}
    newer = (one for one in raw if one.dataset in inside and one.txg > moment.root.txg)
    blocked = [f"{one.name}: {why}" for one in newer if (why := _obstacle(one))]
    if blocked:
        if not _is_resumed(run):
            _note(vm, "")
        raise OperationFailed(f"{vm.name} cannot go back to {moment.name}. " + " ".join(blocked))


def _is_resumed(run: Run) -> bool:
    return run.task.operation != "vms.rollback"


def _roll_back(run: Run, snapshot: str) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            run.host.run(zfs.rollback(snapshot, destroy_newer=True))
        except CommandFailed as error:
            if "busy" not in error.result.stderr or time.monotonic() > deadline:
                raise
            run.check_cancelled()
            time.sleep(0.5)
        else:
            return


def _follow(run: Run, vm: VM, volumes: set[str], *, keep_config: bool) -> None:
    """Let the rows say what the vm.json that has come back says, as far as that is possible today."""
    document, text = _read(run, plan.config_path(vm))
    sizes = {info.name: info.volsize for info in parts.datasets(run, vm).values() if info.volsize}
    files = run.host.listdir(f"/{vm.dataset}")
    have = {f"/dev/zvol/{volume}" for volume in volumes} | {f"/{vm.dataset}/{file}" for file in files}
    with transaction.atomic():
        if document is not None and not keep_config:
            try:
                # Whose rights it needs was checked before anything was touched.
                wanted.apply(wanted.load(vm.pk), adapted(vm, document, have), None)
            except WantedError as error:
                run.log(f"The configuration stays as it was: {error}")
        for disk in vm.disks.filter(backing=Disk.Backing.VOLUME):
            if disk.dataset in sizes:
                Disk.objects.filter(pk=disk.pk).update(size=sizes[disk.dataset])
        # What came back is not somebody's edit.
        VM.objects.filter(pk=vm.pk).update(
            rolling_back_to="", file_digest=edited.digest_of(text) if text else "", edited=None
        )
        publish(vm.subject, "vms")
    vm = wanted.load(vm.pk)
    run.redact(vm.vnc_password)
    parts.complete(run, vm)
