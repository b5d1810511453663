"""bhyvectl(8): what can be done to a VM that the kernel knows."""

from __future__ import annotations

from bhype.freebsd import names
from bhype.freebsd.command import Command

PROGRAM = "/usr/sbin/bhyvectl"


def destroy(name: str) -> Command:
    """Remove the VM from the kernel (also from under a running bhyve); it is fine when there is none."""
    return Command((PROGRAM, f"--vm={names.machine(name)}", "--destroy"), ok_codes=frozenset({0, 1}))


def create(name: str) -> Command:
    """Make an empty VM in the kernel, which bhyve(8) and the loaders take over. Fails while there is one of the name,
    also while that still goes (see `bhype.vmrun.resources.renew_machine`)."""
    return Command((PROGRAM, f"--vm={names.machine(name)}", "--create"))


def force_poweroff(name: str) -> Command:
    """Pull the plug: the running bhyve exits with status 1."""
    return Command((PROGRAM, f"--vm={names.machine(name)}", "--force-poweroff"))


def force_reset(name: str) -> Command:
    """Press the reset button: the running bhyve exits with status 0 and is to be started again."""
    return Command((PROGRAM, f"--vm={names.machine(name)}", "--force-reset"))
