"""What the Snapshots tab of a VM shows. Reads rows only."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse

from bhype.accounts.models import User
from storage.models import Dataset, Snapshot, SnapshotPolicy
from storage.policies import plan as policies
from storage.snapshots import moments
from storage.snapshots.moments import MANUAL, Moment
from storage.snapshots.pages import Door
from vms.models import VM
from vms.transfer import copies

# Shown at once; older ones are behind a link.
MOST = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A snapshot of the VM. branches: the VMs that live on it, "" for one that this user may not see; why: it cannot be
    destroyed by this user, as a sentence's end, "" when it can."""

    moment: Moment
    branches: tuple[str, ...]
    why: str

    @property
    def row(self) -> Moment:
        return self.moment


@dataclass(frozen=True, slots=True)
class Listing:
    """The newest first. more: how many older ones are not shown; origin: the snapshot that the VM itself lives on."""

    lines: list[Line]
    more: int
    origin: str
    policies: list[SnapshotPolicy]


def listing(vm: VM, user: User) -> Listing:
    """The snapshots of a VM as this user sees them, in a constant number of queries."""
    found = moments.known(vm.pool, vm.dataset)[::-1]
    home = f"{vm.pool.home}/vms"
    clones = {name for moment in found for name in copies.names_of(moment.clones, home)}
    seen = set(
        VM.objects.visible_to(user).filter(host=vm.host_id, name__in=clones).values_list("name", flat=True)
    )
    may_all = user.can("storage.change")
    lines = [
        Line(
            moment,
            tuple(name if name in seen else "" for name in copies.names_of(moment.clones, home)),
            obstacle(moment, may_all=may_all),
        )
        for moment in found[:MOST]
    ]
    origin = Dataset.objects.filter(pool=vm.pool_id, name=vm.dataset).values_list("origin", flat=True).first()
    return Listing(
        lines, max(0, len(found) - MOST), origin or "", covering(vm) if user.can("storage.view") else []
    )


def newest(vm: VM) -> Snapshot | None:
    """The last snapshot of the whole VM, as observed; its disks have one of the same name."""
    return Snapshot.objects.filter(dataset__pool=vm.pool_id, dataset__name=vm.dataset).last()


def obstacle(moment: Moment, *, may_all: bool) -> str:
    """Why a person cannot destroy a snapshot, as a sentence's end."""
    if why := moments.obstacle(moment):
        return why
    is_own = may_all or moment.root.kind == MANUAL
    return "" if is_own else "a policy took it: only who may change storage destroys it"


def covering(vm: VM) -> list[SnapshotPolicy]:
    """The policies that take snapshots of the VM."""
    rows = SnapshotPolicy.objects.filter(host=vm.host_id, is_enabled=True).prefetch_related(
        "targets", "tiers"
    )
    tags = {tag.name for tag in vm.tags.all()}
    return [row for row in rows if any(_is_meant(vm, tags, one.kind, one.value) for one in row.targets.all())]


def _is_meant(vm: VM, tags: set[str], kind: str, value: str) -> bool:
    match kind:
        case policies.PRODUCTION:
            return vm.is_production
        case policies.TAG:
            return value in tags
        case policies.DATASET:
            return vm.dataset == value or vm.dataset.startswith(f"{value}/")
        case _:
            return value == str(vm.uuid)


def door(vm: VM) -> Door:
    """Where the pages of the VM's snapshots lead to."""

    def address(name: str) -> str:
        return reverse(f"vms:{name}", args=[vm.name])

    crumbs = (
        ("Virtual machines", reverse("vms:list")),
        (vm.name, address("detail")),
        ("Snapshots", address("snapshots")),
    )
    return Door(
        "vms", address("snapshots_do"), address("snapshots_delete"), address("snapshots"), crumbs,
        address("snapshots_rollback"),
    )  # fmt: skip
