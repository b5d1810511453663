"""Which devices an operating system wants: the presets of presets.json as rows, and a preset made into a vm.json.

A preset's document has keys of a vm.json. In its emulations the first disk says how all disks are attached, the first
network port the same of all ports, the first CD drive of all drives; what else is there, each VM gets. ``null`` takes a
key away: ``"graphic": null`` is a VM without a screen, ``"com1": null`` one without a serial line.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from django.apps import apps as current
from django.apps.registry import Apps
from django.db import transaction

from bhype.vmrun.devices import CD, DISK, KINDS, NETWORK_GROUP
from vms.models import Disk, Nic, OsPreset

Document = dict[str, Any]
FILE = Path(__file__).with_name("presets.json")
# What a VM is without a preset.
PLAIN: Document = {
    # Unknown MSRs are ignored, as on hardware that lacks them; many systems probe.
    "ignore_msr": True,
    "emulations": [{"device": Disk.Bus.VIRTIO.value}, {"device": Nic.Model.VIRTIO.value}],
}
# What belongs to one VM alone, and so never to a preset.
FORBIDDEN = frozenset({"name", "uuid", "bhype", "cpu", "mem", "bootrom", "varfile", "targets"})
_FIELDS = ("title", "family", "document", "cpus", "memory", "disk_size", "login", "cloud_init", "notes")


@cache
def shipped() -> dict[str, Document]:
    """The presets that come with bHype, by name: columns of OsPreset, and "sources" of each fact."""
    return {entry["name"]: entry for entry in json.loads(FILE.read_text(encoding="utf-8"))}


def after_migration(*, apps: Apps = current, **_signal: Any) -> None:
    """`seed`, wherever the table is there: it is not on the way back to an earlier migration.

    apps: as the migrations made them; manage.py flush says nothing of them.
    """
    try:
        apps.get_model("vms", "OsPreset")
    except LookupError:
        return
    seed()


def seed() -> None:
    """Make the rows of the shipped presets as the file has them; those that an admin has changed stay."""
    with transaction.atomic():
        rows = {row.name: row for row in OsPreset.objects.all()}
        missing = [entry for name, entry in shipped().items() if name not in rows]
        # Of two processes that do this at once each writes the same.
        OsPreset.objects.bulk_create(
            [OsPreset(name=entry["name"], **_columns(entry)) for entry in missing], ignore_conflicts=True
        )
        for name, row in rows.items():
            if name in shipped() and not row.is_own and _differs(row, shipped()[name]):
                reset(row)


def reset(preset: OsPreset) -> None:
    """Give back what was shipped under this name. Raises LookupError for one that an admin has made."""
    for column, value in _columns(shipped()[preset.name]).items():
        setattr(preset, column, value)
    preset.is_own = False
    preset.save()


def sources(preset: OsPreset) -> list[str]:
    """Where the facts of a shipped preset are from; none for an admin's own."""
    return list(shipped().get(preset.name, {}).get("sources", ()))


def _columns(entry: Document) -> Document:
    return {name: entry[name] for name in _FIELDS}


def _differs(row: OsPreset, entry: Document) -> bool:
    return any(getattr(row, name) != value for name, value in _columns(entry).items())


def document(preset: OsPreset | None) -> Document:
    """The preset's document, or that of a VM without one; a copy."""
    found: Document = json.loads(json.dumps(preset.document if preset else PLAIN))
    found.setdefault("emulations", PLAIN["emulations"])
    return found


def frame(preset: OsPreset | None) -> Document:
    """`document` without disks, ports and drives: the keys and devices that every VM of it has."""
    found = document(preset)
    found["emulations"] = [
        entry for entry in found["emulations"] if _group(entry) not in {DISK, NETWORK_GROUP, CD}
    ]
    return found


def pattern(preset: OsPreset | None, group: str) -> Document:
    """How the preset attaches the devices of a group, `DISK` or `NETWORK_GROUP`: an entry without a slot."""
    for source in (document(preset), PLAIN):
        for entry in source["emulations"]:
            if _group(entry) == group:
                return {key: value for key, value in entry.items() if key != "slot"}
    return {"device": CD}


def disk_bus(preset: OsPreset | None) -> str:
    return str(pattern(preset, DISK)["device"])


def nic_model(preset: OsPreset | None) -> str:
    return str(pattern(preset, NETWORK_GROUP)["device"])


def _group(entry: Document) -> str:
    kind = KINDS.get(str(entry.get("device")))
    return kind.group if kind else ""


def problem_of(found: Any) -> str:
    """Why this cannot be the document of a preset, as a sentence; "" when it can."""
    if not isinstance(found, dict):
        return "It is not a JSON object."
    if too_much := FORBIDDEN & found.keys():
        return f"{', '.join(sorted(too_much))}: belongs to one VM alone, and not to a preset."
    entries = found.get("emulations", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return "emulations is a list of devices."
    for entry in entries:
        if entry.get("device") not in KINDS:
            return f"There is no device {entry.get('device')!r}."
        if owned := {"path", "mac", "ser", "bridge", "name"} & entry.keys():
            return f"{entry['device']}: {', '.join(sorted(owned))} belongs to one VM alone."
    buses = {entry["device"] for entry in entries if _group(entry) == DISK}
    models = {entry["device"] for entry in entries if _group(entry) == NETWORK_GROUP}
    if unknown := (buses - {*Disk.Bus.values}) | (models - {*Nic.Model.values}):
        return f"The panel makes no disks or ports of the kind {min(unknown)}."
    return ""
