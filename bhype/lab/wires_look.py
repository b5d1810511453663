"""What the lab's programs read in its network namespace while wires are on."""

from __future__ import annotations

import json

from bhype.lab import core, wires, wires_apply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What a neighbour's entry is while nobody has answered (ip-neighbour(8)).
_SILENT = ("INCOMPLETE", "FAILED", "NONE", "NOARP")


def _ask(*argv: str) -> Any:
    """The JSON that a program of iproute2 prints."""
    import subprocess

    done = wires.run(list(argv))
    try:
        return json.loads(done.stdout or "[]")
    except ValueError as error:
        raise subprocess.SubprocessError(done.stderr) from error


def names() -> dict[str, str]:
    """The lab's interface of each device."""
    interfaces = core.peek("ifconfig").get("interfaces", {})
    by_index = {str(each["index"]): name for name, each in interfaces.items()}
    return {
        link["name"]: by_index[key]
        for key, link in core.peek("wired").get("lab", {}).items()
        if key in by_index
    }


def neighbours(family: str) -> list[dict[str, Any]]:
    """Who answered on which interface: ``{"address", "ether" or "", "interface", "state", "used": seconds}``."""
    known = names()
    found = []
    for row in _ask("ip", "-s", "-j", family, "neigh", "show"):
        name = known.get(row["dev"])
        if name is None or row["dst"].startswith(("ff", "224.", "239.")):
            continue
        state = (row.get("state") or ["NONE"])[0]
        ether = "" if state in _SILENT else row.get("lladdr", "")
        found.append(
            {
                "address": row["dst"], "ether": ether, "interface": holder(name, row["dst"]), "state": state,
                "used": row.get("confirmed", 0),
            }
        )  # fmt: skip
    return found


def holder(name: str, address: str) -> str:
    """The interface whose network has an address: a member's, when its bridge carries its addresses (`wires_plan`)."""
    import ipaddress

    interfaces = core.peek("ifconfig").get("interfaces", {})
    wanted = ipaddress.ip_address(address)
    for each in (name, *interfaces.get(name, {}).get("members", ())):
        entries = [*interfaces[each]["inet"], *interfaces[each]["inet6"]] if each in interfaces else []
        if any(wanted in ipaddress.ip_interface(entry).network for entry in entries):
            return str(each)
    return name


def counters() -> dict[str, list[int]]:
    """The sixteen figures of /proc/net/dev by interface of the lab."""
    pid = wires.namespace()
    if pid is None:
        return {}
    known = names()
    return {known[name]: row for name, row in wires_apply.counters(pid).items() if name in known}


def heard(bridge: str, members: list[str]) -> list[tuple[str, str, int]]:
    """The addresses that a bridge has learnt: (MAC, member, seconds since it was heard)."""
    known = names()
    found = []
    for row in _ask("bridge", "-s", "-j", "fdb", "show", "br", _device(bridge)):
        member = known.get(row.get("ifname", ""))
        if member in members and row.get("state") not in ("permanent", "static"):
            found.append((str(row["mac"]), str(member), int(row.get("updated", 0))))
    return found


def forget(bridge: str) -> None:
    """Let a bridge forget what it has learnt."""
    wires.run(["ip", "link", "set", "dev", _device(bridge), "type", "bridge", "fdb_flush"])


def _device(name: str) -> str:
    index = core.peek("ifconfig").get("interfaces", {}).get(name, {}).get("index")
    link = core.peek("wired").get("lab", {}).get(str(index))
    return str(link["name"]) if link else name
