"""What the worker does to the host's switches."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from pydantic import BaseModel

from bhype.freebsd.command import Command
from bhype.host import CommandError
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from network.aggregations import plan as aggregations
from network.models import Switch

from . import plan
from .look import aggregation as laggs_wanted
from .look import look, wanted
from .operations_host import settle
from .wanted import Conflict, Seen


class Nothing(BaseModel):
    """No parameters."""


@operation(
    "network.ensure", title="Set up the switches", right="network.change", lock="network", subject="network"
)
def ensure(run: Run, _params: Nothing) -> None:
    """Make every switch of this host as it is wanted. May be repeated; one that cannot be made stops no other."""
    host = Host.objects.this()
    settle(run.host, host)
    laggs = _aggregate(run, host)
    rows = list(Switch.objects.filter(host=host))
    refused: dict[int, str] = {}
    for _ in range(plan.ROUNDS):
        steps, conflicts = _plan(rows, look(run.host.query, host, wanted(rows).values()))
        steps = {key: found for key, found in steps.items() if found and key not in refused}
        if not steps:
            break
        for row in rows:
            if reason := _run(run, row, steps.get(row.pk, ())):
                refused[row.pk] = reason
    # ifconfig(8) only warns when it cannot set a name, a description or an MTU.
    unsettled = {
        row.pk: f"No command failed, but {row.name} is not as it should be: {_words(steps[row.pk])}."
        for row in rows
        if row.pk in steps and row.pk not in refused
    }
    _note(rows, look(run.host.query, host, wanted(rows).values()))
    if failures := [*laggs, *{**conflicts, **unsettled, **refused}.values()]:
        raise OperationFailed(" ".join(failures))


def _aggregate(run: Run, host: Host) -> list[str]:
    """Make the aggregations, which switches may lead through. Returns what could not be done."""
    failures = []
    for row in host.aggregations.all():
        try:
            for command in aggregations.commands(laggs_wanted(row), look(run.host.query, host, ())):
                run.stage(f"Setting up {row.name}")
                run.host.run(command)
        except (Conflict, CommandError) as error:
            failures.append(f"{row.name}: {error}")
        else:
            if row.is_deleting:
                row.delete()
            publish("switches")
    return failures


def _plan(rows: list[Switch], seen: Seen) -> tuple[dict[int, list[Command]], dict[int, str]]:
    """What is to be done for each switch, and of those of which nothing can be done, why."""
    steps, conflicts = {}, {}
    for key, one in wanted(rows, seen).items():
        try:
            steps[key] = plan.commands(one, seen)
        except Conflict as conflict:
            conflicts[key] = str(conflict)
    return steps, conflicts


def _run(run: Run, row: Switch, steps: Iterable[Command]) -> str:
    """Run the commands of one switch; why they ended early, or ""."""
    for command in steps:
        run.stage(f"{'Taking away' if row.is_deleting else 'Setting up'} {row.name}")
        try:
            run.host.run(command)
        except CommandError as error:
            return f"{row.name}: {error}"
    return ""


def _words(steps: Iterable[Command]) -> str:
    return "; ".join(" ".join(command.argv) for command in steps)


def _note(rows: list[Switch], seen: Seen) -> None:
    """Write what has come of it, and forget the switches that are gone."""
    for key, one in wanted(rows, seen).items():
        with transaction.atomic():
            if one.is_deleting and plan.is_right(one, seen):
                Switch.objects.filter(pk=key, is_deleting=True).delete()
            else:
                Switch.objects.filter(pk=key).update(is_up=plan.is_up(one, seen))
            publish(f"switch:{key}", "switches")
