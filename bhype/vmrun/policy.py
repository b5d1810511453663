"""When a VM is started again: what the command line says, before what its configuration says. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from bhype.freebsd.bhyve import ExitStatus
from bhype.vmrun.config import Restart
from bhype.vmrun.outcome import STOPPED, Outcome, Patience

# The longest wait before a guest is started again, unless its own delay is longer.
LONGEST = 60.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the command line says. reboot_on: the exit statuses after which the guest is started again, None: as
    its configuration says; reboot_count: how often at most; adopt: take over a bhyve that runs, but start none;
    pid_file: where the number of bhyve's process is written for others."""

    target: str | None = None
    reboot_on: frozenset[int] | None = None
    reboot_count: int | None = None
    adopt: bool = False
    pid_file: str | None = None

    def wants_again(
        self, code: int | None, verdict: Outcome, wish: Restart | None, restarts: int, *, ran: bool
    ) -> bool:
        """Whether a bhyve that ended so is started again. wish: the configuration's; restarts: how often that was
        done; ran: whether bhyve had come up, for one that had not would fail again in the same way."""
        if self.reboot_count is not None and restarts >= self.reboot_count:
            return False
        reboot_on = self.reboot_on
        if reboot_on is None:
            reboot_on = wish.reboot_on if wish else frozenset({ExitStatus.REBOOT})
        return code in reboot_on or bool(wish and wish.on_crash and ran and verdict.state != STOPPED)


def patience(wish: Restart | None) -> Patience:
    """How often, and after which waits."""
    if wish is None:
        return Patience()
    return Patience(wish.limit, wish.within, wish.delay, max(wish.delay, LONGEST))
