"""nice(1): ``nice [-n INCREMENT] COMMAND``. Source: nice(1), usr.bin/nice/nice.c of FreeBSD 14."""

from __future__ import annotations

import os
import re

from bhype.lab import core

USAGE = "usage: nice [-n incr] utility [arguments]"


def main(argv: list[str]) -> int:
    core.fault(" ".join(["nice", *argv]))
    words = list(argv)
    increment = "10"
    if words and re.fullmatch(r"-\d+|--\d+", words[0]):  # obsolescent: -10, --10
        increment = words.pop(0)[1:]
    elif words[:1] == ["-n"]:
        if len(words) < 2:
            core.fail(USAGE, 1)
        increment = words[1]
        words = words[2:]
    if not re.fullmatch(r"[+-]?\d+", increment):
        core.fail(f"nice: {increment}: invalid nice value", 1)
    if not words:
        core.fail(USAGE, 1)
    try:
        os.nice(int(increment))
    except OSError as error:
        core.warn(f"nice: setpriority: {error.strerror}")
    program = core.root(words[0]) if words[0].startswith("/") else words[0]
    try:
        os.execvp(program, [program, *words[1:]])
    except OSError as error:
        core.fail(f"nice: {words[0]}: {error.strerror}", 127 if error.errno == 2 else 126)
