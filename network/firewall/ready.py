"""Whether the packet filter has its rules, for whoever is about to start guests."""

from __future__ import annotations

from bhype.hosts.models import Host
from bhype.tasks import Run, ask
from bhype.tasks.models import Task
from network.models import Firewall


def make(run: Run) -> str:
    """Have the rules loaded, as after a boot, and wait for that. Returns why they are not; the caller goes on all the
    same: a host without rules is better with its guests than without."""
    if not Firewall.objects.filter(host=Host.objects.this(), has_pf=True).exists():
        return ""
    run.stage("Loading the packet filter's rules")
    (task,) = run.wait(ask("network.ensure_firewall", {}, None)) or (None,)
    return "" if task is None or task.status == Task.Status.SUCCEEDED else task.error
