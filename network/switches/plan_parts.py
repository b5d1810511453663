"""What switches of every technology have: VLANs of uplinks, tunnels, and the host's addresses. Pure; see `plan`."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from bhype.freebsd import ifconfig, ifconfig_switch
from bhype.freebsd.command import Command
from bhype.freebsd.ifconfig import Interface

from .wanted import Conflict, Seen, Wanted

VLAN, VXLAN = "bhype/vlan/", "bhype/vxlan/"


def uplink(wanted: Wanted, seen: Seen) -> Interface | None:
    """The uplink of a switch; None if it has none. Raises Conflict when it is missing or cannot be taken."""
    if not wanted.uplink:
        return None
    found = seen.get(wanted.uplink)
    if found is None:
        raise Conflict(
            f"The uplink {wanted.uplink} of switch {wanted.name} is not an interface of this host."
        )
    if wanted.vlan:
        if found.mtu and wanted.mtu > found.mtu:
            raise Conflict(
                f"The switch {wanted.name} has packets of {wanted.mtu} bytes, its uplink {found.name} of {found.mtu}."
            )
    elif found.mtu and found.mtu != wanted.mtu:
        # A bridge would set that of the host's own interface.
        raise Conflict(
            f"The switch {wanted.name} has packets of {wanted.mtu} bytes, its uplink {found.name} of {found.mtu}: "
            "all members of a switch have one MTU. Give both the same."
        )
    return found


def make(wanted: Wanted, seen: Seen) -> list[Command]:
    """What makes the uplink's VLAN and the tunnel. Raises Conflict."""
    return [*_vlan(wanted, seen), *_vxlan(wanted, seen)]


def _vlan(wanted: Wanted, seen: Seen) -> list[Command]:
    parent = uplink(wanted, seen)
    if not wanted.vlan or parent is None:
        return []
    name, description = wanted.vlan_interface, VLAN + wanted.name
    create = ifconfig_switch.create_vlan(name, parent.name, wanted.vlan, description=description)
    found = seen.get(name)
    steps = _own(name, description, seen)
    if found is not None and (found.vlan, found.parent) != (wanted.vlan, parent.name):
        steps.append(ifconfig.destroy(name))
        found = None
    if found is None:
        steps.append(create)
    elif not found.is_up:
        steps.append(ifconfig.up(name))
    if (found.mtu if found else parent.mtu) != wanted.mtu:
        steps.append(ifconfig.set_mtu(name, wanted.mtu))
    # Frames of a VLAN come in by its parent.
    return [*([] if parent.is_up else [ifconfig.up(parent.name)]), *steps]


def _vxlan(wanted: Wanted, seen: Seen) -> list[Command]:
    if not wanted.vni:
        return []
    name, description = wanted.vxlan_interface, VXLAN + wanted.name
    device = ""
    if ip_address(wanted.vxlan_remote).is_multicast:
        device = _holder(wanted.vxlan_local, seen)
        if not device:
            raise Conflict(f"No interface of this host has the address {wanted.vxlan_local} of the tunnel.")
    create = ifconfig_switch.create_vxlan(
        name, wanted.vni, wanted.vxlan_local, wanted.vxlan_remote, description=description, device=device
    )
    found = seen.get(name)
    steps = _own(name, description, seen)
    tunnel = (str(ip_address(wanted.vxlan_local)), str(ip_address(wanted.vxlan_remote)))
    if found is not None and (found.vni, found.tunnel) != (wanted.vni, tunnel):
        steps.append(ifconfig.destroy(name))
        found = None
    if found is None:
        steps += [create, ifconfig.set_mtu(name, wanted.mtu)]
    elif not found.is_up:
        steps.append(ifconfig.up(name))
    if found is not None and found.mtu != wanted.mtu:
        steps.append(ifconfig.set_mtu(name, wanted.mtu))
    return steps


def _holder(address: str, seen: Seen) -> str:
    """The interface that has an address of the host."""
    wanted = ip_address(address)
    found = (one.name for one in seen.interfaces if any(ip_interface(a).ip == wanted for a in plain(one)))
    return next(found, "")


def _own(name: str, description: str, seen: Seen) -> list[Command]:
    """Destroy what an interrupted attempt has left without its name. Raises Conflict when the name is taken."""
    found = seen.get(name)
    if found is not None and found.description != description:
        raise Conflict(
            f"The interface {name} is there already and was not made by bHype. Rename or destroy it."
        )
    return [
        ifconfig.destroy(one.name)
        for one in seen.interfaces
        if one.description == description and one.name != name
    ]


def unmake(wanted: Wanted, seen: Seen) -> list[Command]:
    """What takes away the VLAN and the tunnel that are no longer wanted."""
    steps = []
    for description, is_wanted in (
        (VLAN + wanted.name, wanted.vlan and wanted.uplink and not wanted.is_deleting),
        (VXLAN + wanted.name, wanted.vni and not wanted.is_deleting),
    ):
        if not is_wanted:
            steps += [ifconfig.destroy(one.name) for one in seen.interfaces if one.description == description]
    return steps


# Addresses.


def plain(interface: Interface) -> list[str]:
    """Its addresses with prefix lengths, those of one link only left out."""
    return [str(ip_interface(one)) for one in interface.addresses if "%" not in one]


def addresses(wanted: Wanted, found: Interface | None) -> list[Command]:
    """What gives the switch's interface the host's addresses, and no others. The first is replaced at once."""
    name = wanted.interface
    want = [str(ip_interface(one)) for one in wanted.addresses]
    have = plain(found) if found is not None else []
    stale = [one for one in have if one not in want]
    missing = [one for one in want if one not in have]
    steps: list[Command] = []
    if any(":" in one for one in want) and (found is None or "IFDISABLED" in found.nd6):
        steps.append(ifconfig_switch.enable_ipv6(name))
    kept = [one for one in have if one in want and ":" not in one]
    replaced = ""
    if not kept and (first := next((one for one in missing if ":" not in one), "")):
        replaced = next((one for one in stale if ":" not in one), "")
        steps.append(ifconfig.set_address(name, first))
        missing.remove(first)
    steps += [ifconfig.remove_address(name, one) for one in stale if one != replaced]
    return [*steps, *(ifconfig_switch.add_address(name, one) for one in missing)]
