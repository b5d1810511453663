"""What the worker does to the host's switches."""

from __future__ import annotations

from pydantic import BaseModel

from bhype.freebsd import ifconfig
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from network.models import Switch

from . import plan


class Nothing(BaseModel):
    """No parameters."""


@operation(
    "network.ensure", title="Set up the switches", right="network.change", lock="network", subject="network"
)
def ensure(run: Run, _params: Nothing) -> None:
    """Make every switch of this host as it is wanted. May be repeated; one that cannot be made stops no other."""
    failures = []
    for switch in Switch.objects.filter(host=Host.objects.this()):
        wanted = switch.wanted
        try:
            interfaces = run.host.query(ifconfig.list_interfaces())
            for command in plan.commands(wanted, interfaces):
                run.stage(f"Setting up {switch.name}")
                run.host.run(command)
        except plan.Conflict as conflict:
            failures.append(str(conflict))
            continue
        # ifconfig(8) only warns when it cannot set a name or a description: read back what has come of it.
        interfaces = run.host.query(ifconfig.list_interfaces())
        if plan.is_right(wanted, interfaces):
            Switch.objects.filter(pk=switch.pk).update(is_up=True)
            publish(f"switch:{switch.pk}", "switches")
        else:
            failures.append(
                f"ifconfig reported no error, but the switch {switch.name} is not as it should be."
            )
    if failures:
        raise OperationFailed(" ".join(failures))
