"""A vm.json: the schema of vmrun, extended. Parsed into a typed Config, with all its errors at once.

Targets are laid over the main part as JSON before anything is parsed, so each Config is whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bhype.freebsd import names
from bhype.freebsd.bhyve import Address, Topology
from bhype.vmrun import fields
from bhype.vmrun.devices import KINDS, Device
from bhype.vmrun.fields import Field
from bhype.vmrun.problems import Problem, Unfit

Document = dict[str, Any]
DEFAULT = "default"
DEFAULT_ROM = "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"
# What only the main part may say: it makes the VM what it is.
FIXED = frozenset({"name", "uuid", "hostbridge", "lpc_slot", "power_off_destroy_vm", "targets", "bhype"})


@dataclass(frozen=True, slots=True)
class Graphic:
    """The screen: a frame buffer served by VNC on host:port. wait: the guest starts with the first viewer."""

    host: str
    port: int
    password: str | None = None
    width: int | None = None
    height: int | None = None
    vga: str | None = None
    wait: bool = False
    xhci_table: bool = True


@dataclass(frozen=True, slots=True)
class Config:
    """One VM with one target chosen. memory: bytes; unknown: the keys that nothing reads."""

    name: str
    cpu: Topology
    memory: int
    devices: tuple[Device, ...]
    bootrom: str
    varfile: str | None
    uuid: str | None
    hostbridge: str
    lpc_slot: Address | None
    com: tuple[tuple[str, str], ...]
    graphic: Graphic | None
    gdb: str | None
    extra_options: tuple[str, ...]
    next_target: str | None
    post_start_script: str | None
    flags: dict[str, bool]
    unknown: tuple[str, ...]


FLAGS = {
    "generate_acpi": True,
    "wire_guest_mem": False,
    "yield_on_hlt": True,
    "yield_on_pause": False,
    "force_msi": False,
    "disable_mptable_gen": False,
    "utc_clock": True,
    "ignore_msr": False,
    "power_off_destroy_vm": False,
}
_TOP: dict[str, Field] = {
    "name": names.vm_name,
    "cpu": fields.topology,
    "mem": fields.memory,
    "bootrom": fields.path,
    "varfile": fields.path,
    "uuid": fields.identity,
    "hostbridge": fields.text,
    "lpc_slot": fields.slot,
    "gdb": fields.gdb,
    "extra_options": fields.words,
    "next_target": fields.text,
    "post_start_script": names.path,
    **dict.fromkeys(("com1", "com2", "com3", "com4"), fields.serial),
    **dict.fromkeys(FLAGS, fields.flag),
}
# Read elsewhere, or by others: "bhype" is the panel's own.
_PARTS = frozenset({"emulations", "graphic", "targets", "bhype"})
_GRAPHIC: dict[str, Field] = {
    "host": fields.text,
    "port": fields.port,
    "password": fields.text,
    "width": fields.count,
    "height": fields.count,
    "vga": fields.text,
    "wait": fields.flag,
    "xhci_table": fields.flag,
}


def load(text: str) -> Document:
    """Read JSON; raises Unfit when it is none or no object."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unfit("vm", [Problem("configuration", f"This is not JSON: {error}.")]) from error
    if not isinstance(document, dict):
        raise Unfit("vm", [Problem("configuration", "This is not a JSON object.")])
    return document


def select(document: Document, target: str | None, base: Document | None = None) -> Document:
    """Lay ``target`` over ``base`` (default: the main part). The word "default" goes back to the main part.

    Present values replace, emulations are appended, bootrom and varfile change as a pair. Raises Unfit.
    """
    targets = document.get("targets") or {}
    if not isinstance(targets, dict):
        raise Unfit(_name(document), [Problem("targets", "They are not a JSON object.")])
    if target is None or (target == DEFAULT and DEFAULT not in targets):
        return document
    if not isinstance(targets.get(target), dict):
        known = ", ".join(sorted(targets)) or "none"
        raise Unfit(
            _name(document), [Problem("targets", f"There is no target {target!r}.", f"Known: {known}.")]
        )
    layer = {key: value for key, value in targets[target].items() if key not in FIXED}
    merged = {key: value for key, value in (base or document).items() if key != "next_target"}
    if "bootrom" in layer or "varfile" in layer:
        merged.pop("bootrom", None)
        merged.pop("varfile", None)
    before, more = merged.get("emulations"), layer.get("emulations")
    merged.update(layer)
    if isinstance(before, list) and isinstance(more, list):
        merged["emulations"] = [*before, *more]
    elif more is None:
        merged["emulations"] = before
    return merged


def parse(document: Document) -> Config:
    """Check everything. Raises Unfit with all that is wrong."""
    return _Parser(document).config()


def _name(document: Document) -> str:
    name = document.get("name")
    return name if isinstance(name, str) and name else "vm"


class _Parser:
    """Collects problems and unknown keys on the way through a document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.unknown: list[str] = []

    def config(self) -> Config:
        top = self.values("vm", self.document, _TOP, ("name", "cpu", "mem"), _PARTS)
        devices = self.devices()
        graphic = self.graphic()
        if self.problems:
            raise Unfit(_name(self.document), self.problems)
        return Config(
            name=top["name"],
            cpu=top["cpu"],
            memory=top["mem"],
            devices=devices,
            bootrom=top.get("bootrom", DEFAULT_ROM),
            varfile=top.get("varfile"),
            uuid=top.get("uuid"),
            hostbridge=top.get("hostbridge", "hostbridge"),
            lpc_slot=top.get("lpc_slot"),
            com=tuple((key, top[key]) for key in ("com1", "com2", "com3", "com4") if key in top),
            graphic=graphic,
            gdb=top.get("gdb"),
            extra_options=top.get("extra_options", ()),
            next_target=top.get("next_target"),
            post_start_script=top.get("post_start_script"),
            flags={key: top.get(key, default) for key, default in FLAGS.items()},
            unknown=tuple(self.unknown),
        )

    def values(
        self,
        where: str,
        source: Document,
        known: dict[str, Field],
        required: tuple[str, ...],
        others: frozenset[str] = frozenset(),
    ) -> Document:
        """Those of ``known`` that are there, checked; null counts as not there."""
        found = {}
        for key, value in source.items():
            if key not in known:
                if key not in others:
                    self.unknown.append(f"{where}: {key}")
            elif value is not None:
                try:
                    found[key] = known[key](value)
                except (ValueError, TypeError) as error:
                    self.problems.append(Problem(where, f"{key}: {error}"))
        for key in required:
            if source.get(key) is None:
                self.problems.append(Problem(where, f"{key} is missing."))
        return found

    def devices(self) -> tuple[Device, ...]:
        entries = self.document.get("emulations")
        if not isinstance(entries, list):
            self.problems.append(Problem("vm", "emulations is missing or no list."))
            return ()
        return tuple(device for number, entry in enumerate(entries) if (device := self.device(number, entry)))

    def device(self, number: int, entry: Any) -> Device | None:
        kind = entry.get("device") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or kind not in KINDS:
            problem = f"{kind!r} is not a device that can be emulated."
            self.problems.append(Problem(f"emulations[{number}]", problem, f"Known: {', '.join(KINDS)}."))
            return None
        where = f"emulations[{number}] {kind}"
        common: dict[str, Field] = {"slot": fields.slot, "fix": fields.flag}
        known = {**common, **KINDS[kind].fields}
        values = self.values(where, entry, known, KINDS[kind].required, frozenset({"device"}))
        if kind == "nvme" and not entry.keys() & {"path", "ram"}:
            self.problems.append(Problem(where, "It needs a path or ram."))
        return Device(kind, values, values.pop("slot", None), values.pop("fix", False))

    def graphic(self) -> Graphic | None:
        source = self.document.get("graphic")
        if source is None:
            return None
        if not isinstance(source, dict):
            self.problems.append(Problem("graphic", "It is not a JSON object."))
            return None
        values = self.values("graphic", source, _GRAPHIC, ("host",))
        if ("width" in values) != ("height" in values):
            self.problems.append(Problem("graphic", "width and height must both be given, or neither."))
        elif "width" in values and not (640 <= values["width"] <= 3840 and 480 <= values["height"] <= 2160):
            self.problems.append(Problem("graphic", "width and height must be 640x480 to 3840x2160."))
        if len(values.get("password", "")) > 8:
            self.problems.append(Problem("graphic", "password: VNC uses only its first 8 characters."))
        if values.get("vga") not in {None, "io", "off"}:
            self.problems.append(Problem("graphic", "vga: bhyve serves no screen unless it is io or off."))
        if self.problems:
            return None
        return Graphic(**{"port": 5900, **values})
