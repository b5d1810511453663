"""Letting pf tell what its rules log."""

from __future__ import annotations

from pydantic import BaseModel

from bhype.freebsd import ifconfig, kld, pflog
from bhype.tasks import Run, operation


class Nothing(BaseModel):
    """No parameters."""


@operation(
    "network.start_log",
    title="Let the packet filter log",
    right="network.change",
    lock="network",
    subject="firewall",
)
def start(run: Run, _params: Nothing) -> None:
    """Bring up pflog0, which comes with the module pflog. May be repeated; pflogd(8) may read from it as well."""
    run.host.run(kld.load("pflog"))
    if not any(one.name == pflog.INTERFACE for one in run.host.query(ifconfig.list_interfaces())):
        run.host.run(pflog.create())
    run.host.run(ifconfig.up(pflog.INTERFACE))
