"""What the pages of switches show, from rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.paginator import Page, Paginator
from django.db.models import Count
from django.http import HttpRequest
from django.urls import reverse

from bhype.accounts.access import signed_in
from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.ui.search import Hit
from bhype.vmrun.nics import tap_of
from network import guests
from network.addresses import known
from network.guests import Guest, Port
from network.models import HostInterface, Switch

if TYPE_CHECKING:
    from .forms import SwitchForm

# Ports shown at once.
PAGE = 50


def section(request: HttpRequest, switch: Switch, name: str) -> dict[str, Any]:
    """The context of a section of a switch's page, whose template extends network/switches/detail_base.html.

    name: "ports", "addresses", "nat", "rules" or "traffic". The section's address is network/switches/NAME/SECTION/
    and is called network:switch_SECTION.
    """
    return {
        "switch": switch,
        "section": name,
        "tab": "switches",
        "simulated": switch.host.features.get("simulated", ""),
        "may_change": signed_in(request).can("network.change"),
    }


# The list.


@dataclass(frozen=True, slots=True)
class Row:
    """A switch in the list. state: a word that `badge` knows, with its label and the reason."""

    switch: Switch
    state: str
    label: str
    reason: str
    ports: int


def index(user: User) -> dict[str, Any]:
    """The context of the list."""
    rows = Switch.objects.select_related("host").annotate(count=Count("nics", distinct=True)).order_by("name")
    bridges = HostInterface.objects.filter(kind="bridge", is_own=False).select_related("host")
    adopted = {(row.host_id, row.adopted) for row in rows}
    return {
        "rows": [row_of(row) for row in rows],
        "no_way_out": no_way_out(list(rows)),
        "simulated": next((said for row in rows if (said := row.host.features.get("simulated"))), ""),
        "nat": next((row for row in rows if row.kind == Switch.Kind.NAT), None),
        "bridges": [one for one in bridges if (one.host_id, one.name) not in adopted],
        "aggregations": list(Host.objects.this().aggregations.all()) if user.can("network.change") else [],
        "tab": "switches",
        "may_change": user.can("network.change"),
    }


def no_way_out(switches: list[Switch]) -> str:
    """Why guests of the NAT-ed ones among them do not come out; empty when they do, or there are none."""
    from network.nat import pages as nat

    host = next((one.host for one in switches if one.kind == Switch.Kind.NAT and not one.is_deleting), None)
    return nat.trouble(host) if host else ""


def row_of(switch: Switch) -> Row:
    return Row(switch, *state_of(switch), int(getattr(switch, "count", 0)))


def state_of(switch: Switch) -> tuple[str, str, str]:
    """A word that `badge` knows, its label, and why."""
    why = " ".join(switch.problems)
    if switch.is_deleting:
        return "deleting", "Being taken away", why
    if switch.is_waiting:
        return "stopped", "Waits for its uplink", "Nobody has chosen its uplink yet."
    if switch.is_up:
        return ("degraded", "Not as wanted", why) if switch.problems else ("up", "Up", "")
    return ("failed", "Not set up", why) if switch.problems else ("starting", "Being set up", "")


# Its ports.


@dataclass(frozen=True, slots=True)
class PortRow:
    """One port of a switch. addresses: with where they are known from; is_in: plugged in now; is_private: it reaches no
    other isolated port; may_see: the person may open the guest's page."""

    guest: Guest
    port: Port
    addresses: list[known.Known]
    is_in: bool
    is_private: bool
    may_see: bool

    @property
    def actions(self) -> str:
        """Where the guest's ports are changed, "" if that is nowhere known."""
        return f"{self.guest.url}hardware/" if self.guest.kind == "vm" else ""


def ports(switch: Switch, user: User, number: str | None) -> dict[str, Any]:
    """The ports of guests on a switch, and what else is plugged in."""
    found = guests.find(switches=[switch.pk])
    pairs = [(guest, port) for guest in found for port in guest.ports if port.switch_id == switch.pk]
    page: Page[Any] = Paginator(pairs, PAGE).get_page(number)
    shown = {guest.endpoint for guest, _ in page.object_list}
    addresses = known.of(switch, [guest for guest in found if guest.endpoint in shown])
    sees_all = user.can("vms.view")
    rows = [
        PortRow(
            guest, port, addresses.get(port.key, []), _is_in(switch, port), port.is_private or switch.is_isolated,
            sees_all or guest.person == user.pk,
        )
        for guest, port in page.object_list
    ]  # fmt: skip
    named = {tap_of(port.interface) for _, port in pairs}
    return {
        "page": page,
        "ports": rows,
        "others": [member for member in switch.members if member not in named and not member.isdecimal()],
        "state": state_of(switch),
        "bridge": switch.host.interfaces.filter(name=switch.adopted).first() if switch.adopted else None,
        "candidates": _candidates(switch),
        "no_way_out": no_way_out([switch]),
        "nat": switch,
        "may_see_vms": sees_all,
    }


def _is_in(switch: Switch, port: Port) -> bool:
    key = tap_of(port.interface)
    number = port.key.partition(":")[2]
    vale = str(1000 + int(number)) if number.isdecimal() else ""
    return (bool(key) and key in switch.members) or vale in switch.members


def _candidates(switch: Switch) -> list[HostInterface]:
    """What a switch that waits may have for its uplink, the likeliest first: what leads out and is not in use."""
    from . import checks

    if not switch.is_waiting:
        return []
    named = {one.name: one for one in switch.host.interfaces.all()}
    fit = [one for one in named.values() if not checks.uplink_problem(one, named)]
    return sorted(fit, key=lambda one: (bool(checks.plain(one)), not one.is_up, one.name))


def form(bound: SwitchForm) -> dict[str, Any]:
    """The context of the form."""
    kind = str(bound["kind"].value())
    return {
        "form": bound,
        "kind": kind,
        "kinds": [(value, label, _KINDS[value]) for value, label in Switch.Kind.choices],
        "tab": "switches",
        "is_adopted": bool(bound["adopted"].value()),
    }


_KINDS = {
    "nat": "A network of its own: guests reach the world through the host, which gives them addresses and names.",
    "bridged": "Guests are on the same network as the host, like machines that stand beside it.",
    "private": "Guests reach each other, and nothing else.",
}


def move(switch: Switch) -> dict[str, Any]:
    """The context of the page that moves the host's addresses."""
    uplink = switch.host.interfaces.filter(name=switch.uplink).first()
    return {
        "uplink": uplink,
        "there": [one for one in (uplink.addresses if uplink else []) if "%" not in one],
        "waits": switch.host_before is not None,
    }


def find(user: User, query: str) -> Iterator[Hit]:
    """Switches by part of their name or address."""
    if user.can("network.view"):
        for switch in Switch.objects.filter(name__icontains=query)[:8]:
            href = reverse("network:detail", args=[switch.name])
            yield Hit(switch.name, href, "network", switch.address, "up" if switch.is_up else "down")
