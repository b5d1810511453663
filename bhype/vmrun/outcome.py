"""What the end of a bhyve means for its VM. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bhype.freebsd.bhyve import ExitStatus, meaning

# The states of a VM, as they stand in state.json.
STARTING, RUNNING, STOPPING = "starting", "running", "stopping"
STOPPED, FAILED, CRASHED = "stopped", "failed", "crashed"
ON = frozenset({STARTING, RUNNING, STOPPING})

# A guest that reboots more often than this within the time is not going to come up.
REBOOTS = 10
WITHIN = 60.0
# A guest that ran shorter than this is given a little more time before each further start.
SHORT = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

# Written by healthy runs, too.
_NOISE = re.compile(r"(rdmsr|wrmsr) (to|from) register|fbuf frame buffer base")


@dataclass(frozen=True, slots=True)
class Outcome:
    """state: STOPPED, FAILED or CRASHED; reason: a sentence for people."""

    state: str
    reason: str


def judge(code: int | None, said: str, *, asked: bool = False, forced: bool = False) -> Outcome:
    """code: bhyve's exit status, minus a signal, or None when nobody knows; said: its stderr of this run;
    asked: somebody wanted it to stop; forced: by pulling the plug."""
    if forced:
        return Outcome(STOPPED, "It was powered off.")
    if asked and code == -15:
        return Outcome(STOPPED, "It was ended at once: its system does not listen to the power button.")
    if code is None:
        return Outcome(STOPPED if asked else CRASHED, "bhyve ended while nobody watched how.")
    if code == ExitStatus.POWEROFF and "Usage: bhyve [" in said:
        return Outcome(FAILED, "bhyve refused its command line.")
    if asked or code in {ExitStatus.REBOOT, ExitStatus.POWEROFF, ExitStatus.HALT}:
        return Outcome(STOPPED, meaning(code))
    # Shells and abort(3) report a signal as 128 and its number.
    state = CRASHED if code < 0 or code > 128 else FAILED
    return Outcome(state, meaning(code) + _last_words(said, code))


def _last_words(said: str, code: int) -> str:
    if code == ExitStatus.TRIPLE_FAULT:
        return ""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _NOISE.match(line.strip())]
    return f" It said: {lines[-1]}" if lines else ""


class Reboots:
    """Counts a guest's reboots, to tell how long to wait before the next and when to give up."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._short = 0

    def pause(self, now: float, ran: float) -> float | None:
        """Seconds to wait before the guest is started again, or None when it rebooted too often."""
        self._times = [time for time in self._times if now - time < WITHIN] + [now]
        if len(self._times) > REBOOTS:
            return None
        self._short = self._short + 1 if ran < SHORT else 0
        return float(min(_FIRST_PAUSE * 2 ** (self._short - 1), _LONGEST_PAUSE)) if self._short else 0.0
