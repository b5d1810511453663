"""Would this packet pass? Asked by names, answered for the addresses that they mean now."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from bhype.hosts.models import Host

from . import document, pages, wording, words
from .document import Document
from .draft_forms import EndpointField
from .names import Names
from .verdict import Packet, Verdict, verdict
from .wording import ADDRESS, Naming
from .words import BadWord
from .world import World

# Packets between all addresses of two names; more are not looked at.
MOST = 8
# Documentation addresses (RFC 5737, RFC 3849) stand for whoever is on the internet.
OUTSIDE = ("198.51.100.1", "2001:db8:ffff::1")


class PacketForm(forms.Form):
    """The first packet of a connection, by name."""

    source = EndpointField(label="From")
    source_address = forms.CharField(required=False, max_length=45, label="Its address")
    target = EndpointField(label="To")
    target_address = forms.CharField(required=False, max_length=45, label="Its address")
    protocol = forms.ChoiceField(
        choices=[("tcp", "TCP"), ("udp", "UDP"), ("icmp", "ICMP (ping)")], initial="tcp"
    )
    port = forms.IntegerField(required=False, min_value=1, max_value=65535, label="Port")

    def __init__(self, data: Any = None, *, names: Naming) -> None:
        super().__init__(data, initial={"source": "internet"})
        guests = wording.subjects(names)[:-1] if names.switches else wording.subjects(names)
        guests = [(label, rows) for label, rows in guests if label != "Tags"]
        wide = [("internet", "The internet"), ("host", "This host"), (ADDRESS, "An address…")]
        for name in ("source", "target"):
            field = self.fields[name]
            assert isinstance(field, EndpointField)  # noqa: S101 - for the type
            field.offer([*guests, ("", wide)], names, "")

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        for name in ("source", "target"):
            if chosen.get(name) == ADDRESS:
                try:
                    chosen[name] = str(ip_address(chosen.get(f"{name}_address", "")))
                except ValueError:
                    self.add_error(f"{name}_address", "This is not an address.")
        if chosen.get("protocol") in {"tcp", "udp"} and not chosen.get("port") and "port" not in self.errors:
            self.add_error("port", ValidationError("TCP and UDP packets go to a port."))
        return chosen


@dataclass(frozen=True, slots=True)
class Answer:
    packet: Packet
    verdict: Verdict


def both(host: Host, chosen: dict[str, Any]) -> list[tuple[str, list[Answer]]]:
    """What the rules in force say, and what the draft does where it says anything else."""
    now, (_, applied) = pages.world_now(host), pages.in_force(host)
    said, drafted = ask(chosen, applied, now), ask(chosen, document.of(host), now)
    if [one.verdict.passes for one in said] == [one.verdict.passes for one in drafted]:
        return [("In force and draft", said)]
    return [("In force", said), ("Draft", drafted)]


def ask(chosen: dict[str, Any], wanted: Document, world: World) -> list[Answer]:
    """One answer for each pair of addresses of one family; none where nobody knows an address."""
    names = Names(world, wanted.aliases)
    sources, targets = (_addresses(chosen[name], names) for name in ("source", "target"))
    pairs = [
        (source, target)
        for source in sources
        for target in targets
        if source != target and (":" in source) == (":" in target)
    ]
    packets = [Packet(a, b, chosen["protocol"], chosen.get("port") or 0) for a, b in pairs[:MOST]]
    return [Answer(packet, verdict(wanted, world, packet)) for packet in packets]


def _addresses(word: str, names: Names) -> list[str]:
    try:
        found = words.endpoint(word)
        if found.kind == "internet":
            return list(OUTSIDE)
        return [one for one in names.addresses(word) if "/" not in one and not one.startswith("!")]
    except BadWord:
        return []
