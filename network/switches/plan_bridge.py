"""Switches that are bridges, if_bridge(4). Pure; see `plan`."""

from __future__ import annotations

from dataclasses import replace

from bhype.freebsd import ifconfig, ifconfig_switch
from bhype.freebsd.command import Command
from bhype.freebsd.ifconfig import Interface, Member

from . import plan_parts
from .wanted import Conflict, Port, Seen, Wanted

# Interfaces that only guests have, by their groups (each cloner has one) or by their descriptions.
GUESTS = frozenset({"tap", "vmnet", "epair"})
GUEST_DESCRIPTIONS = ("bhype/vm/", "bhype/jail/")


def commands(wanted: Wanted, seen: Seen) -> list[Command]:
    """What makes the bridge as it is wanted. Raises Conflict."""
    if wanted.is_adopted:
        return _adopted(wanted, seen)
    found = seen.get(wanted.interface)
    strays = [one for one in seen.interfaces if one.description == wanted.description and one is not found]
    if found is not None and found.description != wanted.description:
        raise Conflict(
            f"The interface {found.name} is there already and was not made by bHype. Rename or destroy it."
        )
    if wanted.is_deleting:
        doomed = [*strays, *([found] if found else [])]
        return [*(ifconfig.destroy(one.name) for one in doomed), *plan_parts.unmake(wanted, seen)]
    if wanted.is_waiting and found is None:
        return plan_parts.unmake(wanted, seen)
    if wanted.has_vlans and not seen.knows_vlans:
        raise Conflict(
            f"Bridges of this host know no VLANs (FreeBSD 15.0 and later do): make a switch of its own for each VLAN "
            f"of the uplink, and switch VLANs of ports off for {wanted.name}."
        )
    steps = []
    if found is None and strays:
        # What lost its name in a crash, or to somebody, keeps its members.
        found = strays.pop(0)
        steps.append(ifconfig.rename(found.name, wanted.interface))
    steps += [ifconfig.destroy(one.name) for one in strays]
    if found is None:
        steps.append(ifconfig.create_bridge(wanted.interface, description=wanted.description))
    elif not found.is_up:
        steps.append(ifconfig.up(wanted.interface))
    # A bridge gives its MTU to all its members, and takes that of its first: what leaves is left as it is, and what
    # comes has the right one, so that no interface of the host's own is ever changed.
    steps += _let_go(wanted, found, seen)
    if (found.mtu if found else 1500) != wanted.mtu:
        steps.append(ifconfig.set_mtu(wanted.interface, wanted.mtu))
    # Guests that go on with one another meanwhile lose least when what leads outside comes last.
    steps += _vlan_filter(wanted, found)
    steps += _ports(wanted, found, seen)
    steps += plan_parts.addresses(wanted, found)
    try:
        steps += plan_parts.make(wanted, seen)
        steps += [step for name in wanted.outer_members for step in _take(wanted, found, seen, name)]
    except Conflict:
        # Its guests have each other all the same; and what it lets go of, another switch may wait for.
        if not steps:
            raise
    return [*steps, *plan_parts.unmake(wanted, seen)]


def _adopted(wanted: Wanted, seen: Seen) -> list[Command]:
    """A bridge that somebody else has made: guests are plugged in, and nothing else of it is changed."""
    if wanted.is_deleting:
        return []
    found = seen.get(wanted.interface)
    if found is None or "bridge" not in found.groups:
        raise Conflict(f"The bridge {wanted.interface}, which somebody else has made, is not there.")
    # Its MTU is whatever it is now: a port of another one would be refused, or lose packets.
    return _ports(replace(wanted, mtu=found.mtu), found, seen)


def _vlan_filter(wanted: Wanted, found: Interface | None) -> list[Command]:
    if (found is not None and found.filters_vlans) == wanted.has_vlans:
        return []
    return [ifconfig_switch.filter_vlans(wanted.interface, on=wanted.has_vlans)]


def _ports(wanted: Wanted, found: Interface | None, seen: Seen) -> list[Command]:
    """Plug guests in that have lost their bridge, and set their isolation and VLANs. One that is in another bridge runs
    with what was wanted before."""
    steps = []
    elsewhere = {
        member
        for one in seen.interfaces
        if one is not found and "bridge" in one.groups
        for member in one.members
    }
    for port in wanted.ports:
        interface = seen.get(port.interface)
        if interface is None or port.interface in elsewhere:
            continue
        member = found.member(port.interface) if found is not None else None
        untagged, tagged = (port.untagged or ifconfig_switch.UNTAGGED, port.tagged)
        if member is None:
            if interface.mtu != wanted.mtu:
                steps.append(ifconfig.set_mtu(port.interface, wanted.mtu))
            steps.append(_add(wanted, port.interface, untagged, tagged))
        elif wanted.has_vlans and not is_in(member, untagged, tagged):
            steps.append(
                ifconfig_switch.set_member_vlans(
                    wanted.interface, port.interface, untagged=untagged, tagged=tagged
                )
            )
        if is_private(wanted, port) != (member is not None and member.is_private):
            steps.append(
                ifconfig.set_private(wanted.interface, port.interface, private=is_private(wanted, port))
            )
    return steps


def is_private(wanted: Wanted, port: Port) -> bool:
    return port.is_private or wanted.is_isolated


def _add(wanted: Wanted, name: str, untagged: int, tagged: str) -> Command:
    if wanted.has_vlans:
        return ifconfig_switch.add_member(wanted.interface, name, untagged=untagged, tagged=tagged)
    return ifconfig.add_member(wanted.interface, name)


def is_in(member: Member, untagged: int, tagged: str) -> bool:
    """Whether a member is in these VLANs and no others."""
    return member.untagged == untagged and vlans(member.tagged) == vlans(tagged)


def vlans(text: str) -> frozenset[int]:
    """The numbers in "all", "none", or "10,20-30"."""
    if text == "all":
        return frozenset(ifconfig_switch.VLANS)
    pairs = [part.partition("-") for part in text.split(",") if part and part != "none"]
    return frozenset(
        number for first, _, last in pairs for number in range(int(first), int(last or first) + 1)
    )


def is_guests(interface: Interface | None, name: str) -> bool:
    """Whether a member of a bridge belongs to a guest."""
    if interface is None:
        return name.startswith(("tap", "rtap", "vmnet", "epair"))
    return bool(GUESTS.intersection(interface.groups)) or interface.description.startswith(GUEST_DESCRIPTIONS)


def _let_go(wanted: Wanted, found: Interface | None, seen: Seen) -> list[Command]:
    """Take out what was an uplink before, or was put in by hand: a switch leads where its page says."""
    return [
        ifconfig.remove_member(wanted.interface, name)
        for name in (found.members if found is not None else ())
        if name not in wanted.outer_members and not is_guests(seen.get(name), name)
    ]


def _take(wanted: Wanted, found: Interface | None, seen: Seen, name: str) -> list[Command]:
    """Make an uplink or a tunnel a member. Raises Conflict."""
    steps = []
    interface = seen.get(name)
    if interface is not None and not interface.is_up:
        steps.append(ifconfig.up(name))
    member = found.member(name) if found is not None else None
    if member is None:
        for other in seen.interfaces:
            if name in other.members and other.name != wanted.interface:
                raise Conflict(f"{name} is in {other.name} already, and an interface is in one bridge only.")
        if interface is not None and interface.addresses and seen.knows_vlans:
            raise Conflict(
                f"{name} has addresses of the host, and FreeBSD 15.0 takes no such interface into a bridge. Move them "
                f"to the switch {wanted.name} on its page."
            )
        steps.append(_add(wanted, name, ifconfig_switch.UNTAGGED, "all"))
    elif wanted.has_vlans and not is_in(member, ifconfig_switch.UNTAGGED, "all"):
        steps.append(
            ifconfig_switch.set_member_vlans(
                wanted.interface, name, untagged=ifconfig_switch.UNTAGGED, tagged="all"
            )
        )
    return steps
