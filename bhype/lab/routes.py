"""The lab's table of routes: those that its addresses bring, and those that were set.

The state "route" has ``routes``: ``{"default" or "default6" or NETWORK: gateway's address or interface}``. A route
goes with the address that its gateway was reached by, or with its interface, as in the kernel (rtsock(9)).
"""

from __future__ import annotations

import ipaddress

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, str]


def networks(interfaces: dict[str, Any], family: str) -> list[tuple[Any, str]]:
    """The networks that interfaces are in, with their names."""
    return [
        (ipaddress.ip_interface(entry).network, name)
        for name, each in interfaces.items()
        for entry in each[family]
    ]


def way(gateway: str, interfaces: dict[str, Any]) -> str:
    """The interface by which a gateway is reached, itself when it is one; "" for none."""
    if gateway in interfaces:
        return gateway
    try:
        wanted = ipaddress.ip_address(gateway.partition("%")[0])
    except ValueError:
        return ""
    if "%" in gateway:
        return gateway.partition("%")[2]
    near = networks(interfaces, "inet" if wanted.version == 4 else "inet6")
    found = [(net.prefixlen, name) for net, name in near if wanted in net]
    return max(found)[1] if found else ""


def prune() -> None:
    """Forget routes whose gateway is reached no more."""
    interfaces = core.peek("ifconfig").get("interfaces", {})
    if all(way(gateway, interfaces) for gateway in core.peek("route").get("routes", {}).values()):
        return
    with core.state("route") as data:
        for where, gateway in list(data["routes"].items()):
            if not way(gateway, interfaces):
                del data["routes"][where]


def table(family: str) -> list[Row]:
    """Rows as netstat(1) -rn has them: {"destination", "gateway", "flags", "interface-name"}."""
    interfaces: dict[str, Any] = core.peek("ifconfig").get("interfaces", {})
    rows = []
    for where, gateway in core.peek("route").get("routes", {}).items():
        if (":" in where or where == "default6") == (family == "inet6"):
            name = way(gateway, interfaces)
            flags = "US" if gateway in interfaces else "UGS"
            shown = f"link#{interfaces[gateway]['index']}" if gateway in interfaces else gateway
            rows.append(_row("default" if where.startswith("default") else where, shown, flags, name))
    for name, each in interfaces.items():
        for entry in each[family] if each["up"] else ():
            found = ipaddress.ip_interface(entry)
            link = f"link#{each['index']}"
            scope = f"%{name}" if found.ip.is_link_local else ""
            if found.network.prefixlen == found.max_prefixlen or name == "lo0":
                rows.append(_row(str(found.ip), link, "UH", name))
                continue
            rows.append(
                _row(f"{found.network.network_address}{scope}/{found.network.prefixlen}", link, "U", name)
            )
            rows.append(_row(f"{found.ip}{scope}", link, "UHS", "lo0"))
    return sorted(rows, key=_order)


def _row(destination: str, gateway: str, flags: str, name: str) -> Row:
    return {"destination": destination, "gateway": gateway, "flags": flags, "interface-name": name}


def _order(row: Row) -> tuple[int, bytes, int]:
    where, _, width = row["destination"].partition("/")
    if where == "default":
        return 0, b"", 0
    return 1, ipaddress.ip_address(where.partition("%")[0]).packed, int(width or 128)
