"""The emulated devices of a vm.json: which options each has, and how bhyve(8) is told.

Source of the words: bhyve(8) and usr.sbin/bhyve/pci_*.c, as in freebsd/bhyve.md sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bhype.freebsd.bhyve import Address
from bhype.vmrun import fields
from bhype.vmrun.device_options import (
    AHCI_PORTS,
    ATA,
    BLOCK,
    BOOTINDEX,
    COMMON,
    CONSOLE_PORTS,
    DEVFILE,
    NAMELESS,
    NET,
    NVME,
    PASSTHRU,
    SOUND,
    backend,
    is_host_line,
    path_option,
    sector_rule,
)
from bhype.vmrun.options import MISSING, Option, Rule, Values, by_key

__all__ = [
    "CD",
    "COMMON",
    "DISK",
    "KINDS",
    "NAMELESS",
    "NETWORK",
    "NETWORK_GROUP",
    "OTHER",
    "Device",
    "Kind",
    "backend",
]

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


def _pairs(values: Values, *keys: str) -> tuple[str, ...]:
    return tuple(f"{key}={values[key]}" for key in keys if key in values)


def _flags(values: Values, *keys: str) -> tuple[str, ...]:
    return tuple(key for key in keys if values.get(key))


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


def _nvme_rule(values: Values) -> Iterator[str]:
    if "path" not in values and "ram" not in values:
        yield "path: It needs a path or ram."
    elif str(values.get("path", "")).startswith("ram="):
        yield "path: bhyve would take it for a disk in memory."
    yield from sector_rule(values)


def _passthru(values: Values) -> tuple[str, ...]:
    # What is still looked up has no place yet: check.locate() gives it one.
    place = values["src"] if "src" in values else "-".join(("lookup", *values["lookup"].values()))
    return (place, *_pairs(values, "rom", "bootindex"))


def _passthru_rule(values: Values) -> Iterator[str]:
    if ("src" in values) == ("lookup" in values):
        yield "src: It needs src or lookup, and not both."


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


def _kinds(*kinds: Kind) -> dict[str, Kind]:
    return {kind.name: kind for kind in kinds}


NETWORK = frozenset({"virtio-net", "e1000"})
KINDS: dict[str, Kind] = _kinds(
    Kind(
        "virtio-net", "VirtIO NIC", "Fast; most systems have its driver.", NETWORK_GROUP, by_key(*NET),
        _network("mtu", "mac"), _network_rule, _split_backend,
    ),
    # It has no mtu option; the tap's is set all the same.
    Kind(
        "e1000", "Intel E1000 NIC", "For systems without VirtIO.", NETWORK_GROUP, by_key(*NET),
        _network("mac"), _network_rule, _split_backend,
    ),
    Kind(
        "virtio-blk", "VirtIO disk", "Fast; most systems have its driver.", DISK, by_key(path_option(), *BLOCK),
        _block, sector_rule,
    ),
    Kind("ahci-hd", "SATA disk", "Every system has its driver.", DISK, by_key(path_option(), *ATA), _ahci, sector_rule),
    Kind(
        "ahci-cd", "CD/DVD drive", "With an image in it, or empty.", CD,
        by_key(path_option(required=False, label="Medium"), *ATA), _ahci, sector_rule,
    ),
    Kind("ahci", "SATA controller", "One slot for several disks and drives.", DISK, by_key(AHCI_PORTS), _ahci_ports),
    Kind("nvme", "NVMe disk", "Fast, and Windows has its driver.", DISK, by_key(*NVME), _nvme, _nvme_rule),
    Kind(
        "virtio-scsi", "VirtIO SCSI", "A port of the host's target layer, ctl(4).", DISK,
        by_key(
            Option(
                "dev", fields.name(r"/dev/cam/ctl[0-9.]*", "a port such as /dev/cam/ctl1.1"), "CTL port",
                "As /dev/cam/ctl1.1.", kind="path", is_required=True, equals_root=True,
            ),
            Option("iid", fields.limited(0, 65535), "Initiator", "The initiator's number.", kind="number"),
            BOOTINDEX,
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
        by_key(CONSOLE_PORTS), _console,
    ),
    Kind("virtio-rnd", "VirtIO random numbers", "Entropy from the host.", OTHER, {}, lambda values: ()),
    Kind(
        "virtio-input", "VirtIO input", "A keyboard or mouse of the host.", OTHER,
        by_key(
            Option(
                "path", DEVFILE, "Device", "As /dev/input/event0.", kind="path", is_required=True,
                equals_root=True,
            )
        ),
        _first("path"),
    ),
    Kind("xhci", "USB tablet", "A pointer that agrees with the viewer's.", OTHER, {}, lambda values: ("tablet",)),
    Kind(
        "hda", "Sound card", "Intel HDA on a sound device of the host.", OTHER,
        by_key(
            Option("play", SOUND, "Output", "As /dev/dsp0.", kind="path", equals_root=True),
            Option("rec", SOUND, "Input", "As /dev/dsp0.", kind="path", equals_root=True),
        ),
        lambda values: _pairs(values, "play", "rec"),
    ),
    Kind(
        "uart", "PCI serial port", "A serial port on the PCI bus.", OTHER,
        by_key(Option("path", fields.serial, "Line", "As /dev/nmdm-web1.5A.", kind="path", equals_root=is_host_line)),
        _first("path"),
    ),
    Kind(
        "passthru", "PCI passthrough", "A PCI device of the host, the guest's alone.", OTHER, PASSTHRU,
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
