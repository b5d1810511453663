"""Letting pf tell what its rules log."""

from __future__ import annotations

from pydantic import BaseModel

from bhype.tasks import Run, operation
from network.firewall.operations import let_log


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
    """Where it is not up, though a loaded rule logs: somebody has taken it down since. May be repeated."""
    let_log(run)
