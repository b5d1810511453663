"""``python leash.py PARENT PROGRAM ARGUMENT...``: becomes PROGRAM, which dies at once when process PARENT does.

So no command of a worker that was killed is still at work when the task is recovered. What the command has
started itself, such as the supervisor of a VM, is not held. A small program of its own, because Python cannot
safely run code between fork and exec while other threads run (subprocess's preexec_fn).

Facts: Linux prctl(2) PR_SET_PDEATHSIG; FreeBSD procctl(2) PROC_PDEATHSIG_CTL (sys/procctl.h: 11, with
sys/wait.h: P_PID 0). Both survive exec and are not inherited by children.
"""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1
P_PID = 0
PROC_PDEATHSIG_CTL = 11
# What a shell answers for a program that it cannot run.
CANNOT_RUN = 127


def words(argv: list[str]) -> list[str]:
    """The command line that runs ``argv`` on this process's leash."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), *argv]


def hold() -> None:
    """Let the kernel kill this process when its parent ends. Raises OSError."""
    import ctypes  # here, because a supervisor imports this module and must stay small

    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        failed = libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    else:
        number = ctypes.c_int(signal.SIGKILL)
        failed = libc.procctl(P_PID, ctypes.c_int64(0), PROC_PDEATHSIG_CTL, ctypes.byref(number))
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main(argv: list[str]) -> int:
    parent, program = int(argv[0]), argv[1]
    try:
        hold()
        if os.getppid() != parent:
            # It was killed before the leash was on.
            return CANNOT_RUN
        # Python ignores these, and a program would inherit that.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execv(program, argv[1:])  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        sys.stderr.write(f"{program}: {error.strerror}\n")
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
