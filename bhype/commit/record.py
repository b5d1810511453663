"""What is written down of a change, and the lock that lets one process at a time decide on it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bhype.freebsd.command import Command
from bhype.host import Host
from bhype.host.locks import COMMANDS_WITHIN, hold

from . import clock

FOLDER = "/var/db/bhype/commit"
SHORTEST, LONGEST = 1, 3600
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


class Busy(Exception):
    """A change of this name waits for its confirmation."""


class NoChange(Exception):
    """There is nothing that waits for a confirmation."""


class TooLate(Exception):
    """The change has been taken back, or is being taken back."""


class Overtaken(TooLate):
    """Somebody else changed meanwhile what would be replaced: it can only be taken back."""


class State:
    """How far a change is. WAITING: for its confirmation; KEEPING, UNDOING: it is decided and being done."""

    WAITING, KEEPING, CONFIRMED = "waiting", "keeping", "confirmed"
    UNDOING, REVERTED = "undoing", "reverted"
    ENDED = frozenset({CONFIRMED, REVERTED})


@dataclass(frozen=True, slots=True)
class Move:
    """A step that renames a file of the host over another. Done already when only ``target`` is there.

    over: SHA-256 of what ``target`` must hold when the change is confirmed, "" for whatever it holds.
    """

    source: str
    target: str
    over: str = ""

    def is_overtaken(self, host: Host) -> bool:
        """Whether another content than the expected one would be lost. Raises OSError."""
        if not self.over or not os.path.exists(host.path(self.source)):
            return False
        with open(host.path(self.target), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != self.over

    def run(self, host: Host) -> None:
        source, target = host.path(self.source), host.path(self.target)
        try:
            os.replace(source, target)
        except FileNotFoundError:
            if not os.path.exists(target):
                raise


Step = Command | Move


@dataclass(frozen=True, slots=True)
class Change:
    """A change that waits, or what has come of the last one.

    note: the caller's, to know it again; ends_at: seconds since 1970, for people; deadline: of the monotonic clock of
    ``boot``; reason: why it was taken back, a sentence; problem: why the decided steps could not be run yet.
    """

    name: str
    note: str
    state: str
    seconds: int
    ends_at: float
    boot: str
    deadline: float
    undo: tuple[dict[str, Any], ...]
    keep: tuple[dict[str, Any], ...] = ()
    reason: str = ""
    problem: str = ""

    @property
    def has_ended(self) -> bool:
        return self.state in State.ENDED

    @property
    def is_of_this_boot(self) -> bool:
        # Where the kernel does not name its boots: a clock that stands before the change began was started anew.
        return self.boot == clock.boot() and clock.now() >= self.deadline - self.seconds

    @property
    def remaining(self) -> float:
        """Seconds left to confirm it; 0 when it is too late."""
        if self.state != State.WAITING or not self.is_of_this_boot:
            return 0.0
        return max(0.0, self.deadline - clock.now())


def new(name: str, undo: Sequence[Step], keep: Sequence[Step], seconds: int, note: str) -> Change:
    """A change that begins to wait now. Raises ValueError."""
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f"a change waits {SHORTEST} to {LONGEST} seconds for its confirmation")
    return Change(
        name, note, State.WAITING, seconds, time.time() + seconds, clock.boot(), clock.now() + seconds,
        tuple(_data(step) for step in undo), tuple(_data(step) for step in keep),
    )  # fmt: skip


def _data(step: Step) -> dict[str, Any]:
    if isinstance(step, Move):
        return {"move": [step.source, step.target, step.over]}
    if step.stdin is not None or step.native:
        raise ValueError("a step of a change has no input and is a command of the host")
    return {"argv": list(step.argv), "timeout": step.timeout, "ok": sorted(step.ok_codes)}


def overtaken(host: Host, change: Change) -> str:
    """The file that somebody has changed since the change was begun, "" for none. Raises OSError."""
    moves = [Move(*step["move"]) for step in change.keep if "move" in step]
    return next((move.target for move in moves if move.is_overtaken(host)), "")


def run(host: Host, step: dict[str, Any]) -> None:
    """Run a step. Raises CommandError and OSError."""
    if "move" in step:
        Move(*step["move"]).run(host)
    else:
        host.run(Command(tuple(step["argv"]), timeout=step["timeout"], ok_codes=frozenset(step["ok"])))


def path(name: str, kind: str) -> str:
    """FreeBSD's path of a file of the change. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a change")
    return f"{FOLDER}/{name}.{kind}"


def names(host: Host) -> list[str]:
    return [file.removesuffix(".json") for file in host.listdir(FOLDER) if file.endswith(".json")]


def read(host: Host, name: str) -> Change | None:
    """The change of this name, waiting or ended. A file that is not ours to understand counts as none."""
    try:
        data = json.loads(host.read_text(path(name, "json")))
        return Change(**data | {"undo": tuple(data["undo"]), "keep": tuple(data["keep"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(host: Host, change: Change, **values: Any) -> Change:
    """Write the change with new ``values``, as a whole. Raises OSError."""
    change = replace(change, **values)
    host.write_text(path(change.name, "json"), json.dumps(asdict(change)) + "\n", 0o600)
    return change


@contextlib.contextmanager
def locked(host: Host, name: str, kind: str = "lock", *, wait: bool = True) -> Iterator[None]:
    """Hold a lock of the change; it goes with the process. Raises BlockingIOError when it is not waited for."""
    descriptor = _open(host, name, kind)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def commands(host: Host, name: str) -> Iterator[None]:
    """While commands of the change run. The caller holds its lock, but that goes with the process, and a command that
    this was killed over may still be at work: each holds a second lock, which is waited for here; not for ever, should
    one hang, such as pfctl(8) for the name of a host."""
    descriptor = _open(host, name, "commands")
    try:
        hold(descriptor, COMMANDS_WITHIN)
        with host.lent(descriptor):
            yield
    finally:
        # For all who have it open: what a command has left behind is not waited for.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _open(host: Host, name: str, kind: str) -> int:
    host.makedirs(FOLDER, 0o700)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(host.path(path(name, kind)), flags, 0o600)
