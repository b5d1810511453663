"""bhyvectl(8): what can be done to a VM that the kernel knows."""

from __future__ import annotations

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError, Query

PROGRAM = "/usr/sbin/bhyvectl"


def destroy(name: str) -> Command:
    """Remove the VM from the kernel (also from under a running bhyve); it is fine when there is none."""
    return Command((PROGRAM, f"--vm={names.machine(name)}", "--destroy"), ok_codes=frozenset({0, 1}))


def force_poweroff(name: str) -> Command:
    """Pull the plug: the running bhyve exits with status 1."""
    return Command((PROGRAM, f"--vm={names.machine(name)}", "--force-poweroff"))


def force_reset(name: str) -> Command:
    """Press the reset button: the running bhyve exits with status 0 and is to be started again."""
    return Command((PROGRAM, f"--vm={names.machine(name)}", "--force-reset"))


def get_stats(name: str) -> Query[dict[str, int]]:
    """The counters of virtual CPU 0; "Resident memory" and "Wired memory" are bytes of the whole VM."""
    return Query(Command((PROGRAM, f"--vm={names.machine(name)}", "--get-stats")), _stats)


def _stats(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line_number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or (line.startswith("vcpu") and line.endswith(" stats:")):
            continue
        name, separator, value = line.rpartition("\t")
        value = value.strip()  # int() takes fewer characters for blanks than strip()
        digits = value.removeprefix("-")
        if not separator or not (digits.isascii() and digits.isdigit()) or len(digits) > 20:
            raise ParseError(f"line {line_number}: a name and a number expected: {line!r}")
        found[name.strip()] = int(value)
    return found
