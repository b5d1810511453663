"""flock(2): a lock of a file belongs to its open description, and so to all processes that have it open."""

from __future__ import annotations

import fcntl
import time

# Seconds: how long the commands of a process that was killed may still be at work.
COMMANDS_WITHIN = 30.0
POLL = 0.02


def hold(descriptor: int, within: float = 0.0) -> bool:
    """Lock an open file; False when another had it for all of ``within`` seconds. Raises OSError."""
    deadline = time.monotonic() + within
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL)
        else:
            return True
