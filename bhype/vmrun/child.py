"""A process that the loop attends until its end: bhyve, its loader, its TPM emulator. A child or a predecessor's."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable

from bhype.freebsd.command import Command
from bhype.host import Process, Watch
from bhype.vmrun.loop import Loop
from bhype.vmrun.rundir import RunDir

Ended = Callable[[int | None], None]


class Child:
    """``ended(status)`` is called once, with the exit status, minus a signal, or None when nobody can tell.

    Raises OSError when there is no such process.
    """

    def __init__(self, loop: Loop, pid: int, ended: Ended, process: Process | None = None) -> None:
        self.pid = pid
        self._loop = loop
        self._process = process
        self._ended = ended
        # As long as it is watched its number does not come to mean another process.
        self._watch = Watch(pid)
        loop.selector.register(self._watch, selectors.EVENT_READ, lambda mask: self._look())

    def _look(self) -> None:
        if not self._watch.ended():
            return
        status = self._process.wait() if self._process else self._watch.take_status()
        self.forget()
        self._ended(status)

    def signal(self, number: int) -> None:
        """Nothing happens when it has ended."""
        if not self._watch.ended():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def end(self, *signals: int, grace: float = 2.0) -> None:
        """Forget it and end it: each signal in turn, as long as it is there after the ``grace`` seconds of the one
        before."""
        import select

        for number in signals:
            self.signal(number)
            select.select([self._watch], [], [], grace)
            if self._watch.ended():
                break
        self.forget()
        if self._process:
            self._process.wait(0)

    def forget(self) -> None:
        """Attend it no longer."""
        self._loop.selector.unregister(self._watch)
        self._watch.close()


def start(
    loop: Loop,
    rundir: RunDir,
    command: Command,
    ended: Ended,
    *,
    log: str,
    all_to_log: bool = False,
    here: bool = False,
) -> Child:
    """Start a program and attend it. Its complaints go to a log of the run directory, with ``all_to_log`` all that
    it says; here: it has this process's standard input and output. Raises CommandError, OSError."""
    descriptor = rundir.open_log(log)
    streams = {"stdin": 0, "stdout": 1} if here else {"stdout": descriptor} if all_to_log else {}
    try:
        process = rundir.host.spawn(command, stderr=descriptor, **streams)
    finally:
        os.close(descriptor)
    return Child(loop, process.pid, ended, process)
