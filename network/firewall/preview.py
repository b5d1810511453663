"""What a rule that is being typed would be: its sentence, and the lines of pf that it becomes. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

from bhype.freebsd import pf

from . import compile, document
from .forms import RuleForm
from .names import Names
from .words import BadWord


@dataclass(frozen=True, slots=True)
class Preview:
    """tables: name and addresses of those that the lines ask."""

    sentence: str
    lines: list[str]
    tables: list[tuple[str, str]]


def of(form: RuleForm) -> Preview:
    """The preview of a valid form."""
    row = form.row()
    names = Names(form.world, document.of(form.host).aliases)
    try:
        lines = [one.text for one in compile.rule(row, names)]
    except (BadWord, pf.BadRule):
        lines = []
    tables = [
        (name, ", ".join(table.addresses) or "nobody yet")
        for name, table in sorted(names.tables.items())
        if any(f"<{name}>" in line for line in lines)
    ]
    return Preview(form.names.rule(row), lines, tables)
