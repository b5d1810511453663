"""A vm.json: the schema of vmrun, extended. Parsed into a typed Config, with all its errors at once.

Targets are laid over the main part as JSON before anything is parsed, so each Config is whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bhype.freebsd.bhyve import Address, Topology
from bhype.vmrun.devices import COMMON, KINDS, Device
from bhype.vmrun.keys import DEFAULT_ROM, FLAGS, KEYS
from bhype.vmrun.options import Reader, Values
from bhype.vmrun.problems import Problem, Unfit

Document = dict[str, Any]
DEFAULT = "default"
# What only the main part may say: it makes the VM what it is.
FIXED = frozenset(
    {"version", "name", "uuid", "hostbridge", "lpc_slot", "power_off_destroy_vm", "targets", "bhype"}
)
COMS = ("com1", "com2", "com3", "com4")
# Read elsewhere, or by others: "bhype" is the panel's own.
_PARTS = frozenset({"emulations", "targets", "bhype", "$schema"})


@dataclass(frozen=True, slots=True)
class Graphic:
    """The screen: a frame buffer served by VNC on host:port. wait: the guest starts with the first viewer."""

    host: str
    port: int = 5900
    password: str | None = None
    width: int | None = None
    height: int | None = None
    vga: str | None = None
    wait: bool = False
    xhci_table: bool = True
    slot: Address | None = None
    xhci_slot: Address | None = None


@dataclass(frozen=True, slots=True)
class Loader:
    """What puts the guest's system into its memory instead of a boot ROM. type: bhyveload or grub; disk: of
    bhyveload, the first one already put in when none was named; config: the text of a grub.cfg."""

    type: str
    disk: str | None = None
    os_loader: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    root: str = "hd0,1"
    directory: str | None = None
    config: str | None = None


@dataclass(frozen=True, slots=True)
class Tpm:
    """type: passthru or swtpm; path: the device, or somebody else's socket; state: the folder of our own swtpm."""

    type: str
    path: str | None = None
    state: str | None = None
    version: str = "2.0"


@dataclass(frozen=True, slots=True)
class Limits:
    """For rctl(8). pcpu: percent of one CPU; the others per second, in bytes and operations; None: no limit."""

    pcpu: int | None = None
    readbps: int | None = None
    writebps: int | None = None
    readiops: int | None = None
    writeiops: int | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """When the guest is started again: after which exit statuses, after crashes, how often within how many
    seconds (limit None: no end), and how many seconds to wait first."""

    reboot_on: frozenset[int] = frozenset({0})
    on_crash: bool = False
    limit: int | None = None
    within: int = 600
    delay: int = 1


@dataclass(frozen=True, slots=True)
class Config:
    """One VM with one target chosen. memory: bytes; pinning: pairs of a virtual CPU and one of the host;
    fw_cfg: name, "string" or "file", and content; options: settings of bhyve_config(5);
    post_start_script: a program and its words; unknown: the keys that
    nothing reads. With a loader bootrom and varfile are not used."""

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
    post_start_script: tuple[str, ...] | None
    flags: dict[str, bool]
    unknown: tuple[str, ...]
    fwcfg: str = "bhyve"
    fw_cfg: tuple[tuple[str, str, str], ...] = ()
    loader: Loader | None = None
    tpm: Tpm | None = None
    keyboard: str | None = None
    pinning: tuple[tuple[int, int], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    limits: Limits = Limits()
    nice: int | None = None
    protect: bool = False
    restart: Restart | None = None

    @property
    def drives(self) -> tuple[tuple[str, str], ...]:
        """All disks ("hd") and media ("cd") with their paths, in the order of the devices."""
        return tuple(drive for device in self.devices for drive in device.drives)


def load(text: str) -> Document:
    """Read JSON; raises Unfit when it is none or no object."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unfit("vm", [Problem("configuration", f"This is not JSON: {error}.")]) from error
    if not isinstance(document, dict):
        raise Unfit("vm", [Problem("configuration", "This is not a JSON object.")])
    targets = document.get("targets")
    for part in (document, *(targets.values() if isinstance(targets, dict) else ())):
        # uclcmd(1) prints a block that is there only once as an object.
        if isinstance(part, dict) and isinstance(part.get("emulations"), dict):
            part["emulations"] = [part["emulations"]]
    return document


def select(document: Document, target: str | None, base: Document | None = None) -> Document:
    """Lay ``target`` over ``base`` (default: the main part). The word "default" goes back to the main part.

    Present values replace, emulations are appended (once, where targets follow each other in a circle), bootrom and
    varfile change as a pair. Raises Unfit.
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
        main = document.get("emulations")
        earlier = before[len(main) :] if isinstance(main, list) else before
        merged["emulations"] = [*before, *(entry for entry in more if entry not in earlier)]
    elif more is None:
        merged["emulations"] = before
    return merged


def parse(document: Document) -> Config:
    """Check everything. Raises Unfit with all that is wrong."""
    reader = Reader()
    top = reader.read("vm", document, KEYS, _PARTS)
    devices = tuple(_devices(reader, document))
    if not reader.problems:
        _together(reader, top, devices)
    if reader.problems:
        raise Unfit(_name(document), reader.problems)
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
        com=tuple((key, top[key]) for key in COMS if key in top),
        graphic=Graphic(**top["graphic"]) if "graphic" in top else None,
        gdb=top.get("gdb"),
        extra_options=top.get("extra_options", ()),
        next_target=top.get("next_target"),
        post_start_script=top.get("post_start_script"),
        flags={key: top.get(key, default) for key, default in FLAGS.items()},
        unknown=tuple(reader.unknown),
        fwcfg=top.get("fwcfg", "qemu" if top.get("fw_cfg") else "bhyve"),
        fw_cfg=tuple(_item(item) for item in top.get("fw_cfg", ())),
        loader=_loader(top["loader"], devices) if "loader" in top else None,
        tpm=Tpm(**top["tpm"]) if "tpm" in top else None,
        keyboard=top.get("keyboard"),
        pinning=top.get("pinning", ()),
        options=top.get("options", ()),
        limits=Limits(**top.get("limits", {})),
        nice=top.get("nice"),
        protect=top.get("protect", False),
        restart=Restart(**top["restart"]) if "restart" in top else None,
    )


def equals_root(document: Document) -> list[str]:
    """The keys of a document, targets included, that are as much as being root on the host, as "vm: options" and
    "emulations[2] raw: value". It need not be valid. The paths of disks, media, UEFI variables and the like are
    not among them: only their owner knows which are his."""
    return [f"{where}: {key}" for where, key, is_root in _walk(document) if is_root]


def _walk(document: Document) -> Iterator[tuple[str, str, bool]]:
    """Each known key that is there: where, key, whether it equals root."""
    parts = {"": document}
    targets = document.get("targets")
    if isinstance(targets, dict):
        parts |= {f"targets {name} ": part for name, part in targets.items() if isinstance(part, dict)}
    for before, part in parts.items():
        for key, option in KEYS.items():
            if part.get(key) is not None:
                value = part[key]
                foreign = key in COMS and isinstance(value, str) and not _is_own(value, document)
                yield f"{before}vm", key, foreign or option.is_root(value)
        entries = part.get("emulations")
        for number, entry in enumerate(entries) if isinstance(entries, list) else ():
            kind = KINDS.get(str(entry.get("device"))) if isinstance(entry, dict) else None
            if kind is None:
                continue
            values = kind.normalise(entry) if kind.normalise else entry
            for key, option in kind.options.items():
                if values.get(key) is not None:
                    yield f"{before}emulations[{number}] {kind.name}", key, option.is_root(values[key])


def _is_own(line: str, document: Document) -> bool:
    """Whether a serial line is the VM's own: with another's one would read along."""
    return (
        line == "stdio" or re.fullmatch(rf"/dev/nmdm-{re.escape(_name(document))}\.[0-9]A", line) is not None
    )


def _name(document: Document) -> str:
    name = document.get("name")
    return name if isinstance(name, str) and name else "vm"


def _devices(reader: Reader, document: Document) -> Iterator[Device]:
    entries = document.get("emulations")
    if not isinstance(entries, list):
        reader.complain("vm", "emulations: It is missing or no list.")
        return
    for number, entry in enumerate(entries):
        name = entry.get("device") if isinstance(entry, dict) else None
        kind = KINDS.get(name) if isinstance(name, str) else None
        if kind is None:
            problem = f"device: {name!r} is not a device that can be emulated."
            reader.complain(f"emulations[{number}]", problem, f"Known: {', '.join(KINDS)}.")
            continue
        where = f"emulations[{number}] {kind.name}"
        source = kind.normalise(entry) if kind.normalise else entry
        values = reader.read(where, source, {**COMMON, **kind.options}, _DEVICE, rule=kind.rule)
        yield Device(kind.name, values, values.pop("slot", None), values.pop("fix", False))


_DEVICE = frozenset({"device"})


def _item(item: Document) -> tuple[str, str, str]:
    return (
        (item["name"], "string", item["string"]) if "string" in item else (item["name"], "file", item["file"])
    )


def _loader(values: Values, devices: tuple[Device, ...]) -> Loader:
    if values["type"] == "bhyveload":
        values = {"disk": _boot_disk(devices), **values}
    return Loader(**values)


def _boot_disk(devices: tuple[Device, ...]) -> str | None:
    """The first disk, else the first medium: an installation starts from there."""
    drives = [drive for device in devices for drive in device.drives]
    return next((path for kind, path in sorted(drives, key=lambda drive: drive[0] == "cd")), None)


def _together(reader: Reader, top: Document, devices: tuple[Device, ...]) -> None:
    """What is right alone and wrong beside the rest."""
    cpus = top["cpu"].cpus
    beyond = sorted({vcpu for vcpu, _ in top.get("pinning", ()) if vcpu >= cpus})
    if beyond:
        reader.complain(
            "vm", f"pinning: There is no virtual CPU {beyond[0]}; they count from 0 to {cpus - 1}."
        )
    if top.get("fw_cfg") and top.get("fwcfg") == "bhyve":
        reader.complain("vm", 'fwcfg: Firmware items need "qemu".')
    if sum(top.get(key) == "stdio" for key in COMS) > 1:
        reader.complain("vm", "com1: Only one serial port can be stdio.")
    if "loader" in top and not any(device.drives for device in devices) and "disk" not in top["loader"]:
        reader.complain("loader", "disk: There is no disk to load a system from.")
