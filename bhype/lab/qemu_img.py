"""qemu-img(1) of the lab: the real one, with FreeBSD's absolute paths found below the lab's root."""

from __future__ import annotations

import os

from bhype.lab import core
from bhype.lab.openzfs import files

READING = ("info", "check", "map", "compare", "measure")
PLACES = ("/usr/bin/qemu-img", "/usr/local/bin/qemu-img", "/bin/qemu-img")


def main(argv: list[str]) -> int:
    core.fault(" ".join(["qemu-img", *argv]))
    program = next((place for place in PLACES if os.access(place, os.X_OK)), "")
    if not program:
        core.fail("qemu-img is not on this machine: install the package qemu-utils", 127)
    if argv and argv[0] not in READING and argv[-1].startswith("/"):
        files.own(core.root(argv[-1]))  # a clone that has shared its bytes until now
    os.execv(program, [program, *(core.root(word) if word.startswith("/") else word for word in argv)])
