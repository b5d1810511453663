"""Which VMs live on the data of others: linked copies, as the observer has seen their datasets."""

from __future__ import annotations

from dataclasses import dataclass

from bhype.accounts.models import User
from storage.models import Dataset

from . import copies
from .models import VM


@dataclass(frozen=True, slots=True)
class Relative:
    """A VM at the other end. vm: None when it is not there any more, or when this user may not see it."""

    vm: VM | None
    may_change: bool = False


@dataclass(frozen=True, slots=True)
class Lineage:
    """Names of VMs. origins: on whose snapshots this one lives; dependants: which live on those of this one."""

    origins: tuple[str, ...] = ()
    dependants: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.origins or self.dependants)


def of(vm: VM) -> Lineage:
    """The relatives of a VM; none where nothing was cloned."""
    clones = list(Dataset.objects.filter(pool=vm.pool_id).exclude(origin=""))
    if not clones:
        return Lineage()
    home = f"{vm.pool.home}/vms"
    origins = [name.partition("@")[0] for name in copies.origins_of(clones, vm.dataset).values()]
    return Lineage(
        tuple(copies.names_of(origins, home)),
        tuple(copies.names_of(copies.clones_of(clones, vm.dataset), home)),
    )


def seen_by(user: User, vm: VM, names: tuple[str, ...]) -> list[Relative]:
    """The VMs of these names as far as the user may know of them."""
    visible = {one.name: one for one in VM.objects.visible_to(user).filter(host=vm.host_id, name__in=names)}
    found = []
    for name in names:
        row = visible.get(name)
        found.append(Relative(row, row is not None and user.can("vms.change", owner_id=row.owner_id)))
    return found
