"""What of the datasets belongs to VMs and templates, for the rooms below (storage.owners)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

from django.db.models import Q

from storage import owners
from storage.owners import Owner

from . import plan
from .models import VM, Disk, Template

_COLUMNS = ("name", "uuid", "host", "pool__name", "owner", "state", "is_production", "rolling_back_to")


def vms(uuids: Collection[str] | None) -> Iterator[Owner]:
    """The VMs with these UUIDs, or all, in three queries. There may be thousands: only what is told is read."""
    rows = VM.objects.select_related("pool").only(*_COLUMNS)
    found = list(rows if uuids is None else rows.filter(uuid__in=uuids))
    meant = Q() if uuids is None else Q(vm__in=[vm.pk for vm in found])
    disks, tags = defaultdict(list), defaultdict(list)
    own = Disk.objects.filter(meant, backing=Disk.Backing.VOLUME).order_by("index")
    for key, index in own.values_list("vm_id", "index"):
        disks[key].append(index)
    for key, tag in (
        VM.tags.through.objects.filter(meant).order_by("tag__name").values_list("vm_id", "tag__name")
    ):
        tags[key].append(tag)
    pages = owners.address("vms:list")
    for vm in found:
        yield Owner(
            kind="vm",
            key=str(vm.pk),
            name=vm.name,
            url=pages and f"{pages}{vm.name}/",
            uuid=str(vm.uuid),
            host_id=vm.host_id,
            pool_id=vm.pool_id,
            datasets=(vm.dataset, *(f"{vm.dataset}/disk{index}" for index in disks[vm.pk])),
            tags=tuple(tags[vm.pk]),
            is_production=vm.is_production,
            is_on=vm.state in plan.ON,
            person=vm.owner_id,
            is_lost=vm.state == VM.State.LOST,
            is_whole=not vm.rolling_back_to and vm.state not in {VM.State.CREATING, VM.State.DELETING},
        )


def volumes(vm: VM) -> list[Disk]:
    """The VM's disks that are volumes of its own."""
    return [disk for disk in vm.disks.all() if disk.backing == Disk.Backing.VOLUME]


def templates(uuids: Collection[str] | None) -> Iterator[Owner]:
    """The templates with these UUIDs, or all, in one query."""
    rows = Template.objects.select_related("pool")
    for row in rows if uuids is None else rows.filter(uuid__in=uuids):
        yield Owner(
            kind="template",
            key=str(row.pk),
            name=str(row),
            url=owners.address("vms:template", row.pk),
            uuid=str(row.uuid),
            host_id=row.host_id,
            pool_id=row.pool_id,
            datasets=(row.dataset, *(f"{row.dataset}/disk{index}" for index in range(len(row.disks)))),
            is_whole=row.state == Template.State.READY,
        )
