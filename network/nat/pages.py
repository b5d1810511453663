"""What pages and the API show of NAT and the self-test."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from bhype.accounts.models import User
from bhype.freebsd import pf
from bhype.hosts.checklist import Item
from bhype.hosts.models import Host
from bhype.tasks.models import Task
from network import guests
from network.firewall import base, seen
from network.firewall.pages import Line, forwards
from network.firewall.world import Seen, load
from network.models import Firewall, Switch

from . import checks
from .checks import Check

OPERATIONS = ("network.mend", "network.self_test")


def found(switch: Switch) -> tuple[Firewall | None, list[Check]]:
    """The host's row, and what the last self-test has found about a switch."""
    row = Firewall.objects.filter(host=switch.host).first()
    return row, checks.stored(row.checks if row else [], switch.pk)


def context(switch: Switch, user: User) -> dict[str, Any]:
    row, rows = found(switch)
    running = Task.objects.unfinished().filter(host=switch.host.name, operation__in=OPERATIONS).first()
    return {
        "checks": rows,
        "failed": [one for one in rows if one.is_ok is False],
        "fixes": {one.fix for one in rows if one.fix},
        "checked_at": row.checked_at if row else None,
        "problems": row.problems if row else [],
        "running": running,
        "forwards": lines(switch, user),
        "own": "",
        "back": reverse("network:switch_nat", args=[switch.name]),
        "way": way(switch, row),
    }


def way(switch: Switch, row: Firewall | None) -> list[dict[str, str]]:
    """How each of a NAT-ed switch's subnets comes out, as a page tells it."""
    if switch.kind != Switch.Kind.NAT:
        return []
    world = load(switch.host, seen.stored(row) if row else Seen())
    net = world.net_of.get(switch.pk)
    if net is None:
        return []
    found = []
    translations = {one.source.value: one for one in base.base(world).translations if isinstance(one, pf.Nat)}
    for subnet in net.subnets:
        nat = translations.get(subnet)
        out = net.nat_interface or (world.egress6 if ":" in subnet else world.egress)
        how = "nat" if nat else ("routed" if out and ":" in subnet else "none")
        found.append({"subnet": subnet, "interface": out, "how": how})
    return found


def lines(switch: Switch, user: User) -> list[Line]:
    """Forwards to guests of a switch."""
    here = [guest.endpoint for guest in guests.find(switches=[switch.pk])]
    return forwards(switch.host, user, here)


def trouble(host: Host) -> str:
    """Why guests of NAT-ed switches do not come out, as far as rows can tell; empty when nothing is known of it."""
    row = Firewall.objects.filter(host=host).first()
    if row is None or not row.has_pf:
        return "The packet filter pf is not in the kernel yet."
    if row.problems:
        return str(row.problems[0])
    wrong = [one for one in checks.stored(row.checks) if one.is_ok is False and one.fix]
    return f"{wrong[0].title}: no. {wrong[0].sentence}" if wrong else ""


def checklist(host: Host) -> list[Item]:
    """For the first-run list of the host's page."""
    switch = host.switches.filter(kind=Switch.Kind.NAT).first()
    if switch is None:
        return []
    why = trouble(host)
    advice = f"{why} Test it, and let it be mended:"
    page = reverse("network:switch_nat", args=[switch.name])
    return [Item("Guests of NAT-ed switches come out", not why, advice, {f"NAT of {switch.name}": page})]
