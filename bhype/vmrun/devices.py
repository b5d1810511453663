"""The emulated devices of a vm.json: which fields each has, and how bhyve(8) is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bhype.freebsd.bhyve import Address
from bhype.vmrun import fields
from bhype.vmrun.fields import Field

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Device:
    """One entry of ``emulations``. slot: None means the next free one; fix: make what it needs; values: its
    own fields, checked."""

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
    def files(self) -> tuple[str, ...]:
        """The paths of the disks and images behind it."""
        return tuple(self.values[key] for key in ("path", "rom") if key in self.values)


@dataclass(frozen=True, slots=True)
class Kind:
    """fields: by key; required: those that must be there; words: the options in bhyve's order."""

    fields: dict[str, Field]
    required: tuple[str, ...]
    words: Callable[[Values], tuple[str, ...]]


def _pairs(values: Values, *keys: str) -> tuple[str, ...]:
    return tuple(f"{key}={values[key]}" for key in keys if key in values)


def _flags(values: Values, *keys: str) -> tuple[str, ...]:
    return tuple(key for key in keys if values.get(key))


def backend(name: str) -> str:
    """The type of a network backend, by its name as bhyve guesses it."""
    if name.startswith("netgraph"):
        return "netgraph"
    if name.startswith("netmap:"):
        return "netmap"
    return "vale" if name.startswith("vale") else "tap"


def _virtio_net(values: Values) -> tuple[str, ...]:
    kind = values.get("type", backend(values["name"]))
    return (values["name"], f"type={kind}", *_pairs(values, "mtu", "mac"))


def _e1000(values: Values) -> tuple[str, ...]:
    # It has no mtu option; the tap's is set all the same.
    return (values["name"], *_pairs(values, "mac"))


def _block(values: Values) -> tuple[str, ...]:
    sizes = [str(values[key]) for key in ("logical_sector_size", "physical_sector_size") if key in values]
    sector = (f"sectorsize={'/'.join(sizes)}",) if sizes else ()
    options = _flags(values, "direct", "nocache", "ro", "nodelete")
    return (values["path"], *options, *sector, *_pairs(values, "ser", "bootindex"))


def _ahci(values: Values) -> tuple[str, ...]:
    # No path: an empty drive.
    path = (values["path"],) if "path" in values else ()
    return (*path, *_flags(values, "ro"), *_pairs(values, "nmrr", "ser", "rev", "model", "bootindex"))


def _nvme(values: Values) -> tuple[str, ...]:
    options = _pairs(values, "qsz", "ioslots", "sectsz", "ser", "eui64", "dsm", "bootindex")
    return (f"ram={values['ram']}" if "ram" in values else values["path"], *options)


def _console(values: Values) -> tuple[str, ...]:
    return tuple(f"port{number}={path}" for number, path in enumerate(values["ports"], 1))


def _passthru(values: Values) -> tuple[str, ...]:
    return (values["src"], *_pairs(values, "rom", "bootindex"))


def _nothing(values: Values) -> tuple[str, ...]:
    return ()


_NET: dict[str, Field] = {
    "name": fields.network,
    "type": fields.text,
    "mac": fields.mac,
    "mtu": fields.count,
    # bHype's own: what is done to the tap before the start, when "fix" is true.
    "bridge": fields.interface,
    "description": fields.text,
}
_BLOCK: dict[str, Field] = {
    "path": fields.path,
    "direct": fields.flag,
    "nocache": fields.flag,
    "ro": fields.flag,
    "nodelete": fields.flag,
    "logical_sector_size": fields.count,
    "physical_sector_size": fields.count,
    "ser": fields.text,
    "bootindex": fields.count,
}
_AHCI: dict[str, Field] = {
    "path": fields.path,
    "ro": fields.flag,
    "nmrr": fields.text,
    "ser": fields.text,
    "rev": fields.text,
    "model": fields.text,
    "bootindex": fields.count,
}
_NVME: dict[str, Field] = {
    "path": fields.path,
    "ram": fields.count,
    **dict.fromkeys(("qsz", "ioslots", "sectsz", "bootindex"), fields.count),
    **dict.fromkeys(("ser", "eui64", "dsm"), fields.text),
}
NETWORK = frozenset({"virtio-net", "e1000"})
KINDS: dict[str, Kind] = {
    "virtio-net": Kind(_NET, ("name",), _virtio_net),
    "e1000": Kind(_NET, ("name",), _e1000),
    "virtio-blk": Kind(_BLOCK, ("path",), _block),
    "ahci-hd": Kind(_AHCI, ("path",), _ahci),
    "ahci-cd": Kind(_AHCI, (), _ahci),
    "nvme": Kind(_NVME, (), _nvme),
    "virtio-console": Kind({"ports": fields.ports}, ("ports",), _console),
    "virtio-rnd": Kind({}, (), _nothing),
    "xhci": Kind({}, (), lambda values: ("tablet",)),
    "passthru": Kind(
        {"src": fields.pci_device, "rom": fields.path, "bootindex": fields.count}, ("src",), _passthru
    ),
    "raw": Kind({"value": fields.raw}, ("value",), _nothing),
}
