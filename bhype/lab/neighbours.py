"""Who answers at which address: what arp(8) and ndp(8) of the lab know.

With wires on they read the lab's namespace. Otherwise nobody answers, and there is what was set by hand: the state
"neighbours", ``{ADDRESS: {"ether", "interface"}}``. The host's own addresses are always there, for ever.
"""

from __future__ import annotations

from bhype.lab import core, wires

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]

MAX_AGE = 1200  # net.link.ether.inet.max_age


def table(family: str) -> list[Row]:
    """family: "inet" or "inet6". Rows: {"address", "ether" or "", "interface", "expires": seconds or None, "state"}."""
    interfaces = core.peek("ifconfig").get("interfaces", {})
    rows: list[Row] = []
    for name, each in interfaces.items():
        if each["ether"] and each["up"]:
            for entry in each[family]:
                rows.append(_row(entry.partition("/")[0], each["ether"], name, None, "R"))
    for address, entry in core.peek("neighbours").items():
        if (":" in address) == (family == "inet6") and entry["interface"] in interfaces:
            rows.append(_row(address, entry["ether"], entry["interface"], None, "R"))
    if wires.namespace() is not None:
        from bhype.lab import wires_look

        known = {row["address"] for row in rows}
        for found in wires_look.neighbours("-6" if family == "inet6" else "-4"):
            if found["address"] not in known:
                left = max(1, MAX_AGE - int(found["used"]))
                state = {"REACHABLE": "R", "STALE": "S", "DELAY": "D", "PROBE": "P"}.get(found["state"], "I")
                rows.append(_row(found["address"], found["ether"], found["interface"], left, state))
    return rows


def _row(address: str, ether: str, interface: str, expires: int | None, state: str) -> Row:
    return {"address": address, "ether": ether, "interface": interface, "expires": expires, "state": state}


def put(address: str, ether: str, interface: str) -> None:
    """Set an entry by hand."""
    with core.state("neighbours") as data:
        data[address] = {"ether": ether, "interface": interface}
    _tell(["ip", "neigh", "replace", address, "lladdr", ether, "dev", interface])


def drop(row: Row) -> None:
    """Take one out."""
    with core.state("neighbours") as data:
        data.pop(row["address"], None)
    _tell(["ip", "neigh", "del", row["address"], "dev", row["interface"]])


def _tell(argv: list[str]) -> None:
    if wires.namespace() is not None:
        wires.run(argv)


def interface_for(address: str) -> str:
    """The interface in whose network an address is, or ""."""
    import ipaddress

    wanted = ipaddress.ip_address(address)
    for name, each in core.peek("ifconfig").get("interfaces", {}).items():
        if any(wanted in ipaddress.ip_interface(entry).network for entry in (*each["inet"], *each["inet6"])):
            return str(name)
    return ""
