"""What a supervisor can be told by its control socket, verb by verb.

status; stop (the power button); poweroff (the plug); reset; restart {timeout}; limits {limits, nice, protect,
rates}; link {device, up}; port {device, port}, which plugs it into another switch. The answer is {"ok", "error",
"state"}; what takes time is begun and seen in the state.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from bhype.freebsd import bhyvectl
from bhype.vmrun import changes, limits, nics, outcome
from bhype.vmrun.config import Document
from bhype.vmrun.control import Answer
from bhype.vmrun.outcome import Outcome, Restarts
from bhype.vmrun.problems import Unfit

if TYPE_CHECKING:
    from bhype.vmrun.supervisor import Supervisor

# What bhyvectl --force-poweroff is given before SIGKILL.
FORCE = 5.0
RESTART = 60.0


class Verbs:
    """Each verb returns None, or why it cannot be done."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._of = supervisor
        self._verbs: dict[str, Callable[[Answer], str | None]] = {
            "status": lambda request: None,
            "stop": self.stop,
            "poweroff": self.poweroff,
            "reset": self.reset,
            "restart": self.restart,
            "limits": self.limits,
            "link": self.link,
            "port": self.port,
        }

    def handle(self, request: Answer) -> Answer:
        """Answer one request."""
        verb = self._verbs.get(str(request.get("verb")))
        error = verb(request) if verb else f"There is no verb {request.get('verb')!r}."
        return {"ok": error is None, "error": error, "state": self._of.state}

    def interrupt(self) -> None:
        """Ctrl-C presses the power button; a second one pulls the plug."""
        self.handle({"verb": "poweroff" if self._of.intent else "stop"})

    def stop(self, request: Answer) -> str | None:
        """Press the power button; a start that is under way, or waited for, is given up."""
        of = self._of
        of.intent = "off"
        of.loop.cancel("restart")
        if of.bhyve is None:
            # After the answer: the end closes the socket. No further step is begun in between.
            verdict = Outcome(outcome.STOPPED, "It was stopped before it started.")
            of.loop.cancel_all()
            of.loop.later("stop", 0.0, lambda: of.finish(verdict, None))
            of.save(state=outcome.STOPPING)
            return None
        of.bhyve.signal(signal.SIGTERM)
        of.save(state=outcome.STOPPING)
        return None

    def poweroff(self, request: Answer) -> str | None:
        """Pull the plug."""
        if self._of.bhyve is None:
            return self.stop(request)
        self._of.intent = "off"
        self._of.save(state=outcome.STOPPING)
        self._pull()
        return None

    def _pull(self) -> None:
        of = self._of
        of.forced = True
        of.help(bhyvectl.force_poweroff(of.config.name))
        of.loop.later("kill", FORCE, lambda: of.bhyve.signal(signal.SIGKILL) if of.bhyve else None)

    def reset(self, request: Answer) -> str | None:
        """Press the reset button."""
        of = self._of
        if of.state["state"] != outcome.RUNNING:
            return f"It is {of.state['state']}, not running."
        of.restarts = Restarts(of.restarts.patience)
        of.help(bhyvectl.force_reset(of.config.name))
        return None

    def restart(self, request: Answer) -> str | None:
        """Press the power button, and after ``timeout`` seconds pull the plug; then start again."""
        of = self._of
        if of.bhyve is None:
            return "It is being started already."
        seconds = request.get("timeout", RESTART)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 3600:
            return "timeout is not a number of seconds up to 3600."
        of.intent = "again"
        of.bhyve.signal(signal.SIGTERM)
        of.save(state=outcome.STOPPING)
        of.loop.later("restart", seconds, self._pull)
        return None

    def limits(self, request: Answer) -> str | None:
        """Other limits for the running guest; what cannot be applied is in the state's warnings."""
        of, before = self._of, self._of.config
        error = self._take(lambda: changes.with_limits(of.selected, request))
        if error:
            return error
        if of.bhyve and of.state["settled"] == of.bhyve.pid:
            of.warnings["limits"] = limits.apply(of.host, of.bhyve.pid, of.config, before)
            rates = [
                new
                for new, old in zip(of.config.devices, before.devices, strict=True)
                if new.is_network and any(new.values.get(key) != old.values.get(key) for key in changes.RATES)
            ]
            if rates:
                of.warnings["network"] = [
                    sentence for device in rates for sentence in nics.reshape(of.host, device)
                ]
        of.save()
        return None

    def link(self, request: Answer) -> str | None:
        """Plug a network device in or out."""
        return self._replug(request, lambda: changes.with_link(self._of.selected, request))

    def port(self, request: Answer) -> str | None:
        """Plug a network device into another switch, or otherwise into its own."""
        return self._replug(request, lambda: changes.with_port(self._of.selected, request))

    def _replug(self, request: Answer, change: Callable[[], Document]) -> str | None:
        of = self._of
        error = self._take(change)
        if error:
            return error
        wanted = changes.find(of.selected, request["device"])
        number = of.selected["emulations"].index(wanted)
        failures = nics.set_link(of.host, of.config.devices[number]) if of.bhyve else []
        of.save()
        return " ".join(failures) or None

    def _take(self, change: Callable[[], Document]) -> str | None:
        """Make a changed configuration the VM's, also for its next starts; returns why not."""
        of, before = self._of, self._of.selected
        try:
            of.take(change())
            of.keep()
        except OSError as error:
            of.take(before)
            return f"{error.filename or of.rundir.path}: {error.strerror}."
        except (Unfit, ValueError) as error:
            return str(error)
        return None
