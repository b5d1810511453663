"""Beginning, confirming and taking back a change."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from bhype.freebsd.command import Command
from bhype.host import CommandError, Host

from . import record
from .record import Busy, Change, NoChange, Overtaken, State, Step, TooLate


def begin(
    host: Host, name: str, undo: Sequence[Step], seconds: int, *, keep: Sequence[Step] = (), note: str = ""
) -> Change:
    """Write down how to go back, and have it guarded for ``seconds``; only then change anything.

    Raises Busy, ValueError, OSError, and CommandError when no guard could be started: nothing is begun then.
    """
    with record.locked(host, name):
        current = record.read(host, name)
        if current is not None and not current.has_ended:
            raise Busy(_busy(current))
        change = record.write(host, record.new(name, undo, keep, seconds, note))
        try:
            host.run(_guard(host, name))
        except CommandError:
            host.unlink(record.path(name, "json"))
            raise
    return change


def _busy(change: Change) -> str:
    if change.state == State.WAITING:
        return "There is a change that waits for its confirmation. Confirm it or take it back first."
    doing = "made to last" if change.state == State.KEEPING else "taken back"
    return f"The last change is still being {doing}{f': {change.problem}' if change.problem else '.'}"


@contextlib.contextmanager
def changing(host: Host, name: str) -> Iterator[Change]:
    """While the host is changed: the deadline waits for it, so that going back always comes after. A failure inside
    takes the change back. Raises TooLate when that has begun already."""
    try:
        with record.locked(host, name):
            change = record.read(host, name)
            if change is None or change.state != State.WAITING:
                raise TooLate("The change has been taken back before it was made.")
            with record.commands(host, name):
                yield change
    except TooLate:
        raise
    except BaseException as error:
        # Also when a worker is told to end. If this fails as well, the guard does it at the deadline.
        with contextlib.suppress(CommandError, OSError, NoChange):
            revert(host, name, f"It could not be made: {error}")
        raise


def confirm(host: Host, name: str, note: str | None = None) -> Change:
    """Keep the change. note: only if it is this one. Raises NoChange, TooLate, Overtaken; CommandError and
    OSError when a step of ``keep`` fails: it stays confirmed, and the step is tried again by the guard."""
    with record.locked(host, name):
        change = _find(host, name, note)
        if change.state in {State.UNDOING, State.REVERTED}:
            raise TooLate(f"What was before comes back. {change.reason}")
        if change.state == State.WAITING and not change.remaining:
            raise TooLate("The time to confirm it is over: what was before comes back.")
        if change.state == State.WAITING:
            if path := record.overtaken(host, change):
                raise Overtaken(f"{path} was changed meanwhile. Take this back, then begin again.")
            change = record.write(host, change, state=State.KEEPING)
        return finish(host, change)


def revert(host: Host, name: str, reason: str = "It was taken back.", note: str | None = None) -> Change:
    """Take the change back now. Raises NoChange when there is none or it is confirmed; CommandError and OSError when a
    step of ``undo`` fails: the guard goes on trying."""
    with record.locked(host, name):
        change = _find(host, name, note)
        if change.state in {State.KEEPING, State.CONFIRMED}:
            raise NoChange("It is confirmed already.")
        if change.state == State.WAITING:
            change = record.write(host, change, state=State.UNDOING, reason=reason)
        return finish(host, change)


def _find(host: Host, name: str, note: str | None) -> Change:
    change = record.read(host, name)
    if change is None or (note is not None and change.note != note):
        raise NoChange("There is no change that waits for a confirmation.")
    return change


def finish(host: Host, change: Change) -> Change:
    """Run the steps of what is decided. The caller holds the lock. Raises CommandError, OSError."""
    if change.state not in {State.KEEPING, State.UNDOING}:
        return change
    is_kept = change.state == State.KEEPING
    try:
        with record.commands(host, change.name):
            for step in change.keep if is_kept else change.undo:
                record.run(host, step)
    except (CommandError, OSError) as error:
        record.write(host, change, problem=str(error))
        raise
    return record.write(host, change, state=State.CONFIRMED if is_kept else State.REVERTED, problem="")


def look(host: Host, name: str) -> Change | None:
    """The change of this name: the one that waits, or what has come of the last one."""
    return record.read(host, name)


def everything(host: Host) -> list[Change]:
    """The newest change of each name, waiting or ended."""
    found = (record.read(host, name) for name in record.names(host))
    return [change for change in found if change is not None]


def pending(host: Host) -> list[Change]:
    """The changes that wait for a confirmation, or are decided and not done yet."""
    return [change for change in everything(host) if not change.has_ended]


def watch(host: Host) -> list[Change]:
    """Give every change that lost its guard a new one, and return those. Raises CommandError, OSError."""
    lonely = [change for change in pending(host) if not _is_guarded(host, change.name)]
    for change in lonely:
        host.run(_guard(host, change.name))
    return lonely


def _is_guarded(host: Host, name: str) -> bool:
    try:
        with record.locked(host, name, "guard", wait=False):
            return False
    except BlockingIOError:
        return True


def _guard(host: Host, name: str) -> Command:
    program = os.path.dirname(os.path.abspath(__file__))
    argv = (sys.executable, "-S", "-E", program, "--root", host.root, "guard", name)
    return Command(argv, native=True, timeout=30)
