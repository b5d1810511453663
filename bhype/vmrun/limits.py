"""What a running bhyve may use of its host: CPU time and disk I/O by rctl(8), its priority, its protection.

Rules belong to the process, and the kernel releases them when it ends (rctl_racct_release in kern_rctl.c). What
cannot be applied costs no guest its start: it is told as a sentence.
"""

from __future__ import annotations

import os

from bhype.freebsd import protect, rctl
from bhype.freebsd.command import ParseError
from bhype.host import CommandError, Host
from bhype.vmrun.config import Config

_TROUBLE = (CommandError, ParseError, ValueError)
NOT_COUNTED = (
    "The limits are not applied: this kernel does not count resources. "
    "Put kern.racct.enable=1 into /boot/loader.conf and reboot the host."
)


def apply(host: Host, pid: int, config: Config, before: Config | None = None) -> list[str]:
    """Bring the process to what ``config`` says. before: what was applied to it earlier, if anything. Returns
    what could not be done."""
    failures = []
    wanted, had = _rules(config), _rules(before) if before else {}
    if wanted != had:
        failures += _limit(host, pid, wanted)
    if config.nice is not None or (before and before.nice is not None):
        try:
            os.setpriority(os.PRIO_PROCESS, pid, config.nice or 0)
        except OSError as error:
            failures.append(f"The priority {config.nice or 0} is not applied: {error.strerror}.")
    if config.protect or (before and before.protect):
        try:
            host.run(protect.protect(pid, on=config.protect))
        except _TROUBLE as error:
            failures.append(f"The process is not protected: {error}")
    return failures


def _rules(config: Config) -> dict[str, int | str]:
    """The wanted limits by their resource."""
    found = {resource: getattr(config.limits, resource) for resource in rctl.ACTIONS}
    return {resource: amount for resource, amount in found.items() if amount is not None}


def _limit(host: Host, pid: int, wanted: dict[str, int | str]) -> list[str]:
    try:
        if not host.query(rctl.is_enabled()):
            return [NOT_COUNTED] if wanted else []
        host.run(rctl.remove(pid))
        if wanted:
            host.run(rctl.add(pid, wanted))
    except _TROUBLE as error:
        return [f"The limits are not applied: {error}"]
    return []
