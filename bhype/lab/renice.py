"""renice(8): the priority of running processes, which a bhyve's guest gets, too.

Source: renice(8), usr.bin/renice/renice.c of FreeBSD 14. -g and -u find no process in the lab.
"""

from __future__ import annotations

import os
import re

from bhype.lab import bhyve_state, core, ps

USAGE = (
    "usage: renice priority [[-p] pid ...] [[-g] pgrp ...] [[-u] user ...]\n"
    "       renice -n increment [[-p] pid ...] [[-g] pgrp ...] [[-u] user ...]"
)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["renice", *argv]))
    words = list(argv)
    relative = words[:1] == ["-n"]
    if relative:
        words.pop(0)
    if len(words) < 2:
        core.fail(USAGE, 1)
    text = words.pop(0)
    if not re.fullmatch(r"[+-]?\d+", text):
        core.fail(f"renice: {text}: bad value", 1)
    kind, failures = "p", 0
    for word in words:
        if word in ("-p", "-g", "-u"):
            kind = word[1]
        elif kind != "p" or not word.isdigit():
            if kind == "p":
                core.warn(f"renice: {word}: bad value")
            else:
                core.warn(
                    f"renice: {word}: unknown user"
                    if kind == "u"
                    else f"renice: {word}: getpriority: No such process"
                )
            failures += 1
        else:
            failures += not _renice(int(word), int(text), relative=relative)
    return int(failures > 0)


def _renice(pid: int, value: int, *, relative: bool) -> bool:
    if pid not in ps.pids():
        core.warn(f"renice: {pid}: getpriority: No such process")
        return False
    entry = next((each for each in bhyve_state.running().values() if each["pid"] == pid), None)
    real = [pid] if entry or pid in bhyve_state.registered() else []
    try:
        old = os.getpriority(os.PRIO_PROCESS, real[0]) if real else 0
        new = max(-20, min(20, value + (old if relative else 0)))
        for each in [*real, *([entry["qemu_pid"]] if entry and entry["qemu_pid"] else [])]:
            os.setpriority(os.PRIO_PROCESS, each, new)
    except ProcessLookupError:
        core.warn(f"renice: {pid}: getpriority: No such process")
        return False
    except OSError as error:
        core.warn(f"renice: {pid}: setpriority: {error.strerror}")
        return False
    print(f"{pid}: old priority {old}, new priority {min(new, 20)}")
    return True
