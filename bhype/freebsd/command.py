"""A FreeBSD command as data: an argv, and for a question also the function that reads its answer.

Standard library only and no I/O: whatever runs a command lives in ``bhype.host``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")


class ParseError(ValueError):
    """The output of a command is not what its manual promises. Names the line."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command, ready to run without a shell.

    argv: the absolute path of the program as FreeBSD has it, then its arguments, each one word.
    stdin: bytes for its standard input; never shown in a log.
    ok_codes: exit statuses that mean success.
    timeout: seconds before the whole process group is killed.
    native: the program belongs to bHype itself and is not looked up below the host's root.
    """

    argv: tuple[str, ...]
    stdin: bytes | None = None
    ok_codes: frozenset[int] = frozenset({0})
    timeout: float = 30.0
    native: bool = False

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0].startswith("/"):
            raise ValueError(f"a command starts with the absolute path of a program: {self.argv!r}")
        for word in self.argv:
            if "\0" in word:
                raise ValueError(f"a NUL in an argument of {self.argv[0]}")

    def with_timeout(self, seconds: float) -> Command:
        return replace(self, timeout=seconds)


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """A command that changes nothing, and the function that reads its standard output."""

    command: Command
    parse: Callable[[str], T]
