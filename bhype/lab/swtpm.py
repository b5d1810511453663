"""swtpm(8): Debian's own, with the paths of the lab's FreeBSD taken below its root.

Its options are those of swtpm(8); a path is a value of dir=, path=, file= and backend-uri= in their lists.
"""

from __future__ import annotations

import os
import shutil

from bhype.lab import bhyve_state, core

_KEYS = ("dir=", "path=", "file=", "backend-uri=dir://", "backend-uri=file://")


def main(argv: list[str]) -> int:
    core.fault(" ".join(["swtpm", *argv]))
    program = shutil.which("swtpm", path="/usr/local/bin:/usr/bin:/bin")
    if program is None:
        core.fail("swtpm: not installed on this machine", 127)
    bhyve_state.register(["/usr/local/bin/swtpm", *argv])
    os.execv(program, [program, *map(_below_root, argv)])


def _below_root(word: str) -> str:
    return ",".join(_item(item) for item in word.split(","))


def _item(item: str) -> str:
    for key in _KEYS:
        if item.startswith(key + "/"):
            return key + core.root(item.removeprefix(key))
    return item
