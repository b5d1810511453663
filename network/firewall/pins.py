"""Which MAC address each guarded port may send from, as its bridge enforces it. Pure. Why: docs/firewall.md."""

from __future__ import annotations

from collections.abc import Iterable

from bhype.freebsd import ifconfig_switch
from bhype.freebsd.command import Command
from bhype.freebsd.ifconfig import Interface

from .world import World


def commands(world: World, interfaces: Iterable[Interface]) -> list[Command]:
    """What brings the ports that are in bridges to what they should be; nothing when they are.

    Not on bridges of somebody else, of which nothing is changed, nor where each VLAN has a table of its own: ``static``
    without ``vlan`` is an address of VLAN 1 (S:sbin/ifconfig/ifbridge.c, bridge_rtupdate() of S:sys/net/if_bridge.c),
    so a port of another VLAN that may have one address could send nothing. One that was bound before its bridge told
    VLANs apart is let go.
    """
    found = {interface.name: interface for interface in interfaces}
    made = []
    for net in world.nets:
        bridge = found.get(net.interface)
        if bridge is None or not net.has_ports or net.is_adopted:
            continue
        for _, port in world.ports_on(net):
            member = bridge.member(port.interface)
            if member is None:
                continue
            is_bound = net.is_guarded and bool(port.mac) and not (port.may_spoof or bridge.filters_vlans)
            if is_bound and member.most != 1:
                made.append(ifconfig_switch.pin(net.interface, port.interface, port.mac))
            elif not is_bound and member.most == 1:
                made.append(ifconfig_switch.unpin(net.interface, port.interface))
    return made
