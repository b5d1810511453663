"""Whether the host's networks are there: after a boot nothing of them is, and guests that start need them."""

from __future__ import annotations

from bhype.freebsd.command import ParseError
from bhype.host import CommandError
from bhype.hosts.models import Host
from bhype.tasks import Run, ask
from bhype.tasks.models import Task
from network.models import Switch

from . import plan
from .look import look, wanted


def make(run: Run) -> str:
    """Have the switches set up where one is not as it is wanted, and wait for that. Returns what is still wrong; the
    caller goes on all the same: a switch that cannot be made keeps no guest of others waiting."""
    host = Host.objects.this()
    rows = list(Switch.objects.filter(host=host))
    try:
        seen = look(run.host.query, host, wanted(rows).values())
    except (CommandError, ParseError) as error:
        return str(error)
    if all(plan.is_right(one, seen) for one in wanted(rows).values()):
        return ""
    run.stage("Setting up the switches")
    # Each of its commands ends in time by itself.
    (task,) = run.wait(ask("network.ensure", {}, None)) or (None,)
    return "" if task is None or task.status == Task.Status.SUCCEEDED else task.error
