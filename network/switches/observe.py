"""Which switches are up, and what is plugged into them."""

from __future__ import annotations

from django.db import transaction

from bhype.freebsd import ifconfig
from bhype.freebsd.ifconfig import Interface
from bhype.hosts.checklist import Item
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep, ask_once
from bhype.live import publish
from bhype.vmrun.nics import tap_of
from network.models import Switch

from . import plan


def observe(sweep: Sweep) -> None:
    """Write is_up and members; have missing switches set up, two of them on the first start."""
    interfaces = sweep.ask(ifconfig.list_interfaces())
    switches = list(Switch.objects.filter(host=sweep.row)) or _first(sweep.row, interfaces)
    by_name = {interface.name: interface for interface in interfaces}
    for switch in switches:
        found = by_name.get(switch.interface)
        is_up = found is not None and found.is_up and found.description == switch.wanted.description
        members = sorted({tap_of(member) for member in found.members}) if found is not None else []
        if (is_up, members) != (switch.is_up, switch.members) or switch.seen_at is None:
            with transaction.atomic():
                Switch.objects.filter(pk=switch.pk).update(is_up=is_up, members=members, seen_at=sweep.now)
                publish(f"switch:{switch.pk}", "switches")
    if not all(plan.is_right(switch.wanted, interfaces) for switch in switches):
        ask_once("network.ensure")


def _first(host: Host, interfaces: list[Interface]) -> list[Switch]:
    """The two switches of a fresh host: one with a way out, one without."""
    rows = [
        Switch(host=host, name="nat", kind=Switch.Kind.NAT, address=plan.free_address(interfaces)),
        Switch(host=host, name="private", kind=Switch.Kind.PRIVATE),
    ]
    Switch.objects.bulk_create(rows, ignore_conflicts=True)
    return list(Switch.objects.filter(host=host))


def checklist(host: Host) -> list[Item]:
    """For the first-run list of the host's page."""
    switches = list(host.switches.all())
    down = [switch.name for switch in switches if not switch.is_up]
    return [
        Item(
            "The switches are up",
            bool(switches) and not down,
            f"Down: {', '.join(down)}. See the task “Set up the switches”."
            if down
            else "Wait for the observer.",
        )
    ]
