"""limits(1) of the lab: ``limits -v 2048m -t 600s PROGRAM ARGUMENT...`` runs a program within resource limits.

Values have a unit, as bHype writes them: limits(1) itself takes kilobytes for -v and seconds for -t without one.
"""

from __future__ import annotations

import os
import resource

from bhype.lab import core

KINDS = {
    "c": resource.RLIMIT_CORE,
    "f": resource.RLIMIT_FSIZE,
    "n": resource.RLIMIT_NOFILE,
    "t": resource.RLIMIT_CPU,
    "v": resource.RLIMIT_AS,
}
UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "s": 1, "h": 3600}
USAGE = "usage: limits [-C class|-P pid|-U user] [-eaSHBE] [-bcdflmnstuvpwko [val]] [[name=val ...] cmd]"


def main(argv: list[str]) -> int:
    core.fault(" ".join(["limits", *argv]))
    try:
        found, words = core.getopt(argv, "".join(f"{letter}:" for letter in KINDS))
    except core.BadOption:
        core.fail(USAGE, 64)
    if not words:
        core.fail(USAGE, 64)
    for letter, value in found:
        number, unit = (value[:-1], value[-1]) if value[-1:] in UNITS else (value, "b")
        if not number.isdigit():
            core.fail(f"limits: invalid value '{value}'", 1)
        amount = int(number) * UNITS[unit]
        resource.setrlimit(KINDS[letter], (amount, amount))
    program = core.root(words[0])
    if not os.access(program, os.X_OK):
        core.fail(f"limits: {words[0]}: No such file or directory", 127)
    os.execv(program, [program, *words[1:]])
