"""protect(1): ``protect [-i] COMMAND`` and ``protect [-cdi] -g PGRP | -p PID``.

Source: protect(1), usr.bin/protect/protect.c. The state "protect" has ``pids``, those that are protected; the lab's
host never runs out of swap, so there is nothing that it changes.
"""

from __future__ import annotations

import os

from bhype.lab import core, ps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

USAGE = "usage: protect [-i] command\n       protect [-cdi] -g pgrp | -p pid"


def main(argv: list[str]) -> int:
    core.fault(" ".join(["protect", *argv]))
    try:
        options, command = core.getopt(argv, "cdig:p:")
    except core.BadOption as error:
        problem = "option requires an argument" if error.missing else "illegal option"
        core.fail(f"protect: {problem} -- {error.letter}\n{USAGE}", 1)
    letters = dict(options)
    chosen = [value for letter, value in options if letter in "gp"]
    if chosen and not all(value.removeprefix("-").isdigit() for value in chosen):
        core.fail(f"protect: invalid process id\n{USAGE}", 1)
    if (chosen and command) or (not chosen and (not command or "d" in letters)):
        core.fail(USAGE, 1)
    pid = int(chosen[-1]) if chosen else os.getpid()
    if chosen and pid not in ps.pids():
        core.fail("protect: procctl: No such process", 1)
    with core.state("protect") as data:
        pids = {each for each in data.get("pids", []) if each in ps.pids()}
        data["pids"] = sorted(pids - {pid} if "c" in letters else pids | {pid})
    if command:
        _become(command)
    return 0


def _become(command: list[str]) -> NoReturn:
    """Run a program of the lab's host, or of this machine, in place of this one."""
    program = core.root(command[0]) if command[0].startswith("/") else command[0]
    try:
        os.execvp(program, [program, *command[1:]])
    except OSError as error:
        core.fail(f"protect: {command[0]}: {error.strerror}", 127 if error.errno == 2 else 126)
