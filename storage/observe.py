"""What pools, datasets and install media this host has."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from bhype.hosts.checklist import Item
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep, ask_once
from bhype.live import publish

from . import plan
from .datasets import observe as observe_datasets
from .datasets import passphrases
from .models import Dataset, Image, Iso, Pool
from .pools import observe as observe_pools

# One of so many sweeps looks at storage: it changes slowly, and zfs(8) walks every dataset.
EVERY = 5


def observe(sweep: Sweep) -> bool:
    """Write Pool, Dataset and Iso rows; adopt the only pool of a fresh lab. False when it did not look."""
    if not sweep.every(EVERY) and Dataset.objects.filter(pool__host=sweep.row).exists():
        return False
    passphrases.tidy()
    pools = observe_pools.pools(sweep)
    itself = plan.may_adopt_itself(
        [pool.name for pool in pools],
        [pool.name for pool in pools if pool.is_adopted],
        is_lab=settings.BHYPE_ROOT != "/",
    )
    for pool in pools:
        if pool.name == itself:
            ask_once("storage.adopt", {"pool_id": pool.pk}, subject=f"pool:{pool.pk}")
        if pool.is_adopted and pool.health not in {"FAULTED", "UNAVAIL", "SUSPENDED"}:
            changed = observe_datasets.look(pool, sweep.ask)
            if _observe_isos(sweep, pool) or changed:
                publish(f"pool:{pool.pk}", "pools")
    return True


def _observe_isos(sweep: Sweep, pool: Pool) -> bool:
    """Bring the library up to date; True when media came or went. A medium that a VM wants stays, with size 0."""
    folder = f"/{pool.home}/isos"
    rows = {iso.name: iso for iso in pool.isos.all()}
    new, changed = [], []
    for name in sweep.host.listdir(folder):
        if not plan.is_medium(name):
            continue
        try:
            size = sweep.host.size(f"{folder}/{name}")
        except OSError:  # removed meanwhile
            continue
        iso = rows.pop(name, None)
        if iso is None:
            new.append(Iso(pool=pool, name=name, size=size))
        elif iso.size != size:
            iso.size, iso.seen_at = size, timezone.now()
            changed.append(iso)
    gone = [iso for iso in rows.values() if not iso.drives.exists()]
    for iso in rows.values():
        if iso not in gone and iso.size:
            iso.size = 0
            changed.append(iso)
    _write(Iso, new, changed, ["size", "seen_at"], [iso.pk for iso in gone])
    return bool(new or changed or gone)


def _write(
    model: type[models.Model], new: list[Any], changed: list[Any], columns: list[str], gone: list[int]
) -> None:
    manager = model._default_manager
    with transaction.atomic():
        manager.bulk_create(new, batch_size=500, ignore_conflicts=True)
        manager.bulk_update(changed, columns, batch_size=200)
        for start in range(0, len(gone), 500):
            manager.filter(pk__in=gone[start : start + 500]).delete()


def checklist(host: Host) -> list[Item]:
    """For the first-run list of the host's page."""
    return [
        Item(
            "A ZFS pool belongs to bHype",
            host.pools.filter(is_adopted=True).exists(),
            "Adopt a pool, or make one of free disks; bHype then keeps its datasets in POOL/bhype.",
            {"Pools": "storage:list"},
        ),
        Item(
            "An image or an install medium is in the library",
            Image.objects.filter(pool__host=host, state=Image.State.READY).exists()
            or Iso.objects.filter(pool__host=host, size__gt=0).exists(),
            "Fetch an image and make a template of it: VMs are deployed from that in a second. Or bring an install "
            "medium.",
            {"Catalogue of images": "storage:catalogue", "Install media": "storage:isos"},
        ),
    ]
