"""The self-test of NAT and the firewall: what must be so that guests come out and rules work. Pure.

Each check names what is missing, what it is good for, and whether bHype can mend it when asked to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bhype.freebsd.sysrc import is_yes
from network.firewall.keeping import PFIL
from network.firewall.world import Net, World

from .facts import FORWARDING, FORWARDING6, LEARNING6, UPSTREAM6, Facts

NO_UPSTREAM = (
    "Guests' own names work, but nobody answers about others: give upstream servers under “DHCP and names”, or mend"
    " /etc/resolv.conf of the host."
)


@dataclass(frozen=True, slots=True)
class Check:
    """name: for programs; title: what should be; is_ok: None where nobody could tell; sentence: what is missing and why
    it matters; fix: the word for `network.mend`, "" where only a person can help; switches: those concerned, by number,
    () for all."""

    name: str
    title: str
    is_ok: bool | None
    sentence: str = ""
    fix: str = ""
    switches: tuple[int, ...] = ()


def checks(world: World, facts: Facts, services: dict[int, tuple[str, str]]) -> list[Check]:
    """All of them, in the order of mending. services: dhcp_state and dhcp_reason of switches by number."""
    nats = [net for net in world.nets if net.kind == "nat"]
    return [
        *_routing(nats, facts),
        *_filter(facts),
        *_bridges(world, facts),
        *_ways_out(nats, world, facts),
        *_services(world, facts, services),
    ]


def _routing(nats: list[Net], facts: Facts) -> list[Check]:
    found = []
    for version, name, variable in (
        (4, FORWARDING, "gateway_enable"),
        (6, FORWARDING6, "ipv6_gateway_enable"),
    ):
        mine = _numbers(net for net in nats if net.subnet(version))
        if not mine:
            continue
        word = f"forwarding{version}"
        is_on, is_kept = facts.sysctls.get(name) == "1", is_yes(facts.rc.get(variable, ""))
        now = f"Guests of NAT-ed switches reach the host and nobody else: {name} is 0."
        later = f"After the next boot guests will not come out: {variable} is not YES in rc.conf."
        if version == 6 and facts.learns6:
            # A host that is a router takes no way out from another, unless it is told to.
            is_learning = facts.sysctls.get(LEARNING6) == "1"
            is_named = facts.rc.get(UPSTREAM6) == facts.learns6
            if is_on and not is_learning:
                now = f"{facts.learns6} gives the host its IPv6 route, which it loses as a router: {LEARNING6} is 0."
            if is_kept and not is_named:
                later = (
                    f"The host has no IPv6 route after a boot: {UPSTREAM6} is not {facts.learns6} in rc.conf."
                )
            is_on, is_kept = is_on and is_learning, is_kept and is_named
        found.append(_check(word, f"This host forwards IPv{version} packets", is_on, now, word, mine))
        title = f"It will do so after a boot (IPv{version})"
        found.append(_check(f"{word}_boot", title, is_kept, later, f"{word}_boot", mine))
    return found


def _filter(facts: Facts) -> list[Check]:
    """pf itself."""
    lost = ", ".join(facts.lost)
    return [
        _check(
            "pf", "The packet filter pf is in the kernel", facts.has_pf,
            "Without it there are neither rules nor NAT.", "pf",
        ),
        _check(
            "anchors", "Its rules ask those of bHype", facts.has_pf and not facts.missing,
            "The rules that pf.conf has loaded do not ask the anchors bhype/*"
            + (f" ({', '.join(facts.missing)} is missing): " if facts.missing else ": ")
            + "nothing of what is set here works.",
            "anchors",
        ),
        _check("pf_on", "pf is switched on", facts.is_on, "It lets everything pass, and translates nothing.", "pf_on"),
        _check(
            "pf_boot", "pf will be on after a boot", is_yes(facts.rc.get("pf_enable", "")),
            "pf_enable is not YES in rc.conf.", "pf_boot",
        ),
        _check(
            "loaded", "bHype's rules are loaded", facts.has_pf and not facts.lost,
            f"Not loaded, or changed by somebody else: {lost}." if lost else "They wait for pf.", "loaded",
        ),
    ]  # fmt: skip


def _bridges(world: World, facts: Facts) -> list[Check]:
    found = []
    mine = _numbers(net for net in world.nets if net.has_ports)
    if mine:
        needs = [name for name in PFIL if facts.sysctls.get(name) != "1"]
        found.append(
            _check(
                "bridges", "pf sees what guests of one switch send one another, and who sends it", not needs,
                "Rules between guests of one switch do nothing, and guests can send in another's name: "
                f"{', '.join(needs)} is 0. This concerns all bridges of the host, also those that bHype did not make: "
                "your own rules will see their packets, too.",
                "bridges", mine,
            )
        )  # fmt: skip
    blind = [net for net in world.nets if not net.has_ports]
    if blind:
        found.append(
            Check(
                "blind", "Guests of one switch can be kept apart by rules", False,  # noqa: FBT003
                f"Not on {', '.join(net.name for net in blind)}: netgraph and VALE ask no filter about packets between "
                "ports. Choose if_bridge where rules between guests matter.", "", _numbers(blind),
            )
        )  # fmt: skip
    return found


def _ways_out(nats: list[Net], world: World, facts: Facts) -> list[Check]:
    mine = _numbers(nats)
    if not mine:
        return []
    found = []
    for version, name, way, advice in (
        (4, "route", world.egress, "set defaultrouter in rc.conf, or let DHCP set it."),
        (6, "route6", world.egress6, "set ipv6_defaultrouter in rc.conf, or take the IPv6 address of the switch away."),
    ):  # fmt: skip
        nets = _numbers(net for net in nats if net.subnet(version))
        if nets:
            said = f"By IPv{version} guests reach the host and nobody else: {advice}"
            title = f"This host has a default route (IPv{version})"
            found.append(_check(name, title, bool(way), said, "", nets))
    if facts.gateway:
        said = f"{facts.gateway} does not answer. Some routers never do; if guests come out, all is well."
        title = "The router of the host answers"
        found.append(Check("way_out", title, facts.way_out, "" if facts.way_out else said, "", mine))
    for net in nats:
        if net.subnet(6).startswith("fd") and world.egress6 and not world.egress6_address:
            found.append(
                Check(
                    "address6", "The host has an IPv6 address for its guests", False,  # noqa: FBT003
                    f"{world.egress6} has none but link-local ones, so NAT of IPv6 is not possible.", "", (net.pk,),
                )
            )  # fmt: skip
    return found


def _services(world: World, facts: Facts, services: dict[int, tuple[str, str]]) -> list[Check]:
    found = []
    for net in world.nets:
        state, reason = services.get(net.pk, ("off", ""))
        if net.has_dhcp or net.ipv6 != "off":
            said = reason or "dnsmasq does not run for it."
            found.append(
                _check(
                    "dhcp", f"Guests get addresses on {net.name}", state == "running", said, "dhcp", (net.pk,)
                )
            )
        if net.has_dns:
            is_ok = state == "running" and facts.names.get(net.pk, True)
            said = reason or "The name service of the host does not answer there."
            found.append(_check("names", f"Names are answered on {net.name}", is_ok, said, "dhcp", (net.pk,)))
            if is_ok and net.pk in facts.world:
                title, is_ok = f"Names of the internet are answered on {net.name}", facts.world[net.pk]
                found.append(_check("upstream", title, is_ok, NO_UPSTREAM, "", (net.pk,)))
    return found


def _check(  # noqa: PLR0917
    name: str, title: str, is_ok: bool, sentence: str, fix: str, switches: tuple[int, ...] = ()  # noqa: FBT001
) -> Check:  # fmt: skip
    return Check(name, title, is_ok, "" if is_ok else sentence, "" if is_ok else fix, switches)


def _numbers(nets: Iterable[Net]) -> tuple[int, ...]:
    return tuple(net.pk for net in nets)


def document(found: Iterable[Check]) -> list[dict[str, Any]]:
    """For Firewall.checks."""
    return [asdict(one) | {"switches": list(one.switches)} for one in found]


def stored(rows: Iterable[dict[str, Any]], switch: int | None = None) -> list[Check]:
    """What was found last; of one switch those that concern it."""
    found = [Check(**{**row, "switches": tuple(row["switches"])}) for row in rows]
    return [one for one in found if switch is None or not one.switches or switch in one.switches]
