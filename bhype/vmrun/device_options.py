"""The options of the emulated devices, each described once, and the checks that belong to them.

Source: bhyve(8) and usr.sbin/bhyve/pci_*.c, as in freebsd/bhyve.md section 4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bhype.vmrun import fields, structures
from bhype.vmrun.options import Option, Values, by_key

# Of every device.
COMMON = by_key(
    Option("slot", fields.slot, "PCI slot", "As 0:4:0; without one the next free.", group="place"),
    Option(
        "fix", fields.flag, "Make what it needs", "A missing tap is created, a PCI device reserved.",
        kind="flag", default=False,
    ),
)  # fmt: skip


# Network.

NAMELESS = frozenset({"netgraph", "slirp"})
BACKENDS = ("tap", "vmnet", "netgraph", "netmap", "vale", "slirp")


def backend(values: Values) -> str:
    """The type of a network backend: as said, or by its name as bhyve guesses it."""
    if "type" in values:
        return str(values["type"])
    name = str(values.get("name", ""))
    found = next(
        (kind for kind in ("netgraph", "netmap", "vale", "vmnet", "slirp") if name.startswith(kind)), "tap"
    )
    return "netgraph" if found == "tap" and not name and "peerhook" in values else found


def _is_foreign(value: Any) -> bool:
    """Whether a backend is one of the host's own networks and not a tap."""
    return str(value) not in {"tap", "vmnet"}


def _is_foreign_name(value: Any) -> bool:
    return _is_foreign(backend({"name": value}))


_NODE = fields.name(
    r"(\[[0-9a-fA-F]+\]|[A-Za-z0-9_.-]{1,31}):[A-Za-z0-9_.-]{0,63}",
    "the address of a netgraph node such as sw0:",
)
_HOOK = fields.name(r"[A-Za-z0-9_.-]{1,31}", "the name of a hook")
NET = (
    Option(
        "name", fields.network, "Interface", "The tap, or netmap:IFACE, or valeN:PORT.",
        equals_root=_is_foreign_name,
    ),
    Option(
        "type", fields.text, "Backend", "What the device is joined to on the host.", choices=BACKENDS,
        equals_root=_is_foreign, default="tap",
    ),
    Option(
        "mac", fields.mac, "MAC address",
        "Unicast. Without one bhyve derives it from the VM's name and the slot.",
    ),
    Option(
        "mtu", fields.limited(68, 65535), "MTU", "The largest packet; without one that of the switch.",
        kind="number", unit="bytes",
    ),
    # bHype's own: what is done to the tap before the start, when "fix" is true.
    Option(
        "bridge", fields.interface, "Switch",
        "What the tap is plugged into: a bridge, or a node of netgraph with its interface.",
    ),
    Option(
        "private", fields.flag, "Isolated", "It reaches no other isolated port of its switch.", kind="flag",
        default=False,
    ),
    Option(
        "vlan", fields.limited(1, 4094), "VLAN",
        "What the guest sends without a tag is in it. On switches with VLANs (FreeBSD 15.0).", kind="number",
    ),
    Option(
        "tagged", fields.vlans, "Tagged VLANs",
        "A trunk: the guest gets these with their tags, as 10,20-30, or all. On switches with VLANs.",
    ),
    Option("description", fields.text, "Description", "Of the tap, as ifconfig(8) shows it."),
    Option("rate_in", fields.rate, "Download limit", "What the guest receives.", kind="size", unit="bit/s"),
    Option("rate_out", fields.rate, "Upload limit", "What the guest sends.", kind="size", unit="bit/s"),
    Option(
        "link", fields.text, "Cable", "down: the guest's NIC is on no network.", choices=("up", "down"), default="up"
    ),
    Option(
        "path", _NODE,
        "Netgraph node", "Of a netgraph backend: the node to connect to, with its colon.", equals_root=True,
    ),
    Option(
        "peerhook", _HOOK, "Hook of the node", "Of a netgraph backend: the node's hook, as link.",
        equals_root=True,
    ),
    Option("hook", _HOOK, "Own hook", "Of a netgraph backend: bhyve's end.", default="vmlink"),
    Option("socket", _HOOK, "Socket node", "Of a netgraph backend: the name of bhyve's node."),
    Option(
        "hostfwd", structures.forwards, "Forwarded ports",
        "Of a slirp backend: host ports that reach the guest, as tcp:127.0.0.1:2222-10.0.2.15:22.",
        kind="list", equals_root=True,
    ),
)  # fmt: skip


# Disks and media.


def sector_rule(values: Values) -> Iterator[str]:
    logical, physical = (values.get(f"{key}_sector_size") for key in ("logical", "physical"))
    if physical and not logical:
        yield "physical_sector_size: It needs logical_sector_size beside it."
    elif physical and physical < logical:
        yield "physical_sector_size: It is smaller than logical_sector_size."


def path_option(*, required: bool = True, label: str = "Disk") -> Option:
    help = (
        "A volume such as /dev/zvol/tank/a or a file."
        if label == "Disk"
        else "An image; without one the drive is empty."
    )
    return Option("path", fields.path, label, help, kind="path", is_required=required)


BOOTINDEX = Option(
    "bootindex", fields.limited(0, 255), "Boot order", "The lowest number is tried first.", kind="number"
)
_SERIAL = Option(
    "ser",
    fields.letters(20),
    "Serial number",
    "Shown to the guest; without one bhyve derives it from the path.",
)
BLOCK = (
    Option(
        "direct", fields.flag, "Write through", "Each write is on the disk before the guest goes on (O_SYNC).",
        kind="flag", default=False,
    ),
    Option(
        "nocache", fields.flag, "No host cache", "The host's cache is passed by (O_DIRECT).", kind="flag",
        default=False,
    ),
    Option("ro", fields.flag, "Read-only", "The guest cannot write to it.", kind="flag", default=False),
    Option("nodelete", fields.flag, "No TRIM", "The guest cannot give space back.", kind="flag", default=False),
    Option(
        "logical_sector_size", fields.sector, "Logical sector size", "What the guest addresses; 512 or 4096.",
        kind="number", unit="bytes",
    ),
    Option(
        "physical_sector_size", fields.sector, "Physical sector size", "What the guest should align to.",
        kind="number", unit="bytes",
    ),
    _SERIAL,
    BOOTINDEX,
)  # fmt: skip
ATA = (
    *BLOCK,
    Option(
        "nmrr", fields.limited(0, 65535), "Rotation rate", "0 not told, 1 an SSD, else revolutions per minute.",
        kind="number",
    ),
    Option("rev", fields.letters(8), "Firmware revision", "Shown to the guest."),
    Option("model", fields.letters(40), "Model", "Shown to the guest."),
)  # fmt: skip
NVME = (
    path_option(required=False),
    Option(
        "ram", fields.limited(1, 1 << 20), "Memory disk",
        "Instead of a path: a disk in memory, empty at each start.", kind="number", unit="MiB",
    ),
    *BLOCK,
    Option("maxq", fields.limited(1, 65535), "Queues", "At most that many.", kind="number", default=16),
    Option("qsz", fields.limited(1, 65535), "Queue length", "Entries in each queue.", kind="number", default=2058),
    Option(
        "ioslots", fields.limited(1, 65535), "Requests at once", "Handled side by side.", kind="number",
        default=8,
    ),
    Option(
        "sectsz", fields.count, "Sector size", "Of the namespace.", choices=(512, 4096, 8192), kind="number",
        unit="bytes",
    ),
    Option(
        "eui64", fields.name(r"(0x)?[0-9A-Fa-f]{1,16}", "a 64-bit number such as 0x589cfc2000000001"), "EUI-64",
        "The namespace's identity.",
    ),
    Option("dsm", fields.text, "TRIM", "Dataset management.", choices=("auto", "enable", "disable"), default="auto"),
)  # fmt: skip


# Others.


def _rows(limit: int) -> fields.Field:
    """One to ``limit`` entries; one alone may stand without its list."""

    def check(value: Any) -> list[Any]:
        found = value if isinstance(value, list) else [value]
        if not 1 <= len(found) <= limit:
            raise ValueError(f"it has 1 to {limit} ports.")
        return found

    return check


_RUN = re.compile(r"/var/run/bhype/vms/[a-z][a-z0-9-]*/[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def _is_elsewhere(value: Any) -> bool:
    """Whether one of the sockets of a virtio-console lies outside the run directories of VMs."""
    rows = value if isinstance(value, list) else [value]
    paths = [row.get("path") if isinstance(row, dict) else row for row in rows]
    return not all(isinstance(path, str) and _RUN.fullmatch(path) for path in paths)


def is_host_line(value: Any) -> bool:
    return str(value) != "stdio"


DEVFILE = fields.name(r"/dev/[A-Za-z0-9_./-]{1,60}", "a device such as /dev/input/event0")
SOUND = fields.name(r"/dev/dsp[A-Za-z0-9_.]{0,20}", "a sound device such as /dev/dsp0")
CONSOLE_PORTS = Option(
    "ports", _rows(16), "Ports", "Sockets that bhyve makes, one for each port.", kind="tables", is_required=True,
    equals_root=_is_elsewhere, short="path",
    options=by_key(
        Option(
            "name", fields.name(r"[A-Za-z0-9_.:-]{1,63}", "the name of a port"), "Name",
            "As the guest sees it; portN without one.",
        ),
        Option("path", fields.path, "Socket", "Where bhyve makes it.", kind="path", is_required=True),
    ),
)  # fmt: skip
AHCI_PORTS = Option(
    "ports", _rows(32), "Ports", "The drives of the controller, up to 32.", kind="tables", is_required=True,
    options=by_key(
        Option("type", fields.text, "Type", "A disk or an optical drive.", choices=("hd", "cd"), is_required=True),
        path_option(), *ATA,
    ),
    rule=sector_rule,
)  # fmt: skip
_LOOKUP = by_key(
    Option("vendor", fields.identifier, "Vendor", "Vendor and subvendor, as 0x8086103c.", is_required=True),
    Option("device", fields.identifier, "Device", "Device and subdevice, as 0x153a8360.", is_required=True),
)
PASSTHRU = by_key(
    Option(
        "src", fields.pci_device, "Device of the host",
        "Bus, slot and function, as 1:0:0. It must be reserved (ppt).", equals_root=True,
    ),
    Option(
        "lookup", fields.count, "Look it up", "By its numbers, instead of its place.", kind="table",
        equals_root=True, options=_LOOKUP,
    ),
    Option("rom", fields.path, "ROM", "A file with the device's ROM.", kind="path", equals_root=True),
    BOOTINDEX,
)  # fmt: skip
