"""How long to wait after failed sign-ins. Knows no Django: authd uses it too.

The first failures cost nothing. From the limit on, each failure locks for twice as long as the one before, up
to 15 minutes. A key is forgotten after 15 minutes without an attempt.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

# Failures before the first wait. Many people may share an address, nobody shares a name.
USER_LIMIT = 5
ADDRESS_LIMIT = 20
FIRST_WAIT = 30.0
LONGEST_WAIT = 900.0
# Seconds of quiet after which a key is forgotten.
MEMORY = 900.0


def limit_of(key: str) -> int:
    return USER_LIMIT if key.startswith("user:") else ADDRESS_LIMIT


def wait_after(failures: int, seconds_ago: float, limit: int) -> float:
    """Seconds still to wait after so many failures of which the last was so long ago."""
    if failures < limit or seconds_ago >= MEMORY:
        return 0.0
    doublings = min(failures - limit, 10)
    wait: float = min(FIRST_WAIT * 2**doublings, LONGEST_WAIT)
    return max(0.0, wait - max(0.0, seconds_ago))


def count_failure(failures: int, seconds_ago: float) -> int:
    """The count after one more failure."""
    return 1 if seconds_ago >= MEMORY else failures + 1


def take_back(failures: int, limit: int) -> tuple[int, float]:
    """The count after an attempt that was no failure after all, and how long ago its last failure then counts
    as, so that the wait that this attempt had sat out is not imposed again."""
    return failures - 1, wait_after(failures - 1, 0.0, limit)


class Throttle:
    """Counts failures in memory, at most ``capacity`` keys; the longest unused are dropped first."""

    def __init__(self, capacity: int = 4096, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def wait(self, *keys: str) -> float:
        """Seconds to wait before another attempt with these keys; 0.0 when it may go on."""
        now = self._clock()
        waits = [0.0]
        for key in keys:
            count, last = self._failures.get(key, (0, 0.0))
            waits.append(wait_after(count, now - last, limit_of(key)))
        return max(waits)

    def fail(self, *keys: str) -> None:
        """Count a failure. Called before the password is checked, so that parallel guesses count as well."""
        now = self._clock()
        for key in keys:
            count, last = self._failures.pop(key, (0, now))
            self._failures[key] = (count_failure(count, now - last), now)
        while len(self._failures) > self._capacity:
            self._failures.popitem(last=False)

    def take_back(self, *keys: str) -> None:
        """Undo one count: the attempt was no failure."""
        for key in keys:
            count, last = self._failures.get(key, (0, 0.0))
            if count > 1:
                count, ago = take_back(count, limit_of(key))
                self._failures[key] = (count, last - ago)
            else:
                self._failures.pop(key, None)

    def forget(self, *keys: str) -> None:
        for key in keys:
            self._failures.pop(key, None)
