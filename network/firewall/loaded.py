"""What was loaded last into each anchor: a change from outside is noticed, and a changed address needs no reload.

pfctl(8) prints rules in words of its own, so what it printed right after a load is compared with what it prints now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from bhype.freebsd import pf, pfctl
from bhype.freebsd.command import Query
from bhype.freebsd.pf import Ruleset
from bhype.host import Host as Machine

FOLDER = "/var/db/bhype/pf"
BASE, RULES = "bhype/base", "bhype/rules"
BASE_FILE = f"{FOLDER}/base.conf"
# What is confirmed, and what waits for it.
RULES_FILE = f"{FOLDER}/rules.conf"
PENDING_FILE = f"{FOLDER}/rules.pending.conf"
_STATE = f"{FOLDER}/loaded.json"


@dataclass(frozen=True, slots=True)
class Loaded:
    """skeleton: of the text without what tables hold; printed: what pfctl printed after it; tables: what they hold."""

    skeleton: str = ""
    printed: str = ""
    tables: dict[str, list[str]] = field(default_factory=dict)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def of(ruleset: Ruleset, printed: str) -> Loaded:
    return Loaded(digest(ruleset.skeleton), printed, contents(ruleset))


def contents(ruleset: Ruleset) -> dict[str, list[str]]:
    return {table.name: pf.members(table.addresses) for table in ruleset.tables}


def printed(anchor: str, ask: Callable[[Query[Any]], Any]) -> str:
    """A digest of what pf has in an anchor now; "" when it has no rules."""
    lines = [*ask(pfctl.translations(anchor)), *ask(pfctl.rules(anchor))]
    return digest("\n".join(lines)) if lines else ""


def read(machine: Machine) -> dict[str, Loaded]:
    """By anchor; nothing where nothing was loaded yet, or the file is none of ours."""
    try:
        stored = json.loads(machine.read_text(_STATE))
        return {anchor: Loaded(**values) for anchor, values in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write(machine: Machine, anchor: str, loaded: Loaded) -> None:
    machine.makedirs(FOLDER, 0o700)
    every = read(machine) | {anchor: loaded}
    machine.write_text(_STATE, json.dumps({name: asdict(one) for name, one in every.items()}))
