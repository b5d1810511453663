"""arp(8): S:usr.sbin/arp/arp.c (options, texts, print_entry)."""

from __future__ import annotations

import re

from bhype.lab import core, libxo, neighbours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bhype.lab.neighbours import Row

USAGE = (
    "usage: arp [-n] [-i interface] hostname\n"
    "       arp [-n] [-i interface] -a\n"
    "       arp -d hostname [pub]\n"
    "       arp -d [-i interface] -a\n"
    "       arp -s hostname ether_addr [temp] [reject | blackhole] [pub [only]]\n"
    "       arp -S hostname ether_addr [temp] [reject | blackhole] [pub [only]]\n"
    "       arp -f filename"
)
_TYPES = {"bridge": "bridge", "vlan": "vlan"}


def main(argv: list[str]) -> int:
    core.fault(" ".join(["arp", *argv]))
    as_json, words = libxo.take(argv)
    try:
        options, rest = core.getopt(words, "andi:sS")
    except core.BadOption:
        core.fail(USAGE, 1)
    given = dict(options)
    if {"s", "S"} & set(given):
        return _set(rest)
    interfaces = core.peek("ifconfig").get("interfaces", {})
    if "i" in given and given["i"] not in interfaces:
        core.fail(f"arp: interface {given['i']} does not exist", 1)
    if ("a" in given) == bool(rest):
        core.fail(USAGE, 1)
    rows = [
        row
        for row in neighbours.table("inet")
        if given.get("i", row["interface"]) == row["interface"] and (not rest or row["address"] == rest[0])
    ]
    if rest and not rows:
        print(f"{rest[0]} ({rest[0]}) -- no entry")
        return 1
    if "d" in given:
        for row in rows:
            if row["expires"] is not None or rest:
                neighbours.drop(row)
                if rest:
                    print(f"{row['address']} ({row['address']}) deleted")
        return 0
    entries = [_entry(row, interfaces) for row in rows]
    if as_json:
        libxo.show("1", arp={"arp-cache": entries})
    else:
        for entry in entries:
            print(_text(entry))
    return 0


def _set(words: list[str]) -> int:
    if len(words) < 2:
        core.fail(USAGE, 1)
    address, ether = words[:2]
    if not re.fullmatch(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}", ether):
        core.fail(f"arp: invalid Ethernet address '{ether}'", 1)
    interface = neighbours.interface_for(address)
    if not interface:
        core.fail(f"arp: {address}: proxy entry exists for non 802 device", 1)
    neighbours.put(address, ":".join(part.zfill(2) for part in ether.lower().split(":")), interface)
    return 0


def _entry(row: Row, interfaces: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"hostname": "?", "ip-address": row["address"]}
    found |= {"mac-address": row["ether"]} if row["ether"] else {"incomplete": True}
    found["interface"] = row["interface"]
    found |= {"permanent": True} if row["expires"] is None else {"expires": row["expires"]}
    return found | {"type": _TYPES.get(interfaces[row["interface"]]["kind"], "ethernet")}


def _text(entry: dict[str, Any]) -> str:
    ether = entry.get("mac-address", "(incomplete)")
    when = "permanent" if entry.get("permanent") else f"expires in {entry['expires']} seconds"
    return f"? ({entry['ip-address']}) at {ether} on {entry['interface']} {when} [{entry['type']}]"
