"""What the end of a bhyve means for its VM. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bhype.freebsd.bhyve import ExitStatus, meaning

# The states of a VM, as they stand in state.json.
STARTING, RUNNING, STOPPING = "starting", "running", "stopping"
STOPPED, FAILED, CRASHED = "stopped", "failed", "crashed"
ON = frozenset({STARTING, RUNNING, STOPPING})

# A guest that ran shorter than this is given a little more time before each further start.
SHORT = 10.0

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
    if code == ExitStatus.POWEROFF and "is swtpm running?" in said:
        # It asks so in the same breath as it exits (usr.sbin/bhyve/tpm_emul_swtpm.c).
        return Outcome(CRASHED, "bhyve ended because the TPM emulator did.")
    if asked or code in {ExitStatus.REBOOT, ExitStatus.POWEROFF, ExitStatus.HALT}:
        return Outcome(STOPPED, meaning(code))
    # Shells and abort(3) report a signal as 128 and its number.
    state = CRASHED if code < 0 or code > 128 else FAILED
    return Outcome(state, meaning(code) + ("" if code == ExitStatus.TRIPLE_FAULT else last_words(said)))


def last_words(said: str) -> str:
    """The last line of a program that failed, as the end of a message; "" when it said nothing."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _NOISE.match(line.strip())]
    return f" It said: {lines[-1]}" if lines else ""


@dataclass(frozen=True, slots=True)
class Patience:
    """How a guest is started again. limit: how often within ``within`` seconds, None: without end; delay:
    seconds to wait first, doubled up to ``longest`` while it does not even run for a while."""

    limit: int | None = 10
    within: float = 60.0
    delay: float = 0.05
    longest: float = 1.0


class Restarts:
    """Counts the starts of a guest, to tell how long to wait before the next and when to give up."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._times: list[float] = []
        self._short = 0

    def pause(self, now: float, ran: float) -> float | None:
        """Seconds to wait before the guest is started again, or None when that happened too often."""
        patience = self.patience
        self._times = [time for time in self._times if now - time < patience.within] + [now]
        if patience.limit is not None and len(self._times) > patience.limit:
            return None
        self._short = self._short + 1 if ran < SHORT else 0
        # Beyond some doublings it is the longest pause anyway.
        return float(min(patience.delay * 2 ** min(max(0, self._short - 1), 20), patience.longest))

    @property
    def too_often(self) -> str:
        """The end of a sentence."""
        return f"more than {self.patience.limit} times within {self.patience.within:g} s"
