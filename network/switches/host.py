"""The host's own addresses on their way from an uplink to the switch that it is plugged into, and back. Pure.

FreeBSD 15.0 takes no interface with an address into a bridge; before, the host is heard badly by such an address
(if_bridge(4)). The address belongs on the bridge. Whoever is reached by it is cut off if that goes wrong, so the move
waits for a confirmation, and only then it is written to rc.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_interface

from bhype.freebsd import ifconfig, ifconfig_switch, route, sysrc
from bhype.freebsd.command import Command
from bhype.freebsd.ifconfig import Interface

CHANGE = "host-address"
# Clones of rc.conf have numbers; the switch's own is far from those that people give.
FIRST_BRIDGE = 900


@dataclass(frozen=True, slots=True)
class Move:
    """addresses: with prefix lengths; router: of the default route that they are for, or ""; is_back: from the switch
    to its uplink."""

    switch: str
    uplink: str
    addresses: tuple[str, ...]
    router: str = ""
    is_back: bool = False


def do(move: Move, uplink: Interface, *, is_member: bool) -> list[Command]:
    """The steps of a move, as few packets lost as can be. uplink: as it was seen."""
    if move.is_back:
        return [_member(move, "deletem"), *_addresses(move), *_router(move)]
    local = [one for one in uplink.addresses if "%" in one]
    steps = [_quiet(ifconfig.remove_address(move.uplink, one)) for one in (*move.addresses, *local)]
    if not is_member:
        steps.append(ifconfig.add_member(move.switch, move.uplink))
    return [*steps, *_take(move.switch, move.addresses), *_router(move)]


def undo(move: Move) -> list[Command]:
    """The steps back. Each may be repeated, also when nothing or half of the move was done."""
    if move.is_back:
        steps = [_quiet(ifconfig.remove_address(move.uplink, one)) for one in move.addresses]
        steps += [_member(move, "addm"), *map(_quiet, _take(move.switch, move.addresses))]
        return [*steps, *_router(move)]
    return [_member(move, "deletem"), *map(_quiet, _addresses(move)), *_router(move)]


def _addresses(move: Move) -> list[Command]:
    """Take them off the switch and give them to the uplink."""
    off = [_quiet(ifconfig.remove_address(move.switch, one)) for one in move.addresses]
    return [*off, *_take(move.uplink, move.addresses)]


def _take(name: str, addresses: Sequence[str]) -> list[Command]:
    steps = [ifconfig_switch.add_address(name, one) for one in addresses]
    if any(":" in one for one in addresses):
        steps.insert(0, ifconfig_switch.enable_ipv6(name))
    return [*steps, ifconfig.up(name)]


def _member(move: Move, verb: str) -> Command:
    change = ifconfig.add_member if verb == "addm" else ifconfig.remove_member
    return _quiet(change(move.switch, move.uplink))


def _router(move: Move) -> list[Command]:
    return [route.add_default(move.router)] if move.router else []


def _quiet(command: Command) -> Command:
    """A step that may have been done already."""
    return replace(command, ok_codes=frozenset({0, 1}))


# rc.conf.


def variable(name: str) -> str:
    """An interface in the names of rc.conf's variables (get_if_var() of network.subr)."""
    return "ifconfig_" + re.sub(r"[-./+]", "_", name)


def is_dynamic(value: str) -> bool:
    """Whether an interface gets its address from elsewhere at boot."""
    words = value.upper().split()
    return bool({"DHCP", "SYNCDHCP", "NOSYNCDHCP"}.intersection(words))


def keep(move: Move, key: int, cloned: str, description: str) -> list[Command]:
    """What makes a move last over boots. key: the switch's number; cloned: the value of cloned_interfaces; description:
    by which the switch's bridge is known."""
    unit = f"bridge{FIRST_BRIDGE + key}"
    others = [word for word in cloned.split() if word != unit]
    four, six = _families(move)
    if move.is_back:
        own = (f"ifconfig_{unit}_name", variable(move.switch), f"{variable(move.switch)}_ipv6")
        clones = sysrc.write("cloned_interfaces", " ".join(others))
        return [*_variables(move.uplink, four, six, ""), clones, *(sysrc.remove(name) for name in own)]
    more = f"addm {move.uplink} group {ifconfig.GROUP} descr {description}"
    return [
        sysrc.write("cloned_interfaces", " ".join([*others, unit])),
        sysrc.write(f"ifconfig_{unit}_name", move.switch),
        *_variables(move.switch, four, six, more),
        sysrc.write(variable(move.uplink), "up"),
        *(sysrc.remove(f"{variable(move.uplink)}_{part}") for part in ("ipv6", "alias0", "aliases")),
    ]


def _families(move: Move) -> tuple[list[str], list[str]]:
    found = [ip_interface(one) for one in move.addresses]
    return [str(one) for one in found if one.version == 4], [str(one) for one in found if one.version == 6]


def _variables(name: str, four: list[str], six: list[str], more: str) -> list[Command]:
    first = f"inet {four[0]} " if four else ""
    steps = [sysrc.write(variable(name), f"{first}{more} up".replace("  ", " ").strip())]
    steps += [sysrc.write(f"{variable(name)}_alias{i}", f"inet {one}") for i, one in enumerate(four[1:])]
    if six:
        steps.append(sysrc.write(f"{variable(name)}_ipv6", f"inet6 {six[0]}"))
        start = len(four[1:])
        steps += [
            sysrc.write(f"{variable(name)}_alias{start + i}", f"inet6 {one}") for i, one in enumerate(six[1:])
        ]
    return steps
