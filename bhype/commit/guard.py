"""The guard of a change: waits for its end, and at the deadline takes it back."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import replace

from bhype.host import CommandError, Host

from . import changes, record
from .record import State

POLL = 0.5
# Steps that fail are tried again after so many seconds, the last pause again and again.
PAUSES = (1, 2, 5, 10, 30, 60)
IN_TIME = "Nobody confirmed it in time."
BOOTED = "The host was started anew before it was confirmed."


def start(host: Host, name: str) -> int:
    """Guard the change from a process of its own, a child of nobody's. Returns once it does: 0, or 1 with a reason."""
    heard, told = os.pipe()
    if os.fork() == 0:
        # A session of its own, and in it no leader: it can never get a terminal, nor anybody's signals.
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.close(heard)
        os._exit(_background(host, name, told))
    os.close(told)
    os.wait()
    with open(heard, encoding="utf-8", errors="replace") as pipe:
        if pipe.read() == "ok":
            return 0
    print("The guard of the change died at once.", file=sys.stderr)
    return 1


def _background(host: Host, name: str, told: int) -> int:
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    try:
        with record.locked(host, name, "guard", wait=False):
            _say_ok(told)
            guard(host, name)
            return 0
    except BlockingIOError:
        _say_ok(told)
    # The last change's guard may need a moment to see that it is over, or goes on with this one.
    with record.locked(host, name, "guard"):
        guard(host, name)
    return 0


def _say_ok(told: int) -> None:
    # Who waited for it may have been killed; that changes nothing.
    with contextlib.suppress(BrokenPipeError):
        os.write(told, b"ok")
    os.close(told)


def guard(host: Host, name: str) -> None:
    """Wait until the change has ended, and end it when its time is over."""
    failures = 0
    while True:
        change = record.read(host, name)
        if change is None or change.has_ended:
            return
        if change.remaining:
            time.sleep(min(POLL, change.remaining))
            continue
        try:
            with record.locked(host, name):
                end(host, name)
        except (CommandError, OSError):
            # The change tells it; a host where pf(4) is being loaded may need a moment.
            time.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1


def end(host: Host, name: str) -> None:
    """Take back what nobody confirmed, and finish what is decided. The caller holds the lock."""
    change = record.read(host, name)
    if change is None or change.remaining:
        return
    if change.state == State.WAITING:
        reason = IN_TIME if change.is_of_this_boot else BOOTED
        change = replace(change, state=State.UNDOING, reason=reason)
        # A full disk keeps nothing from coming back: it is too late to confirm it already, written down or not.
        with contextlib.suppress(OSError):
            record.write(host, change)
    changes.finish(host, change)
