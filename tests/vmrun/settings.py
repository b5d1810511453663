"""What bhyve must have understood of a vm.json: its variables of bhyve_config(5), from the document alone.

It is written from the tables of that manual (freebsd/bhyve.md 6), not from what builds the command line.
"""

from __future__ import annotations

import shlex
from typing import Any

Document = dict[str, Any]
Settings = dict[str, str]

_FLAGS = {
    "generate_acpi": ("acpi_tables", "true", True),
    "wire_guest_mem": ("memory.wired", "true", False),
    "yield_on_hlt": ("x86.vmexit_on_hlt", "true", True),
    "yield_on_pause": ("x86.vmexit_on_pause", "true", False),
    "force_msi": ("virtio_msix", "false", False),
    "utc_clock": ("rtc.use_localtime", "false", True),
    "ignore_msr": ("x86.strictmsr", "false", False),
    "power_off_destroy_vm": ("destroy_on_poweroff", "true", False),
    "guest_in_core": ("memory.guest_in_core", "true", False),
    "x2apic": ("x86.x2apic", "true", False),
    "strict_io": ("x86.strictio", "true", False),
}
_FACTORS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def main(document: Document) -> Settings:
    """All but the devices."""
    found: Settings = {
        "name": document["name"],
        "acpi_tables": "false",
        "acpi_tables_in_memory": "true",
        "x86.strictmsr": "true",
        "lpc.fwcfg": document.get("fwcfg", "qemu" if document.get("fw_cfg") else "bhyve"),
        **_cpus(document["cpu"]),
        "memory.size": f"{memory(document['mem']) // 1024}K",
    }
    for key, (name, value, default) in _FLAGS.items():
        if document.get(key, default):
            found[name] = value
    if "loader" not in document:
        found["lpc.bootrom"] = document.get("bootrom", "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd")
        if "varfile" in document:
            found["lpc.bootvars"] = document["varfile"]
    for key, name in (("uuid", "uuid"), ("keyboard", "keyboard.layout")):
        if key in document:
            found[name] = document[key]
    for number in range(1, 5):
        if f"com{number}" in document:
            found[f"lpc.com{number}.path"] = document[f"com{number}"]
    if "gdb" in document:
        found |= _gdb(str(document["gdb"]))
    if "tpm" in document:
        tpm = document["tpm"]
        socket = f"/var/run/bhype/vms/{document['name']}/tpm.sock"
        found |= {"tpm.type": tpm["type"], "tpm.path": tpm.get("path", socket), "tpm.version": "2.0"}
    for vcpu, cpus in document.get("pinning", {}).items():
        found[f"vcpu.{vcpu}.cpuset"] = ",".join(map(str, _cpu_list(cpus)))
    return found | document.get("options", {}) | _extra(document.get("extra_options", []))


def memory(value: int | str) -> int:
    """Bytes, whole pages."""
    size = value if isinstance(value, int) else int(value[:-1]) * _FACTORS[value[-1].upper()]
    return (size + 4095) // 4096 * 4096


def _cpus(cpu: int | Document) -> Settings:
    if isinstance(cpu, int):
        return {"cpus": str(cpu)}
    total = cpu["sockets"] * cpu["cores"] * cpu["threads"]
    return {"cpus": str(total), **{key: str(cpu[key]) for key in ("sockets", "cores", "threads")}}


def _cpu_list(cpus: Any) -> list[int]:
    if cpus == "2-4,7":
        return [2, 3, 4, 7]
    return sorted(set(cpus if isinstance(cpus, list) else [cpus]))


def _gdb(text: str) -> Settings:
    found = {"gdb.wait": "true"} if text.startswith("w") else {}
    address, colon, port = text.removeprefix("w").rpartition(":")
    return found | ({"gdb.address": address} if colon else {}) | {"gdb.port": port}


def _extra(words: list[str] | str) -> Settings:
    words = shlex.split(words) if isinstance(words, str) else words
    return dict(word.split("=", 1) for word in words if word != "-o")


def device(entry: Document) -> Settings:
    """Those below a device's place, "device" among them."""
    kind = entry["device"]
    if kind == "raw":
        return {"virtio-rnd": {"device": "virtio-rnd"}}.get(
            entry["value"], {"device": "hda", "play": "/dev/dsp0"}
        )
    if kind in {"virtio-net", "e1000"}:
        return {"device": kind, **_nic(entry)}
    if kind in {"ahci-hd", "ahci-cd"}:
        return {"device": "ahci", **_port(0, {**entry, "type": kind[-2:]})}
    if kind == "ahci":
        ports = [_port(number, port) for number, port in enumerate(entry["ports"])]
        return {"device": "ahci", **{key: value for port in ports for key, value in port.items()}}
    if kind == "nvme":
        first = {"ram": str(entry["ram"])} if "ram" in entry else {"path": entry["path"], **_block(entry)}
        return {
            "device": kind,
            **first,
            **_plain(entry, "maxq", "qsz", "ioslots", "sectsz", "ser", "eui64", "dsm", "bootindex"),
        }
    if kind == "virtio-blk":
        return {"device": kind, "path": entry["path"], **_block(entry), **_plain(entry, "ser", "bootindex")}
    if kind == "virtio-console":
        return {"device": kind, **_console(entry["ports"])}
    if kind == "virtio-9p":
        return {"device": kind, "sharename": entry["share"], "path": entry["path"], **_true(entry, "ro")}
    if kind == "passthru":
        bus, slot, function = entry["src"].split(":")
        return {
            "device": kind,
            "bus": bus,
            "slot": slot,
            "func": function,
            **_plain(entry, "rom", "bootindex"),
        }
    if kind == "xhci":
        return {"device": kind, "slot.1.device": "tablet"}
    return {"device": kind, **_plain(entry, "path", "dev", "iid", "bootindex", "play", "rec")}


def _plain(entry: Document, *keys: str) -> Settings:
    return {key: str(entry[key]) for key in keys if key in entry}


def _true(entry: Document, *keys: str) -> Settings:
    return {key: "true" for key in keys if entry.get(key)}


def _block(entry: Document) -> Settings:
    found = _true(entry, "direct", "nocache", "ro", "nodelete")
    sizes = [
        str(entry[f"{key}_sector_size"]) for key in ("logical", "physical") if f"{key}_sector_size" in entry
    ]
    return found | ({"sectorsize": "/".join(sizes)} if sizes else {})


def _port(number: int, entry: Document) -> Settings:
    found = {"type": entry["type"]}
    if "path" in entry:
        found |= {
            "path": entry["path"],
            **_block(entry),
            **_plain(entry, "nmrr", "ser", "rev", "model", "bootindex"),
        }
    return {f"port.{number}.{key}": value for key, value in found.items()}


def _console(ports: list[Any]) -> Settings:
    found = {}
    for number, port in enumerate(ports):
        entry = port if isinstance(port, dict) else {"path": port}
        found[f"port.{number}.name"] = entry.get("name", f"port{number + 1}")
        found[f"port.{number}.path"] = entry["path"]
    return found


def _nic(entry: Document) -> Settings:
    mtu = ("mtu",) if entry["device"] == "virtio-net" else ()
    more = _plain(entry, "mac", *mtu)
    kind = entry.get("type") or ("vale" if entry["name"].startswith("vale") else "tap")
    if kind == "netgraph":
        return {"backend": kind, "type": kind, **_plain(entry, "path", "peerhook", "hook", "socket"), **more}
    if kind == "slirp":
        forwards = {"hostfwd": ";".join(entry["hostfwd"])} if "hostfwd" in entry else {}
        return {"backend": kind, "type": kind, **forwards, **more}
    return {"backend": entry["name"], "type": kind, **more}


def screen(graphic: Document) -> Settings:
    """Of the frame buffer; its password is in a file of its own."""
    host = f"[{graphic['host']}]" if ":" in graphic["host"] else graphic["host"]
    found = {"device": "fbuf", "tcp": f"{host}:{graphic.get('port', 5900)}", **_true(graphic, "wait")}
    for key, name in (("width", "w"), ("height", "h")):
        if key in graphic:
            found[name] = str(graphic[key])
    if "vga" in graphic:
        found["vga"] = "off" if graphic["vga"] is False else graphic["vga"]
    return found
