"""The interfaces of this host, as rows: uplinks are chosen from them, and new networks must not overlap theirs."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from bhype.freebsd import ifconfig, route
from bhype.freebsd.command import ParseError
from bhype.freebsd.ifconfig import Interface
from bhype.host import CommandError
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep
from bhype.live import publish
from network.models import HostInterface

from .plan_bridge import is_guests

# Each cloner puts what it makes into a group of its name.
CLONERS = ("bridge", "lagg", "vlan", "vxlan", "wg", "lo", "gif", "gre", "epair", "tap", "vmnet", "carp")
# In sweeps: the way out changes seldom.
ROUTE_EVERY = 15
COLUMNS = (
    "kind", "mac", "mtu", "is_up", "status", "media", "description", "addresses", "members", "parent", "vlan",
    "is_own",
)  # fmt: skip


def observe(sweep: Sweep) -> None:
    """Write the rows of this host's interfaces."""
    found = {
        one.name: _columns(one)
        for one in sweep.ask(ifconfig.list_interfaces())
        if not is_guests(one, one.name)
    }
    had = {row.pop("name"): row for row in sweep.row.interfaces.values("name", *COLUMNS)}
    if found != had:
        _write(sweep.row, found, had)
    if sweep.every(ROUTE_EVERY) or found != had:
        _default(sweep)


def _write(host: Host, found: dict[str, dict[str, Any]], had: dict[str, dict[str, Any]]) -> None:
    with transaction.atomic():
        host.interfaces.exclude(name__in=found).delete()
        for name, columns in found.items():
            if had.get(name) != columns:
                host.interfaces.update_or_create(name=name, defaults=columns)
        publish("switches")


def _default(sweep: Sweep) -> None:
    try:
        way = sweep.ask(route.default())
    except (CommandError, ParseError, OSError):
        return
    name = way.interface if way else ""
    rows = HostInterface.objects.filter(host=sweep.row)
    if not rows.filter(name=name, is_default=True).exists():
        rows.update(is_default=False)
        rows.filter(name=name).update(is_default=True)


def _columns(one: Interface) -> dict[str, Any]:
    return {
        "kind": kind_of(one), "mac": one.ether or "", "mtu": one.mtu, "is_up": one.is_up,
        "status": one.status[:40], "media": one.media[:200], "description": one.description[:200],
        "addresses": list(one.addresses), "members": [] if _is_guest_bridge(one) else list(one.members),
        "parent": one.parent, "vlan": one.vlan, "is_own": ifconfig.GROUP in one.groups,
    }  # fmt: skip


def _is_guest_bridge(one: Interface) -> bool:
    """The members of bHype's own bridges come and go with guests; their rows are the switches."""
    return ifconfig.GROUP in one.groups and "bridge" in one.groups


def kind_of(one: Interface) -> str:
    cloner = next((name for name in CLONERS if name in one.groups), "")
    if cloner == "lo" or "LOOPBACK" in one.flags:
        return "loopback"
    if cloner:
        return cloner
    if ifconfig.GROUP in one.groups or one.name.startswith("ngeth"):
        return "netgraph"
    return "physical" if one.ether else "other"
