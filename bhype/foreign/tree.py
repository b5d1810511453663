"""bhyve's own configuration variables, bhyve_config(5), made into a vm.json.

The command line and the file of ``-k`` both are these variables in other words; so both are read into them first.
What no key of vm.json says stays what it is: a variable, under "options".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bhype.vmrun.config import Document
from bhype.vmrun.devices import NAMELESS, backend

from .imported import Draft, memory, numeral, size

Values = dict[str, str]
_NODE = re.compile(r"pci\.([0-9]+)\.([0-9]+)\.([0-9]+)\.(.+)")
_TRUE, _FALSE = frozenset({"true", "on", "yes", "1"}), frozenset({"false", "off", "no", "0"})

# What bhyve does when nothing is said, as far as vm.json's own defaults differ (freebsd/bhyve.md, section 6).
DEFAULTS: Values = {
    "memory.size": "256M",
    "acpi_tables": "false",
    "x86.vmexit_on_hlt": "false",
    "rtc.use_localtime": "true",
}
# Variable: key of vm.json, and whether the key says the opposite.
_FLAGS = {
    "acpi_tables": ("generate_acpi", False),
    "memory.wired": ("wire_guest_mem", False),
    "memory.guest_in_core": ("guest_in_core", False),
    "destroy_on_poweroff": ("power_off_destroy_vm", False),
    "virtio_msix": ("force_msi", True),
    "rtc.use_localtime": ("utc_clock", True),
    "x86.mptable": ("disable_mptable_gen", True),
    "x86.x2apic": ("x2apic", False),
    "x86.strictio": ("strict_io", False),
    "x86.strictmsr": ("ignore_msr", True),
    "x86.vmexit_on_hlt": ("yield_on_hlt", False),
    "x86.vmexit_on_pause": ("yield_on_pause", False),
}
# Always so, or of one run only.
_IGNORED = {"acpi_tables_in_memory": "true", "config.dump": None, "lpc.fwcfg": "bhyve"}
_BLOCK_FLAGS = ("direct", "nocache", "ro", "nodelete")


@dataclass
class Tree:
    """values: the variables in the order they were set; words: by node ("pci.0.3.0"), what followed the slot in
    ``-s``; fw_cfg: items of ``-f``; extra: words of the command line that no variable says."""

    values: Values = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    fw_cfg: list[Document] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)


def fill(draft: Draft, tree: Tree) -> None:
    """Say in the draft what the tree says; what it does not say stays as it was."""
    values = dict(tree.values)
    document = draft.document
    for variable, (key, opposite) in _FLAGS.items():
        if (text := values.pop(variable, None)) is not None:
            document[key] = _flag(draft, variable, text) is not opposite
    for variable, usual in _IGNORED.items():
        if variable in values and usual in {None, values[variable]}:
            del values[variable]
    _main(draft, values)
    _processors(draft, values)
    _board(draft, values)
    _devices(draft, values, tree.words)
    if tree.fw_cfg:
        document.setdefault("fw_cfg", []).extend(tree.fw_cfg)
    if tree.extra:
        document.setdefault("extra_options", []).extend(tree.extra)
        draft.note(f"Passed on to bhyve as they are: {' '.join(tree.extra)}")
    if values:
        document.setdefault("options", {}).update(values)
        draft.note(f"Kept as variables of bhyve: {', '.join(values)}")


def _flag(draft: Draft, variable: str, text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        draft.problem("vm", f"{variable}: {text!r} is not true or false.")
    return text.lower() in _TRUE


def _main(draft: Draft, values: Values) -> None:
    document = draft.document
    for variable, key in (("uuid", "uuid"), ("keyboard.layout", "keyboard")):
        if variable in values:
            document[key] = values.pop(variable)
    if (name := values.pop("name", "")) and not draft.name:
        draft.name = name
    if (text := values.pop("memory.size", None)) is not None:
        # Without a unit: megabytes, unless it is large enough to be meant in bytes (expand_number(3)).
        number = numeral(text)
        amount = size(text, "" if isinstance(number, int) and number >= 1 << 20 else "M")
        document["mem"] = text if amount is None else memory(amount)
    gdb = {key: values.pop(f"gdb.{key}", "") for key in ("address", "port", "wait")}
    if gdb["port"]:
        host = f"{gdb['address']}:" if gdb["address"] else ""
        document["gdb"] = f"{'w' if gdb['wait'].lower() in _TRUE else ''}{host}{gdb['port']}"


def _processors(draft: Draft, values: Values) -> None:
    found: dict[str, int] = {}
    for key in ("cpus", "sockets", "cores", "threads"):
        text = values.pop(key, "")
        if text.isascii() and text.isdigit() and len(text) < 7:
            found[key] = int(text)
        elif text:
            draft.problem("vm", f"cpu: {text!r} is not a number of {key}.")
    if found.keys() - {"cpus"}:
        # As bhyve does: sockets default to the number of CPUs where that is given.
        sockets = found.get("sockets", found.get("cpus", 1))
        shape = {"sockets": sockets, "cores": found.get("cores", 1), "threads": found.get("threads", 1)}
        product = shape["sockets"] * shape["cores"] * shape["threads"]
        if found.get("cpus", product) != product:
            said = ", ".join(f"{number} {key}" for key, number in shape.items())
            draft.problem("vm", f"cpu: {said} are not {found['cpus']} CPUs.", "bhyve would not start.")
        draft.document["cpu"] = shape
    elif found:
        draft.document["cpu"] = found["cpus"]
    pinning: dict[str, list[int]] = draft.document.get("pinning", {})
    for variable in [key for key in values if re.fullmatch(r"vcpu\.[0-9]+\.cpuset", key)]:
        cpus = cpu_set(values.pop(variable))
        if cpus is None:
            draft.problem("vm", f"pinning: {variable} is not a list of CPUs.")
        else:
            pinning[variable.split(".")[1]] = cpus
    if pinning:
        draft.document["pinning"] = pinning


def cpu_set(text: str) -> list[int] | None:
    """The numbers of "0-3,6", also with libvirt's exclusions, "0-3,^2"; None when it is none."""
    chosen: set[int] = set()
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\^?)([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
        if not match:
            return None
        numbers = range(int(match[2]), int(match[3] or match[2]) + 1)
        chosen = chosen - set(numbers) if match[1] else chosen | set(numbers)
    return sorted(chosen) or None


def _board(draft: Draft, values: Values) -> None:
    """The boot ROM, serial ports and TPM."""
    document = draft.document
    known = {"lpc.bootrom": "bootrom", "bootrom": "bootrom", "lpc.bootvars": "varfile", "bootvars": "varfile"}
    known |= {f"lpc.com{port}.path": f"com{port}" for port in range(1, 5)} | {"lpc.fwcfg": "fwcfg"}
    for name in known.keys() & values.keys():
        document[known[name]] = values.pop(name)
    for key in ("bootrom", "varfile"):
        if key in document:
            document[key] = draft.path(document[key])
    tpm = {key: values.pop(f"tpm.{key}") for key in ("type", "path", "version") if f"tpm.{key}" in values}
    if tpm:
        document["tpm"] = tpm


def _devices(draft: Draft, values: Values, words: dict[str, str]) -> None:
    nodes: dict[tuple[int, int, int], Values] = {}
    for variable in list(values):
        if match := _NODE.fullmatch(variable):
            place = (int(match[1]), int(match[2]), int(match[3]))
            nodes.setdefault(place, {})[match[4]] = values[variable]
    tablets: list[str] = []
    for place, node in nodes.items():
        name, slot = "pci.{}.{}.{}".format(*place), "{}:{}:{}".format(*place)
        kind = node.pop("device", "")
        if not kind:
            # Options of a device that is told elsewhere: they stay variables.
            continue
        for variable in [key for key in values if key.startswith(f"{name}.")]:
            del values[variable]
        if kind == "xhci" and node.get("slot.1.device") == "tablet" and len(node) == 1:
            tablets.append(slot)
            continue
        build = None if "pptdev" in node else _KINDS.get(kind)
        if build is not None:
            left = dict(node)
            entry = build(draft, left, slot)
            if entry is not None:
                draft.emulations.append({"device": entry.pop("device", kind), "slot": slot, **entry})
            # What has no key of its own is set after the device, as -o.
            values.update({f"{name}.{key}": value for key, value in left.items()})
        elif name in words:
            draft.emulations.append({"device": "raw", "slot": slot, "value": words[name]})
            draft.note(f"Kept in bhyve's own words: the device {words[name]} in slot {slot}.")
        else:
            values[f"{name}.device"] = kind
            values.update({f"{name}.{key}": value for key, value in node.items()})
    _tablets(draft, tablets)


def _tablets(draft: Draft, slots: list[str]) -> None:
    graphic = draft.document.get("graphic")
    for slot in slots:
        if graphic is not None and not graphic.get("xhci_table"):
            graphic |= {"xhci_table": True, "xhci_slot": slot}
        else:
            draft.emulations.append({"device": "xhci", "slot": slot})


def take(node: Values, *keys: str) -> Document:
    """Those of ``keys`` that the node has, taken out of it."""
    return {key: node.pop(key) for key in keys if key in node}


def _numbers(found: Document) -> Document:
    return {key: numeral(text) for key, text in found.items()}


def _flags(node: Values, keys: Iterable[str]) -> Document:
    found = {}
    for key in keys:
        if node.get(key, "").lower() in _TRUE:
            del node[key]
            found[key] = True
        elif node.get(key, "").lower() in _FALSE:
            del node[key]
    return found


def _block(draft: Draft, node: Values) -> Document:
    """What every disk can have."""
    if "sync" in node:
        node["direct"] = node.pop("sync")
    found: Document = {}
    if path := node.pop("path", ""):
        found["path"] = draft.path(path)
    found |= _flags(node, _BLOCK_FLAGS)
    if "sectorsize" in node:
        logical, _, physical = node.pop("sectorsize").partition("/")
        sizes = {"logical_sector_size": logical} | ({"physical_sector_size": physical} if physical else {})
        found |= _numbers(sizes)
    return found | take(node, "ser") | _numbers(take(node, "bootindex"))


def _disk(draft: Draft, node: Values, slot: str) -> Document:
    return _block(draft, node)


def _nvme(draft: Draft, node: Values, slot: str) -> Document:
    found = _numbers(take(node, "ram", "maxq", "qsz", "ioslots", "sectsz")) | take(node, "eui64", "dsm")
    return {**_block(draft, node), **found}


def _ahci(draft: Draft, node: Values, slot: str) -> Document:
    numbers = sorted({int(key.split(".")[1]) for key in node if re.match(r"port\.[0-9]{1,2}\.", key)})
    ports = []
    for number in numbers:
        prefix = f"port.{number}."
        part = {key[len(prefix) :]: node.pop(key) for key in list(node) if key.startswith(prefix)}
        kind = part.pop("type", "hd")
        ports.append(
            {
                "type": kind,
                **_block(draft, part),
                **_numbers(take(part, "nmrr")),
                **take(part, "rev", "model"),
            }
        )
        # What is left of the port goes back, so that nothing is lost.
        node.update({prefix + key: value for key, value in part.items()})
    if len(ports) == 1 and ports[0]["type"] in {"hd", "cd"}:
        (only,) = ports
        return {"device": f"ahci-{only.pop('type')}", **only}
    return {"ports": ports}


def _net(draft: Draft, node: Values, slot: str) -> Document:
    name, kind = node.pop("backend", ""), node.pop("type", "")
    kind = name if name in NAMELESS else kind or backend({"name": name})
    found: Document = {"type": kind} if kind in NAMELESS else {"name": name, "type": kind}
    found |= take(node, "mac", "path", "peerhook", "hook", "socket")
    if "hostfwd" in node:
        found["hostfwd"] = node.pop("hostfwd").split(";")
    return found | _numbers(take(node, "mtu"))


def _frame_buffer(draft: Draft, node: Values, slot: str) -> None:
    if "graphic" in draft.document:
        draft.problem("graphic", "bhyve allows one frame buffer only.", "Leave the second out.")
    address = node.pop("rfb", "") or node.pop("tcp", "")
    host, _, port = address.rpartition(":")
    graphic: Document = {"host": host.strip("[]") or "127.0.0.1", "xhci_table": False, "slot": slot}
    graphic["port"] = numeral(port or "5900")
    for word, key in (("w", "width"), ("h", "height")):
        graphic |= _numbers({key: node.pop(word)} if word in node else {})
    graphic |= take(node, "vga") | _flags(node, ("wait",))
    if "password" in node:
        graphic["password"] = draft.screen_password(node.pop("password"))
    draft.document["graphic"] = graphic


def _host_bridge(draft: Draft, node: Values, slot: str) -> None:
    draft.document["hostbridge"] = "hostbridge"
    if slot != "0:0:0":
        draft.note(f"The host bridge moved from slot {slot} to the first free one.")


def _amd_bridge(draft: Draft, node: Values, slot: str) -> None:
    _host_bridge(draft, node, slot)
    draft.document["hostbridge"] = "amd_hostbridge"


def _lpc(draft: Draft, node: Values, slot: str) -> None:
    draft.document["lpc_slot"] = slot


def _share(draft: Draft, node: Values, slot: str) -> Document:
    return {"share": node.pop("sharename", ""), **take(node, "path"), **_flags(node, ("ro",))}


def _console(draft: Draft, node: Values, slot: str) -> Document:
    ports = []
    for number in sorted({int(key.split(".")[1]) for key in node if re.match(r"port\.[0-9]{1,2}\.", key)}):
        ports.append({key: node.pop(f"port.{number}.{key}", "") for key in ("name", "path")})
    return {"ports": ports}


def _passthru(draft: Draft, node: Values, slot: str) -> Document:
    place = take(node, "bus", "slot", "func")
    source = ":".join(str(place.get(key, "0")) for key in ("bus", "slot", "func"))
    return {"src": source, **take(node, "rom"), **_numbers(take(node, "bootindex"))}


def _simple(*keys: str) -> Any:
    """A device whose variables are called as the keys of vm.json."""
    return lambda draft, node, slot: _numbers(take(node, *keys)) if "iid" in keys else take(node, *keys)


_KINDS: dict[str, Any] = {
    "hostbridge": _host_bridge,
    "amd_hostbridge": _amd_bridge,
    "lpc": _lpc,
    "virtio-blk": _disk,
    "nvme": _nvme,
    "ahci": _ahci,
    "virtio-net": _net,
    "e1000": _net,
    "fbuf": _frame_buffer,
    "virtio-9p": _share,
    "virtio-console": _console,
    "virtio-rnd": _simple(),
    "virtio-input": _simple("path"),
    "virtio-scsi": _simple("dev", "iid", "bootindex"),
    "hda": _simple("play", "rec"),
    "uart": _simple("path"),
    "passthru": _passthru,
    "xhci": _simple(),
}
