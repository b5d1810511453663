"""netstat(1): counters of interfaces (-i) and routes (-r), as text or with libxo (S:usr.bin/netstat/if.c, route.c).

Counters are those of the lab's network namespace while wires are on, and 0 while no frame moves.
"""

from __future__ import annotations

import ipaddress

from bhype.lab import bhyve_state, core, ifconfig_show, libxo, routes, wires

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

USAGE = (
    "usage: netstat [-j jail] [-46AaCLnPRSTWx] [-f protocol_family | -p protocol]\n"
    "       netstat [-j jail] -i | -I interface [-46abdhnW] [-f address_family]\n"
    "       netstat [-j jail] -r [-46nW] [-F fibnum] [-f address_family]"
)
_KEYS = (
    "received-packets", "received-errors", "dropped-packets", "received-bytes", "sent-packets", "send-errors",
    "sent-bytes", "collisions",
)  # fmt: skip
_FAMILIES = {"inet": "Internet", "inet6": "Internet6"}


def main(argv: list[str]) -> int:
    core.fault(" ".join(["netstat", *argv]))
    as_json, words = libxo.take(argv)
    try:
        options, rest = core.getopt(words, "46abdhinrWf:I:p:F:j:")
    except core.BadOption as error:
        core.fail(f"netstat: illegal option -- {error.letter}\n{USAGE}", 1)
    given = dict(options)
    if rest:
        core.fail(USAGE, 1)
    if "r" in given:
        _routes(given, as_json=as_json)
    elif {"i", "I"} & set(given):
        _interfaces(given, as_json=as_json)
    else:
        core.fail(USAGE, 1)
    return 0


def _families(given: dict[str, str]) -> list[str]:
    if "4" in given or given.get("f") == "inet":
        return ["inet"]
    return ["inet6"] if "6" in given or given.get("f") == "inet6" else ["inet", "inet6"]


def _routes(given: dict[str, str], *, as_json: bool) -> None:
    tables = [(_FAMILIES[family], routes.table(family)) for family in _families(given)]
    if as_json:
        families = [{"address-family": name, "rt-entry": rows} for name, rows in tables]
        information = {"route-information": {"route-table": {"rt-family": families}}}
        libxo.show("1", statistics=information)
        return
    print("Routing tables")
    for name, rows in tables:
        wide = (18, 18) if name == "Internet" else (33, 29)
        print(f"\n{name}:\n{'Destination':<{wide[0]}} {'Gateway':<{wide[1]}} Flags     Netif Expire")
        for row in rows:
            print(
                f"{row['destination']:<{wide[0]}} {row['gateway']:<{wide[1]}} {row['flags']:<6} "
                f"{row['interface-name']:>8}"
            )


def _interfaces(given: dict[str, str], *, as_json: bool) -> None:
    interfaces = core.peek("ifconfig").get("interfaces", {})
    wanted = given.get("I")
    if wanted is not None and wanted not in interfaces:
        core.fail(f"netstat: {wanted}: unknown interface", 1)
    counted: dict[str, list[int]] = {}
    if wires.namespace() is not None:
        from bhype.lab import wires_look

        counted = wires_look.counters()
    openers = bhyve_state.tap_openers()
    rows = []
    for name in interfaces:
        if wanted in (None, name):
            rows += _rows(name, interfaces, openers, counted.get(name, [0] * 16), given)
    if as_json:
        libxo.show("1", statistics={"interface": rows})
        return
    _print(rows, given)


def _rows(
    name: str, interfaces: dict[str, Any], openers: dict[str, int], figures: list[int], given: dict[str, str]
) -> list[dict[str, Any]]:
    """That of the link layer, which counts everything, and one for each address."""
    interface = interfaces[name]
    words = ifconfig_show.flags(name, interfaces, openers)
    flags = sum(ifconfig_show.FLAGS[word] for word in words) & 0xFFFF
    shown = name if "UP" in words else name + "*"
    head = {"name": shown, "flags": f"0x{flags:x}"}
    octets_in, packets_in, errors_in, drops_in = figures[:4]
    octets_out, packets_out, errors_out, drops_out = figures[8:12]
    numbers = (packets_in, errors_in, drops_in, octets_in, packets_out, errors_out, octets_out, figures[13])
    link = head | {"mtu": interface["mtu"], "network": f"<Link#{interface['index']}>"}
    link["address"] = interface["ether"] or name
    found = [link | _counted(numbers, given) | ({"dropped-packets": drops_out} if "d" in given else {})]
    for entry in [*interface["inet"], *interface["inet6"]]:
        address = ipaddress.ip_interface(entry)
        network = address.network
        scope = f"%{name}" if address.ip.is_link_local else ""
        row = head | {
            "network": f"{network.network_address}{scope}/{network.prefixlen}",
            "address": f"{address.ip}{scope}",
            "received-packets": 0, "sent-packets": 0,
        }  # fmt: skip
        found.append(row | ({"received-bytes": 0, "sent-bytes": 0} if "b" in given else {}))
    return found


def _counted(numbers: tuple[int, ...], given: dict[str, str]) -> dict[str, int]:
    pairs = zip(_KEYS, numbers, strict=True)
    return {key: number for key, number in pairs if "b" in given or not key.endswith("-bytes")}


def _print(rows: list[dict[str, Any]], given: dict[str, str]) -> None:
    octets = "b" in given
    head = f"{'Name':<9.9} {'Mtu':>5} {'Network':<13} {'Address':<17} {'Ipkts':>8} {'Ierrs':>5} {'Idrop':>5}"
    head += f" {'Ibytes':>10}" * octets + f" {'Opkts':>8} {'Oerrs':>5}" + f" {'Obytes':>10}" * octets
    print(head + f" {'Coll':>5}" + " Drop" * ("d" in given))

    def cell(row: dict[str, Any], key: str, width: int) -> str:
        return f" {row.get(key, '-'):>{width}}"

    for row in rows:
        line = f"{row['name']:<9} {row.get('mtu', '-'):>5} {row['network']:<13.13} {row['address']:<17}"
        line += cell(row, "received-packets", 8) + cell(row, "received-errors", 5)
        line += f" {'-' if 'mtu' not in row else 0:>5}" + (cell(row, "received-bytes", 10) if octets else "")
        line += cell(row, "sent-packets", 8) + cell(row, "send-errors", 5)
        line += (cell(row, "sent-bytes", 10) if octets else "") + cell(row, "collisions", 5)
        print(line + (cell(row, "dropped-packets", 4) if "d" in given else ""))
