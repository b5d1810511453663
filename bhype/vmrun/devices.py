"""The emulated devices of a vm.json: which options each has, and how bhyve(8) is told.

Source of the words: bhyve(8) and usr.sbin/bhyve/pci_*.c, as in freebsd/bhyve.md sections 3 and 4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bhype.freebsd.bhyve import Address
from bhype.vmrun import fields
from bhype.vmrun.options import MISSING, Option, Rule, Values, by_key

DISK, NETWORK_GROUP, CD, OTHER = "disk", "network", "cd", "other"


@dataclass(frozen=True, slots=True)
class Device:
    """One entry of ``emulations``. slot: None means the next free one; fix: make what it needs; values: its
    own options, checked."""

    kind: str
    values: Values
    slot: Address | None = None
    fix: bool = False

    @property
    def argument(self) -> str:
        """What follows the slot in ``-s``."""
        if self.kind == "raw":
            return str(self.values["value"])
        return ",".join((self.kind, *KINDS[self.kind].words(self.values)))

    @property
    def is_network(self) -> bool:
        return self.kind in NETWORK

    @property
    def backend(self) -> str:
        """Of a network device: tap, vmnet, netgraph, netmap, vale or slirp."""
        return backend(self.values)

    @property
    def drives(self) -> tuple[tuple[str, str], ...]:
        """Its disks ("hd") and media ("cd") with their paths; empty drives are none."""
        if self.kind == "ahci":
            return tuple((port["type"], port["path"]) for port in self.values["ports"])
        group = KINDS[self.kind].group
        if group not in {DISK, CD} or "path" not in self.values:
            return ()
        return ((("hd" if group == DISK else "cd"), self.values["path"]),)

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of the disks and images behind it."""
        rom = (self.values["rom"],) if "rom" in self.values else ()
        return (*(path for _, path in self.drives), *rom)

    @property
    def sockets(self) -> tuple[str, ...]:
        """The sockets that bhyve makes for a virtio-console."""
        return tuple(port["path"] for port in self.values["ports"]) if self.kind == "virtio-console" else ()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of device. group: disk, network, cd or other; options: by key; words: what bhyve is told, in its
    order; rule: checks the values together; normalise: brings an older spelling of an entry to the present one.
    """

    name: str
    label: str
    help: str
    group: str
    options: dict[str, Option]
    words: Callable[[Values], tuple[str, ...]]
    rule: Rule | None = None
    normalise: Callable[[Values], Values] | None = None
    equals_root: bool = False


def _pairs(values: Values, *keys: str) -> tuple[str, ...]:
    return tuple(f"{key}={values[key]}" for key in keys if key in values)


def _flags(values: Values, *keys: str) -> tuple[str, ...]:
    return tuple(key for key in keys if values.get(key))


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


def _network(*keys: str) -> Callable[[Values], tuple[str, ...]]:
    def words(values: Values) -> tuple[str, ...]:
        kind = backend(values)
        if kind == "netgraph":
            return ("netgraph", *_pairs(values, "path", "peerhook", "hook", "socket", *keys))
        if kind == "slirp":
            forwards = ";".join(values.get("hostfwd", ()))
            return ("slirp", *((f"hostfwd={forwards}",) if forwards else ()), *_pairs(values, *keys))
        return (values["name"], f"type={kind}", *_pairs(values, *keys))

    return words


def _network_rule(values: Values) -> Iterator[str]:
    kind = backend(values)
    if kind == "netgraph":
        yield from (f"{key}: {MISSING}" for key in ("path", "peerhook") if key not in values)
    elif kind != "slirp" and "name" not in values:
        yield f"name: {MISSING}"
    elif kind in {"netmap", "vale"} and not values["name"].startswith(kind):
        yield f"name: The name of a {kind} backend starts with {kind}."


def _split_backend(entry: Values) -> Values:
    """vmrun's files have all of a netgraph or slirp backend in its name, as bhyve's own words."""
    first, comma, rest = str(entry.get("name", "")).partition(",")
    if first not in NAMELESS or entry.get("type", first) != first:
        return entry
    found = {key: value for key, value in entry.items() if key != "name"} | {"type": first}
    pairs = (word.partition("=") for word in rest.split(",") if word) if comma else ()
    return found | {key: value for key, _, value in pairs}


def _is_foreign(value: Any) -> bool:
    """Whether a backend is one of the host's own networks and not a tap."""
    return value not in {"tap", "vmnet"}


def _is_foreign_name(value: Any) -> bool:
    return _is_foreign(backend({"name": value}))


_NODE = fields.name(
    r"(\[[0-9a-fA-F]+\]|[A-Za-z0-9_.-]{1,31}):[A-Za-z0-9_.-]{0,63}",
    "the address of a netgraph node such as sw0:",
)
_HOOK = fields.name(r"[A-Za-z0-9_.-]{1,31}", "the name of a hook")
_NET = (
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
    Option("bridge", fields.interface, "Switch", "The bridge that the tap becomes a member of."),
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
        "hostfwd", fields.forwards, "Forwarded ports",
        "Of a slirp backend: host ports that reach the guest, as tcp:127.0.0.1:2222-10.0.2.15:22.",
        kind="list", equals_root=True,
    ),
)  # fmt: skip


# Disks and media.


def _block_words(values: Values) -> tuple[str, ...]:
    sizes = [str(values[key]) for key in ("logical_sector_size", "physical_sector_size") if key in values]
    sector = (f"sectorsize={'/'.join(sizes)}",) if sizes else ()
    return (*_flags(values, "direct", "nocache", "ro", "nodelete"), *sector)


def _block(values: Values) -> tuple[str, ...]:
    return (values["path"], *_block_words(values), *_pairs(values, "ser", "bootindex"))


def _ahci(values: Values) -> tuple[str, ...]:
    if "path" not in values:
        # An empty drive; what follows the kind would be taken for the path.
        return ()
    return (
        values["path"],
        *_block_words(values),
        *_pairs(values, "nmrr", "ser", "rev", "model", "bootindex"),
    )


def _ahci_ports(values: Values) -> tuple[str, ...]:
    return tuple(
        word for port in values["ports"] for word in (f"{port['type']}:{port['path']}", *_ahci(port)[1:])
    )


def _nvme(values: Values) -> tuple[str, ...]:
    options = _pairs(values, "maxq", "qsz", "ioslots", "sectsz", "ser", "eui64", "dsm", "bootindex")
    if "ram" in values:
        return (f"ram={values['ram']}", *options)
    return (values["path"], *_block_words(values), *options)


def _sector_rule(values: Values) -> Iterator[str]:
    logical, physical = (values.get(f"{key}_sector_size") for key in ("logical", "physical"))
    if physical and not logical:
        yield "physical_sector_size: It needs logical_sector_size beside it."
    elif physical and physical < logical:
        yield "physical_sector_size: It is smaller than logical_sector_size."


def _nvme_rule(values: Values) -> Iterator[str]:
    if "path" not in values and "ram" not in values:
        yield "path: It needs a path or ram."
    elif str(values.get("path", "")).startswith("ram="):
        yield "path: bhyve would take it for a disk in memory."
    yield from _sector_rule(values)


def _path(*, required: bool = True, label: str = "Disk") -> Option:
    help = (
        "A volume such as /dev/zvol/tank/a or a file."
        if label == "Disk"
        else "An image; without one the drive is empty."
    )
    return Option("path", fields.path, label, help, kind="path", is_required=required)


_BOOTINDEX = Option(
    "bootindex", fields.limited(0, 255), "Boot order", "The lowest number is tried first.", kind="number"
)
_SERIAL = Option(
    "ser",
    fields.letters(20),
    "Serial number",
    "Shown to the guest; without one bhyve derives it from the path.",
)
_BLOCK = (
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
    _BOOTINDEX,
)  # fmt: skip
_ATA = (
    *_BLOCK,
    Option(
        "nmrr", fields.limited(0, 65535), "Rotation rate", "0 not told, 1 an SSD, else revolutions per minute.",
        kind="number",
    ),
    Option("rev", fields.letters(8), "Firmware revision", "Shown to the guest."),
    Option("model", fields.letters(40), "Model", "Shown to the guest."),
)  # fmt: skip
_NVME = (
    _path(required=False),
    Option(
        "ram", fields.limited(1, 1 << 20), "Memory disk",
        "Instead of a path: a disk in memory, empty at each start.", kind="number", unit="MiB",
    ),
    *_BLOCK,
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


def _passthru(values: Values) -> tuple[str, ...]:
    # What is still looked up has no place yet: check.locate() gives it one.
    place = values["src"] if "src" in values else "-".join(("lookup", *values["lookup"].values()))
    return (place, *_pairs(values, "rom", "bootindex"))


def _passthru_rule(values: Values) -> Iterator[str]:
    if ("src" in values) == ("lookup" in values):
        yield "src: It needs src or lookup, and not both."


def _rows(limit: int) -> fields.Field:
    """One to ``limit`` entries; one alone may stand without its list."""

    def check(value: Any) -> list[Any]:
        found = value if isinstance(value, list) else [value]
        if not 1 <= len(found) <= limit:
            raise ValueError(f"it has 1 to {limit} ports.")
        return found

    return check


def _console(values: Values) -> tuple[str, ...]:
    return tuple(
        f"{port.get('name', f'port{number}')}={port['path']}"
        for number, port in enumerate(values["ports"], 1)
    )


def _first(key: str, *flags: str) -> Callable[[Values], tuple[str, ...]]:
    """The words of a device with one value that stands first, without its key."""

    def words(values: Values) -> tuple[str, ...]:
        first = (values[key],) if key in values else ()
        return (*first, *_flags(values, *flags))

    return words


_RUN = re.compile(r"/var/run/bhype/vms/[a-z][a-z0-9-]*/[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def _is_elsewhere(value: Any) -> bool:
    """Whether one of the sockets of a virtio-console lies outside the run directories of VMs."""
    rows = value if isinstance(value, list) else [value]
    paths = [row.get("path") if isinstance(row, dict) else row for row in rows]
    return not all(isinstance(path, str) and _RUN.fullmatch(path) for path in paths)


def _is_host_line(value: Any) -> bool:
    return str(value) != "stdio"


_DEVFILE = fields.name(r"/dev/[A-Za-z0-9_./-]{1,60}", "a device such as /dev/input/event0")
_SOUND = fields.name(r"/dev/dsp[A-Za-z0-9_.]{0,20}", "a sound device such as /dev/dsp0")
_CONSOLE_PORTS = Option(
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
_AHCI_PORTS = Option(
    "ports", _rows(32), "Ports", "The drives of the controller, up to 32.", kind="tables", is_required=True,
    options=by_key(
        Option("type", fields.text, "Type", "A disk or an optical drive.", choices=("hd", "cd"), is_required=True),
        _path(), *_ATA,
    ),
    rule=_sector_rule,
)  # fmt: skip
_LOOKUP = by_key(
    Option("vendor", fields.identifier, "Vendor", "Vendor and subvendor, as 0x8086103c.", is_required=True),
    Option("device", fields.identifier, "Device", "Device and subdevice, as 0x153a8360.", is_required=True),
)
_PASSTHRU = by_key(
    Option(
        "src", fields.pci_device, "Device of the host",
        "Bus, slot and function, as 1:0:0. It must be reserved (ppt).", equals_root=True,
    ),
    Option(
        "lookup", fields.count, "Look it up", "By its numbers, instead of its place.", kind="table",
        equals_root=True, options=_LOOKUP,
    ),
    Option("rom", fields.path, "ROM", "A file with the device's ROM.", kind="path", equals_root=True),
    _BOOTINDEX,
)  # fmt: skip


def _kinds(*kinds: Kind) -> dict[str, Kind]:
    return {kind.name: kind for kind in kinds}


NETWORK = frozenset({"virtio-net", "e1000"})
KINDS: dict[str, Kind] = _kinds(
    Kind(
        "virtio-net", "VirtIO NIC", "Fast; most systems have its driver.", NETWORK_GROUP, by_key(*_NET),
        _network("mtu", "mac"), _network_rule, _split_backend,
    ),
    # It has no mtu option; the tap's is set all the same.
    Kind(
        "e1000", "Intel E1000 NIC", "For systems without VirtIO.", NETWORK_GROUP, by_key(*_NET),
        _network("mac"), _network_rule, _split_backend,
    ),
    Kind(
        "virtio-blk", "VirtIO disk", "Fast; most systems have its driver.", DISK, by_key(_path(), *_BLOCK),
        _block, _sector_rule,
    ),
    Kind("ahci-hd", "SATA disk", "Every system has its driver.", DISK, by_key(_path(), *_ATA), _ahci, _sector_rule),
    Kind(
        "ahci-cd", "CD/DVD drive", "With an image in it, or empty.", CD,
        by_key(_path(required=False, label="Medium"), *_ATA), _ahci, _sector_rule,
    ),
    Kind("ahci", "SATA controller", "One slot for several disks and drives.", DISK, by_key(_AHCI_PORTS), _ahci_ports),
    Kind("nvme", "NVMe disk", "Fast, and Windows has its driver.", DISK, by_key(*_NVME), _nvme, _nvme_rule),
    Kind(
        "virtio-scsi", "VirtIO SCSI", "A port of the host's target layer, ctl(4).", DISK,
        by_key(
            Option(
                "dev", fields.name(r"/dev/cam/ctl[0-9.]*", "a port such as /dev/cam/ctl1.1"), "CTL port",
                "As /dev/cam/ctl1.1.", kind="path", is_required=True, equals_root=True,
            ),
            Option("iid", fields.limited(0, 65535), "Initiator", "The initiator's number.", kind="number"),
            _BOOTINDEX,
        ),
        lambda values: (values["dev"], *_pairs(values, "iid", "bootindex")),
    ),
    Kind(
        "virtio-9p", "Shared folder", "A folder of the host, by the 9P protocol.", OTHER,
        by_key(
            Option(
                "share", fields.name(r"[A-Za-z0-9_.-]{1,63}", "the name of a share"), "Name",
                "What the guest mounts.", is_required=True,
            ),
            Option(
                "path", fields.absolute, "Folder", "On the host; with root's rights.", kind="path",
                is_required=True, equals_root=True,
            ),
            Option("ro", fields.flag, "Read-only", "The guest cannot write to it.", kind="flag", default=False),
        ),
        lambda values: (f"{values['share']}={values['path']}", *_flags(values, "ro")),
    ),
    Kind(
        "virtio-console", "VirtIO console", "Ports of the guest as sockets of the host.", OTHER,
        by_key(_CONSOLE_PORTS), _console,
    ),
    Kind("virtio-rnd", "VirtIO random numbers", "Entropy from the host.", OTHER, {}, lambda values: ()),
    Kind(
        "virtio-input", "VirtIO input", "A keyboard or mouse of the host.", OTHER,
        by_key(
            Option(
                "path", _DEVFILE, "Device", "As /dev/input/event0.", kind="path", is_required=True,
                equals_root=True,
            )
        ),
        _first("path"),
    ),
    Kind("xhci", "USB tablet", "A pointer that agrees with the viewer's.", OTHER, {}, lambda values: ("tablet",)),
    Kind(
        "hda", "Sound card", "Intel HDA on a sound device of the host.", OTHER,
        by_key(
            Option("play", _SOUND, "Output", "As /dev/dsp0.", kind="path", equals_root=True),
            Option("rec", _SOUND, "Input", "As /dev/dsp0.", kind="path", equals_root=True),
        ),
        lambda values: _pairs(values, "play", "rec"),
    ),
    Kind(
        "uart", "PCI serial port", "A serial port on the PCI bus.", OTHER,
        by_key(Option("path", fields.serial, "Line", "As /dev/nmdm-web1.5A.", kind="path", equals_root=_is_host_line)),
        _first("path"),
    ),
    Kind(
        "passthru", "PCI passthrough", "A PCI device of the host, the guest's alone.", OTHER, _PASSTHRU,
        _passthru, _passthru_rule,
    ),
    Kind(
        "raw", "Other device", "Any device, in bhyve's own words.", OTHER,
        by_key(
            Option(
                "value", fields.raw, "Words", "What follows the slot in -s.", is_required=True,
                equals_root=True,
            )
        ),
        lambda values: (),
    ),
)  # fmt: skip
# Of every device.
COMMON = by_key(
    Option("slot", fields.slot, "PCI slot", "As 0:4:0; without one the next free.", group="place"),
    Option(
        "fix", fields.flag, "Make what it needs", "A missing tap is created, a PCI device reserved.",
        kind="flag", default=False,
    ),
)  # fmt: skip


def equals_root(kind: Kind, entry: Values) -> Iterable[str]:
    """The keys of a device's entry that equal root on the host, whether they are right or not."""
    if kind.normalise:
        entry = kind.normalise(entry)
    return (
        key
        for key, option in kind.options.items()
        if entry.get(key) is not None and option.is_root(entry[key])
    )
