"""What the self-test of NAT and the firewall goes by, asked of the host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bhype.freebsd import ifconfig, kld, pfctl, ping, route, sysctl, sysrc
from bhype.freebsd.command import ParseError, Query
from bhype.freebsd.ifconfig import Interface
from bhype.host import CommandError
from bhype.host import Host as Machine
from network.firewall import loaded
from network.firewall.keeping import PFIL
from network.firewall.observe import missing_calls
from network.firewall.world import World

FORWARDING, FORWARDING6 = "net.inet.ip.forwarding", "net.inet6.ip6.forwarding"
# Without it a host that forwards IPv6 takes no default route from router advertisements: nd6_ra_input() of
# S:sys/netinet6/nd6_rtr.c. At boots it is what ipv6_cpe_wanif of rc.conf(5) makes it (S:libexec/rc/rc.d/netoptions).
LEARNING6, UPSTREAM6 = "net.inet6.ip6.rfc6204w3", "ipv6_cpe_wanif"
SYSCTLS = (FORWARDING, FORWARDING6, LEARNING6, *PFIL)
# A name that no switch knows: that there is none such is an answer, too.
OTHERS = "example.org"
RC = ("gateway_enable", "ipv6_gateway_enable", UPSTREAM6, "pf_enable")
Ask = Callable[[Query[Any]], Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """sysctls, rc: by name; is_on: pf filters; missing: the lines that the loaded main rules lack; lost: anchors that
    do not have what was loaded; gateway: of the default route; way_out: whether the gateway answers, None where nobody
    has asked; names, world: whether the host's name service on a switch (by its number) answers about the switch's own
    domain, and about others, for which it has to ask others; learns6: the interface by whose router
    advertisements the host knows its own way out, "" without one."""

    sysctls: dict[str, str] = field(default_factory=dict)
    rc: dict[str, str] = field(default_factory=dict)
    has_pf: bool = False
    is_on: bool = False
    missing: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    gateway: str = ""
    way_out: bool | None = None
    names: dict[int, bool] = field(default_factory=dict)
    world: dict[int, bool] = field(default_factory=dict)
    learns6: str = ""


def learner(interfaces: Iterable[Interface], egress6: str = "") -> str:
    """The interface by which the host learns its IPv6 route, "" without one; rather that of the default route."""
    found = [
        one.name
        for one in interfaces
        if "ACCEPT_RTADV" in one.nd6
        and one.is_up
        and (one.name == egress6 or ifconfig.GROUP not in one.groups)
    ]
    return egress6 if egress6 in found else next(iter(found), "")


def gather(machine: Machine, ask: Ask, world: World, domains: Mapping[int, str]) -> Facts:
    """Ask the host; whether others answer takes seconds. domains: of switches, by number. Raises CommandError,
    ParseError."""
    has_pf = ask(kld.is_loaded("pf"))
    way = ask(route.default("inet"))
    gateway = way.gateway if way else ""
    servers = {net.pk: net.own[0] for net in world.nets if net.has_dns and net.own}
    names = {number: _names(ask, server, domains[number]) for number, server in servers.items()}
    return Facts(
        ask(sysctl.read(*SYSCTLS)),
        ask(sysrc.read(*RC)),
        has_pf,
        bool(has_pf and ask(pfctl.is_enabled())),
        tuple(missing_calls(ask)) if has_pf else (),
        _lost(machine, ask) if has_pf else (),
        gateway,
        _answers(ask, gateway),
        names,
        {number: _names(ask, servers[number], OTHERS) for number, is_ok in names.items() if is_ok},
        learner(ask(ifconfig.list_interfaces()), world.egress6),
    )


def _lost(machine: Machine, ask: Ask) -> tuple[str, ...]:
    """The anchors that do not have what was loaded last; one into which nothing was loaded is lost as well."""
    every = loaded.read(machine)
    return tuple(
        anchor
        for anchor in (loaded.BASE, loaded.RULES)
        if anchor not in every or every[anchor].printed != loaded.printed(anchor, ask)
    )


def _answers(ask: Ask, gateway: str) -> bool | None:
    """None where the gateway is no address: a point-to-point link has none."""
    try:
        return bool(ask(ping.answers(gateway))) if gateway else None
    except (CommandError, ParseError, ValueError):
        return None


def _names(ask: Ask, server: str, name: str) -> bool:
    try:
        return bool(ask(ping.names_answer(server, name)))
    except (CommandError, ParseError, ValueError):
        return False
