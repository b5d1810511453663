"""What a command answered, and the ways in which it can fail. Messages are sentences for people."""

from __future__ import annotations

from dataclasses import dataclass

from bhype.freebsd.command import Command


@dataclass(frozen=True, slots=True)
class Result:
    """code: exit status, or minus the signal that ended it; stdout, stderr: the last MiB of each, decoded;
    seconds: how long it ran; truncated: output was longer than what is kept."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    truncated: bool = False


class CommandError(Exception):
    """A command did not do its work."""

    def __init__(self, command: Command, result: Result, sentence: str) -> None:
        super().__init__(sentence)
        self.command = command
        self.result = result


class CommandFailed(CommandError):
    """The command ended with a status that does not mean success, or could not be started (code 127)."""

    def __init__(self, command: Command, result: Result, sentence: str = "") -> None:
        super().__init__(command, result, sentence or _sentence(command, result))


class CommandTimeout(CommandError):
    """The command ran longer than its timeout; it and all its children were killed."""

    def __init__(self, command: Command, result: Result) -> None:
        super().__init__(
            command,
            result,
            f"{command.argv[0]} did not end within {command.timeout:g} s and was killed{_said(result)}",
        )


class CommandStopped(CommandError):
    """Somebody cancelled; the command and all its children were killed."""

    def __init__(self, command: Command, result: Result) -> None:
        super().__init__(command, result, f"{command.argv[0]} was stopped because its task was cancelled.")


def _sentence(command: Command, result: Result) -> str:
    how = (
        f"was killed by signal {-result.code}"
        if result.code < 0
        else f"failed with exit status {result.code}"
    )
    return f"{command.argv[0]} {how}{_said(result)}"


def _said(result: Result) -> str:
    """The last line that the program wrote, for the end of a sentence: bhyvectl(8) complains on stdout."""
    for text in (result.stderr, result.stdout):
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            return f": {lines[-1]}"
    return "."
