"""Datasets of VMs that are no more: what was kept when a VM was deleted, until somebody destroys it."""

from __future__ import annotations

from pydantic import BaseModel

from bhype.freebsd import names
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from storage.models import Dataset

from . import parts
from .models import VM


class OrphanParams(BaseModel):
    dataset_id: int


def orphans(host: Host) -> list[Dataset]:
    """The datasets POOL/bhype/vms/NAME on ``host`` that carry the UUID of no VM, by name."""
    known = {str(uuid) for uuid in VM.objects.values_list("uuid", flat=True)}
    rows = Dataset.objects.filter(pool__host=host, pool__is_adopted=True, kind="filesystem").select_related(
        "pool"
    )
    return [row for row in rows if _is_vms(row) and row.bhype_id not in known and len(row.bhype_id) == 36]


def _is_vms(row: Dataset) -> bool:
    folder, _, name = row.name.rpartition("/")
    return folder == f"{row.pool.home}/vms" and bool(name)


def _row(params: OrphanParams) -> Dataset | None:
    return Dataset.objects.select_related("pool__host").filter(pk=params.dataset_id).first()


def _words(params: OrphanParams) -> dict[str, str]:
    row = _row(params)
    return {"orphan": row.name if row else f"dataset {params.dataset_id}"}


@operation(
    "vms.destroy_orphan",
    title="Destroy {orphan}",
    right="storage.change",
    lock="dataset:{dataset_id}",
    target=_row,
    describe=_words,
)
def destroy_orphan(run: Run, params: OrphanParams) -> None:
    """Destroy what was kept of a VM, with its snapshots. What carries another mark, or none, is refused."""
    row = _row(params)
    if row is None or not _is_vms(row):
        raise OperationFailed("There is no such dataset of a VM.")
    names.dataset(row.name)
    found = parts.listed(run, row.name)
    if row.name not in found:
        raise OperationFailed(f"{row.name} is gone already.")
    mark = found[row.name].bhype_id
    if mark != row.bhype_id or VM.objects.filter(uuid=mark).exists():
        raise OperationFailed(f"{row.name} belongs to a VM, or was changed meanwhile.")
    for name, info in found.items():
        if info.bhype_id != mark or not parts.is_marked(run, name):
            raise OperationFailed(f"{name} was not made by bHype and is left alone. Move it away.")
    parts.require_no_clones(run, row.pool.home, row.name)
    for number, name in enumerate(sorted(found, reverse=True)):
        run.stage(f"Destroying {name}", percent=100 * number / len(found))
        parts.destroy(run, name, recursive=True)
    publish(f"pool:{row.pool_id}", "pools")
