"""This machine as a host: FreeBSD itself, or a lab below a root folder."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar

from bhype.freebsd.command import Command, Query
from bhype.host.errors import CommandFailed, CommandStopped, CommandTimeout, Result
from bhype.host.files import Files
from bhype.host.process import NULL, PIPE, Process, spawn

if TYPE_CHECKING:
    from bhype.host.pipeline import FileSink, FileSource

T = TypeVar("T")

# What is kept of a stream for a person to read; of an answer that is parsed, all must be there.
KEPT = 1 << 20
KEPT_OF_ANSWER = 64 << 20
POLL = 0.2
# A program that ended may have left children with its pipes; they are not waited for.
LINGER = 1.0


class Listener(Protocol):
    """Hears of every command while it runs. ``stream`` is "stdout" or "stderr", ``line`` has no line end."""

    def started(self, command: Command) -> None: ...
    def output(self, stream: str, line: str) -> None: ...
    def finished(self, command: Command, result: Result) -> None: ...


class Host(Protocol):
    """Where commands run and files lie; paths are FreeBSD's absolute ones."""

    root: str

    def run(self, command: Command, *, heard: Callable[[str], None] | None = ...) -> Result: ...
    def pipe(
        self,
        source: Command | FileSource,
        sink: Command | FileSink,
        told: Callable[[int], None] | None = ...,
    ) -> int: ...
    def query(self, query: Query[T]) -> T: ...
    def lend(self, descriptor: int) -> None: ...
    def lent(self, descriptor: int) -> AbstractContextManager[None]: ...
    def spawn(
        self, command: Command, *, stdin: int = ..., stdout: int = ..., stderr: int = ...
    ) -> Process: ...
    def path(self, path: str) -> str: ...
    def read_text(self, path: str) -> str: ...
    def write_text(self, path: str, text: str, mode: int = ...) -> None: ...
    def copy(self, source: str, target: str, mode: int = ...) -> None: ...
    def exists(self, path: str) -> bool: ...
    def size(self, path: str) -> int: ...
    def listdir(self, path: str) -> list[str]: ...
    def makedirs(self, path: str, mode: int = ...) -> None: ...
    def unlink(self, path: str) -> None: ...


class LocalHost(Files):
    """root: the folder that stands for FreeBSD's /; listener: hears what runs; should_stop: asked several
    times a second while a command runs, True kills it; leashed: a command that is waited for dies with this
    process, even by SIGKILL; patience: multiplies the time that a command may take."""

    def __init__(
        self,
        root: str = "/",
        *,
        listener: Listener | None = None,
        should_stop: Callable[[], bool] | None = None,
        leashed: bool = False,
        patience: float = 1.0,
    ) -> None:
        self.root = os.path.abspath(root)
        self._leashed = leashed
        self.patience = patience
        self.listener = listener
        self.should_stop = should_stop
        self._lent: tuple[int, ...] = ()

    def lend(self, descriptor: int) -> None:
        """From now on every command that is waited for has this open, too: a lock of flock(2) is free only when the
        last of them has ended, even if this process was killed before."""
        self._lent = (*self._lent, descriptor)

    @contextlib.contextmanager
    def lent(self, descriptor: int) -> Iterator[None]:
        """`lend` it to the commands of this block."""
        before = self._lent
        self.lend(descriptor)
        try:
            yield
        finally:
            self._lent = before

    def run(self, command: Command, *, heard: Callable[[str], None] | None = None) -> Result:
        """Run to the end; ``heard`` gets its output piece by piece, also what stands before a line's end.

        Raises CommandFailed, CommandTimeout or CommandStopped.
        """
        return self._run(command, KEPT, heard) if heard else self._run(command, KEPT)

    def pipe(
        self,
        source: Command | FileSource,
        sink: Command | FileSink,
        told: Callable[[int], None] | None = None,
    ) -> int:
        """Let ``source`` write what ``sink`` reads, see bhype.host.pipeline. Returns the count of bytes."""
        from bhype.host import pipeline  # a supervisor does not need it

        return pipeline.pipe(self, source, sink, told)

    def start(self, command: Command, *, stdin: int | None = None) -> Process:
        """Start one side of a pipe: its output is PIPE, and its input where asked. Raises CommandFailed."""
        return spawn(
            command,
            self._argv(command),
            stdin=NULL if stdin is None else stdin,
            stdout=PIPE,
            stderr=PIPE,
            leashed=self._leashed,
        )

    def query(self, query: Query[T]) -> T:
        """Ask the host. Raises as run() does, and ParseError when the answer is not understood."""
        result = self._run(query.command, KEPT_OF_ANSWER)
        if result.truncated:
            raise CommandFailed(
                query.command, result, f"{query.command.argv[0]} answered more than can be read."
            )
        return query.parse(result.stdout)

    def spawn(
        self, command: Command, *, stdin: int = NULL, stdout: int = NULL, stderr: int = NULL
    ) -> Process:
        """Start a child that goes on by itself, in a session of its own. Raises CommandFailed."""
        return spawn(command, self._argv(command), stdin=stdin, stdout=stdout, stderr=stderr)

    def _argv(self, command: Command) -> list[str]:
        program = command.argv[0] if command.native else self.path(command.argv[0])
        return [program, *command.argv[1:]]

    def _run(self, command: Command, kept: int, heard: Callable[[str], None] | None = None) -> Result:
        command = command.with_timeout(command.timeout * self.patience)
        if self.listener:
            self.listener.started(command)
        start = time.monotonic()
        running = _Running(command, self.listener, kept, heard)
        try:
            process = spawn(
                command,
                self._argv(command),
                stdin=NULL if command.stdin is None else PIPE,
                stdout=PIPE,
                stderr=PIPE,
                leashed=self._leashed,
                lent=self._lent,
            )
        except CommandFailed as error:
            if self.listener:
                self.listener.finished(command, error.result)
            raise
        failure: type[CommandTimeout | CommandStopped] | None = None
        try:
            failure = running.attend(process, start + command.timeout, self.should_stop)
        finally:
            # Also when the worker itself is interrupted: nothing goes on unseen.
            if process.poll() is None or failure:
                process.kill_group()
            running.close(process)
        result = running.result(process.wait() or 0, time.monotonic() - start)
        if self.listener:
            self.listener.finished(command, result)
        if failure:
            raise failure(command, result)
        if result.code not in command.ok_codes:
            raise CommandFailed(command, result)
        return result


class _Running:
    """The streams of one running command: fed and drained together, so that no full pipe can block it."""

    def __init__(
        self, command: Command, listener: Listener | None, kept: int, heard: Callable[[str], None] | None
    ) -> None:
        self._listener = listener
        self._heard = heard
        self._tails = {"stdout": Tail(kept), "stderr": Tail(kept)}
        self._input = memoryview(command.stdin or b"")
        self._selector = selectors.DefaultSelector()

    def attend(
        self, process: Process, deadline: float, should_stop: Callable[[], bool] | None
    ) -> type[CommandTimeout | CommandStopped] | None:
        """Serve the streams until the process has ended, is late or is to be stopped."""
        pipes = process.pipes
        for name, stream in (("stdin", pipes.stdin), ("stdout", pipes.stdout), ("stderr", pipes.stderr)):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                event = selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ
                self._selector.register(stream.fileno(), event, (name, stream))
        asked = ended = 0.0
        while self._selector.get_map():
            now = time.monotonic()
            if now >= deadline:
                return CommandTimeout
            if should_stop and now - asked >= POLL:
                asked = now
                if should_stop():
                    return CommandStopped
            if process.poll() is not None:
                ended = ended or now
                if now - ended > LINGER:
                    return None
            for key, _ in self._selector.select(min(POLL, deadline - now)):
                self._serve(*key.data)
        while process.wait(POLL) is None:
            if time.monotonic() >= deadline:
                return CommandTimeout
            if should_stop and should_stop():
                return CommandStopped
        return None

    def _serve(self, name: str, stream: object) -> None:
        descriptor: int = stream.fileno()  # type: ignore[attr-defined]
        try:
            if name == "stdin":
                written = os.write(descriptor, self._input[:65536]) if self._input else 0
                self._input = self._input[written:]
                done = not self._input
            else:
                block = os.read(descriptor, 65536)
                if self._heard and block:
                    self._heard(_text(block))
                self._tell(name, self._tails[name].add(block))
                done = not block
        except BlockingIOError:
            return
        except BrokenPipeError:
            # The program did not want its input; what it thinks of that is in its exit status.
            done = True
        if done:
            self._selector.unregister(descriptor)
            stream.close()  # type: ignore[attr-defined]

    def _tell(self, name: str, lines: list[bytes]) -> None:
        if self._listener:
            for line in lines:
                self._listener.output(name, _text(line).rstrip("\r"))

    def close(self, process: Process) -> None:
        """Let go of the pipes and pass on unfinished last lines."""
        pipes = process.pipes
        for stream in (pipes.stdin, pipes.stdout, pipes.stderr):
            if stream is not None and not stream.closed:
                # Nothing is buffered in these streams: they are used by descriptor only.
                stream.close()
        self._selector.close()
        for name, tail in self._tails.items():
            self._tell(name, tail.rest())

    def result(self, code: int, seconds: float) -> Result:
        out, err = self._tails["stdout"], self._tails["stderr"]
        return Result(code, out.text(), err.text(), seconds, out.truncated or err.truncated)


class Tail:
    """The last ``kept`` bytes of a stream, and its lines as they become complete."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._bytes = bytearray()
        self._line = b""
        self.truncated = False

    def add(self, block: bytes) -> list[bytes]:
        self._bytes += block
        if len(self._bytes) > 2 * self._kept:
            self._cut()
        *lines, self._line = (self._line + block).split(b"\n")
        if len(self._line) > 65536:
            # A program that writes no line ends must not fill the memory.
            lines.append(self._line)
            self._line = b""
        return lines

    def rest(self) -> list[bytes]:
        line, self._line = self._line, b""
        return [line] if line else []

    def text(self) -> str:
        if len(self._bytes) > self._kept:
            self._cut()
        return _text(bytes(self._bytes))

    def _cut(self) -> None:
        del self._bytes[: -self._kept]
        self.truncated = True


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
