"""What the worker does to filesystems and volumes. Each step can be repeated, and the worker may die between any two.

Rows come from the web process: before anything changes, the host is asked whether the dataset is there and carries the
mark that its row says.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from django.db import transaction
from pydantic import BaseModel, Field

from bhype.freebsd import names, zfs, zfs_keys, zfs_properties
from bhype.freebsd.zfs import DatasetInfo, Property
from bhype.tasks import OperationFailed, Run, operation
from storage import plan
from storage.models import Dataset, Pool

from . import destroying, passphrases, uses
from .observe import refresh
from .passphrases import Secret
from .uses import DATA_ID, Use

Kind = Literal["filesystem", "volume"]


class DatasetParams(BaseModel):
    dataset_id: int


class CreateParams(DatasetParams):
    """dataset_id: the parent; name: the last part of the new one's; size: of a volume, in bytes; secret: what
    `passphrases.seal` returned, for one that is to be encrypted with a key of its own."""

    name: str = Field(max_length=uses.NAME_MAX)
    kind: Kind = "filesystem"
    size: int = Field(0, ge=0, le=uses.SIZE_MAX)
    properties: dict[str, str] = Field({}, max_length=40)
    secret: Secret = ""


class SetParams(DatasetParams):
    """changes: a value for each property, None to have the parent's or the default again."""

    changes: dict[str, str | None] = Field(min_length=1, max_length=40)


class ResizeParams(DatasetParams):
    size: int = Field(gt=0, le=uses.SIZE_MAX)


class RenameParams(DatasetParams):
    """name: the last part of the new name; parent_id: where it moves to, None to stay where it is."""

    name: str = Field(max_length=uses.NAME_MAX)
    parent_id: int | None = None


class KeepParams(DatasetParams):
    keep: bool = True


def row_of(params: DatasetParams) -> Dataset | None:
    return Dataset.objects.select_related("pool__host").filter(pk=params.dataset_id).first()


def words_of(params: DatasetParams) -> dict[str, str]:
    row = row_of(params)
    return {"dataset": row.name if row else f"dataset {params.dataset_id}"}


# An operation on one dataset, of which one runs at a time.
dataset_operation = partial(
    operation, right="storage.change", lock="dataset:{dataset_id}", subject="dataset:{dataset_id}", target=row_of,
    describe=words_of,
)  # fmt: skip


def found(run: Run, params: DatasetParams, act: str) -> tuple[Use, DatasetInfo, dict[str, Property]]:
    """The dataset, with what the host says of it now and what is set there, if ``act`` may be done to it. Raises
    OperationFailed and CommandError."""
    row = row_of(params)
    if row is None:
        raise OperationFailed("There is no such dataset any more.")
    use = uses.use_of(row)
    if problem := use.refusals[act]:
        raise OperationFailed(f"{row.name}: {problem}")
    info, marks = on_host(run, row)
    return use, info, marks


def on_host(run: Run, row: Dataset) -> tuple[DatasetInfo, dict[str, Property]]:
    """What the host says of a dataset, and what is set there. Raises OperationFailed when it is not the one that its
    row tells of, or was not made by bHype."""
    check_place(row.pool, row.name)
    info = destroying.listed(run, row.name).get(row.name)
    if info is None:
        raise OperationFailed(f"{row.name} is gone.")
    marks = run.host.query(zfs_properties.of_all(row.name)).get(row.name, {})
    mark = marks.get(zfs.ID_PROPERTY)
    if mark is None or mark.value != row.bhype_id or info.kind != row.kind:
        raise OperationFailed(f"{row.name} was changed meanwhile. Look again.")
    return info, marks


def check_place(pool: Pool, name: str) -> None:
    """Raise OperationFailed unless the name is that of a dataset below the home of bHype in its pool."""
    try:
        names.pool(pool.name)
        names.dataset(name)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    if not pool.is_adopted or not f"{name}/".startswith(f"{pool.home}/"):
        raise OperationFailed(f"{name} does not lie where bHype keeps its own.")


def _require_own(info: DatasetInfo, marks: dict[str, Property]) -> None:
    if not marks[zfs.ID_PROPERTY].is_local:
        raise OperationFailed(f"{info.name} was not made by bHype and is left alone.")


@dataset_operation("storage.create_dataset", "Make {name} in {dataset}")
def create(run: Run, params: CreateParams) -> None:
    """Make a filesystem or volume with its settings, in one command: it is there whole, or not at all."""
    passphrase = passphrases.take(params.secret) if params.secret else None
    if passphrase:
        run.redact(passphrase)
    parent, _, _ = found(run, params, "add")
    try:
        name = uses.new_name(parent.name, params.name)
        settings = {
            key: zfs_properties.setting_of(key).check(value) for key, value in params.properties.items()
        }
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    if name in plan.layout(parent.dataset.pool.home):
        raise OperationFailed(f"{name} is a name that bHype needs itself.")
    settings = {zfs.ID_PROPERTY: DATA_ID, **settings}
    if params.kind == "volume":
        if problem := uses.size_problem(params.size):
            raise OperationFailed(problem)
        command = (
            zfs_keys.create_volume(name, params.size, passphrase, settings)
            if passphrase
            else zfs.create_volume(name, params.size, settings)
        )
    else:
        command = (
            zfs_keys.create_filesystem(name, passphrase, settings)
            if passphrase
            else zfs.create_filesystem(name, settings)
        )
    run.host.run(command)
    refresh(run.host, parent.dataset.pool)
    run.result(dataset=name)


@dataset_operation("storage.set_properties", "Change the properties of {dataset}")
def set_properties(run: Run, params: SetParams) -> None:
    """Set properties, or let the dataset have its parent's again."""
    use, info, marks = found(run, params, "set")
    values = {key: value for key, value in params.changes.items() if value is not None}
    try:
        for key, value in params.changes.items():
            setting = zfs_properties.setting_of(key)
            if info.kind not in setting.kinds:
                raise OperationFailed(f"A {info.kind} has no {key}.")
            if value is None and not setting.inherits:
                # zfs-inherit(8) refuses those; 0 is their default.
                values[key] = setting.default
        set_them = zfs_properties.set_several(info.name, values) if values else None
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    try:
        if set_them is not None:
            run.host.run(set_them)
        for key in zfs_properties.first_local(marks, [key for key in params.changes if key not in values]):
            run.host.run(zfs.inherit(info.name, key))
    finally:
        # Also when only some of it was done.
        refresh(run.host, use.dataset.pool)


@dataset_operation("storage.resize_volume", "Grow {dataset}")
def resize(run: Run, params: ResizeParams) -> None:
    """Make a volume larger. A smaller one would lose what lies at its end: that is refused."""
    use, info, marks = found(run, params, "resize")
    _require_own(info, marks)
    if problem := uses.size_problem(params.size):
        raise OperationFailed(problem)
    if params.size < info.volsize:
        raise OperationFailed(f"{info.name} has {info.volsize} bytes: it can only grow.")
    run.host.run(zfs.set_property(info.name, "volsize", str(params.size)))
    refresh(run.host, use.dataset.pool)


@dataset_operation("storage.rename_dataset", "Rename {dataset}")
def rename(run: Run, params: RenameParams) -> None:
    """Give a dataset another name, or another parent in its pool; what is below it moves along."""
    use, info, marks = found(run, params, "rename")
    _require_own(info, marks)
    row, parent = use.dataset, info.name.rpartition("/")[0]
    if params.parent_id is not None:
        above, _, _ = found(run, DatasetParams(dataset_id=params.parent_id), "add")
        if above.dataset.pool_id != row.pool_id:
            raise OperationFailed("A dataset stays in its pool.")
        parent = above.name
    try:
        name = uses.new_name(parent, params.name)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    if name in plan.layout(row.pool.home):
        raise OperationFailed(f"{name} is a name that bHype needs itself.")
    run.host.run(zfs.rename(info.name, name))
    moved(row, name)
    refresh(run.host, row.pool)
    run.result(dataset=name)


def moved(row: Dataset, name: str) -> None:
    """Let the rows of a dataset and of what is below it keep their numbers, and their snapshots, under a new name."""
    rows = [
        each
        for each in Dataset.objects.filter(pool=row.pool_id, name__startswith=row.name)
        if uses.below(row.name, each)
    ]
    for each in rows:
        each.name = name + each.name[len(row.name) :]
    with transaction.atomic():
        # Of what had these names before, and is gone.
        stale = Dataset.objects.filter(pool=row.pool_id, name__in=[each.name for each in rows])
        stale.exclude(pk__in=[each.pk for each in rows]).delete()
        Dataset.objects.bulk_update(rows, ["name"], batch_size=200)


@dataset_operation("storage.preview_destroy", "Look at what goes with {dataset}")
def preview(run: Run, params: DatasetParams) -> None:
    """Ask the host for all that would go with a dataset; nothing changes."""
    use, info, _ = found(run, params, "destroy")
    _, removal = destroying.look(run, info.name, use.dataset.bhype_id)
    run.result(goes=removal.names[:5000], count=len(removal.names), freed=removal.freed)


@dataset_operation("storage.destroy_dataset", "Destroy {dataset}", recover="storage.look_again")
def destroy(run: Run, params: DatasetParams) -> None:
    """Destroy a dataset that nobody has, with all below it and all snapshots. What bHype did not make is refused."""
    use, info, _ = found(run, params, "destroy")
    try:
        destroying.tree(run, info.name, use.dataset.bhype_id)
    finally:
        refresh(run.host, use.dataset.pool)


@dataset_operation("storage.look_again", "Look again at {dataset}", right=None)
def look_again(run: Run, params: DatasetParams) -> None:
    """Write down what is there, after the worker died or was stopped. What is left of a destroyed dataset stays."""
    row = row_of(params)
    if row is None:
        run.log("It is gone.")
        return
    check_place(row.pool, row.name)
    refresh(run.host, row.pool)


@dataset_operation("storage.keep_dataset", "Keep {dataset}")
def keep(run: Run, params: KeepParams) -> None:
    """Note that what nobody has is to stay, so that it is no orphan any more; or take that back."""
    use, info, marks = found(run, params, "keep")
    _require_own(info, marks)
    if params.keep:
        run.host.run(zfs.set_property(info.name, zfs_properties.KEPT, "yes"))
    else:
        run.host.run(zfs.inherit(info.name, zfs_properties.KEPT))
    refresh(run.host, use.dataset.pool)
