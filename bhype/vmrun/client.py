"""The supervisors as others see them: their states, what they can be told, how one is started."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from bhype.freebsd import names
from bhype.freebsd.command import Command
from bhype.host import Host, connect_unix
from bhype.vmrun.outcome import CRASHED, ON, STOPPED
from bhype.vmrun.rundir import RUN_DIR, State

__all__ = ["RUN_DIR", "read_state", "read_states", "request", "serial_socket", "start_command"]

Answer = dict[str, object]


def read_state(host: Host, name: str) -> State | None:
    """The last state that the VM's supervisor wrote, and whether one attends it now ("supervised").

    A VM that went off while nobody attended it is shown as it is: stopped when the kernel has forgotten it
    (bhyve -D does so when a guest powers off), else crashed. None when there was never a supervisor.
    """
    try:
        state = json.loads(host.read_text(f"{RUN_DIR}/{name}/state.json"))
    except (OSError, ValueError):
        return None
    if not isinstance(state, dict):
        return None
    state["supervised"] = _lives(state.get("supervisor"))
    if state.get("state") in ON and not state["supervised"] and not _lives(state.get("pid")):
        state["state"] = CRASHED if host.exists(f"/dev/vmm/{name}") else STOPPED
        state["reason"] = "bhyve ended while nobody watched how."
        state["pid"] = None
    return state


def read_states(host: Host) -> dict[str, State]:
    """The states of all VMs that have a run directory, by name."""
    found = ((name, read_state(host, name)) for name in host.listdir(RUN_DIR))
    return {name: state for name, state in found if state is not None}


def request(
    host: Host, name: str, verb: str, timeout: float = 10.0, *, wait: float | None = None, **more: object
) -> Answer:
    """Ask the VM's supervisor; returns {"ok", "error", "state"}, with "ok" false when it cannot be asked.

    verb: status, stop, poweroff, reset, restart, limits or link; wait: the seconds that restart gives the guest;
    more: what the verb takes (`bhype.vmrun.verbs`).
    """
    message = {**more, "verb": verb} if wait is None else {"verb": verb, "timeout": wait}
    try:
        path = host.path(f"{RUN_DIR}/{names.machine(name)}/control.sock")
        with connect_unix(path, timeout) as connection:
            connection.sendall(json.dumps(message).encode() + b"\n")
            received = b""
            while not received.endswith(b"\n"):
                block = connection.recv(65536)
                if not block:
                    return _failure(f"The supervisor of {name} hung up.")
                received += block
        answer = json.loads(received)
    except (FileNotFoundError, ConnectionRefusedError):
        return _failure(f"{name} has no supervisor; it is not running.")
    except TimeoutError:
        return _failure(f"The supervisor of {name} did not answer within {timeout:g} s.")
    except (OSError, ValueError) as error:
        return _failure(f"The supervisor of {name} cannot be asked: {error}.")
    return answer if isinstance(answer, dict) else _failure(f"The supervisor of {name} is not understood.")


def serial_socket(name: str, number: int = 1, *, watch: bool = False) -> str:
    """FreeBSD's path of the socket of a VM's serial line; connect with ``bhype.host.connect_unix``.

    watch: the one whose listeners are only shown what the guest says.
    """
    line = f"serial{number}-watch" if watch else f"serial{number}"
    return f"{RUN_DIR}/{names.machine(name)}/{line}.sock"


def serial_logs(name: str, number: int = 1) -> tuple[str, str]:
    """FreeBSD's paths of what the line has said: the log at hand, then the one before it (it may be missing)."""
    log = f"{RUN_DIR}/{names.machine(name)}/serial{number}.log"
    return log, f"{log}.1"


def running_document(host: Host, name: str) -> dict[str, object] | None:
    """The configuration that the VM's bhyve was started with, its target laid over and its password left out;
    None when it does not run."""
    try:
        document = json.loads(host.read_text(f"{RUN_DIR}/{names.machine(name)}/vm.json"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def start_command(
    host: Host,
    config: str | dict[str, Any],
    *,
    target: str | None = None,
    adopt: bool = False,
    timeout: float = 120.0,
) -> Command:
    """The command that starts a VM, or takes over its running bhyve, and returns when it runs.

    config: FreeBSD's path of its vm.json, or what would stand there; adopt: only take over, or clean up where nothing
    runs. It fails with the reason as its last words.
    """
    program = os.path.dirname(os.path.abspath(__file__))
    source, text = (
        (host.path(config), None) if isinstance(config, str) else ("-", json.dumps(config).encode())
    )
    argv = [sys.executable, "-S", "-E", program, "--detach", "--root", host.root, "-c", source]
    if adopt:
        argv.append("--adopt")
    if target is not None:
        argv += ["-t", target]
    return Command(tuple(argv), stdin=text, timeout=timeout, native=True)


def _lives(pid: object) -> bool:
    """Whether there is such a process, zombies excepted. Another user's counts."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                return file.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
        except OSError:
            return False
    return True


def _failure(sentence: str) -> Answer:
    return {"ok": False, "error": sentence, "state": {}}
