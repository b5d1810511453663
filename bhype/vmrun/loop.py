"""One thread that waits for descriptors, times and signals."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable

Action = Callable[[], None]


class Loop:
    """Callbacks are registered in ``selector`` with ``data=callable(mask)``, and by name in time."""

    def __init__(self, hears: dict[int, Action]) -> None:
        """hears: what to do on signals."""
        self.selector = selectors.DefaultSelector()
        self.ended = False
        self._timers: dict[str, tuple[float, Action]] = {}
        self._hears = hears
        self._heard, woken = os.pipe()
        for descriptor in (self._heard, woken):
            os.set_blocking(descriptor, False)
        # Python's handlers do nothing: the number in the pipe wakes the selector and is acted upon there.
        for number in (*hears, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        self.selector.register(self._heard, selectors.EVENT_READ, self._hear)

    def later(self, name: str, seconds: float, action: Action) -> None:
        """Call ``action`` once in ``seconds``; a timer of the same name is replaced."""
        self._timers[name] = (time.monotonic() + seconds, action)

    def cancel(self, *names: str) -> None:
        for name in names:
            self._timers.pop(name, None)

    def cancel_all(self) -> None:
        self._timers.clear()

    def turn(self, idle: float) -> None:
        """Wait for something, at most ``idle`` seconds; serve what has happened, then what is due."""
        now = time.monotonic()
        due = min((when for when, _ in self._timers.values()), default=now + idle)
        for key, mask in self.selector.select(max(0.0, min(due - now, idle))):
            # An earlier callback of this turn may have closed it.
            if not self.ended and self.selector.get_map().get(key.fileobj) is key:
                key.data(mask)
        now = time.monotonic()
        for name, timer in tuple(self._timers.items()):
            if not self.ended and timer[0] <= now and self._timers.get(name) is timer:
                del self._timers[name]
                timer[1]()

    def _hear(self, _mask: int) -> None:
        for number in os.read(self._heard, 64):
            if number in self._hears and not self.ended:
                self._hears[number]()
