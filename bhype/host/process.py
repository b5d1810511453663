"""A child process that outlives a call: what the supervisor starts bhyve with."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys

from bhype.freebsd.command import Command
from bhype.host import leash
from bhype.host.errors import CommandFailed, Result

# Nothing is inherited from the panel's environment: no secret, no locale, no time zone reaches a command.
ENVIRONMENT = {
    "LC_ALL": "C",
    "TZ": "UTC",
    "PATH": "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin",
    "HOME": "/",
}
NULL = subprocess.DEVNULL
PIPE = subprocess.PIPE


class Process:
    """A running child, leader of a session of its own. pid, poll() and wait() as subprocess.Popen has them:
    the status is the exit code, or minus the signal's number."""

    __slots__ = ("_child", "command")

    def __init__(self, command: Command, child: subprocess.Popen[bytes]) -> None:
        self.command = command
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def pipes(self) -> subprocess.Popen[bytes]:
        """The ends of those streams that were asked for as PIPE: .stdin, .stdout, .stderr."""
        return self._child

    def poll(self) -> int | None:
        return self._child.poll()

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit status, or None when ``timeout`` seconds were not enough."""
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Signal the process alone; nothing happens when it has ended."""
        self._child.send_signal(number)

    def kill_group(self) -> None:
        """End the process and everything it started: SIGTERM, a second of grace, then SIGKILL."""
        self._signal_group(signal.SIGTERM)
        self.wait(1.0)
        # Also after the leader has ended: its children may not have listened.
        self._signal_group(signal.SIGKILL)
        self.wait()

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            # FreeBSD and macOS answer EPERM when only zombies are left in the group.
            pass


def spawn(
    command: Command,
    argv: list[str],
    *,
    stdin: int = NULL,
    stdout: int = NULL,
    stderr: int = NULL,
    leashed: bool = False,
    lent: tuple[int, ...] = (),
) -> Process:
    """Start ``argv`` in a session of its own. Raises CommandFailed (code 127) when it cannot be started.

    leashed: it dies when this process does, see bhype.host.leash. lent: descriptors that it has open as well.
    """
    try:
        if leashed:
            argv = leash.words(_runnable(argv))
        child = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=ENVIRONMENT,
            start_new_session=True,
            pass_fds=lent,
        )
    except OSError as error:
        reason = (
            "is not on this host" if isinstance(error, FileNotFoundError) else f"cannot run: {error.strerror}"
        )
        result = Result(127, "", error.strerror or "", 0.0)
        raise CommandFailed(command, result, f"{command.argv[0]} {reason}.") from error
    return Process(command, child)


def _runnable(argv: list[str]) -> list[str]:
    """``argv``, when its program is there. Raises OSError as starting it would."""
    if not os.access(argv[0], os.X_OK):
        number = errno.EACCES if os.path.exists(argv[0]) else errno.ENOENT
        raise OSError(number, os.strerror(number), argv[0])
    return argv


class Watch:
    """Tells when a process ends, be it a child or not. ``fileno`` becomes readable then, and stays so.

    Raises ProcessLookupError when there is no such process. Facts: pidfd_open(2); kqueue(2), EVFILT_PROC, of which a
    zombie counts as ended, too (filt_procattach() in sys/kern/kern_event.c).
    """

    __slots__ = ("_fd", "_queue", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        if sys.platform == "linux":
            self._queue = None
            self._fd = os.pidfd_open(pid)
        else:
            self._queue = select.kqueue()
            self._fd = self._queue.fileno()
            exits = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            try:
                self._queue.control([exits], 0)
            except OSError:
                self._queue.close()
                raise

    def fileno(self) -> int:
        return self._fd

    def ended(self) -> bool:
        """Whether the process has ended. Takes nothing out of the queue: whoever waits for it hears of it, too."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(0))

    def take_status(self) -> int | None:
        """How it ended, minus a signal; None where nobody tells: Linux tells the parent alone. To be asked once."""
        if self._queue is None:
            return None
        events = self._queue.control(None, 1, 0)
        return os.waitstatus_to_exitcode(events[0].data) if events else None

    def close(self) -> None:
        if self._queue is not None:
            self._queue.close()
        else:
            os.close(self._fd)
