"""Logged packets with the names of guests and of the rules that they met. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils.http import urlencode

from bhype.accounts.models import User
from bhype.hosts.models import Host
from network.firewall import pages as firewall
from network.firewall.wording import Naming, naming
from network.firewall.world import Guest
from network.models import BlockedPacket, Rule, Switch

SHOWN = 200


@dataclass(frozen=True, slots=True)
class Line:
    """source, target: who, with the port; rule: what decided; url: of that; allow: where a rule is made of it."""

    row: BlockedPacket
    source: str
    target: str
    rule: str
    url: str
    allow: str


@dataclass(frozen=True, slots=True)
class Filters:
    q: str = ""
    action: str = ""

    @classmethod
    def read(cls, query: Any) -> Filters:
        action = query.get("action", "")
        return cls(query.get("q", "").strip()[:100], action if action in {"block", "pass"} else "")


def lines(host: Host, user: User, filters: Filters) -> list[Line]:
    """The newest packets that fit; constant in queries."""
    now = firewall.world_now(host)
    names = naming(host, None, user)
    by_address = {address: guest for guest in now.guests for address in guest.addresses}
    rows = BlockedPacket.objects.filter(host=host)
    if filters.action:
        rows = rows.filter(action=filters.action)
    if filters.q:
        named = [address for address, guest in by_address.items() if filters.q.lower() in guest.name.lower()]
        rows = rows.filter(
            Q(source__in=named) | Q(target__in=named) | Q(source__icontains=filters.q) | Q(target__icontains=filters.q)
            | Q(interface=filters.q) | Q(protocol=filters.q.lower()) | Q(target_port__in=_port(filters.q))
        )  # fmt: skip
    places = {row.pk: place for place, row in enumerate(Rule.objects.filter(host=host).only("pk"), 1)}
    switches = {row.pk: row for row in Switch.objects.filter(host=host)}
    known = Known(names, by_address, now.own, places, switches)
    return [_line(row, known) for row in rows[:SHOWN]]


@dataclass(frozen=True, slots=True)
class Known:
    """What numbers are called. places: of rules by their numbers."""

    names: Naming
    by_address: dict[str, Guest]
    own: tuple[str, ...]
    places: dict[int, int]
    switches: dict[int, Switch]


def _port(text: str) -> list[int]:
    return [int(text)] if text.isascii() and text.isdigit() and len(text) < 6 else []


def _line(row: BlockedPacket, known: Known) -> Line:
    rule, url = _rule(row.label, known)
    source, target = _end(row.source, row.source_port, known), _end(row.target, row.target_port, known)
    return Line(row, source, target, rule, url, _allow(row, known))


def _end(address: str, port: int | None, known: Known) -> str:
    guest = known.by_address.get(address)
    if guest is not None:
        who = f"{known.names.name(guest.endpoint)} ({address})"
    else:
        who = f"this host ({address})" if address in known.own else address
    return f"{who} port {port}" if port is not None else who


def _rule(label: str, known: Known) -> tuple[str, str]:
    """In words, and its page, of the label of a rule (see network.firewall.compile)."""
    words = label.split(":")
    number = int(words[2]) if len(words) > 2 and words[2].isdigit() else 0
    if label.startswith("bhype:rule:"):
        if number in known.places:
            return f"rule {known.places[number]}", reverse("network:rule_edit", args=[number])
        return "a rule that is gone", ""
    if label.startswith("bhype:forward:"):
        return "a forward", reverse("network:forward_edit", args=[number])
    if label.startswith("bhype:switch:") and number in known.switches:
        name = known.switches[number].name
        return f"no rule, so switch {name}", reverse("network:switch_rules", args=[name])
    return ("what bHype does by itself" if label else "a rule of pf.conf"), ""


def _allow(row: BlockedPacket, known: Known) -> str:
    """The address of a new rule that would let such packets pass; empty where no guest has a part in it."""
    target, source = known.by_address.get(row.target), known.by_address.get(row.source)
    if row.action == "pass" or (target is None and source is None):
        return ""
    # What comes in on a switch is what its guest sends, and what goes out there is what it is sent: docs/firewall.md.
    is_to = target is not None and (row.direction == "out" or source is None)
    guest, other, address = (target, source, row.source) if is_to else (source, target, row.target)
    assert guest is not None  # noqa: S101 - one of the two is
    peer = {"peer": other.endpoint} if other else {"peer": "address", "peer_address": address}
    # Behind the rule that has dropped it the new one would never be met.
    number = row.label.removeprefix("bhype:rule:")
    before = {"before": number} if number.isdecimal() and int(number) in known.places else {}
    protocol = row.protocol.removesuffix("6") if row.protocol in {"tcp", "udp", "icmp", "icmp6"} else ""
    asked = {
        "action": "pass", "direction": "in" if is_to else "out", "subject": guest.endpoint, "protocol": protocol,
        "ports": str(row.target_port) if row.target_port and protocol in {"tcp", "udp"} else "", "is_enabled": "on",
        **peer, **before, "next": reverse("network:blocked"),
    }  # fmt: skip
    return f"{reverse('network:rule_new')}?{urlencode(asked)}"
