"""Templates on their host: POOL/bhype/templates/NAME-vN with a volume for each disk and the snapshot of which VMs are
cloned. Making one may be broken off anywhere; what is half made is removed (`remove`)."""

from __future__ import annotations

from bhype.freebsd import zfs
from bhype.freebsd.zfs import DatasetInfo
from bhype.tasks import OperationFailed, Run
from storage import plan as storage
from storage.datasets import destroying
from storage.models import Image
from vms import parts, plan
from vms.models import VM, Template

from .documents import VARS


def disk_of(template: Template, number: int) -> str:
    """The volume of one of its disks."""
    return f"{template.dataset}/disk{number}"


def vars_path(template: Template) -> str:
    """Where the UEFI variables lie that its VMs begin with, if it keeps some."""
    return f"/{template.dataset}/{VARS}"


def _properties(template: Template, *, volume: bool = False) -> dict[str, str]:
    mark = {zfs.ID_PROPERTY: str(template.uuid)}
    return {**mark, "volmode": "dev"} if volume else mark


def _begin(run: Run, template: Template) -> None:
    """Make its dataset, where bHype keeps templates."""
    home = template.pool.home
    found = {info.name: info for info in run.host.query(zfs.list_datasets(home, depth=1))}
    for name in (home, f"{home}/templates"):
        info = found.get(name)
        if info is None or info.bhype_id != storage.HOME_ID or info.mountpoint != f"/{name}":
            raise OperationFailed(f"{name} is not a dataset that bHype made, mounted on /{name}.")
    run.host.run(zfs.create_filesystem(template.dataset, _properties(template)))


def _seal(run: Run, template: Template) -> None:
    """Take the snapshot of which VMs are cloned."""
    name = f"{template.dataset}@{template.SNAPSHOT}"
    run.host.run(zfs.snapshot(name, _properties(template), recursive=True))


def from_image(run: Run, template: Template, image: Image) -> None:
    """Its one disk is a clone of the image: no data is copied."""
    if image.pool_id != template.pool_id:
        raise OperationFailed("A template lies in the pool of its image.")
    found = run.host.query(zfs.get_property(image.dataset, zfs.ID_PROPERTY))
    if not found.is_local or found.value != str(image.uuid):
        raise OperationFailed(f"{image.dataset} is not the image that bHype made.")
    run.stage("Cloning the image", percent=20)
    _begin(run, template)
    disk = disk_of(template, 0)
    run.host.run(zfs.clone(image.snapshot, disk, _properties(template, volume=True)))
    size = int(template.disks[0]["size"])
    if size > image.size:
        run.host.run(zfs.set_property(disk, "volsize", str(size)))
    _seal(run, template)


def from_vm(run: Run, template: Template, vm: VM, snapshot: str, *, linked: bool, keep_vars: bool) -> None:
    """Its disks are copies of the VM's, or with ``linked`` clones, which keep the VM from being deleted.

    snapshot: one that the VM has, or "" for the VM as it is now. keep_vars: the UEFI variables, too.
    """
    if vm.pool_id != template.pool_id:
        raise OperationFailed("A template lies in the pool of its VM.")
    there = parts.datasets(run, vm)
    sources = [f"{vm.dataset}/disk{int(disk['source'])}" for disk in template.disks]
    if missing := sorted(set(sources) - there.keys()):
        raise OperationFailed(f"{vm.name} has lost {', '.join(missing)}.")
    tail = snapshot or own_snapshot(template)
    if not snapshot:
        run.stage("Taking a snapshot", percent=2)
        run.host.run(zfs.snapshot(f"{vm.dataset}@{tail}", _properties(template), recursive=True))
    _begin(run, template)
    targets = [disk_of(template, number) for number in range(len(sources))]
    if linked:
        for source, disk in zip(sources, targets, strict=True):
            run.host.run(zfs.clone(f"{source}@{tail}", disk, _properties(template, volume=True)))
    else:
        _copy(run, template, [f"{source}@{tail}" for source in sources], targets)
    if keep_vars:
        _keep_vars(run, template, vm, snapshot)
    if not linked:
        drop_snapshots(run, vm.dataset, template)
    _seal(run, template)


def own_snapshot(template: Template) -> str:
    """What follows the @ of the snapshot that is taken of a VM for a template."""
    return f"bhype-template-{template.uuid}"


def _copy(run: Run, template: Template, sources: list[str], targets: list[str]) -> None:
    sizes = [run.host.query(zfs.send_size(source)) for source in sources]
    total, done = max(sum(sizes), 1), 0
    for source, disk, size in zip(sources, targets, sizes, strict=True):

        def told(count: int, done: int = done, size: int = size, disk: str = disk) -> None:
            run.stage(f"Copying {disk}", percent=5 + 85 * (done + min(count, size)) / total)

        run.host.pipe(zfs.send(source), zfs.receive(disk, _properties(template, volume=True)), told)
        # The snapshot came along.
        run.host.run(zfs.destroy(f"{disk}@{source.partition('@')[2]}"))
        done += size


def _keep_vars(run: Run, template: Template, vm: VM, snapshot: str) -> None:
    path = plan.vars_path(vm)
    if snapshot:
        folder, _, name = path.rpartition("/")
        path = f"{folder}/.zfs/snapshot/{snapshot}/{name}"
    if run.host.exists(path):
        run.host.copy(path, vars_path(template), 0o600)
    else:
        run.log(f"There is no {path}: VMs of this template begin with the firmware's own variables.")


def datasets(run: Run, template: Template) -> dict[str, DatasetInfo]:
    """Its dataset and disks that exist. Raises OperationFailed when anything there is not its own."""
    found = parts.listed(run, template.dataset)
    expected = {template.dataset, *(disk_of(template, number) for number in range(len(template.disks)))}
    for info in found.values():
        is_own = info.bhype_id == str(template.uuid)
        if not is_own or info.name not in expected or not parts.is_marked(run, info.name):
            raise OperationFailed(f"{info.name} was not made for {template} by bHype and is left alone.")
    return found


def remove(run: Run, template: Template) -> None:
    """Destroy what there is of it. Raises OperationFailed while VMs are clones of it, before anything goes."""
    found = datasets(run, template)
    if not found:
        return
    if users := clones(run, template):
        raise OperationFailed(
            f"VMs live on the data of {template}: {', '.join(sorted(set(map(_name_of, users))))}. Delete them first, or"
            " let them take the data over."
        )
    origins = {info.origin for info in found.values() if info.origin}
    run.stage(f"Destroying {template.dataset}", percent=50)
    parts.destroy_tree(run, found, template.dataset)
    if origins:
        _drop_unused(run, origins, template)


def _drop_unused(run: Run, origins: set[str], template: Template) -> None:
    """The snapshots elsewhere that were there for this template alone: of a VM that it was a linked copy of, and of
    VMs that took its data over."""
    used = {info.origin for info in parts.listed(run, template.pool.home).values()}
    for origin in sorted(origins - used):
        dataset, _, tail = origin.partition("@")
        if tail == own_snapshot(template):
            drop_snapshots(run, dataset.rpartition("/")[0], template)
        elif run.host.query(zfs.get_property(origin, zfs.ID_PROPERTY)).value == str(template.uuid):
            run.host.run(zfs.destroy(origin))


def drop_snapshots(run: Run, dataset: str, template: Template) -> None:
    """Destroy the snapshots that were taken of a VM for this template; any other is left."""
    destroying.marked_snapshots(run, dataset, own_snapshot(template), str(template.uuid))


def clones(run: Run, template: Template) -> dict[str, str]:
    """The volumes that are clones of its disks, by name, each with its origin."""
    return {
        info.name: info.origin
        for info in parts.listed(run, template.pool.home).values()
        if info.origin and info.origin.startswith(f"{template.dataset}/")
    }


def _name_of(dataset: str) -> str:
    """The VM that a volume POOL/bhype/vms/NAME/diskN belongs to; else the volume's own name."""
    words = dataset.split("/")
    return words[-2] if words[-3:-2] == ["vms"] else dataset


def promote(run: Run, template: Template) -> None:
    """Give each disk's data to the first of its clones; further clones then live on that one's."""
    datasets(run, template)
    given: set[str] = set()
    for name, origin in sorted(clones(run, template).items()):
        if origin not in given:
            run.log(f"{origin} now belongs to {name}.")
            run.host.run(zfs.promote(name))
            given.add(origin)
