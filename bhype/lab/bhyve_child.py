"""QEMU as a child of bhyve."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
from contextlib import suppress

from bhype.lab import bhyve_state, core

FATAL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


def sweep() -> None:
    """Remove the folders of bhyves that were killed."""
    above = f"{core.folder()}/run"
    with suppress(FileNotFoundError):
        for name in os.listdir(above):
            pid = name.removeprefix("bhyve.")
            if pid != name and pid.isdigit() and bhyve_state.ticks(int(pid)) is None:
                shutil.rmtree(f"{above}/{name}", ignore_errors=True)


def cpu_ticks(pid: int) -> int:
    """The CPU time of a process in clock ticks."""
    fields = bhyve_state.stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def spawn(command: list[str], handles: list[int]) -> int:
    """Start QEMU in the current folder; the kernel kills it when this process dies, however that happens."""
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        for number in (*FATAL, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()  # a terminal's Ctrl-C is for bhyve
        null, log = os.open(os.devnull, os.O_RDONLY), os.open("qemu.log", os.O_CREAT | os.O_WRONLY, 0o600)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for handle in handles:
            os.set_inheritable(handle, True)  # noqa: FBT003
        os.environ["PATH"] = "/usr/local/bin:/usr/bin:/bin"
        os.environ["TMPDIR"] = os.getcwd()
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)
