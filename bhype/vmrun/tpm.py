"""The TPM emulator of a VM: a swtpm(8) of its own on a socket in the run directory, for each start of bhyve."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from bhype.freebsd import swtpm
from bhype.freebsd.command import Command
from bhype.freebsd.ps import Process
from bhype.vmrun import child
from bhype.vmrun.config import Config
from bhype.vmrun.loop import Loop
from bhype.vmrun.machine import TPM_SOCKET
from bhype.vmrun.outcome import last_words
from bhype.vmrun.rundir import RunDir

LOG = "swtpm.log"
# How long it may take to make its socket, and how often it is looked for.
PATIENCE = 10.0
POLL = 0.02
# It ends with bhyve's connection: only some time later it is known whether bhyve has ended, too.
DELAY = 1.0


class Emulator:
    """Attends a VM's emulator. ``lost`` is called some time after it ended by itself."""

    def __init__(self, rundir: RunDir, loop: Loop, lost: Callable[[], None]) -> None:
        self._rundir = rundir
        self._loop = loop
        self._lost = lost
        self._child: child.Child | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def start(self, config: Config, ready: Callable[[str], None]) -> None:
        """``ready`` is called once, with "" or with the reason why there is none. Raises CommandError, OSError,
        ValueError."""
        words = command(self._rundir, config)
        offset = self._rundir.log_size(LOG)
        self._child = child.start(self._loop, self._rundir, words, self._ended, log=LOG)
        self._await(time.monotonic() + PATIENCE, offset, ready)

    def _await(self, deadline: float, offset: int, ready: Callable[[str], None]) -> None:
        if self._child is None or time.monotonic() > deadline:
            said = last_words(self._rundir.log_since(LOG, offset))
            ready(f"The TPM emulator does not come up.{said}")
        elif self._rundir.host.exists(socket(self._rundir)):
            ready("")
        else:
            self._loop.later("tpm", POLL, lambda: self._await(deadline, offset, ready))

    def take_over(self, processes: list[Process]) -> None:
        """Attend the one that a predecessor has left, if there is one."""
        for pid in running(processes, self._rundir):
            try:
                self._child = child.Child(self._loop, pid, self._ended)
            except OSError:
                continue
            return

    def end(self) -> None:
        """End it gracefully: it saves what the TPM knows."""
        self._loop.cancel("tpm", "tpm lost")
        if self._child:
            self._child.end(signal.SIGTERM, signal.SIGKILL)
            self._child = None

    def _ended(self, _code: int | None) -> None:
        self._child = None
        self._loop.later("tpm lost", DELAY, self._lost)


def is_ours(config: Config) -> bool:
    """Whether the supervisor runs the emulator; one with a path is somebody else's."""
    return config.tpm is not None and config.tpm.type == "swtpm" and config.tpm.state is not None


def socket(rundir: RunDir) -> str:
    return rundir.file(TPM_SOCKET)


def command(rundir: RunDir, config: Config) -> Command:
    """Make room for it and return its command line. What the TPM knows is kept where the configuration says.
    Raises OSError, ValueError."""
    tpm = config.tpm
    if tpm is None or tpm.state is None:
        raise ValueError("The VM has no TPM of its own.")
    rundir.host.makedirs(tpm.state, 0o700)
    rundir.host.unlink(socket(rundir))
    return swtpm.serve(tpm.state, socket(rundir), version=tpm.version)


def running(processes: list[Process], rundir: RunDir) -> list[int]:
    """The emulators that serve the VM's socket, whoever started them."""
    words = f"path={socket(rundir)},"
    return [one.pid for one in processes if words in one.command and "swtpm" in one.command.split()[0]]
