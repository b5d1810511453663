"""What the Hardware page shows: sections, devices, what is detached, what waits for the next start. Reads only."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from bhype.accounts.models import User
from bhype.vmrun.devices import CD, DISK, KINDS, NETWORK_GROUP
from vms import plan, wanted
from vms.models import VM, Disk, Nic
from vms.sizes import human

from . import pending, pins
from .forms import SECTIONS
from .pending import Difference
from .tables import ICONS, MENU, ROOT_KINDS

Document = dict[str, Any]
SECTION_ICONS = {"processor": "cpu", "boot": "player-play", "screen": "device-desktop", "options": "settings"}


@dataclass(frozen=True)
class Section:
    """Some main keys: their page and what they say now. count: of its changes that wait for the next start."""

    name: str
    title: str
    icon: str
    text: str
    count: int


@dataclass(frozen=True)
class DeviceRow:
    """One device. notes: what the next start changes of it, in words."""

    slot: str
    kind: str
    label: str
    icon: str
    text: str
    detail: str
    notes: list[str]
    disk: Disk | None = None
    nic: Nic | None = None
    is_cd: bool = False
    has_medium: bool = False
    is_down: bool = False

    @property
    def slug(self) -> str:
        return self.slot.replace(":", "-")


@dataclass(frozen=True)
class Hardware:
    """All of the page."""

    vm: VM
    document: Document
    sections: list[Section]
    devices: list[DeviceRow]
    pending: list[Difference]
    disks: list[Disk] = field(default_factory=list)
    nics: list[Nic] = field(default_factory=list)
    edits: list[Difference] = field(default_factory=list)
    menu: Any = MENU
    # What a person without the right vms.root cannot add.
    root_kinds: frozenset[str] = ROOT_KINDS


def of(vm: VM) -> Hardware:
    """The page of ``vm``, which was loaded with all its parts."""
    document = plan.document(vm)
    changes = changes_of(vm, document)
    return Hardware(
        vm,
        document,
        [_section(name, vm, document, changes) for name in SECTIONS],
        [_row(vm, entry, changes) for entry in document["emulations"]],
        changes,
        [disk for disk in vm.disks.all() if not disk.is_attached],
        [nic for nic in vm.nics.all() if not nic.is_attached],
        edits_of(vm, document),
    )


def changes_of(vm: VM, document: Document | None = None) -> list[Difference]:
    """What the next start changes; nothing of a VM that is off: its next start is its first word."""
    if not vm.is_on or vm.running is None:
        return []
    return pending.differences(vm.running, document or plan.document(vm))


def edits_of(vm: VM, document: Document) -> list[Difference]:
    """What taking over a change by hand would change."""
    edited = (vm.edited or {}).get("document")
    return pending.differences(document, edited) if isinstance(edited, dict) else []


def edit_shares(vm: VM, user: User) -> str:
    """Which CPUs of other VMs it would have by taking over a change by hand, as `pins.told`; "" for none."""
    edited = (vm.edited or {}).get("document")
    return pins.shared(vm, plan.document(vm), edited, user) if isinstance(edited, dict) else ""


def _section(name: str, vm: VM, document: Document, changes: list[Difference]) -> Section:
    form = SECTIONS[name]
    keys = {*form.KEYS, *_MORE_KEYS[name]}
    count = sum(change.path.partition(".")[0] in keys for change in changes)
    return Section(name, form.title, SECTION_ICONS[name], "; ".join(_words(name, vm, document)), count)


_MORE_KEYS = {
    "processor": {"cpu", "pinning"},
    "boot": {"bootrom", "varfile", "tpm"},
    "screen": {"com1", "com2", "com3", "com4"},
    "options": set[str](),
}


def _words(name: str, vm: VM, document: Document) -> list[str]:
    if name == "processor":
        marks = {"wire_guest_mem": "wired", "pinning": "pinned", "limits": "limited", "protect": "protected"}
        more = [word for key, word in marks.items() if document.get(key)]
        cpus = f"{vm.cpus} CPU{'s' if vm.cpus != 1 else ''}"
        shape = f" in {vm.sockets} sockets" if vm.sockets > 1 else ""
        return [f"{cpus}{shape}", f"{human(vm.memory)} memory", *more]
    if name == "boot":
        order = [entry for entry in bootable(document) if "bootindex" in entry]
        first = [f"first {pending.summary(order[0])}"] if order else []
        return [vm.get_firmware_display(), *(["TPM 2.0"] if document.get("tpm") else []), *first]
    if name == "screen":
        size = f"{vm.screen_width} × {vm.screen_height}" if vm.has_screen else "no screen"  # noqa: RUF001
        lines = [key for key in ("com1", "com2", "com3", "com4") if key in document]
        return [size, ", ".join(lines) or "no serial line"]
    crash = (document.get("restart") or {}).get("on_crash")
    own = any(document.get(key) for key in ("options", "extra_options", "post_start_script", "gdb"))
    clock = "clock in UTC" if vm.utc_clock else "clock in local time"
    return [clock, *(["restarts after a crash"] if crash else []), *(["own bhyve options"] if own else [])]


def _row(vm: VM, entry: Document, changes: list[Difference]) -> DeviceRow:
    kind = KINDS[entry["device"]]
    slot = str(entry.get("slot", ""))
    disk = (
        next((one for one in vm.disks.all() if one.path == entry.get("path")), None)
        if kind.group == DISK
        else None
    )
    nic = (
        next((one for one in vm.nics.all() if one.mac == entry.get("mac")), None)
        if kind.group == NETWORK_GROUP
        else None
    )
    return DeviceRow(
        slot, kind.name, kind.label, ICONS.get(kind.name, "cpu-2"), *_texts(entry, disk, nic),
        [_note(change) for change in changes if change.path.startswith(f"emulations[{slot}]")],
        disk, nic, kind.group == CD, bool(entry.get("path")), entry.get("link") == "down",
    )  # fmt: skip


def _note(change: Difference) -> str:
    what = change.label.partition(": ")[2]
    return f"{what}: {change.before} → {change.after}" if what else "new"


def _texts(entry: Document, disk: Disk | None, nic: Nic | None) -> tuple[str, str]:
    """What it is, and what else is to be known of it."""
    if disk is not None:
        name = f"disk{disk.index}"
        size = human(disk.size) if disk.size else ""
        words = (("ro", "read-only"), ("nocache", "no cache"), ("direct", "write-through"))
        marks = [word for key, word in words if entry.get(key)]
        place = disk.dataset if disk.backing == Disk.Backing.VOLUME else disk.path
        return ", ".join(filter(None, (name, size))), ", ".join([place, *marks])
    if nic is not None:
        where = nic.switch.name if nic.switch else nic.backend or str(entry.get("type", ""))
        rates = [
            f"{word} {entry[key]}" for key, word in (("rate_in", "in"), ("rate_out", "out")) if entry.get(key)
        ]
        return where, ", ".join(
            [
                nic.mac,
                *(["shared with the VM it was copied from"] if nic.shares_mac else []),
                *(["cable unplugged"] if entry.get("link") == "down" else []),
                *([f"VLAN {entry['vlan']}"] if entry.get("vlan") else []),
                *([f"trunk {entry['tagged']}"] if entry.get("tagged") else []),
                *(["isolated"] if entry.get("private") else []),
                *(["not guarded"] if nic.may_spoof else []),
                *rates,
            ]
        )
    return pending.summary(entry), "read-only" if entry.get("ro") else ""


def bootable(document: Document) -> list[Document]:
    """The devices that can be booted from, in the order in which they are tried."""
    found = [entry for entry in document["emulations"] if "bootindex" in KINDS[entry["device"]].options]
    return sorted(found, key=lambda entry: entry.get("bootindex", 1000))


def order_of(vm: VM, document: Document) -> list[DeviceRow]:
    """`bootable` as the Boot page shows it."""
    return [_row(vm, entry, []) for entry in bootable(document)]


def moved(document: Document, slot: str, *, up: bool) -> Document:
    """The document with a device one place earlier or later in the boot order, which then is written down."""
    result = copy.deepcopy(document)
    order = bootable(result)
    place = next((number for number, entry in enumerate(order) if entry.get("slot") == slot), None)
    other = None if place is None else place + (-1 if up else 1)
    if place is not None and other is not None and 0 <= other < len(order):
        order[place], order[other] = order[other], order[place]
    for number, entry in enumerate(order):
        entry["bootindex"] = number
    if "loader" not in result:
        # bhyve passes the order by this interface alone (bhyve(8), FreeBSD 14).
        result["fwcfg"] = "qemu"
    return result


def unordered(document: Document) -> Document:
    """The document without a boot order of its own: the firmware goes by the slots."""
    result = copy.deepcopy(document)
    for entry in result["emulations"]:
        entry.pop("bootindex", None)
    if not result.get("fw_cfg"):
        result.pop("fwcfg", None)
    return result


def number_of(document: Document, slot: str) -> int | None:
    """Where in the document the device in ``slot`` is."""
    places = (number for number, entry in enumerate(document["emulations"]) if entry.get("slot") == slot)
    return next(places, None)


def load(vm: VM) -> VM:
    """The VM with all that its hardware is made of."""
    return wanted.load(vm.pk)
