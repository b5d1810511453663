"""The supervisor of one VM: starts bhyve, starts it again when the guest reboots, cleans up when it is off.

A start has steps: what the VM needs is made, its loader runs where there is no boot ROM, its TPM emulator opens
its socket, bhyve starts, limits are applied. bhyve lives in a session of its own with its stderr in a file, so it
goes on when its supervisor dies; a successor finds it by its title and the run directory, and ends what was left
of a start that had not come so far.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from bhype.freebsd import bhyve, ifconfig, ps
from bhype.freebsd.bhyve import ExitStatus, Machine
from bhype.freebsd.command import Command, ParseError
from bhype.host import CommandError, Host, Process
from bhype.vmrun import changes, child, limits, loader, nics, outcome, resources, tpm
from bhype.vmrun import config as configuration
from bhype.vmrun.check import check, locate
from bhype.vmrun.child import Child
from bhype.vmrun.config import Config, Document
from bhype.vmrun.control import Control
from bhype.vmrun.files import write_pid
from bhype.vmrun.loader import NoLoader
from bhype.vmrun.loop import Loop
from bhype.vmrun.machine import machine
from bhype.vmrun.nics import Unmade
from bhype.vmrun.outcome import ON, Outcome, Patience, Restarts
from bhype.vmrun.policy import Policy, patience
from bhype.vmrun.problems import Unfit, tree
from bhype.vmrun.rundir import EMPTY, LOG, SECRETS, RunDir, State, new_state
from bhype.vmrun.serial import SerialLine, is_served
from bhype.vmrun.verbs import Verbs

# How often bhyve is looked for while it initialises, and after how long it counts as running all the same.
PROBE = 0.15
PROBE_FOR = 30.0
IDLE = 5.0
# What a successor takes over from the state of a guest that still runs.
KEPT = ("started_at", "restarts", "command", "vnc", "serial", "target", "warnings", "settled")
TROUBLE = (CommandError, ParseError, Unmade, NoLoader, OSError, ValueError)


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
        self.selected: Document = {}
        self.restarts = Restarts(Patience())
        self.take(configuration.select(document, policy.target))
        self.machine: Machine = self._machine(first=True)
        self.verbs = Verbs(self)
        self.loop = Loop({signal.SIGTERM: self._leave, signal.SIGINT: self.verbs.interrupt})
        self.lines: list[SerialLine] = []
        self.helpers: list[Process] = []
        self.control: Control | None = None
        self.bhyve: Child | None = None
        self.loader = loader.Runner(rundir, self.loop)
        self.emulator = tpm.Emulator(rundir, self.loop, self._miss_emulator)
        self.warnings: dict[str, list[str]] = {}
        self.intent = ""  # "off" or "again", when somebody asked
        self.forced = False
        self.spawned = 0.0
        self.log_offset = 0
        self.exit_code = 0
        self.state: State = new_state(self.config.name, self.config.uuid, policy.target)
        self._describe()

    # Coming and going.

    def run(self) -> int:
        """Start or take over the VM and attend it to its end. Returns bhyve's exit status, 1 otherwise."""
        old = self.rundir.read() or {}
        try:
            processes = self.host.query(ps.processes())
        except TROUBLE as error:
            # The state stays as it was: a bhyve may be there all the same, and a second one must not start.
            self._tell(str(error))
            return 1
        running = resources.find_bhyve(processes, self.config.name)
        if running is None:
            self._sweep(processes)
            if self.policy.adopt:
                return self._clear(old)
        self.state.update(supervisor=os.getpid(), taps=old.get("taps", []))
        if running is not None:
            # Before the first write: one that is killed now must not know less than the last one did.
            kept = {key: old[key] for key in KEPT if key in old}
            self.state.update(kept, state=outcome.RUNNING, pid=running)
            self._resume()
        try:
            self.rundir.write(self.state)
            self._open()
        except OSError as error:
            self._close()
            self._tell(f"The run directory cannot be used: {error}.")
            return 1
        if running is not None:
            self._adopt(running, processes)
        else:
            self._start()
        while not self.loop.ended:
            for line in self.lines:
                line.connect()
            self.loop.turn(IDLE)
            self.helpers = [helper for helper in self.helpers if helper.poll() is None]
            self.rundir.rotate_open(LOG)
        return self.exit_code

    def save(self, **changed: Any) -> None:
        """Change the state and write it down; on a full disk the guest goes on, and writing is tried again."""
        self.state.update(changed)
        helpers = {"loader": self.loader.pid, "swtpm": self.emulator.pid}
        self.state["helpers"] = {name: pid for name, pid in helpers.items() if pid}
        self.state["warnings"] = [sentence for found in self.warnings.values() for sentence in found]
        try:
            self.rundir.write(self.state)
        except OSError:
            self.loop.later("save", IDLE, self.save)

    def _open(self) -> None:
        self.control = Control(self.rundir, self.loop.selector, self.verbs.handle)
        self._open_lines()

    def _open_lines(self) -> None:
        """Serve the serial lines of the configuration; a target may have others. Raises OSError."""
        wanted = [(com, device) for com, device in self.config.com if is_served(device)]
        if wanted == [(line.com, line.device) for line in self.lines]:
            return
        self._close_lines()
        for com, device in wanted:
            self.lines.append(SerialLine(self.rundir, self.loop.selector, com, device))

    def _close_lines(self) -> None:
        for line in self.lines:
            line.close()
        self.lines = []

    def _leave(self) -> None:
        """End without the guest: a successor takes over."""
        self.save(supervisor=None)
        self._tell("The supervisor was asked to leave.")
        self._close()

    def _sweep(self, processes: list[ps.Process]) -> None:
        """End what is left of a start that never came to a bhyve."""
        left = [*loader.running(processes, self.config.name), *tpm.running(processes, self.rundir)]
        for pid in left:
            try:
                Child(self.loop, pid, lambda code: None).end(signal.SIGTERM, signal.SIGKILL)
            except OSError:
                continue

    def _clear(self, old: State) -> int:
        """No bhyve to take over: write down that it is off and remove what it left."""
        self.state.update({key: value for key, value in old.items() if key in self.state})
        if old.get("state") in ON:
            there = self.host.exists(f"/dev/vmm/{self.config.name}")
            self.finish(outcome.judge(None, "", asked=not there), None)
        self._tell("")
        return 0

    def _close(self) -> None:
        if self.control:
            self.control.close()
        self._close_lines()
        self.loop.ended = True

    def _tell(self, message: str) -> None:
        if self.report:
            self.report(message)
            self.report = None

    # What it runs with.

    def take(self, selected: Document) -> None:
        """From now on this is the VM's configuration, with its target laid over. Raises Unfit."""
        self.config: Config = configuration.parse(selected)
        self.selected = selected
        self.restarts.patience = patience(self.config.restart)

    def keep(self) -> None:
        """Write down what bhyve runs with. Raises OSError."""
        self.rundir.write_document(changes.without_secrets(self.selected))

    def _machine(self, *, first: bool) -> Machine:
        return machine(self.config, folder=self.rundir.path, wait=first)

    def _select(self, target: str | None, base: Document | None = None) -> None:
        """Lay a target over the configuration. Raises Unfit."""
        self.take(configuration.select(self.document, target, base))
        self.state["target"] = target

    def _describe(self) -> None:
        graphic = self.config.graphic
        self.state.update(
            vnc={"host": graphic.host, "port": graphic.port} if graphic else None,
            serial=[com for com, device in self.config.com if is_served(device)],
            command=list(bhyve.command(self.machine).argv),
        )

    # Taking over.

    def _resume(self) -> None:
        """Take what the running bhyve was started with: the file may have been changed since."""
        ran_with = self.rundir.read_document()
        try:
            if ran_with is not None:
                self.take(changes.with_secrets(ran_with, self.selected))
            elif self.state["target"] != self.policy.target:
                self._select(self.state["target"])
        except Unfit as error:
            self.warnings["configuration"] = [f"What it runs with is not understood any more: {error}"]
        self.warnings["before"] = list(self.state["warnings"])

    def _adopt(self, pid: int, processes: list[ps.Process]) -> None:
        try:
            self.bhyve = Child(self.loop, pid, self._ended)
        except OSError:
            self._ended(None)
            return
        self.emulator.take_over(processes)
        self.spawned = time.monotonic()
        self.log_offset = self.rundir.log_size(LOG)
        self.save(reason="Taken over from an earlier supervisor.")
        if self.state["settled"] != pid:
            self._settle()
        self._tell("")

    # Starting.

    def _start(self, *, again: bool = False, hop: bool = False) -> None:
        """The first steps: make what the VM needs, then its loader or what comes after it. again: the guest has run
        before; hop: with another target, whose needs nobody has looked for yet."""
        self._step(
            lambda: self._prepare(again=again, hop=hop), self._load if self.config.loader else self._emulate
        )

    def _step(self, *actions: Callable[[], None]) -> None:
        """What fails ends the supervisor with the reason."""
        try:
            for action in actions:
                action()
        except Unfit as error:
            self.finish(Outcome(outcome.FAILED, str(error)), None, tree(self.config.name, error.problems))
        except TROUBLE as error:
            why = str(error)
            if isinstance(error, OSError) and error.strerror:
                why = f"{error.filename or self.rundir.path}: {error.strerror}."
            self.finish(Outcome(outcome.FAILED, why), None)

    def _prepare(self, *, again: bool, hop: bool) -> None:
        host, self.warnings = self.host, {}
        # What was in another slot of the host before its last boot is found again.
        config = self.config = locate(host, self.config)
        self.machine = self._machine(first=not again)
        self._open_lines()
        interfaces = None
        if any(device.is_network for device in config.devices):
            interfaces = host.query(ifconfig.list_interfaces())
        if hop or not again:
            resources.load_modules(host, config)
            problems = check(host, config, self.machine, interfaces)
            if problems:
                raise Unfit(config.name, problems)
        self.warnings["network"] = resources.prepare(host, config, self._note_taps, interfaces)
        if not host.exists(self.rundir.file(EMPTY)):
            host.write_text(self.rundir.file(EMPTY), "", 0o400)
        if self.machine.secrets:
            self.rundir.put(SECRETS, self.machine.secrets)
        if not again and not self.config.loader:
            self._renew_machine()

    def _note_taps(self, taps: list[str]) -> None:
        """Written down before they exist: whatever happens, a successor knows what to remove."""
        known = {*self.state["taps"], *taps}
        if known != set(self.state["taps"]):
            self.save(taps=sorted(known))

    def _renew_machine(self) -> None:
        """Make the kernel's VM anew. Raises Unmade."""
        failures = resources.renew_machine(self.host, self.config.name)
        if failures:
            raise Unmade(failures[0])

    def _load(self) -> None:
        """Load a system into the VM's memory; what it had there is of no use any more."""
        self._renew_machine()
        self.loader.start(self.config, lambda failure: self._go_on(failure, self._emulate))
        self.save(phase="loader", next_start=None)

    def _emulate(self) -> None:
        """Have a TPM emulator listen before bhyve connects to it."""
        if tpm.is_ours(self.config):
            self.save(phase="tpm", next_start=None)
            self.emulator.start(self.config, lambda failure: self._go_on(failure, self._launch))
        else:
            self._launch()

    def _go_on(self, failure: str, step: Callable[[], None]) -> None:
        """A helper has done its part, or not; nothing follows when the start was called off meanwhile."""
        if failure:
            self.finish(Outcome(outcome.FAILED, failure), None)
        elif self.intent != "off":
            self._step(step)

    def _miss_emulator(self) -> None:
        if self.bhyve is not None:
            sentence = "The TPM emulator ended: the guest has no TPM until the VM is stopped and started."
            self.warnings["tpm"] = [sentence]
            self.save()

    def _launch(self) -> None:
        self.keep()
        command = bhyve.command(self.machine)
        here = "stdio" in dict(self.config.com).values()
        self.log_offset = self.rundir.log_size(LOG)
        self.bhyve = child.start(self.loop, self.rundir, command, self._ended, log=LOG, here=here)
        self.spawned = time.monotonic()
        if self.policy.pid_file:
            # The guest runs all the same when nobody can read its number.
            with contextlib.suppress(OSError):
                write_pid(self.policy.pid_file, self.bhyve.pid)
        self.save(
            pid=self.bhyve.pid,
            phase="",
            command=list(command.argv),
            exit_code=None,
            next_start=None,
            settled=None,
        )
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
        self._settle()
        self._tell("")
        if self.config.post_start_script:
            self.help(Command((*self.config.post_start_script, self.config.name)))

    def _settle(self) -> None:
        """What can only be done to a bhyve that runs."""
        if self.bhyve is None:
            return
        self.warnings["limits"] = limits.apply(self.host, self.bhyve.pid, self.config)
        self.warnings["links"] = nics.pull_cables(self.host, self.config)
        self.save(settled=self.bhyve.pid)

    # Ending.

    def _ended(self, code: int | None) -> None:
        self.bhyve = None
        ran = time.monotonic() - self.spawned
        self.loop.cancel("probe", "kill", "restart")
        if code is None and self.config.flags["power_off_destroy_vm"]:
            # Nobody tells the status, but bhyve -D leaves the VM in the kernel unless the guest powered off.
            there = self.host.exists(f"/dev/vmm/{self.config.name}")
            code = ExitStatus.REBOOT if there else ExitStatus.POWEROFF
        said = self.rundir.log_since(LOG, self.log_offset)
        again = self.intent == "again"
        verdict = outcome.judge(code, said, asked=self.intent == "off", forced=self.forced and not again)
        if again:
            self._restart(0.0)
        elif self.intent == "off" or not self.policy.wants_again(
            code,
            verdict,
            self.config.restart,
            self.state["restarts"],
            ran=self.state["state"] == outcome.RUNNING,
        ):
            self.finish(verdict, code)
        else:
            pause = self.restarts.pause(time.monotonic(), ran)
            if pause is None:
                how = (
                    "The guest rebooted"
                    if verdict.state == outcome.STOPPED
                    else f"{verdict.reason} It ended so"
                )
                self.finish(Outcome(outcome.FAILED, f"{how} {self.restarts.too_often}."), code)
            else:
                self._restart(pause, verdict)

    def _restart(self, pause: float, verdict: Outcome | None = None) -> None:
        """verdict: why, when it is a crash that the guest is started again after."""
        self.intent, self.forced = "", False
        changed = verdict is not None and verdict.state != outcome.STOPPED
        reason = f"{verdict.reason} It is started again." if verdict and changed else ""
        self.emulator.end()
        hop = self.config.next_target is not None
        try:
            if hop:
                self._select(self.config.next_target, self.selected)
            self.machine = self._machine(first=False)
        except Unfit as error:
            self.finish(Outcome(outcome.FAILED, str(error)), None)
            return
        self._describe()
        self.save(
            state=outcome.STARTING, reason=reason, pid=None, restarts=self.state["restarts"] + 1,
            next_start=time.time() + pause,
        )  # fmt: skip
        if changed or hop:
            # Another size of memory or set of devices: the kernel's VM is made anew.
            resources.renew_machine(self.host, self.config.name)
        self.loop.later("start", pause, lambda: self._start(again=True, hop=hop))

    def finish(self, verdict: Outcome, code: int | None, message: str = "") -> None:
        """Clean up, write down how it ended, and end the loop."""
        self.loop.cancel_all()
        self.loader.end()
        self.emulator.end()
        failures = resources.destroy_machine(self.host, self.config.name)
        failures += nics.destroy(self.host, self.state["taps"])
        resources.remove_sockets(self.host, self.config)
        self._close()
        self.rundir.tidy(loader.DEVICE_MAP, loader.GRUB_CONFIG)
        reason = " ".join([verdict.reason, *failures])
        self.warnings = {}
        self.save(
            state=verdict.state, phase="", reason=reason, pid=None, supervisor=None, exit_code=code,
            next_start=None, settled=None, taps=self.state["taps"] if failures else [],
        )  # fmt: skip
        if not self.policy.adopt:
            self._tell(message or reason)
        self.exit_code = code if code is not None and code >= 0 else 1

    def help(self, command: Command) -> None:
        """Run a short command beside the loop: serial lines and requests must not wait for it."""
        try:
            self.helpers.append(self.host.spawn(command))
        except CommandError as error:
            self.save(reason=str(error))
