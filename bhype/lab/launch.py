"""Starts one program of the lab: ``python -S -E launch.py PROGRAM [argument]...`` (see the wrappers)."""

from __future__ import annotations

import sys

# The folder of this script is first in sys.path; its modules are named like FreeBSD's programs, not Python's.
sys.path[0] = __file__.removesuffix("/bhype/lab/launch.py")


def run() -> int:
    from bhype.lab import core

    name = sys.argv[1]
    module = __import__(f"bhype.lab.{name}", fromlist=["main"])
    try:
        code: int = module.main(sys.argv[2:])
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    core.finish()
    return code


sys.exit(run())
