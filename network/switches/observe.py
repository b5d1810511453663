"""Which switches are up, what is plugged into them, and what is not as it is wanted."""

from __future__ import annotations

import logging
from uuid import UUID

from django.db import transaction

from bhype.hosts.checklist import Item
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep, ask_once
from bhype.live import publish
from bhype.vmrun.nics import tap_of
from network import guests
from network.aggregations import plan as aggregations
from network.guests import Guest
from network.models import Switch

from . import plan, predefined
from .look import aggregation, look, wanted
from .operations_host import settle
from .wanted import Conflict, Seen, Wanted

log = logging.getLogger(__name__)


SWEEPS = 3


class Missing(dict[tuple[UUID, str], int]):
    """In how many sweeps, one after the other, an interface of a switch was missing."""


def observe(sweep: Sweep) -> None:
    """Write is_up, members and problems; have what is not as wanted set up, three switches on the first start."""
    settle(sweep.host, sweep.row)
    rows = list(Switch.objects.filter(host=sweep.row))
    seen = look(sweep.ask, sweep.row, wanted(rows).values())
    if made := predefined.make(sweep.row, rows, seen):
        rows += made
    known = guests.find(host_id=sweep.row.pk) if rows else []
    found = wanted(rows, seen, known)
    lost = _lost(sweep.memory(Missing), rows, seen, known)
    for row in rows:
        _write(sweep, row, found[row.pk], seen, lost.get(row.pk, []))
    if _laggs_differ(sweep, seen) or not all(plan.is_right(one, seen) for one in found.values()):
        ask_once("network.ensure")


def _laggs_differ(sweep: Sweep, seen: Seen) -> bool:
    """Whether an aggregation is not as it is wanted; tells of those that cannot be made."""
    differs = False
    for row in sweep.row.aggregations.all():
        try:
            differs = bool(aggregations.commands(aggregation(row), seen)) or row.is_deleting or differs
        except Conflict as conflict:
            sweep.problem(str(conflict))
    return differs


def _write(sweep: Sweep, row: Switch, one: Wanted, seen: Seen, lost: list[str]) -> None:
    is_up = plan.is_up(one, seen)
    members = sorted({tap_of(member) for member in plan.members(one, seen)})
    problem = plan.problem(one, seen)
    problems = [*([problem] if problem else []), *lost]
    if (is_up, members, problems) == (row.is_up, row.members, row.problems) and row.seen_at is not None:
        return
    for told in problems:
        if told not in row.problems:
            log.warning("switch %s: %s", row.name, told)
    with transaction.atomic():
        Switch.objects.filter(pk=row.pk).update(
            is_up=is_up, members=members, problems=problems, seen_at=sweep.now
        )
        publish(f"switch:{row.pk}", "switches")


def _lost(before: Missing, rows: list[Switch], seen: Seen, known: list[Guest]) -> dict[int, list[str]]:
    """Of each switch, the guests that run without the interface that leads to it: only a start anew brings it back.

    A guest that starts has none yet, and one that ends has none any more: what is missing for a while is lost.
    """
    there = {one.name for one in seen.interfaces}
    found: dict[int, list[str]] = {}
    missing: dict[tuple[UUID, str], int] = {}
    bridges = {row.pk: row.uuid for row in rows if row.technology == Switch.Technology.BRIDGE}
    for guest in known:
        for port in guest.ports if guest.is_on else ():
            tap = tap_of(port.interface)
            if port.switch_id is None or port.switch_id not in bridges or not tap or tap in there:
                continue
            port_of = bridges[port.switch_id], tap
            missing[port_of] = before.get(port_of, 0) + 1
            if missing[port_of] >= SWEEPS:
                said = f"{guest.name} runs, but its interface {tap} is gone. Restart it to bring it back."
                found.setdefault(port.switch_id, []).append(said)
    before.clear()
    before.update(missing)
    return found


def checklist(host: Host) -> list[Item]:
    """For the first-run list of the host's page."""
    switches = [switch for switch in host.switches.all() if not switch.is_waiting]
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
