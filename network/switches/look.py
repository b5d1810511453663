"""What this host has of switches, and what its rows want: rows and answers of commands brought together for `plan`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from bhype.freebsd import ifconfig, ngctl, valectl
from bhype.freebsd.command import ParseError, Query
from bhype.host import CommandError
from bhype.hosts.models import Host
from bhype.vmrun.nics import port_name, tap_of
from network import guests
from network.aggregations import plan as aggregations
from network.guests import Guest
from network.models import Aggregation, Switch

from .wanted import BRIDGE, NETGRAPH, VALE, Port, Seen, Wanted

# Asks the host: run.host.query, or sweep.ask.
Ask = Callable[[Query[Any]], Any]


def look(ask: Ask, host: Host, wanted: Iterable[Wanted]) -> Seen:
    """What there is. Only the kinds of switches that are wanted are asked for. Raises CommandError, ParseError."""
    switches = list(wanted)
    kinds = {one.technology for one in switches}
    nodes, hooks = _netgraph(ask, switches) if NETGRAPH in kinds else ({}, {})
    return Seen(
        interfaces=tuple(ask(ifconfig.list_interfaces())),
        nodes=nodes,
        hooks=hooks,
        vale_ports=_vale(ask) if VALE in kinds else (),
        knows_vlans=bool(host.features.get("bridge_vlans")),
    )


def _netgraph(
    ask: Ask, switches: list[Wanted]
) -> tuple[dict[str, str] | None, dict[str, tuple[ngctl.Hook, ...]]]:
    try:
        nodes = ask(ngctl.nodes())
        mine = [one.interface for one in switches if one.technology == NETGRAPH and one.interface in nodes]
        return nodes, {name: ask(ngctl.hooks(f"{name}:")) for name in mine}
    except (CommandError, ParseError):
        return None, {}


def _vale(ask: Ask) -> tuple[str, ...] | None:
    try:
        found: tuple[str, ...] = ask(valectl.ports())
    except (CommandError, ParseError):
        return None
    return found


def aggregation(row: Aggregation) -> aggregations.Wanted:
    """What is wanted of the row of an aggregation."""
    return aggregations.Wanted(row.name, row.protocol, tuple(row.members), row.is_deleting)


def wanted(
    switches: Iterable[Switch], seen: Seen | None = None, known: Iterable[Guest] | None = None
) -> dict[int, Wanted]:
    """What is wanted of each row, by its number; with ``seen`` also the guests that are to be plugged in now.

    known: the guests of the host, where the caller has them.
    """
    rows = list(switches)
    found = {row.pk: row.wanted for row in rows}
    if seen is None or not rows:
        return found
    there = {one.name for one in seen.interfaces}
    ports: dict[int, list[Port]] = {}
    for guest in guests.find(host_id=rows[0].host_id) if known is None else known:
        for port in guest.ports if guest.is_on else ():
            # One with a rate has another interface in the bridge.
            tap = tap_of(port.interface)
            name = port_name(tap) if port_name(tap) in there else tap
            if port.switch_id in found and port.is_linked and name in there:
                made = Port(name, port.is_private, port.vlan, port.tagged)
                ports.setdefault(port.switch_id, []).append(made)
    return {
        key: replace(one, ports=tuple(ports.get(key, ()))) if one.technology == BRIDGE else one
        for key, one in found.items()
    }
