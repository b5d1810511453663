"""Which VMs live on the data of others: linked copies, as the observer has seen their datasets."""

from __future__ import annotations

from dataclasses import dataclass

from bhype.accounts.models import User
from storage.models import Dataset
from vms.models import VM, Nic

from . import copies


@dataclass(frozen=True, slots=True)
class Relative:
    """A VM at the other end. vm: None when it is not there any more, or when this user may not see it."""

    vm: VM | None
    may_change: bool = False

    @property
    def name(self) -> str:
        return self.vm.name if self.vm else "a VM of somebody else"


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


@dataclass(frozen=True, slots=True)
class Family:
    """The relatives of a VM as one user sees them."""

    origins: list[Relative]
    dependants: list[Relative]

    @property
    def problem(self) -> str:
        """Why the VM cannot be destroyed, as a sentence; "" when it can."""
        names = " and ".join(one.name for one in self.dependants)
        return f"Linked copies live on its data: {names}. Promote or delete them first." if names else ""


def family(user: User, vm: VM) -> Family:
    found = of(vm)
    return Family(_seen_by(user, vm, found.origins), _seen_by(user, vm, found.dependants))


def _seen_by(user: User, vm: VM, names: tuple[str, ...]) -> list[Relative]:
    visible = {one.name: one for one in VM.objects.visible_to(user).filter(host=vm.host_id, name__in=names)}
    found = []
    for name in names:
        row = visible.get(name)
        found.append(Relative(row, row is not None and user.can("vms.change", owner_id=row.owner_id)))
    return found


def ports(user: User, vm: VM) -> list[tuple[Nic, list[Relative]]]:
    """The network ports of a VM, each with the VMs that have a port of the same address."""
    rows = list(vm.nics.all())
    others: dict[str, list[str]] = {}
    same = Nic.objects.filter(mac__in=[nic.mac for nic in rows], vm__host=vm.host_id).exclude(vm=vm)
    for mac, name in same.order_by("vm__name").values_list("mac", "vm__name"):
        others.setdefault(mac, []).append(name)
    return [(nic, _seen_by(user, vm, tuple(others.get(nic.mac, ())))) for nic in rows]
