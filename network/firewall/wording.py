"""Rules as people read them: names instead of numbers, and sentences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse

from bhype.accounts.models import User
from bhype.hosts.models import Host
from network import guests as registry
from network.guests import Guest
from network.models import Alias, Rule, Switch

from . import words

WIDE = {"any": "anywhere", "host": "this host", "internet": "the internet"}
ADDRESS = "address"
_ICONS = {
    "switch": "router",
    "tag": "tag",
    "alias": "tags",
    "address": "at",
    "host": "server",
    "internet": "world",
}


@dataclass(frozen=True, slots=True)
class Named:
    """An endpoint as it is shown. is_gone: nothing has this name any more."""

    label: str
    icon: str = "world"
    url: str = ""
    is_gone: bool = False

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True)
class Naming:
    """The names of one host's endpoints, as one person may see them."""

    guests: dict[str, Guest] = field(default_factory=dict)
    switches: dict[str, Switch] = field(default_factory=dict)
    aliases: dict[int, Alias] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()

    def name(self, word: str) -> Named:
        """What an endpoint is called; a word that is none is shown as it is."""
        try:
            found = words.endpoint(word)
        except words.BadWord:
            return Named(word, "help-circle", is_gone=True)
        icon = _ICONS.get(found.kind, "world")
        if found.kind in WIDE:
            return Named(WIDE[found.kind], icon)
        if found.kind == "guest":
            return self._guest(found.value)
        if found.kind == "switch":
            switch = self.switches.get(found.value)
            if switch is None:
                return Named("a switch that is gone", icon, is_gone=True)
            return Named(f"switch {switch.name}", icon, reverse("network:detail", args=[switch.name]))
        if found.kind == "alias":
            alias = self.aliases.get(int(found.value))
            if alias is None:
                return Named("an alias that is gone", icon, is_gone=True)
            return Named(alias.name, icon, reverse("network:alias", args=[alias.pk]))
        return Named(f"tag {found.value}" if found.kind == "tag" else found.value, icon)

    def _guest(self, endpoint: str) -> Named:
        guest, kind = self.guests.get(endpoint), endpoint.partition(":")[0]
        icon = "container" if kind == "jail" else "device-desktop"
        if guest is not None:
            return Named(guest.name, icon, guest.url)
        what = {"vm": "VM"}.get(kind, kind)
        if endpoint in self.hidden:
            return Named(f"another {what}", icon)
        # The registry of guests tells of those with ports.
        return Named(f"a {what} that is gone or has no network port", icon, is_gone=True)

    def ports(self, text: str) -> str:
        """Ports with the names of aliases: "22, web"."""
        shown = []
        for word in (one.strip() for one in text.split(",") if one.strip()):
            number = word.removeprefix("alias:")
            if number != word and number.isdigit():
                alias = self.aliases.get(int(number))
                shown.append(alias.name if alias else "an alias that is gone")
            else:
                shown.append(word)
        return ", ".join(shown)

    def rule(self, row: Any) -> str:
        """A rule as a sentence; ``row`` is a Rule or has its columns, such as a RuleRow."""
        action = dict(Rule.Action.choices).get(row.action, row.action)
        way = self.way(row)
        return f"{action} {way[0].lower()}{way[1:]}"

    def way(self, row: Any) -> str:
        """What a rule is about, without what it does: "To web1 from the internet, TCP 443"."""
        ways = ("To", "from") if row.direction == Rule.Direction.IN else ("From", "to")
        return f"{ways[0]} {self.name(row.subject)} {ways[1]} {self.name(row.peer)}{self.what(row)}"

    def what(self, row: Any) -> str:
        """Protocol, ports and family of a rule as the end of a sentence: ", TCP 80, 443, IPv6 only"."""
        protocol = dict(Rule.Protocol.choices).get(row.protocol, row.protocol) if row.protocol else ""
        ports = self.ports(row.ports)
        parts = [" ".join(filter(None, (protocol, ports)))]
        parts.append(
            f"{dict(Rule.Family.choices)[row.family]} only" if row.family in {"inet", "inet6"} else ""
        )
        return "".join(f", {part}" for part in parts if part)

    def forward(self, row: Any) -> str:
        """A forward as a sentence."""
        outside, inside = span(row.port, row.count), span(row.target_port, row.count)
        source = "" if row.source == "any" else f", for {self.name(row.source)} only"
        where = f" on {row.interface}" if row.interface else ""
        protocol = {"tcp": "TCP", "udp": "UDP"}.get(row.protocol, "TCP and UDP")
        return (
            f"{protocol} port {outside} of this host{where} to {self.name(row.subject)} port {inside}{source}"
        )


def span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def naming(host: Host, endpoints: Iterable[str] | None, user: User) -> Naming:
    """The names that are needed for ``endpoints``, None for all there are; constant in queries.

    Guests that ``user`` may not see are told of without their names.
    """
    wanted = None if endpoints is None else {word for word in endpoints if word.startswith(("vm:", "jail:"))}
    found = registry.find(host_id=host.pk, endpoints=wanted) if wanted is None or wanted else []
    sees_all = user.can("vms.view")
    seen = {one.endpoint: one for one in found if sees_all or one.person == user.pk}
    return Naming(
        guests=seen,
        switches={str(row.uuid): row for row in Switch.objects.filter(host=host)},
        aliases={row.pk: row for row in Alias.objects.filter(host=host)},
        hidden=frozenset(one.endpoint for one in found if one.endpoint not in seen),
    )


def endpoints_of(rows: Iterable[Any]) -> set[str]:
    """All endpoints that rules and forwards name."""
    return {
        word
        for row in rows
        for word in (row.subject, getattr(row, "peer", ""), getattr(row, "source", ""))
        if word
    }


Choices = list[tuple[str, list[tuple[str, str]]]]


def subjects(names: Naming) -> Choices:
    """What may have rules, for a select: by kind, then by name."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for guest in names.guests.values():
        by_kind.setdefault(guest.kind, []).append((guest.endpoint, guest.name))
    labels = {kind.name: kind.label for kind in registry.kinds()}
    found: Choices = [(f"{labels.get(kind, kind)}s", rows) for kind, rows in by_kind.items()]
    tags = sorted({tag for guest in names.guests.values() for tag in guest.tags})
    found.append(("Tags", [(f"tag:{tag}", f"tag {tag}") for tag in tags]))
    found.append(
        ("Switches", [(f"switch:{uuid}", f"switch {row.name}") for uuid, row in names.switches.items()])
    )
    return [(label, rows) for label, rows in found if rows]


def peers(names: Naming) -> Choices:
    """Who may be at the other side, for a select; the word "address" stands for one that is typed."""
    wide = [
        *((word, label[0].upper() + label[1:]) for word, label in WIDE.items()),
        (ADDRESS, "An address or network…"),
    ]
    aliases = [
        (f"alias:{row.pk}", row.name) for row in names.aliases.values() if row.kind != Alias.Kind.PORTS
    ]
    return [("", wide), *subjects(names), *([("Aliases", aliases)] if aliases else [])]
