"""Copies of VMs: full ones, with data of their own, and linked ones, which share what they have not changed.

Both begin with one snapshot of the whole VM, taken at one moment, also while the guest runs: the copy then starts as
after a power failure. Or with one that is there already: the copy then has its data, and the configuration of now. A
linked copy is made of ZFS clones and so keeps that snapshot alive in its source; until it is promoted, the source
cannot be deleted. A new snapshot carries the copy's UUID in its name and in org.bhype:id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from django.db import transaction

from bhype.accounts.models import User
from bhype.freebsd import zfs
from bhype.tasks import OperationFailed, Refused, Run, ask
from bhype.tasks.errors import not_found
from bhype.tasks.models import Task
from bhype.vmrun.devices import KINDS, NETWORK_GROUP
from storage.datasets import destroying
from storage.models import Snapshot
from vms import parts, place, plan, wanted
from vms.addresses import ties
from vms.models import VM, Disk

from .folders import plain_files

Document = dict[str, Any]
# What is part of one machine alone.
_OF_ONE = ("name", "uuid", "bhype", "pinning")
_OF_TAP = ("name", "description")


class Cloned(Protocol):
    """A dataset, as zfs(8) or its row has it. origin: the snapshot of which it is a clone, if it is one."""

    @property
    def name(self) -> str: ...
    @property
    def origin(self) -> str | None: ...


# Pure.


def snapshot_name(copy: VM) -> str:
    """What follows the @ of the snapshot from which the copy is made."""
    return f"bhype-clone-{copy.uuid}"


def document(source: VM, name: str) -> Document:
    """What the vm.json of ``source`` becomes for a copy called ``name``: its own disks, taps, screen and addresses.

    Disks by a path of the host are left out: two guests that write to one disk destroy what is on it.
    """
    before = plan.document(source)
    kept = {key: value for key, value in before.items() if key not in _OF_ONE}
    after: Document = plan.renamed(kept, source.name, name)
    home = source.dataset.rpartition("/")[0]
    after["emulations"] = [
        entry for entry in (_device(source, f"{home}/{name}", each) for each in after["emulations"]) if entry
    ]
    if "graphic" in after:
        after["graphic"] = {
            key: value for key, value in after["graphic"].items() if key not in {"port", "password"}
        }
    if after.get("varfile") == plan.vars_path(source):
        after["varfile"] = f"/{home}/{name}/uefi-vars.fd"
    if after.get("tpm", {}).get("state") == plan.tpm_path(source):
        after["tpm"] = {key: value for key, value in after["tpm"].items() if key != "state"}
    return after


def _device(source: VM, dataset: str, entry: Document) -> Document | None:
    kind = KINDS[entry["device"]]
    if kind.group == NETWORK_GROUP:
        dropped = {*(_OF_TAP if "bridge" in entry else ()), "mac"}
        return {key: value for key, value in entry.items() if key not in dropped}
    if entry["device"] in Disk.Bus.values and "path" in entry:
        own = place.own_disk(source, str(entry["path"]))
        if own is None:
            return None
        backing, index = own
        path = (
            f"/dev/zvol/{dataset}/disk{index}"
            if backing == Disk.Backing.VOLUME
            else f"/{dataset}/disk{index}.img"
        )
        # A serial number is the disk's own; the guest finds its file systems by what is on them.
        return {**entry, "path": path}
    return entry


def clones_of(datasets: Iterable[Cloned], dataset: str) -> list[str]:
    """The datasets outside of ``dataset`` that are clones of its snapshots, or of those below it: until they are
    promoted or destroyed, it cannot be destroyed."""
    return sorted(
        info.name
        for info in datasets
        if info.origin
        and _is_inside(info.origin.partition("@")[0], dataset)
        and not _is_inside(info.name, dataset)
    )


def origins_of(datasets: Iterable[Cloned], dataset: str) -> dict[str, str]:
    """Of ``dataset`` and all below it, those that are clones of something outside: the snapshot by dataset."""
    return {
        info.name: info.origin
        for info in datasets
        if info.origin
        and _is_inside(info.name, dataset)
        and not _is_inside(info.origin.partition("@")[0], dataset)
    }


def _is_inside(name: str, dataset: str) -> bool:
    return name == dataset or name.startswith(dataset + "/")


def names_of(datasets: Iterable[str], vms: str) -> list[str]:
    """The VMs that datasets below ``vms`` (POOL/bhype/vms) belong to, each once."""
    found = (
        name.removeprefix(vms + "/").partition("/")[0] for name in datasets if name.startswith(vms + "/")
    )
    return sorted(set(found))


# Rows.


def make(
    source: VM,
    name: str,
    user: User | None,
    *,
    owner: User | None = None,
    linked: bool = False,
    keep_macs: bool = False,
    snapshot: str = "",
) -> tuple[VM, Task]:
    """Make the rows of a copy and ask for it, all or nothing. Raises WantedError and Refused.

    user: who asks; must be one who may change the source, as all that is on its disks is in the copy. snapshot: the one
    of the source, by what follows the @, that the copy is of; "" for now. Disks that it has not are left out.
    """
    source = wanted.load(source.pk)
    if user is not None and not user.can("vms.change", owner_id=source.owner_id):
        raise not_found()
    if problem := problem_of(source):
        raise Refused("conflict", problem, status=409)
    copy = VM(host=source.host, pool=source.pool, owner=owner or user or source.owner, name=name)
    for column in ("notes", "health", "health_seconds", "stop_seconds", "has_recording"):
        setattr(copy, column, getattr(source, column))
    sizes = {
        disk.path.replace(source.dataset, copy.dataset, 1): disk.size
        for disk in source.disks.all()
        if disk.backing != Disk.Backing.PATH
    }
    with transaction.atomic():
        after = document(source, name)
        if snapshot:
            after["emulations"] = _of_snapshot(source, copy, snapshot, after["emulations"])
        made = wanted.apply(copy, after, user, create=True, sizes=sizes).vm
        if keep_macs:
            _take_macs(source, made)
        made.tags.set(source.tags.all())
        ties.copied(source, made)
        params = {"vm_id": made.pk, "source_id": source.pk, "linked": linked}
        return made, ask("vms.clone", params | ({"snapshot": snapshot} if snapshot else {}), user)


def _of_snapshot(source: VM, copy: VM, snapshot: str, entries: list[Document]) -> list[Document]:
    """The devices without volumes that the snapshot has not. Raises Refused where there is no such snapshot."""
    rows = Snapshot.objects.filter(dataset__pool=source.pool, name=snapshot)
    volumes = [disk.dataset for disk in source.disks.all() if disk.backing == Disk.Backing.VOLUME]
    there = set(
        rows.filter(dataset__name__in=[source.dataset, *volumes]).values_list("dataset__name", flat=True)
    )
    if source.dataset not in there:
        raise Refused("invalid", f"{source.name} has no snapshot called {snapshot}.", "snapshot")
    missing = {
        f"/dev/zvol/{name.replace(source.dataset, copy.dataset, 1)}" for name in volumes if name not in there
    }
    return [entry for entry in entries if entry.get("path") not in missing]


def _take_macs(source: VM, copy: VM) -> None:
    """Give the copy's network ports the addresses of those they were copied from."""
    ports = (nic for nic in source.nics.all() if nic.is_attached)
    for old, new in zip(ports, copy.nics.order_by("index"), strict=True):
        copy.nics.filter(pk=new.pk).update(mac=old.mac, shares_mac=True)


def problem_of(source: VM) -> str:
    """Why a VM cannot be copied now, as a sentence; "" when it can."""
    if source.state in {VM.State.CREATING, VM.State.DELETING}:
        return f"{source.name} is being {'created' if source.state == VM.State.CREATING else 'deleted'}."
    if source.state == VM.State.LOST:
        return f"The dataset of {source.name} is not there."
    return ""


# The host.


def build(run: Run, source: VM, copy: VM, *, linked: bool, of: str = "") -> None:
    """Make the copy's datasets and configuration; what is there already is kept. Raises as parts.make does.

    of: the snapshot of the source that it is of; "": a new one, which a full copy does not need afterwards."""
    for vm in (source, copy):
        place.check(run.host, vm)
    if source.pool_id != copy.pool_id:
        raise OperationFailed("A copy lies in the pool of its source.")
    wanted_names = _pairs(source, copy)
    _check_source(run, source, wanted_names)
    tail = of or snapshot_name(copy)
    if not of:
        _take(run, source, copy, f"{source.dataset}@{tail}")
    done = parts.datasets(run, copy)
    steps = [(f"{before}@{tail}", after) for before, after in wanted_names.items() if after not in done]
    if linked:
        for before, after in steps:
            run.stage(f"Cloning {after}", percent=50)
            run.host.run(zfs.clone(before, after, _properties(copy, after)))
    else:
        _send(run, copy, steps)
    _tidy_folder(run, copy)
    parts.complete(run, copy)
    if not linked:
        destroying.marked_snapshots(run, copy.dataset, tail, str(copy.uuid))
        if not of:
            destroying.marked_snapshots(run, source.dataset, tail, str(copy.uuid))


def _pairs(source: VM, copy: VM) -> dict[str, str]:
    """The source's datasets and what they become: its own, and a volume for each of the copy's."""
    found = {source.dataset: copy.dataset}
    for disk in copy.disks.all():
        if disk.backing == Disk.Backing.VOLUME:
            found[f"{source.dataset}/disk{disk.index}"] = disk.dataset
    return found


def _check_source(run: Run, source: VM, wanted_names: dict[str, str]) -> None:
    missing = set(wanted_names) - parts.datasets(run, source).keys()
    if missing:
        raise OperationFailed(f"{source.name} has lost {', '.join(sorted(missing))}.")


def _take(run: Run, source: VM, copy: VM, snapshot: str) -> None:
    run.stage("Taking a snapshot", percent=2)
    there = {info.name for info in run.host.query(zfs.list_snapshots(source.dataset, recursive=False))}
    if snapshot not in there:
        run.host.run(zfs.snapshot(snapshot, {zfs.ID_PROPERTY: str(copy.uuid)}, recursive=True))


def _properties(copy: VM, dataset: str) -> dict[str, str]:
    mark = {zfs.ID_PROPERTY: str(copy.uuid)}
    return mark if dataset == copy.dataset else {**mark, "volmode": "dev"}


def _send(run: Run, copy: VM, steps: list[tuple[str, str]]) -> None:
    """Send each dataset by itself and without properties: whole, also where the source is a clone itself."""
    sizes = [run.host.query(zfs.send_size(before)) for before, _ in steps]
    total, done = max(sum(sizes), 1), 0
    for (before, after), size in zip(steps, sizes, strict=True):

        def told(count: int, done: int = done, size: int = size, name: str = after) -> None:
            run.stage(f"Copying {name}", percent=5 + 85 * (done + min(count, size)) / total)

        run.host.pipe(zfs.send(before), zfs.receive(after, _properties(copy, after)), told)
        done += size


def _tidy_folder(run: Run, copy: VM) -> None:
    """Remove from the copy's folder what is the source's: disks in files that are not the copy's."""
    folder = f"/{copy.dataset}"
    own = {disk.path for disk in copy.disks.all()}
    for path in plain_files(run, folder):
        if path.startswith(f"{folder}/disk") and path.endswith(".img") and path not in own:
            run.host.unlink(path)


def promote(run: Run, vm: VM) -> None:
    """Make the VM independent of what it is a clone of: the shared snapshots, with all older ones, become its own."""
    origins = origins_of(parts.datasets(run, vm).values(), vm.dataset)
    if not origins:
        run.log(f"{vm.name} depends on no other VM.")
    for number, (name, origin) in enumerate(sorted(origins.items())):
        run.stage(f"Promoting {name}", percent=100 * number / len(origins))
        run.log(f"{origin} and all older snapshots of it now belong to {name}.")
        run.host.run(zfs.promote(name))
