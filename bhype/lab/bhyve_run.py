"""The life of a guest: QEMU as a child, its serial ports, screen and monitor, signals, and the exit status.

Other programs reach a running bhyve through the socket ``control`` in its folder LAB/run/bhyve.PID: one line
of JSON ``{"verb": VERB}`` in, one line ``{"ok": bool, ...}`` back. Verbs: ``reset``, ``poweroff``, ``destroy``
(bhyvectl --force-reset, --force-poweroff, --destroy), ``nmi``, and ``qmp`` with ``execute`` and
``arguments``, which answers QEMU's own reply under ``reply`` (tests look at the screen with it).
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import termios
import time
import tty
from contextlib import suppress
from typing import Any

from bhype.lab import bhyve_state, core, qemu, qmp
from bhype.lab.bhyve_child import FATAL, cpu_ticks, spawn, sweep
from bhype.lab.bhyve_machine import Machine, init_error, real
from bhype.lab.bhyve_relay import (
    Loop,
    Output,
    Screen,
    Stream,
    TcpPort,
    Terminal,
    nulldmodem,
    other_side,
    unblock,
)
from bhype.lab.bhyve_tpm import Tpm

RESET, POWEROFF, HALT, TRIPLE_FAULT, ERROR = 0, 1, 2, 3, 4

_START_SECONDS = 30  # until QEMU's monitor greets; a busy machine is slow
_WATCH_SECONDS = 3


def run(machine: Machine) -> int:
    """Run the guest until it ends; returns bhyve's exit status, or dies by the signal that ended it."""
    return _Run(machine).run()


class _Run:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.folder = bhyve_state.folder()
        self.loop = Loop()
        self.links: list[str] = []
        self.code: int | None = None  # decided by bhyvectl or by halting, else by why QEMU ended
        self.signal: int | None = None  # the signal to die of
        self.reason = ""
        self.pressed = False
        self.child = 0
        self.terminal: list[Any] | None = None
        self.sample = (0, 0.0)
        self.halted = 0  # how often in a row all CPUs were seen halted for good

    # --- start

    def run(self) -> int:
        sweep()
        shutil.rmtree(self.folder, ignore_errors=True)  # of a killed bhyve with our pid
        os.makedirs(self.folder, mode=0o700)
        os.chdir(self.folder)  # paths of unix sockets are short
        try:
            self._start()
            self.loop.run()
            self._reap()
        finally:
            self._tidy()
        return self._status()

    def _start(self) -> None:
        self._signals()
        ours, monitor = socket.socketpair()
        serials = self._serials()
        tpm = Tpm(self.machine.tpm) if self.machine.tpm else None
        command = qemu.command(
            self.machine,
            self.folder,
            monitor.fileno(),
            {name: end for name, (_, end) in serials.items()},
            tpm.theirs.fileno() if tpm else None,
        )
        self.waiting = bool(
            self.machine.screen and self.machine.screen["listener"] and self.machine.screen["wait"]
        )
        if self.waiting:
            command.append("-S")
        handles = [monitor.fileno(), *(end for _, end in serials.values())]
        handles += [tpm.theirs.fileno()] if tpm else []
        handles += self.machine.wires
        self.child = spawn(command, handles)
        monitor.close()
        for wire in self.machine.wires:
            os.close(wire)
        for _, end in serials.values():
            os.close(end)
        self.monitor = qmp.Monitor(ours)
        if tpm:
            tpm.serve(self.loop)
        self._greet(ours)
        if self.loop.stopped:  # a signal came before the guest was there
            return
        self.monitor.on_event = self._event
        self.loop.watch(ours.fileno(), select.EPOLLIN, lambda events: self._hear())
        for path, (stream, _) in zip(self._paths(), serials.values(), strict=True):
            self._join(path, stream)
        self._screen()
        self._control()
        self._publish()
        self.loop.after(_WATCH_SECONDS, self._watch)

    def _signals(self) -> None:
        wake, write = os.pipe()
        unblock(wake)
        unblock(write)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (*FATAL, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self.loop.watch(wake, select.EPOLLIN, lambda events: self._signalled(os.read(wake, 64)))

    def _paths(self) -> list[str]:
        paths = [path for path in self.machine.serials if path]
        return paths + [device.values["path"] for device in self._uarts()]

    def _uarts(self) -> list[Any]:
        return [device for device in self.machine.devices if device.kind == "uart" and device.values["path"]]

    def _serials(self) -> dict[str, tuple[Stream, int]]:
        """A socket pair per serial port: our end as a stream, QEMU's end as a descriptor, by chardev name."""
        names = [f"com{number}" for number, path in enumerate(self.machine.serials, 1) if path]
        names += [f"uart{device.slot[1]}.{device.slot[2]}" for device in self._uarts()]
        pairs = {}
        for name in names:
            ours, theirs = socket.socketpair()
            pairs[name] = (Stream(self.loop, ours.detach()), theirs.detach())
        return pairs

    def _greet(self, connection: socket.socket) -> None:
        """Turn until QEMU has made all devices; if it cannot, neither can bhyve."""
        deadline = time.monotonic() + _START_SECONDS
        connection.settimeout(0)
        alive = [True]
        self.loop.watch(
            connection.fileno(), select.EPOLLIN, lambda events: alive.append(self.monitor.receive())
        )
        while not self.monitor.ready and not self.loop.stopped:
            if not alive[-1] or time.monotonic() > deadline:
                with suppress(OSError), open("qemu.log") as file:
                    core.warn(file.read() or "qemu: no answer")
                init_error("Invalid argument")
            self.loop.turn(deadline - time.monotonic())
        with suppress(OSError):
            os.unlink("secret")

    def _join(self, path: str, stream: Stream) -> None:
        if path == "stdio":
            if os.isatty(0):
                self.terminal = termios.tcgetattr(0)
                tty.setraw(0)
            stream.peer = Output()
            Terminal(self.loop, 0, stream)
        elif path in self.machine.listeners:
            TcpPort(self.loop, self.machine.listeners[path], stream)
        elif path.startswith("/dev/nmdm"):
            master, name = nulldmodem(path)
            link = core.root(other_side(path))
            draft = f"{link}.{os.getpid()}"
            os.symlink(name, draft)
            os.replace(draft, link)
            self.links.append(link)
            stream.peer = Terminal(self.loop, master, stream)
        else:
            handle = os.open(real(path), os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
            tty.setraw(handle)
            stream.peer = Terminal(self.loop, handle, stream)

    def _screen(self) -> None:
        screen = self.machine.screen
        if screen and screen["listener"]:
            Screen(self.loop, screen["listener"], "vnc", self._seen)

    def _seen(self) -> None:
        if self.waiting:
            self.waiting = False
            self.monitor.send("cont")
            self._publish()

    def _control(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind("control")
        self.listener.listen(8)
        self.listener.settimeout(0)
        self.loop.watch(self.listener.fileno(), select.EPOLLIN, lambda events: self._client())

    def _publish(self) -> None:
        machine, screen = self.machine, self.machine.screen
        bhyve_state.update(
            machine.name,
            title=not self.waiting,
            files=machine.files,
            vnc_port=screen["port"] if screen and screen["listener"] else None,
            qemu_pid=self.child,
            cpus=[machine.sockets, machine.cores, machine.threads],
            memory=machine.memory,
        )

    # --- while it runs

    def _hear(self) -> None:
        if not self.monitor.receive():
            self.loop.stopped = True

    def _event(self, name: str, data: dict[str, Any]) -> None:
        if name == "SHUTDOWN":
            self.reason = data.get("reason", "")

    def _signalled(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGTERM and not self.waiting:
                self._press()
            elif number in FATAL:
                self._die(number)

    def _press(self) -> None:
        """SIGTERM is the power button once the guest's operating system has enabled ACPI; before, it kills.

        bhyve knows from the write to the SMI command port. OVMF leaves SCI_EN set on a q35, so the sign here is
        that somebody enabled an event of the power management block, as every ACPI operating system does.
        """
        if self.pressed:
            return
        self.pressed = True

        def enabled(value: int) -> None:
            if value in (0, 0xFFFF):
                self._die(signal.SIGTERM)
                return
            self.monitor.send("system_powerdown")
            self.loop.after(0.5, self._released)

        self.monitor.register(qmp.PM1_ENABLE, enabled)
        self.loop.after(5, lambda: None if self.reason else self._released())

    def _released(self) -> None:
        """The button is up again when the guest has taken note: it cleared the status bit."""

        def status(value: int) -> None:
            if value & 0x100:
                self.loop.after(0.5, self._released)
            else:
                self.pressed = False

        self.monitor.register(qmp.PM1_STATUS, status)

    def _die(self, number: int) -> None:
        self.signal = number
        self._stop()

    def _stop(self) -> None:
        """End QEMU at once, as a power cut."""
        with suppress(ProcessLookupError):
            os.kill(self.child, signal.SIGKILL)
        self.loop.stopped = True

    def _watch(self) -> None:
        """Note the CPU time for ps(1), and see whether the guest has halted for good."""
        core.replace("cpu", f"{self.sample[0]} {self.sample[1]}")
        self.sample = (cpu_ticks(self.child), time.time())
        with suppress(OSError):  # a new priority of bhyve is one of its guest
            nice = os.getpriority(os.PRIO_PROCESS, 0)
            if os.getpriority(os.PRIO_PROCESS, self.child) != nice:
                os.setpriority(os.PRIO_PROCESS, self.child, nice)
        if not self.waiting:
            self._look()
        self.loop.after(_WATCH_SECONDS, self._watch)

    def _look(self) -> None:
        self.monitor.send("human-monitor-command", self._registers, **{"command-line": "info registers -a"})

    def _registers(self, reply: dict[str, Any]) -> None:
        # vmm(4): all CPUs halted with interrupts disabled cannot go on.
        cpus = re.findall(r"[ER]FL=([0-9a-fA-F]+).*?HLT=([01])", reply.get("return", ""), re.DOTALL)
        if not cpus or any(halted == "0" or int(flags, 16) & 0x200 for flags, halted in cpus):
            self.halted = 0
            return
        # Taking an interrupt passes through this state, too: only who stays in it has halted.
        self.halted += 1
        if self.halted == 4:
            self.code = HALT
            self._stop()
        else:
            self.loop.after(0.2, self._look)

    def _client(self) -> None:
        with suppress(OSError):
            client, _ = self.listener.accept()
            stream = Stream(self.loop, client.detach())
            stream.peer = _Requests(self, stream)  # type: ignore[assignment]

    def request(self, request: dict[str, Any], answer: Any) -> None:
        """Do what bhyvectl asks; ``answer(dict)`` sends the reply."""
        verb = request.get("verb")
        if verb in ("reset", "poweroff", "destroy"):
            self.code = {"reset": RESET, "poweroff": POWEROFF, "destroy": ERROR}[verb]
            if verb == "destroy":
                core.warn("vm_run error -1, errno 6")
            answer({"ok": True})
            self._stop()
        elif verb == "nmi":
            self.monitor.send("inject-nmi", lambda reply: answer({"ok": "error" not in reply}))
        elif verb == "qmp":
            self.monitor.send(
                request["execute"],
                lambda reply: answer({"ok": True, "reply": reply}),
                **request.get("arguments", {}),
            )
        else:
            answer({"ok": False})

    # --- end

    def _reap(self) -> None:
        deadline = time.monotonic() + 5
        while self.child:
            with suppress(ChildProcessError):
                if os.waitpid(self.child, os.WNOHANG)[0] == 0:
                    if time.monotonic() > deadline:
                        os.kill(self.child, signal.SIGKILL)
                    time.sleep(0.01)
                    continue
            self.child = 0

    def _tidy(self) -> None:
        if self.child:
            with suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGKILL)
            self._reap()
        if self.terminal:
            termios.tcsetattr(0, termios.TCSADRAIN, self.terminal)
        for link in self.links:
            with suppress(OSError):
                os.unlink(link)
        try:
            with open("cpu.log") as file:
                self.tripled = "Triple fault" in file.read()
        except OSError:
            self.tripled = False
        os.chdir("/")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _status(self) -> int:
        if self.signal is not None:
            bhyve_state.release(self.machine.name)
            signal.signal(self.signal, signal.SIG_DFL)
            os.kill(os.getpid(), self.signal)
        if self.code is not None:
            return self.code
        if self.reason == "guest-reset":
            return TRIPLE_FAULT if self.tripled else RESET
        if self.reason == "guest-shutdown":
            if self.machine.destroy_on_poweroff:
                bhyve_state.destroy(self.machine.name)
            return POWEROFF
        core.warn("vm_loop: unexpected exitcode 0x0")
        return ERROR


class _Requests:
    """Collects the lines of one control connection."""

    def __init__(self, run: _Run, stream: Stream) -> None:
        self.run = run
        self.stream = stream
        self.buffer = b""

    def write(self, data: bytes) -> bool:
        self.buffer += data
        *lines, self.buffer = self.buffer.split(b"\n")
        for line in lines:
            with suppress(ValueError):
                self.run.request(json.loads(line), self._answer)
        return True

    def _answer(self, reply: dict[str, Any]) -> None:
        self.stream.write(json.dumps(reply).encode() + b"\n")
