"""Two commands, or a command and a file, with the bytes going from one to the other through this process.

No shell: both exit statuses are looked at, what goes by is counted, and when one side fails, is late or is to be
stopped, both are ended. The end of its input reaches the sink only when the source has ended well, so that no sink
takes the part of a stream for the whole.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass

from bhype.freebsd.command import Command
from bhype.host.errors import CommandFailed, CommandStopped, CommandTimeout, Result
from bhype.host.local import KEPT, POLL, LocalHost, Tail
from bhype.host.process import PIPE, Process

BLOCK = 1 << 18
TOLD = 0.2


@dataclass(frozen=True, slots=True)
class FileSource:
    """The plain file at the host's ``path``, never through a link."""

    path: str


@dataclass(frozen=True, slots=True)
class FileSink:
    """A new file at the host's ``path``: it is there when all of it was written, and not at all when that failed."""

    path: str
    mode: int = 0o600


def pipe(
    host: LocalHost,
    source: Command | FileSource,
    sink: Command | FileSink,
    told: Callable[[int], None] | None = None,
) -> int:
    """Let ``source`` write what ``sink`` reads. Returns the count of bytes; ``told`` hears it on the way.

    Raises CommandFailed, CommandTimeout and CommandStopped as `LocalHost.run` does, naming the side that failed
    first, and OSError for files. Each command's timeout counts for the whole.
    """
    if not isinstance(source, Command) and not isinstance(sink, Command):
        raise TypeError("one side of a pipe is a command")
    pair = _Pair(host, told)
    try:
        pair.open(source, sink)
        pair.attend()
        return pair.finish()
    except BaseException:
        pair.break_off()
        raise
    finally:
        pair.close()


class _Side:
    """A running command of the pair, with what it says besides the stream."""

    def __init__(self, command: Command, process: Process, deadline: float, host: LocalHost) -> None:
        self.command = command
        self.process = process
        self.deadline = deadline
        self.tails = {"stdout": Tail(KEPT), "stderr": Tail(KEPT)}
        self.began = time.monotonic()
        self._host = host

    def hear(self, name: str, block: bytes) -> None:
        self._tell(name, self.tails[name].add(block))

    def _tell(self, name: str, lines: list[bytes]) -> None:
        if self._host.listener:
            for line in lines:
                self._host.listener.output(name, line.decode("utf-8", "replace").rstrip("\r"))

    def end(self) -> Result:
        """The result of what has ended; the listener hears of it."""
        for name, tail in self.tails.items():
            self._tell(name, tail.rest())
        for stream in (self.process.pipes.stdout, self.process.pipes.stderr):
            if stream is not None and not stream.closed:
                stream.close()
        out, err = (self.tails[name].text() for name in ("stdout", "stderr"))
        result = Result(self.process.wait() or 0, out, err, time.monotonic() - self.began)
        if self._host.listener:
            self._host.listener.finished(self.command, result)
        return result


class _Pair:
    def __init__(self, host: LocalHost, told: Callable[[int], None] | None) -> None:
        self._host = host
        self._told = told
        self._told_at = 0.0
        self._ears: dict[int, tuple[_Side, str]] = {}
        self._is_broken = False
        self._sides: list[_Side] = []
        self._source: _Side | None = None
        self._sink: _Side | None = None
        self._inward = self._outward = -1
        self._draft = self._target = ""
        self._waiting = memoryview(b"")
        self._count = 0

    def open(self, source: Command | FileSource, sink: Command | FileSink) -> None:
        # The files first: what cannot be opened needs no command.
        if isinstance(source, FileSource):
            self._inward = _open_source(self._host, source)
        if isinstance(sink, FileSink):
            self._target = self._host.path(sink.path)
            self._draft = f"{self._target}.part"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._draft)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self._outward = os.open(self._draft, flags, sink.mode)
        if isinstance(sink, Command):
            self._sink = self._start(sink, stdin=PIPE)
            stdin = self._sink.process.pipes.stdin
            assert stdin is not None  # noqa: S101 - it was asked for
            self._outward = os.dup(stdin.fileno())
            stdin.close()
            os.set_blocking(self._outward, False)
        if isinstance(source, Command):
            self._source = self._start(source, stdin=None)
            stdout = self._source.process.pipes.stdout
            assert stdout is not None  # noqa: S101 - it was asked for
            self._inward = os.dup(stdout.fileno())
            stdout.close()
            os.set_blocking(self._inward, False)

    def _start(self, command: Command, *, stdin: int | None) -> _Side:
        command = command.with_timeout(command.timeout * self._host.patience)
        if self._host.listener:
            self._host.listener.started(command)
        try:
            process = self._host.start(command, stdin=stdin)
        except CommandFailed as error:
            if self._host.listener:
                self._host.listener.finished(command, error.result)
            raise
        side = _Side(command, process, time.monotonic() + command.timeout, self._host)
        self._sides.append(side)
        for name in ("stderr", "stdout") if stdin == PIPE else ("stderr",):
            stream = process.pipes.stderr if name == "stderr" else process.pipes.stdout
            assert stream is not None  # noqa: S101 - it was asked for
            os.set_blocking(stream.fileno(), False)
            self._ears[stream.fileno()] = (side, name)
        return side

    # -- while it runs -------------------------------------------------------------------------------

    def attend(self) -> None:
        """Move bytes until the source's stream has ended, then wait for both sides."""
        asked = 0.0
        while self._inward >= 0 or self._waiting or any(side.process.poll() is None for side in self._sides):
            now = time.monotonic()
            self._check_time(now)
            if now - asked >= POLL:
                asked = now
                self._check_stop()
            self._check_ends()
            if not self._move():
                self._wait()
            self._listen()
        self._listen()

    def _check_time(self, now: float) -> None:
        for side in self._sides:
            if now >= side.deadline:
                self._fail(side, CommandTimeout)

    def _check_stop(self) -> None:
        if self._host.should_stop and self._host.should_stop():
            self._fail(self._sides[0], CommandStopped)

    def _check_ends(self) -> None:
        """One side that has ended badly ends the other."""
        sink, source = self._sink, self._source
        if sink and (self._inward >= 0 or self._waiting) and sink.process.poll() is not None:
            self._listen()
            if sink.process.wait() not in sink.command.ok_codes:
                self._fail(sink, CommandFailed)
            if self._waiting:
                self._fail(sink, CommandFailed, "ended before it had read all of its input")
        if source and source.process.poll() is not None:
            self._listen()
            if source.process.wait() not in source.command.ok_codes:
                self._fail(source, CommandFailed)
            if self._inward < 0 and not self._waiting:
                self._close_outward()
        elif source is None and self._inward < 0 and not self._waiting:
            self._close_outward()

    def _fail(
        self, side: _Side, kind: type[CommandFailed | CommandTimeout | CommandStopped], sentence: str = ""
    ) -> None:
        self.break_off()
        results = {id(each): each.end() for each in self._sides}
        self._sides = []
        result = results[id(side)]
        if sentence:
            raise CommandFailed(side.command, result, f"{side.command.argv[0]} {sentence}.")
        raise kind(side.command, result)

    def _move(self) -> bool:
        """Move what can be moved now; whether there was anything."""
        moved = False
        if not self._waiting and self._inward >= 0:
            try:
                block = os.read(self._inward, BLOCK)
            except BlockingIOError:
                return False
            if not block:
                os.close(self._inward)
                self._inward = -1
                return True
            self._waiting = memoryview(block)
            moved = True
        if self._waiting and self._outward >= 0:
            try:
                written = os.write(self._outward, self._waiting)
            except BlockingIOError:
                return False
            except BrokenPipeError:
                # What the sink thinks of that is in its exit status, which is there in a moment.
                self._is_broken = True
                return False
            self._waiting = self._waiting[written:]
            self._count += written
            moved = True
            self._tell()
        return moved

    def _tell(self) -> None:
        now = time.monotonic()
        if self._told and now - self._told_at >= TOLD:
            self._told_at = now
            self._told(self._count)

    def _wait(self) -> None:
        """Until something can be moved or is said; a process that ends is noticed by its closed pipes."""
        poll = select.poll()
        for descriptor in self._ears:
            poll.register(descriptor, select.POLLIN)
        if self._waiting and not self._is_broken:
            poll.register(self._outward, select.POLLOUT)
        elif not self._waiting and self._inward >= 0:
            poll.register(self._inward, select.POLLIN)
        poll.poll(int(POLL * 1000) if self._ears else 20)

    def _listen(self) -> None:
        """Take what the commands have said besides the stream."""
        for descriptor, (side, name) in list(self._ears.items()):
            # All of it: of a program that has ended, nobody comes back for the rest.
            try:
                while block := os.read(descriptor, 65536):
                    side.hear(name, block)
                del self._ears[descriptor]
            except BlockingIOError:
                continue

    # -- when it is over -----------------------------------------------------------------------------

    def finish(self) -> int:
        """Check both statuses; a file becomes whole."""
        sides, self._sides = self._sides, []
        for side, result in [(side, side.end()) for side in sides]:
            if result.code not in side.command.ok_codes:
                self._remove_draft()
                raise CommandFailed(side.command, result)
        if self._draft:
            os.rename(self._draft, self._target)
            self._draft = ""
        if self._told:
            self._told(self._count)
        return self._count

    def break_off(self) -> None:
        """End both sides, the sink before its input ends; a file goes."""
        for side in reversed(self._sides):
            if side.process.poll() is None:
                side.process.kill_group()
        self._remove_draft()

    def _remove_draft(self) -> None:
        if self._draft:
            with contextlib.suppress(OSError):
                os.unlink(self._draft)

    def _close_outward(self) -> None:
        if self._outward >= 0:
            if self._draft:
                os.fsync(self._outward)
            os.close(self._outward)
            self._outward = -1

    def close(self) -> None:
        for side in self._sides:
            # What was interrupted from outside has not been told yet.
            side.end()
        for descriptor in (self._inward, self._outward):
            if descriptor >= 0:
                os.close(descriptor)


def _open_source(host: LocalHost, source: FileSource) -> int:
    """The opened file. Raises OSError where it is a link or a device."""
    path = host.path(source.path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{source.path} is not a plain file.")
    return descriptor
