"""What endpoints mean now: words in, places of packets out. Pure over `World` and the aliases of a document."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from bhype.freebsd import pf

from . import words
from .document import AliasRow
from .words import BadWord, Endpoint
from .world import Guest, Net, Port, World

HOST = "host"
INSIDE = "inside"
# What never leaves a link is no internet.
LINK = ("224.0.0.0/4", "255.255.255.255", "169.254.0.0/16", "fe80::/10", "ff00::/8")
DEEPEST = 8


class Names:
    """The meaning of endpoints. tables: those that were named so far, by name; ask `place` first."""

    def __init__(self, world: World, aliases: Iterable[AliasRow] = ()) -> None:
        self.world = world
        self._aliases = {alias.id: alias for alias in aliases}
        self.tables: dict[str, pf.Table] = {}

    def place(self, word: str) -> pf.Place:
        """What an endpoint is on one side of a packet; its table is added to ``tables``. Raises BadWord."""
        found = words.endpoint(word)
        match found.kind:
            case "any":
                return pf.ANY
            case "address":
                return pf.at(found.value)
            case "internet":
                return self._table(INSIDE, self.inside()).but()
        return self._table(table_name(found), self.addresses(word))

    def addresses(self, word: str) -> tuple[str, ...]:
        """The addresses of an endpoint, as a table has them ("!" before what is taken out). Raises BadWord."""
        return self._addresses(words.endpoint(word), ())

    def _addresses(self, found: Endpoint, path: tuple[int, ...]) -> tuple[str, ...]:
        match found.kind:
            case "any" | "internet":
                raise BadWord(f"“{found.kind}” has no addresses that could be listed.")
            case "address":
                return (found.value,)
            case "host":
                return self.world.own
            case "guest":
                guest = self.world.guest_of.get(found.value)
                return guest.addresses if guest else ()
            case "tag":
                return tuple(address for guest in self._tagged(found.value) for address in guest.addresses)
            case "switch":
                net = self._net(found.value)
                return self.on(net) if net else ()
        return self._alias(int(found.value), path)

    def _alias(self, number: int, path: tuple[int, ...]) -> tuple[str, ...]:
        if number in path or len(path) >= DEEPEST:
            names = " in ".join(self._aliases[one].name for one in reversed(path) if one in self._aliases)
            raise BadWord(f"The alias contains itself: {names}.")
        alias = self._aliases.get(number)
        if alias is None:
            raise BadWord("There is no such alias.")
        if alias.kind == "ports":
            raise BadWord(f"{alias.name} names ports, not hosts.")
        found: list[str] = []
        for entry in alias.entries:
            found += self._addresses(words.endpoint(entry), (*path, number))
        return together(found)

    def ports(self, text: str) -> pf.Ports:
        """The ports of a rule. Raises BadWord."""
        return pf.Ports(words.merged(self._ports(text, ())))

    def _ports(self, text: str, path: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        found = words.ports(text)
        ranges = list(found.ranges)
        for number in found.aliases:
            alias = self._aliases.get(number)
            if alias is None:
                raise BadWord("There is no such alias.")
            if alias.kind != "ports":
                raise BadWord(f"{alias.name} names no ports.")
            if number in path or len(path) >= DEEPEST:
                raise BadWord(f"The alias contains itself: {alias.name}.")
            if not alias.entries:
                raise BadWord(f"The alias {alias.name} is empty.")
            for entry in alias.entries:
                ranges += self._ports(entry, (*path, number))
        return tuple(ranges)

    def nets(self, word: str) -> tuple[Net, ...]:
        """The switches that a subject has ports on and pf sees. Raises BadWord."""
        found = words.endpoint(word)
        if found.kind == "switch":
            net = self._net(found.value)
            return (net,) if net and net.is_filtered else ()
        wanted = {port.switch for guest in self.subjects(word) for port in guest.ports}
        return tuple(net for net in self.world.filtered if net.pk in wanted)

    def subjects(self, word: str) -> list[Guest]:
        """The guests that an endpoint names."""
        found = words.endpoint(word)
        if found.kind == "guest":
            guest = self.world.guest_of.get(found.value)
            return [guest] if guest else []
        return self._tagged(found.value) if found.kind == "tag" else []

    def on(self, net: Net) -> tuple[str, ...]:
        """Who is on a switch: its guests, and the rest of its subnet where nobody but guests can be."""
        found = [address for _, port in self.world.ports_on(net) for address in port.known]
        if not net.is_open:
            found += [*net.subnets, *(f"!{address}" for address in net.own)]
        return together(found)

    def inside(self) -> tuple[str, ...]:
        """All that is not the internet: the host, its switches, and what never leaves a link."""
        found = [address for guest in self.world.guests for address in guest.addresses]
        for net in self.world.nets:
            if not net.is_open:
                found += net.subnets
        return together([*found, *self.world.own, *LINK, "127.0.0.0/8", "::1"])

    def forward_to(self, word: str) -> tuple[str, ...]:
        """The one IPv4 address that forwards to a guest lead to: on a NAT-ed switch rather than elsewhere, given rather
        than seen; none while nobody knows one that the host reaches by a switch."""
        found: list[tuple[bool, bool, str]] = []
        for guest in self.subjects(word):
            for port in guest.ports:
                net = self.world.net_of.get(port.switch or 0)
                if net is None or not net.subnet(4):
                    continue
                subnet = ip_network(net.subnet(4))
                found += [
                    (net.kind != "nat", address not in port.bound, address)
                    for address in port.known
                    if ip_address(address) in subnet
                ]
        return (min(found)[2],) if found else ()

    def _tagged(self, name: str) -> list[Guest]:
        return [guest for guest in self.world.guests if name in guest.tags]

    def _net(self, uuid: str) -> Net | None:
        return next((net for net in self.world.nets if net.uuid == uuid), None)

    def _table(self, name: str, addresses: Iterable[str]) -> pf.Place:
        self.tables[name] = pf.Table(name, tuple(addresses))
        return pf.table(name)

    def add(self, name: str, addresses: Iterable[str]) -> pf.Place:
        """A table of one's own."""
        return self._table(name, addresses)


def within(net: Net, version: int) -> tuple[str, ...]:
    """What guests of a private switch reach without a rule: its subnets, and what never leaves a link. Empty where the
    host has no address of that family there: it is nobody's router then."""
    subnets = [one for one in net.subnets if ip_network(one).version == version]
    return (*subnets, *(one for one in LINK if ip_network(one).version == version)) if subnets else ()


def table_name(found: Endpoint) -> str:
    """The table of an endpoint: at most 31 letters, the same for the same thing, and another for another."""
    match found.kind:
        case "host":
            return HOST
        case "alias":
            return f"alias_{int(found.value)}"
        case "switch" | "guest" | "tag":
            digest = hashlib.sha256(found.value.encode()).hexdigest()
            kind = found.value.partition(":")[0] if found.kind == "guest" else found.kind
            return pf.table_name(f"{kind}_{digest[:20]}")
    raise BadWord(f"{found.kind} has no table.")


def port_table(port: Port) -> str:
    """The table of what a port may send as: "nic:12" has nic_12."""
    return pf.table_name("".join(letter if letter.isalnum() else "_" for letter in port.key.lower())[:31])


def together(addresses: Iterable[str]) -> tuple[str, ...]:
    """Addresses of one table: what one part names, another does not take out again."""
    found = dict.fromkeys(addresses)
    return tuple(one for one in found if not (one.startswith("!") and one[1:] in found))
