"""rctl(8): what a process may use at most. Rules of a process go with it: the kernel releases them at its end.

Amounts are numbers, or numbers with a suffix of expand_number(3) such as 10M. Without
``kern.racct.enable=1`` in loader.conf(5) the kernel counts nothing and every rule is refused.
"""

from __future__ import annotations

import re

from bhype.freebsd import sysctl
from bhype.freebsd.command import Command, Query
from bhype.freebsd.names import BadName

PROGRAM = "/usr/bin/rctl"
SWITCH = "kern.racct.enable"
# What the kernel does at the limit: CPU time is withheld ("deny" works so for pcpu), I/O is slowed down.
ACTIONS = {
    "pcpu": "deny",
    "readbps": "throttle",
    "writebps": "throttle",
    "readiops": "throttle",
    "writeiops": "throttle",
}
_AMOUNT = re.compile(r"[0-9]{1,18}[KMGTPE]?")


def is_enabled() -> Query[bool]:
    """Whether the kernel counts resources; false also where it was built without RACCT."""
    query = sysctl.read(SWITCH)
    return Query(query.command, lambda text: query.parse(text).get(SWITCH) == "1")


def add(pid: int, limits: dict[str, int | str]) -> Command:
    """Add a rule for each of ``limits``, as {"pcpu": 150, "readbps": "10M"}. One of the same resource that is
    already there stays: remove first."""
    rules = [rule(pid, resource, amount) for resource, amount in limits.items()]
    if not rules:
        raise BadName("No limit is given.")
    return Command((PROGRAM, "-a", *rules), timeout=10.0)


def rule(pid: int, resource: str, amount: int | str) -> str:
    """As ``process:4711:readbps:throttle=10M``."""
    text = str(amount).upper()
    if resource not in ACTIONS:
        raise BadName(f"{resource!r} is not a resource that bHype limits.")
    if not _AMOUNT.fullmatch(text):
        raise BadName(f"{amount!r} is not an amount such as 150 or 10M.")
    return f"process:{_pid(pid)}:{resource}:{ACTIONS[resource]}={text}"


def remove(pid: int) -> Command:
    """Remove all rules of a process; status 1 when there are none, or no such process."""
    return Command((PROGRAM, "-r", f"process:{_pid(pid)}"), ok_codes=frozenset({0, 1}), timeout=10.0)


def _pid(pid: int) -> int:
    if pid <= 0:
        raise BadName(f"{pid} is not a process.")
    return pid
