"""The supervisor of one VM: starts bhyve, starts it again when the guest reboots, cleans up when it is off.

bhyve lives in a session of its own with its stderr in a file, so it goes on when its supervisor dies; a
successor finds it by the run directory's state and by its title.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bhype.freebsd import bhyve, bhyvectl, ps
from bhype.freebsd.bhyve import ExitStatus, Machine
from bhype.freebsd.command import Command, ParseError
from bhype.host import CommandError, Host, Process, Watch
from bhype.vmrun import config as configuration
from bhype.vmrun import outcome, resources
from bhype.vmrun.check import check
from bhype.vmrun.config import Config, Document
from bhype.vmrun.control import Answer, Control
from bhype.vmrun.loop import Loop
from bhype.vmrun.machine import machine
from bhype.vmrun.outcome import ON, Outcome
from bhype.vmrun.problems import Unfit, tree
from bhype.vmrun.resources import Unmade
from bhype.vmrun.rundir import SECRETS, RunDir, State
from bhype.vmrun.serial import SerialLine

LOG = "bhyve.log"
# How often bhyve is looked for while it initialises, and after how long it counts as running all the same.
PROBE = 0.15
PROBE_FOR = 30.0
# What bhyvectl --force-poweroff is given before SIGKILL.
FORCE = 5.0
RESTART = 60.0
IDLE = 5.0
# What a successor takes over from the state of a guest that still runs.
KEPT = ("started_at", "restarts", "command", "vnc", "target")
TROUBLE = (CommandError, ParseError, Unmade, OSError)


@dataclass(frozen=True, slots=True)
class Policy:
    """reboot_on: the exit statuses after which the guest is started again; reboot_count: how often at most;
    adopt: take over a bhyve that runs, but start none."""

    target: str | None = None
    reboot_on: frozenset[int] = frozenset({ExitStatus.REBOOT})
    reboot_count: int | None = None
    adopt: bool = False


class Supervisor:
    """``report`` is called once: with "" when bhyve runs, or with the reason why it does not."""

    def __init__(
        self, rundir: RunDir, document: Document, policy: Policy, report: Callable[[str], None]
    ) -> None:
        self.rundir = rundir
        self.host: Host = rundir.host
        self.document = document
        self.policy = policy
        self.report: Callable[[str], None] | None = report
        self.selected = configuration.select(document, policy.target)
        self.config: Config = configuration.parse(self.selected)
        self.machine: Machine = self._machine(first=True)
        self.loop = Loop({signal.SIGTERM: self._leave, signal.SIGINT: self._interrupt})
        self.lines: list[SerialLine] = []
        self.helpers: list[Process] = []
        self.control: Control | None = None
        self.process: Process | None = None
        self.watch: Watch | None = None
        self.reboots = outcome.Reboots()
        self.intent = ""  # "off" or "again", when somebody asked
        self.forced = False
        self.spawned = 0.0
        self.log_offset = 0
        self.exit_code = 0
        self.state: State = {
            "name": self.config.name,
            "uuid": self.config.uuid,
            "state": outcome.STARTING,
            "reason": "",
            "pid": None,
            "supervisor": None,
            "started_at": time.time(),
            "exit_code": None,
            "restarts": 0,
            "target": policy.target,
            "taps": [],
        }
        self._describe()

    # Coming and going.

    def run(self) -> int:
        """Start or take over the VM and attend it to its end. Returns bhyve's exit status, 1 otherwise."""
        old = self.rundir.read() or {}
        try:
            running = resources.find_bhyve(self.host, self.config.name)
        except TROUBLE as error:
            # The state stays as it was: a bhyve may be there all the same, and a second one must not start.
            self._tell(str(error))
            return 1
        if running is None and self.policy.adopt:
            return self._clear(old)
        self.state.update(supervisor=os.getpid(), taps=old.get("taps", []))
        if running is not None:
            # Before the first write: one that is killed now must not know less than the last one did.
            self.state.update(
                {key: old[key] for key in KEPT if key in old}, state=outcome.RUNNING, pid=running
            )
        try:
            self.rundir.write(self.state)
            self._open()
        except OSError as error:
            self._close()
            self._tell(f"The run directory cannot be used: {error}.")
            return 1
        if running is not None:
            self._adopt(running)
        else:
            self._start()
        while not self.loop.ended:
            for line in self.lines:
                line.connect()
            self.loop.turn(IDLE)
            self.helpers = [helper for helper in self.helpers if helper.poll() is None]
            self.rundir.rotate_open(LOG)
        return self.exit_code

    def save(self, **changes: Any) -> None:
        """Change the state and write it down; on a full disk the guest goes on, and writing is tried again."""
        self.state.update(changes)
        try:
            self.rundir.write(self.state)
        except OSError:
            self.loop.later("save", IDLE, self.save)

    def _open(self) -> None:
        self.control = Control(self.rundir, self.loop.selector, self.handle)
        for com, device in self.config.com:
            if device != "stdio":
                self.lines.append(SerialLine(self.rundir, self.loop.selector, com, device))

    def _interrupt(self) -> None:
        """Ctrl-C presses the power button; a second one pulls the plug."""
        self.handle({"verb": "poweroff" if self.intent else "stop"})

    def _leave(self) -> None:
        """End without the guest: a successor takes over."""
        self.save(supervisor=None)
        self._tell("The supervisor was asked to leave.")
        self._close()

    def _clear(self, old: State) -> int:
        """No bhyve to take over: write down that it is off and remove what it left."""
        self.state.update({key: value for key, value in old.items() if key in self.state})
        if old.get("state") in ON:
            there = self.host.exists(f"/dev/vmm/{self.config.name}")
            self._finish(outcome.judge(None, "", asked=not there), None)
        self._tell("")
        return 0

    def _close(self) -> None:
        if self.control:
            self.control.close()
        for line in self.lines:
            line.close()
        self.lines = []
        self.loop.ended = True

    def _tell(self, message: str) -> None:
        if self.report:
            self.report(message)
            self.report = None

    # Starting.

    def _machine(self, *, first: bool) -> Machine:
        return machine(self.config, secret_file=self.rundir.file(SECRETS), wait=first)

    def _select(self, target: str | None, base: Document | None = None) -> None:
        """Lay a target over the configuration. Raises Unfit."""
        selected = configuration.select(self.document, target, base)
        self.config = configuration.parse(selected)
        self.selected = selected
        self.state["target"] = target

    def _describe(self) -> None:
        graphic = self.config.graphic
        self.state.update(
            vnc={"host": graphic.host, "port": graphic.port} if graphic else None,
            serial=[com for com, device in self.config.com if device != "stdio"],
            command=list(bhyve.command(self.machine).argv),
        )

    def _adopt(self, pid: int) -> None:
        try:
            self.watch = Watch(pid)
        except OSError:
            self._ended(None)
            return
        if self.state["target"] != self.policy.target:
            self._select(self.state["target"])
        self.loop.selector.register(self.watch, selectors.EVENT_READ, lambda mask: self._end_seen())
        self.spawned = time.monotonic()
        self.log_offset = self.rundir.log_size(LOG)
        self.save(reason="Taken over from an earlier supervisor.")
        self._tell("")

    def _start(self, *, again: bool = False) -> None:
        """Make what the VM needs and start bhyve; what fails ends the supervisor with the reason."""
        try:
            self._prepare(again=again)
            self._spawn()
        except Unfit as error:
            self._finish(Outcome(outcome.FAILED, str(error)), None, tree(self.config.name, error.problems))
        except TROUBLE as error:
            self._finish(Outcome(outcome.FAILED, str(error)), None)

    def _prepare(self, *, again: bool) -> None:
        host, config = self.host, self.config
        if not again:
            resources.load_modules(host, config)
            problems = check(host, config, self.machine)
            if problems:
                raise Unfit(config.name, problems)
        resources.prepare(host, config, self._note_taps)
        if self.machine.secrets:
            host.write_text(self.rundir.file(SECRETS), self.machine.secrets, 0o600)
        if not again:
            failures = resources.destroy_machine(host, config.name)
            if failures:
                raise Unmade(failures[0])

    def _note_taps(self, taps: list[str]) -> None:
        """Written down before they exist: whatever happens, a successor knows what to remove."""
        known = {*self.state["taps"], *taps}
        if known != set(self.state["taps"]):
            self.save(taps=sorted(known))

    def _spawn(self) -> None:
        command = bhyve.command(self.machine)
        stdio = {"stdin": 0, "stdout": 1} if ("stdio" in dict(self.config.com).values()) else {}
        log = self.rundir.open_log(LOG)
        try:
            self.log_offset = self.rundir.log_size(LOG)
            self.process = self.host.spawn(command, stderr=log, **stdio)
        finally:
            os.close(log)
        self.spawned = time.monotonic()
        self.watch = Watch(self.process.pid)
        self.loop.selector.register(self.watch, selectors.EVENT_READ, lambda mask: self._end_seen())
        self.save(pid=self.process.pid, command=list(command.argv), exit_code=None)
        self.loop.later("probe", PROBE, self._probe)

    def _probe(self) -> None:
        """Once it has its title, bhyve has initialised all devices and the guest runs."""
        late = time.monotonic() - self.spawned > PROBE_FOR
        waits = self.config.graphic is not None and self.config.graphic.wait
        try:
            up = any(process.vm == self.config.name for process in self.host.query(ps.processes()))
        except TROUBLE:
            up = False
        if not (up or late or (waits and self.host.exists(f"/dev/vmm/{self.config.name}"))):
            self.loop.later("probe", PROBE, self._probe)
            return
        if self.state["state"] == outcome.STARTING:
            self.save(state=outcome.RUNNING, reason="")
        self._tell("")
        if self.config.post_start_script:
            self._help(Command((self.config.post_start_script, self.config.name)))

    # Ending.

    def _end_seen(self) -> None:
        watch, process = self.watch, self.process
        if watch is None or not watch.ended():
            return
        code = process.wait() if process else watch.status
        self.loop.selector.unregister(watch)
        watch.close()
        self.watch = self.process = None
        self._ended(code)

    def _ended(self, code: int | None) -> None:
        ran = time.monotonic() - self.spawned
        self.loop.cancel("probe", "kill", "restart")
        if code is None and self.config.flags["power_off_destroy_vm"]:
            # Nobody tells the status, but bhyve -D leaves the VM in the kernel unless the guest powered off.
            there = self.host.exists(f"/dev/vmm/{self.config.name}")
            code = ExitStatus.REBOOT if there else ExitStatus.POWEROFF
        said = self.rundir.log_since(LOG, self.log_offset)
        again = self.intent == "again"
        verdict = outcome.judge(code, said, asked=self.intent == "off", forced=self.forced and not again)
        limit = self.policy.reboot_count
        spent = limit is not None and self.state["restarts"] >= limit
        if again:
            self._restart(0.0)
        elif self.intent == "off" or code not in self.policy.reboot_on or spent:
            self._finish(verdict, code)
        else:
            pause = self.reboots.pause(time.monotonic(), ran)
            if pause is None:
                many = f"The guest rebooted more than {outcome.REBOOTS} times within {outcome.WITHIN:g} s."
                self._finish(Outcome(outcome.FAILED, many), code)
            else:
                self._restart(pause)

    def _restart(self, pause: float) -> None:
        self.intent, self.forced = "", False
        changed = False
        if self.config.next_target:
            try:
                self._select(self.config.next_target, self.selected)
                changed = True
            except Unfit as error:
                self._finish(Outcome(outcome.FAILED, str(error)), None)
                return
        self.machine = self._machine(first=False)
        self._describe()
        self.save(state=outcome.STARTING, reason="", pid=None, restarts=self.state["restarts"] + 1)
        if changed:
            # Another size of memory or set of devices: the kernel's VM is made anew.
            resources.destroy_machine(self.host, self.config.name)
        self.loop.later("start", pause, lambda: self._start(again=True))

    def _finish(self, verdict: Outcome, code: int | None, message: str = "") -> None:
        """Clean up, write down how it ended, and end the loop."""
        self.loop.cancel_all()
        failures = resources.destroy_machine(self.host, self.config.name)
        failures += resources.destroy_taps(self.host, self.state["taps"])
        resources.remove_sockets(self.host, self.config)
        self.host.unlink(self.rundir.file(SECRETS))
        self._close()
        reason = " ".join([verdict.reason, *failures])
        self.save(
            state=verdict.state, reason=reason, pid=None, supervisor=None, exit_code=code,
            taps=self.state["taps"] if failures else [],
        )  # fmt: skip
        if not self.policy.adopt:
            self._tell(message or reason)
        self.exit_code = code if code is not None and code >= 0 else 1

    # Being told.

    def handle(self, request: Answer) -> Answer:
        """Answer one request; what takes time is begun here and seen in the state later."""
        verbs: dict[str, Callable[[Answer], str | None]] = {
            "status": lambda request: None,
            "stop": self._stop,
            "poweroff": self._poweroff,
            "reset": self._reset,
            "restart": self._stop_and_start,
        }
        verb = verbs.get(str(request.get("verb")))
        error = verb(request) if verb else f"There is no verb {request.get('verb')!r}."
        return {"ok": error is None, "error": error, "state": self.state}

    def _stop(self, request: Answer) -> str | None:
        """Press the power button."""
        self.intent = "off"
        self.loop.cancel("restart")
        if self.watch is None:
            self._finish(Outcome(outcome.STOPPED, "It was stopped before it started again."), None)
            return None
        self._signal(signal.SIGTERM)
        self.save(state=outcome.STOPPING)
        return None

    def _poweroff(self, request: Answer) -> str | None:
        """Pull the plug."""
        if self.watch is None:
            return self._stop(request)
        self.intent = "off"
        self.save(state=outcome.STOPPING)
        self._pull()
        return None

    def _pull(self) -> None:
        self.forced = True
        self._help(bhyvectl.force_poweroff(self.config.name))
        self.loop.later("kill", FORCE, lambda: self._signal(signal.SIGKILL))

    def _reset(self, request: Answer) -> str | None:
        if self.state["state"] != outcome.RUNNING:
            return f"It is {self.state['state']}, not running."
        self.reboots = outcome.Reboots()
        self._help(bhyvectl.force_reset(self.config.name))
        return None

    def _stop_and_start(self, request: Answer) -> str | None:
        if self.watch is None:
            return "It is being started already."
        seconds = request.get("timeout", RESTART)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 3600:
            return "timeout is not a number of seconds up to 3600."
        self.intent = "again"
        self._signal(signal.SIGTERM)
        self.save(state=outcome.STOPPING)
        self.loop.later("restart", seconds, self._pull)
        return None

    def _signal(self, number: int) -> None:
        """Signal bhyve, child or not; its watch keeps the process's number from meaning another."""
        if self.watch is not None and not self.watch.ended():
            try:
                os.kill(self.watch.pid, number)
            except ProcessLookupError:
                return

    def _help(self, command: Command) -> None:
        """Run a short command beside the loop: serial lines and requests must not wait for it."""
        try:
            self.helpers.append(self.host.spawn(command))
        except CommandError as error:
            self.save(reason=str(error))
