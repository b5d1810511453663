"""What the worker does to pools."""

from __future__ import annotations

from pydantic import BaseModel

from bhype.freebsd import names, zfs
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation

from . import operations_datasets, operations_images, operations_keys, plan
from .models import Pool

# Their operations are registered by being imported.
OTHERS = (operations_datasets, operations_images, operations_keys)


class PoolParams(BaseModel):
    pool_id: int


def _pool(params: PoolParams) -> Pool | None:
    return Pool.objects.select_related("host").filter(pk=params.pool_id).first()


def _words(params: PoolParams) -> dict[str, str]:
    pool = _pool(params)
    return {"pool": pool.name if pool else f"pool {params.pool_id}"}


@operation(
    "storage.adopt",
    title="Adopt the pool {pool}",
    right="storage.change",
    lock="pool:{pool_id}",
    subject="pool:{pool_id}",
    target=_pool,
    describe=_words,
)
def adopt(run: Run, params: PoolParams) -> None:
    """Make POOL/bhype and its parts, each with org.bhype:id. May be repeated; what is there is kept.

    Refuses a POOL/bhype that bHype did not make: nothing of it would ever be safe to destroy.
    """
    pool = _pool(params)
    if pool is None:
        raise OperationFailed("The pool is not on this host any more.")
    try:
        names.pool(pool.name)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    found = {info.name: info for info in run.host.query(zfs.list_datasets(pool.name, depth=1))}
    home = found.get(pool.home)
    if home is not None:
        mark = run.host.query(zfs.get_property(pool.home, zfs.ID_PROPERTY))
        if problem := plan.refusal(home, is_ours=mark.is_local and mark.value == plan.HOME_ID):
            raise OperationFailed(problem)
        found |= {info.name: info for info in run.host.query(zfs.list_datasets(pool.home, depth=1))}
    wanted = plan.layout(pool.home)
    for number, name in enumerate(wanted):
        run.stage(f"Making {name}", percent=100 * number // len(wanted))
        if name not in found:
            run.host.run(zfs.create_filesystem(name, plan.properties(name, pool.home)))
    Pool.objects.filter(pk=pool.pk).update(is_adopted=True)
    publish(f"pool:{pool.pk}", "pools")
