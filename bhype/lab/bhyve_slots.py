"""What follows ``-s`` on bhyve's command line: a place, an emulation and the form of its options.

Source: ``freebsd/bhyve.md`` 3 and 4 (usr.sbin/bhyve/pci_emul.c and the pe_legacy_config functions of the devices,
such as pci_virtio_9p.c, pci_virtio_input.c and pci_passthru.c).
"""

from __future__ import annotations

import re

from bhype.lab import core
from bhype.lab.bhyve_config import Config, Node, put, put_options

# Emulations by the name on the command line, and the model that the configuration calls them.
MODELS = {
    name: name
    for name in (
        "hostbridge", "passthru", "virtio-net", "virtio-blk", "virtio-scsi", "virtio-9p", "virtio-rnd",
        "virtio-console", "virtio-input", "ahci", "e1000", "uart", "lpc", "fbuf", "xhci", "nvme", "hda",
    )
} | {"amd_hostbridge": "hostbridge", "ahci-hd": "ahci", "ahci-cd": "ahci"}  # fmt: skip


def add(config: Config, argument: str) -> None:
    """Take one ``-s`` into the configuration; ends the program with status 4 where bhyve does."""
    place, comma, rest = argument.partition(",")
    emulation, more, conf = rest.partition(",")
    where = _place(place)
    if not comma or where is None:
        core.fail(f'Invalid PCI slot info field "{argument}"', 4)
    text = ":".join(map(str, where))
    if emulation not in MODELS:
        core.fail(f'pci slot {text}: unknown device "{emulation}"', 4)
    path = "pci." + text.replace(":", ".")
    if config.find(path) is not None:
        core.fail(f"pci slot {text} already occupied!", 4)
    node = config.create(path)
    put(node, "device", MODELS[emulation])
    _conf(node, emulation, conf if more else None)


def _place(text: str) -> tuple[int, int, int] | None:
    """``S``, ``S:F`` or ``B:S:F`` as sscanf(3) reads it: what follows a number is ignored."""
    number = r"\s*([+-]?\d+)"
    for pattern in (f"{number}:{number}:{number}", f"{number}:{number}", number):
        match = re.match(pattern, text)
        if match:
            parts = [int(part) for part in match.groups()]
            bus, slot, function = (
                parts if len(parts) == 3 else [0, *parts] if len(parts) == 2 else [0, parts[0], 0]
            )
            if 0 <= bus < 256 and 0 <= slot < 32 and 0 <= function < 8:
                return bus, slot, function
            return None
    return None


def _conf(node: Node, emulation: str, conf: str | None) -> None:
    """What stands after the emulation's name, in the form of that device."""
    if emulation == "amd_hostbridge":
        node["pcireg"] = {"vendor": "0x1022", "device": "0x7432"}
    if conf is None and emulation not in ("ahci-hd", "ahci-cd"):
        return
    conf = conf or ""
    first, _, rest = conf.partition(",")
    more = rest or None
    if emulation in ("ahci-hd", "ahci-cd"):
        port: Node = {"type": emulation.removeprefix("ahci-")}
        node["port"] = {"0": port}
        if conf:
            put(port, "path", first)
            put_options(port, more)
    elif emulation == "ahci":
        _ahci_ports(node, conf)
    elif emulation == "virtio-blk" or (emulation == "nvme" and not conf.startswith("ram=")):
        put(node, "path", first)
        put_options(node, more)
    elif emulation in ("virtio-net", "e1000"):
        put(node, "backend", first)
        if first in ("netgraph", "slirp"):
            put(node, "type", first)
        put_options(node, more)
    elif emulation == "virtio-9p":
        _share(node, conf)
    elif emulation == "virtio-console":
        ports: Node = {}
        node["port"] = ports
        for number, port_conf in enumerate(conf.split(",")):
            name, _, path = port_conf.partition("=")
            ports[str(number)] = {"name": name, "path": path}
    elif emulation in ("virtio-input", "uart"):
        put(node, "path", first)
        put_options(node, more)
    elif emulation == "virtio-scsi" and "=" not in first:
        put(node, "dev", first)
        put_options(node, more)
    elif emulation == "passthru":
        _passthru(node, first)
        put_options(node, more)
    elif emulation == "xhci":
        node["slot"] = {
            str(number): {"device": device} for number, device in enumerate(conf.split(","), 1) if device
        }
    else:
        put_options(node, conf)


def _share(node: Node, conf: str) -> None:
    """``NAME=PATH,ro``: exactly one word has a sign of equality."""
    for token in conf.split(","):
        share, equals, path = token.partition("=")
        if not equals:
            put(node, token, "true")
        elif "sharename" in node:
            core.fail("virtio-9p: more than one share name given", 4)
        else:
            put(node, "sharename", share)
            put(node, "path", path)


def _passthru(node: Node, selector: str) -> None:
    """``B/S/F``, ``pci0:B:S:F``, ``pciB:S:F`` or the name of a device such as ``ppt0``."""
    if selector.startswith("ppt"):
        put(node, "pptdev", selector)
        return
    for pattern in (r"pci0:(\d+):(\d+):(\d+)", r"pci(\d+):(\d+):(\d+)", r"(\d+)/(\d+)/(\d+)"):
        match = re.match(pattern, selector)
        if match:
            for name, value in zip(("bus", "slot", "func"), match.groups(), strict=True):
                put(node, name, str(int(value)))
            return
    core.fail(f'passthru: invalid options "{selector}"', 4)


def _ahci_ports(node: Node, conf: str) -> None:
    """``hd:PATH,option,cd:PATH,...``: an option belongs to the port before it."""
    ports: Node = {}
    node["port"] = ports
    port: Node | None = None
    for token in conf.split(","):
        kind, colon, path = token.partition(":")
        if colon and kind in ("hd", "cd"):
            port = {"type": kind}
            if path:
                port["path"] = path
            ports[str(len(ports))] = port
        elif port is None:
            core.fail(f'pci_ahci: invalid port configuration "{token}"', 4)
        else:
            put_options(port, token)
