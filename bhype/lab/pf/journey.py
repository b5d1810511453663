"""The whole way of a packet through the host: bridged, routed, or to and from the host itself.

Which hooks it meets is docs/firewall.md's table, from bridge_pfil(), bridge_input(), bridge_forward() and
bridge_transmit() of S:sys/net/if_bridge.c, if_bridge(4) PACKET FILTERING and ip_forward().
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bhype.lab.pf.model import Filter, Packet, Verdict


@dataclass(frozen=True)
class Pfil:
    """The sysctls net.link.bridge.pfil_*, with their values in FreeBSD 14.0 and later."""

    member: bool = False
    bridge: bool = False
    local: bool = False


@dataclass(frozen=True)
class Journey:
    """passes: whether it arrives. packet: as it arrives or is stopped. verdicts: of the hooks it met, in order.

    leaves: the interface by which it leaves the host ("" for the host itself). why: "blocked", "no route",
    "not forwarded" or "nobody there", if it does not pass.
    """

    passes: bool
    packet: Packet
    verdicts: tuple[Verdict, ...] = ()
    leaves: str = ""
    why: str = ""

    @property
    def hooks(self) -> list[str]:
        """Where it met pf, as "in tap1", "out sw-nat"."""
        return [f"{each.packet.direction} {each.packet.interface}" for each in self.verdicts]

    @property
    def label(self) -> str:
        """The label of the rule that stopped it, or of the last that let it go."""
        return next((each.label for each in reversed(self.verdicts) if each.label), "")


class _Stopped(Exception):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Way:
    def __init__(self, pf: Filter, packet: Packet) -> None:
        self.pf = pf
        self.packet = packet
        self.verdicts: list[Verdict] = []
        self.leaves = ""

    def hook(self, interface: str, direction: str, *, when: bool = True) -> None:
        if not when:
            return
        verdict = self.pf.test(self.packet.at(interface, direction))
        self.verdicts.append(verdict)
        self.packet = verdict.packet
        if not verdict.passes:
            raise _Stopped("blocked")


def journey(
    pf: Filter,
    packet: Packet,
    enters: str,
    at: Mapping[str, str] | None = None,
    *,
    pfil: Pfil | None = None,
    forwards: bool = True,
) -> Journey:
    """Whether ``packet`` arrives, and how. Its interface and direction are of no account here.

    enters: the interface by which it comes: a port ("tap1001") or an uplink; "" if the host sends it.
    at: who is behind which member of a bridge, as {"10.77.0.5": "tap1001"}; others are behind the member that is
    nobody's (the uplink). forwards: sysctl net.inet.ip.forwarding. States are made in ``pf``.
    """
    way = _Way(pf, packet)
    try:
        _go(way, enters, dict(at or {}), pfil or Pfil(), forwards=forwards)
    except _Stopped as stop:
        return _journey(way, stop.why)
    return _journey(way, "")


def _journey(way: _Way, why: str) -> Journey:
    return Journey(not why, way.packet, tuple(way.verdicts), way.leaves, why)


def talk(
    pf: Filter,
    packet: Packet,
    enters: str,
    at: Mapping[str, str] | None = None,
    *,
    pfil: Pfil | None = None,
    forwards: bool = True,
) -> tuple[Journey, Journey | None]:
    """The packet's journey and that of its answer; None where it did not arrive."""
    there = journey(pf, packet, enters, at, pfil=pfil, forwards=forwards)
    if not there.passes:
        return there, None
    answer = replace(there.packet.answer(), tag="")
    return there, journey(pf, answer, there.leaves, at, pfil=pfil, forwards=forwards)


def _go(way: _Way, enters: str, at: dict[str, str], pfil: Pfil, *, forwards: bool) -> None:
    world = way.pf.world
    bridge = next((name for name, each in world.interfaces.items() if enters in each.members), "")
    if bridge:
        port = _port_towards(way, bridge, enters, at)
        if port:
            way.hook(enters, "in", when=pfil.member)
            way.hook(bridge, "in", when=pfil.bridge)
            way.hook(bridge, "out", when=pfil.bridge)
            way.hook(port, "out", when=pfil.member)
            way.leaves = port
            return
        way.hook(enters, "in", when=pfil.member and pfil.local)
        way.hook(bridge, "in")
    elif enters:
        way.hook(enters, "in")
    if enters and (_is_own(way, way.packet.target) or _is_to_all(way.packet.target)):
        return
    if enters and not forwards:
        raise _Stopped("not forwarded")
    leaves = way.pf.route(way.packet.target)
    if leaves is None:
        raise _Stopped("no route")
    if not enters and _is_own(way, way.packet.target):
        leaves = next((name for name, each in world.interfaces.items() if each.is_loopback), leaves)
    way.hook(leaves, "out")
    if world.interfaces[leaves].members:
        way.leaves = at.get(way.packet.target) or _uplink(way, leaves, at)
        if not way.leaves:
            raise _Stopped("nobody there")
    else:
        way.leaves = leaves


def _port_towards(way: _Way, bridge: str, enters: str, at: dict[str, str]) -> str:
    """The member by which a frame leaves the bridge; "" if it is for the host."""
    found = way.pf.world.interfaces[bridge]
    target = way.packet.target
    if _is_own(way, target) or _is_to_all(target):
        return ""
    port = at.get(target, "")
    if port in found.members and port != enters:
        return port
    own = [ip_interface(each.partition("%")[0]) for each in found.addresses]
    own = [each for each in own if each.version == ip_address(target).version]
    if own and not any(ip_address(target) in each.network for each in own):
        return ""  # beyond its network: it is sent to the router, which is the host
    uplink = _uplink(way, bridge, at)
    if own and uplink in ("", enters):
        raise _Stopped("nobody there")
    return uplink if uplink != enters else ""


def _uplink(way: _Way, bridge: str, at: dict[str, str]) -> str:
    members = way.pf.world.interfaces[bridge].members
    return next((each for each in members if each not in at.values()), "")


def _is_own(way: _Way, target: str) -> bool:
    return any(
        ip_interface(each.partition("%")[0]).ip == ip_address(target)
        for interface in way.pf.world.interfaces.values()
        for each in interface.addresses
    )


def _is_to_all(target: str) -> bool:
    address = ip_address(target)
    return address.is_multicast or target == "255.255.255.255"
