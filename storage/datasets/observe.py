"""What filesystems and volumes an adopted pool has: two questions, whatever their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone

from bhype.freebsd import zfs, zfs_properties
from bhype.freebsd.command import Query
from bhype.freebsd.zfs import DatasetInfo, Property
from bhype.host import LocalHost
from bhype.live import publish
from storage.models import Dataset, Pool

# In columns of their own.
_KEYS = {"encryption": "encryption", "encryptionroot": "encryption_root", "keystatus": "key_status"}
COLUMNS = (
    *("kind", "used", "available", "referenced", "volsize", "mountpoint", "origin", "bhype_id"),
    *(*_KEYS.values(), "properties"),
)
# What is worth telling open pages at once; sizes change all the time.
_TOLD = ("volsize", "mountpoint", "origin", "bhype_id", "encryption_root", "key_status")


def look(pool: Pool, ask: Callable[[Query[Any]], Any]) -> bool:
    """Bring the pool's Dataset rows up to date; True when something changed that people see. Raises CommandError and
    ParseError."""
    found = ask(zfs.list_datasets(pool.home))
    return _write(pool, found, ask(zfs_properties.of_all(pool.home)))


def refresh(host: LocalHost, pool: Pool) -> None:
    """As `look`, after an operation has changed something: nobody has to wait for the observer."""
    look(pool, host.query)
    with transaction.atomic():
        publish(f"pool:{pool.pk}", "pools")


def _write(pool: Pool, found: list[DatasetInfo], properties: dict[str, dict[str, Property]]) -> bool:
    rows = {row.name: row for row in pool.datasets.all()}
    new, changed, visible = [], [], False
    for info in found:
        row = rows.pop(info.name, None)
        values = _values(info, properties.get(info.name, {}))
        if row is None:
            new.append(Dataset(pool=pool, name=info.name, **values))
        elif any(getattr(row, column) != value for column, value in values.items()):
            visible = visible or _is_visible(row, values)
            for column, value in values.items():
                setattr(row, column, value)
            row.seen_at = timezone.now()
            changed.append(row)
    gone = [row.pk for row in rows.values()]
    with transaction.atomic():
        Dataset.objects.bulk_create(new, batch_size=500, ignore_conflicts=True)
        Dataset.objects.bulk_update(changed, [*COLUMNS, "seen_at"], batch_size=100)
        for start in range(0, len(gone), 500):
            Dataset.objects.filter(pk__in=gone[start : start + 500]).delete()
    return bool(new or gone or visible)


def _values(info: DatasetInfo, properties: dict[str, Property]) -> dict[str, Any]:
    keys = {column: _value(properties, key) for key, column in _KEYS.items()}
    return {
        "kind": info.kind,
        "used": info.used,
        "available": info.available,
        "referenced": info.referenced,
        "volsize": info.volsize or None,
        "mountpoint": info.mountpoint or "",
        "origin": info.origin or "",
        "bhype_id": (info.bhype_id or "")[:64],
        **keys,
        "encryption": keys["encryption"] or "off",
        "properties": {
            key: [found.value, found.source] for key, found in properties.items() if key not in _KEYS
        },
    }


def _value(properties: dict[str, Property], key: str) -> str:
    found = properties.get(key)
    return (found.value or "") if found else ""


def _is_visible(row: Dataset, values: dict[str, Any]) -> bool:
    if any(getattr(row, column) != values[column] for column in _TOLD):
        return True
    if abs(row.used - values["used"]) > max(row.used // 50, 1 << 20):
        return True
    before, now = row.properties, values["properties"]
    return any(before.get(key) != now.get(key) for key in (*zfs_properties.SETTINGS, zfs_properties.KEPT))
