"""The one tcpdump(1) of this process, of which each sweep takes what it has printed meanwhile."""

from __future__ import annotations

import contextlib
import os
import time

from bhype.freebsd import pflog
from bhype.host import CommandFailed, LocalHost, Process

# Of one sweep. What is more waits in the pipe, and then tcpdump drops it: a flood costs no more than this.
MOST_BYTES = 128 * 1024
MOST_LINES = 200
# One that ended is started again after so many seconds.
REST = 30.0


class Listener:
    """Lines of pflog0 as they come. It dies with this process, even by SIGKILL."""

    def __init__(self, root: str) -> None:
        # Leashed: an observer that was killed leaves none behind.
        self._host = LocalHost(root, leashed=True)
        self._process: Process | None = None
        self._rest = b""
        self._again = 0.0
        self.problem = ""

    def lines(self) -> list[str]:
        """What was printed since the last time, at most `MOST_LINES`. Never waits."""
        process = self._process or self._start()
        if process is None:
            return []
        stdout = process.pipes.stdout
        assert stdout is not None  # noqa: S101 - start() asks for it
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(stdout.fileno(), MOST_BYTES)
        if not data and process.poll() is not None:
            self._ended(process)
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-4096:]
        return [line.decode("utf-8", "replace") for line in lines[:MOST_LINES]]

    def _start(self) -> Process | None:
        if time.monotonic() < self._again:
            return None
        try:
            process = self._host.start(pflog.listen())
        except CommandFailed as error:
            self._again, self.problem = time.monotonic() + REST, str(error)
            return None
        for pipe in (process.pipes.stdout, process.pipes.stderr):
            assert pipe is not None  # noqa: S101
            os.set_blocking(pipe.fileno(), False)
        self._process, self._rest, self.problem = process, b"", ""
        return process

    def _ended(self, process: Process) -> None:
        said = b""
        if process.pipes.stderr is not None:
            with contextlib.suppress(BlockingIOError):
                said = os.read(process.pipes.stderr.fileno(), 4096)
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
        self.problem = f"tcpdump does not listen to {pflog.INTERFACE}: {''.join(last) or 'it ended.'}"
        self._again = time.monotonic() + REST
        self.close()

    def close(self) -> None:
        """End tcpdump."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill_group()
        for pipe in (process.pipes.stdout, process.pipes.stderr):
            if pipe is not None:
                pipe.close()
