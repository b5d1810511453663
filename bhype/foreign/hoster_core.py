"""HosterCore's vm_config.json, of its old and new form.

The file does not name the VM: its folder does. Slots are those that HosterCore gives, because a guest calls its
devices by them: NICs from 2, then disks, shares, screen, passed-through devices and the tablet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bhype.vmrun.config import Document

from .command_line import options
from .imported import FIRMWARE, About, Draft, Imported, load_json, memory, size

RESOLUTIONS = {
    1: (640, 480),
    2: (800, 600),
    3: (1024, 768),
    4: (1280, 720),
    5: (1280, 1024),
    6: (1600, 900),
    7: (1600, 1200),
    8: (1920, 1080),
    9: (1920, 1200),
}
_ROMS = {"uefi": "BHYVE_UEFI.fd", "bios": "BHYVE_UEFI_CSM.fd"}
# What only HosterCore's own machinery reads; the panel has its own way, or none.
_HOUSE = {
    "include_host_ssh_keys": "the SSH keys of the host",
    "include_hostwide_ssh_keys": "the SSH keys of the host",
    "vm_ssh_keys": "the SSH keys; they are in the seed ISO",
    "owner": "the owner",
    "parent_host": "the host it was made on",
    "failover_strategy": "what a fail-over does",
    "dns_search_domain": "the DNS search domain; it is in the seed ISO",
    "ignore_host_clock": "ignore_host_clock, which has no effect: HosterCore's guests see UTC",
}
_KNOWN = frozenset(
    {
        "production", "live_status", "disable_xhci", "cpu_sockets", "cpu_cores", "cpu_threads", "vnc_resolution",
        "vnc_port", "vnc_password", "memory", "loader", "os_type", "os_comment", "vga", "uuid", "description",
        "networks", "disks", "tags", "passthru", "9p_shares", "custom_options",
    }
)  # fmt: skip


def read(text: str, *, name: str = "", folder: str = "", dataset: str = "") -> Imported:
    """The VM of one vm_config.json in ``folder``. Raises Unreadable when it is no JSON object."""
    source = load_json(text)
    draft = Draft(name or folder.rstrip("/").rpartition("/")[2], folder, dataset)
    _main(draft, source)
    slots = iter(range(2, 31))
    _networks(draft, _list(draft, source, "networks"), slots)
    _disks(draft, _list(draft, source, "disks"), slots)
    _shares(draft, _list(draft, source, "9p_shares"), slots)
    _screen(draft, source, next(slots, 30))
    _passthru(draft, _list(draft, source, "passthru"), slots)
    if not source.get("disable_xhci"):
        draft.document["graphic"] |= {"xhci_table": True, "xhci_slot": f"0:{next(slots, 30)}:0"}
    for word in _list(draft, source, "custom_options"):
        options(draft, ["-o", str(word)])
    for key, value in source.items():
        if key in _HOUSE and value not in (None, "", [], False):
            draft.left_out(_HOUSE[key])
        elif key not in _HOUSE and key not in _KNOWN:
            draft.left_out(f"{key} = {value!r}"[:200])
    return draft.finish()


def _list(draft: Draft, source: Document, key: str) -> list[Any]:
    found = source.get(key) or []
    if not isinstance(found, list):
        draft.problem("vm", f"{key} is no list.")
        return []
    return found


def _objects(draft: Draft, entries: list[Any], what: str) -> Iterator[Document]:
    for number, entry in enumerate(entries):
        if isinstance(entry, dict):
            yield entry
        else:
            draft.problem(f"{what}[{number}]", "It is no JSON object.")


def _number(draft: Draft, source: Document, key: str, default: int) -> int:
    """A number, also one written as a text, as old files have it."""
    value = source.get(key)
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 10:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | None):
        draft.problem("vm", f"{key}: {value!r} is not a number.")
        return default
    return default if value is None else value


def _main(draft: Draft, source: Document) -> None:
    sockets, cores = _number(draft, source, "cpu_sockets", 1), _number(draft, source, "cpu_cores", 1)
    shape = {"sockets": sockets, "cores": cores, "threads": _number(draft, source, "cpu_threads", 1) or 1}
    amount = size(str(source.get("memory", "")), "M")
    loader = str(source.get("loader") or "uefi")
    if loader not in _ROMS:
        draft.problem("vm", f"loader: {loader!r} is neither uefi nor bios.")
    draft.document |= {
        "cpu": shape,
        "mem": memory(amount) if amount else str(source.get("memory", "")),
        "generate_acpi": True,
        "yield_on_hlt": True,
        "ignore_msr": True,
        "utc_clock": True,
        "lpc_slot": "0:31:0",
        "bootrom": f"{FIRMWARE}/{_ROMS.get(loader, _ROMS['uefi'])}",
        "com1": f"/dev/nmdm-{draft.name or 'imported'}-1A",
    }
    if source.get("uuid"):
        draft.document["uuid"] = str(source["uuid"]).lower()
    tags = source.get("tags") or ()
    said = [source.get("description"), source.get("os_comment") or source.get("os_type")]
    draft.about = About(
        description="\n".join(str(one) for one in said if one and one != "-"),
        tags=tuple(str(tag) for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        autostart=source.get("production") is True or source.get("live_status") in ("production", "prod"),
    )


def _networks(draft: Draft, entries: list[Any], slots: Iterator[int]) -> None:
    for entry in _objects(draft, entries, "networks"):
        bridge, mac = str(entry.get("network_bridge") or ""), str(entry.get("network_mac") or "")
        values = {"slot": f"0:{next(slots, 30)}:0"} | ({"mac": mac} if mac else {})
        draft.nic(
            str(entry.get("network_adaptor_type") or "virtio-net"), f"vm-{bridge}" if bridge else "", **values
        )
        if entry.get("ip_address"):
            draft.left_out(f"the address {entry['ip_address']}; the guest has it from its seed ISO")
    if not entries:
        next(slots)  # The first disk is in slot 3 all the same.


def _disks(draft: Draft, entries: list[Any], slots: Iterator[int]) -> None:
    for entry in _objects(draft, entries, "disks"):
        image, kind = str(entry.get("disk_image") or ""), str(entry.get("disk_type") or "")
        place = entry.get("disk_location", "internal")
        path = draft.path(image) if place == "internal" else image
        draft.emulations.append({"device": kind, "slot": f"0:{next(slots, 30)}:0", "path": path})
        if isinstance(entry.get("total_bytes"), int):
            draft.sizes[path] = entry["total_bytes"]


def _shares(draft: Draft, entries: list[Any], slots: Iterator[int]) -> None:
    for entry in _objects(draft, entries, "9p_shares"):
        share: Document = {"device": "virtio-9p", "slot": f"0:{next(slots, 30)}:0"}
        share |= {"share": str(entry.get("share_name", "")), "path": str(entry.get("share_location", ""))}
        if entry.get("read_only"):
            share["ro"] = True
        draft.emulations.append(share)


def _screen(draft: Draft, source: Document, slot: int) -> None:
    code = _number(draft, source, "vnc_resolution", 2) or 2
    if code not in RESOLUTIONS:
        draft.problem("graphic", f"vnc_resolution: {code} is not one of 1 to 9.")
    width, height = RESOLUTIONS.get(code, RESOLUTIONS[2])
    graphic: Document = {
        "host": "0.0.0.0",  # noqa: S104 - what HosterCore does; nothing is bound here
        "port": _number(draft, source, "vnc_port", 5900),
        "width": width,
        "height": height,
        "xhci_table": False,
        "slot": f"0:{slot}:0",
    }
    if source.get("vnc_password"):
        graphic["password"] = draft.screen_password(str(source["vnc_password"]))
    if source.get("vga"):
        graphic["vga"] = str(source["vga"])
    draft.document["graphic"] = graphic


def _passthru(draft: Draft, entries: list[Any], slots: Iterator[int]) -> None:
    """Functions of one device share a slot of the guest and keep their number; a leading "-" keeps one alone."""
    groups: dict[str, int] = {}
    for entry in entries:
        alone = str(entry).startswith("-")
        match = re.fullmatch(r"-?([0-9]{1,3})/([0-9]{1,2})/([0-9]{1,2})", str(entry))
        if not match:
            draft.problem("passthru", f"{entry!r} is not a device of the host such as 4/0/0.")
            continue
        bus, slot, function = match.groups()
        group = f"{entry}" if alone else f"{bus}/{slot}"
        if group not in groups:
            groups[group] = next(slots, 30)
        if int(function) > 7:
            draft.problem("passthru", f"{entry}: a PCI device has functions 0 to 7.")
        place = f"0:{groups[group]}:{0 if alone else function}"
        draft.emulations.append({"device": "passthru", "slot": place, "src": f"{bus}:{slot}:{function}"})
    if entries:
        draft.document["wire_guest_mem"] = True
