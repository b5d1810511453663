"""Leaving the caller: a supervisor lives in a session of its own, with nothing of who started it."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable

from bhype.vmrun.rundir import RunDir

LOG = "vmrun.log"


def detach(rundir: RunDir, run: Callable[[Callable[[str], None]], int]) -> int:
    """Run ``run(report)`` in the background and wait for its report. Returns 0, or 1 with the reason printed.

    The lock of ``rundir`` goes with it: it belongs to the open file that both processes share.
    """
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        # Its parent gone, the grandchild belongs to init and can never get a terminal again.
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.close(heard)
        os._exit(_background(rundir, run, told))
    os.close(told)
    os.waitpid(child, 0)
    with open(heard, encoding="utf-8", errors="replace") as pipe:
        message = pipe.read()
    if message == "ok":
        return 0
    print(message or f"The supervisor died at once; see {rundir.file(LOG)}.", file=sys.stderr)
    return 1


def _background(rundir: RunDir, run: Callable[[Callable[[str], None]], int], told: int) -> int:
    """The supervisor's whole life. What it says goes to a log, never to pipes that others wait for."""
    log = rundir.open_log(LOG)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    os.close(null)
    os.close(log)

    def report(message: str) -> None:
        # Who waited for it may have been killed; the VM goes on.
        with contextlib.suppress(BrokenPipeError):
            os.write(told, message.encode() or b"ok")
        os.close(told)

    try:
        return run(report)
    except Exception:  # the last frame of the process: without this its end would leave no trace
        traceback.print_exc()
        return 1
