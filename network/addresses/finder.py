"""What global search finds of addresses on switches: by part of an address or of a MAC address."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.db.models import Q
from django.urls import reverse
from django.utils.http import urlencode

from bhype.accounts.models import User
from bhype.ui.search import Hit
from network.models import Allocation, Lease, Neighbour, Switch

# Part of an address as people type it, of either kind.
PART = re.compile(r"(?=.*[0-9:.])[0-9A-Fa-f:.]{2,45}")
_MOST = 8


def find(user: User, query: str) -> Iterator[Hit]:
    if not user.can("network.view") or not PART.fullmatch(query):
        return
    for (address, switch), whose in list(_found(query.lower()).items())[:_MOST]:
        href = reverse("network:switch_addresses", args=[switch])
        yield Hit(address, f"{href}?{urlencode({'q': address})}", "address-book", whose or f"on {switch}", "")


def _found(query: str) -> dict[tuple[str, str], str]:
    """By address and switch, whose it is as far as its row tells."""
    here = Q(address__icontains=query) | Q(mac__icontains=query)
    found: dict[tuple[str, str], str] = {}
    for rows in (Allocation, Lease):
        hits = rows.objects.filter(here).values_list("address", "switch__name", "hostname", "mac")
        for address, switch, hostname, mac in hits[:_MOST]:
            found.setdefault((address, switch), hostname or mac)
    interfaces = {switch.interface: switch.name for switch in Switch.objects.all()}
    seen = Neighbour.objects.filter(here, interface__in=interfaces)
    for address, interface, mac in seen.values_list("address", "interface", "mac")[:_MOST]:
        found.setdefault((address, interfaces[interface]), mac)
    return found
