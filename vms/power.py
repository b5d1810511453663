"""A VM's supervisor as operations use it: what it is asked, what it says, and waiting for what comes of it."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Collection, Iterable
from importlib import import_module
from typing import Any

from bhype.freebsd import ps
from bhype.host import LocalHost, connect_unix
from bhype.tasks import OperationFailed, Run
from bhype.vmrun.rundir import RUN_DIR

from . import plan
from .models import VM

POLL = 0.2
# From the supervisor's start to a running guest; firmware is not waited for.
START_SECONDS = 60.0
REQUEST_SECONDS = 10.0
ENDED = frozenset({VM.State.STOPPED, VM.State.CRASHED, VM.State.FAILED})
State = dict[str, Any]


class _Lazy:
    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("bhype.vmrun.client"), name)


client = _Lazy()


def run_folder(name: str) -> str:
    """Where a VM's supervisor keeps its state, sockets and logs."""
    return f"{RUN_DIR}/{name}"


def is_running(host: LocalHost, name: str) -> bool:
    """Whether a bhyve of this VM runs, as its title says."""
    return any(process.vm == name for process in host.query(ps.processes()))


def is_supervised(host: LocalHost, name: str, state: State | None) -> bool:
    """Whether the supervisor that wrote ``state`` lives and listens. A number used again does not mislead: nobody
    listens at the socket of a dead one."""
    if state is None or not isinstance(state.get("supervisor"), int):
        return False
    try:
        os.kill(state["supervisor"], 0)
        connect_unix(host.path(f"{run_folder(name)}/control.sock"), 1.0).close()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def request(run: Run, vm: VM, verb: str) -> State:
    """Ask the supervisor for ``verb``; a dead one's successor is started first. Raises OperationFailed."""
    for attempt in range(2):
        try:
            answer = client.request(run.host, vm.name, verb, REQUEST_SECONDS)
        except OSError as error:
            if attempt or not is_running(run.host, vm.name):
                raise OperationFailed(f"The supervisor of {vm.name} does not answer: {error}.") from error
            run.log("The supervisor does not answer; starting its successor.")
            supervise(run, vm)
            continue
        if not answer.get("ok"):
            raise OperationFailed(str(answer.get("error") or f"The supervisor refused to {verb}."))
        state: State = answer.get("state") or {}
        return state
    raise AssertionError("unreachable")


def supervise(run: Run, vm: VM) -> None:
    """Start a supervisor. It starts bhyve, or takes over the one that runs. Raises CommandError."""
    run.host.run(client.start_command(run.host.path(plan.config_path(vm)), root=run.host.root))


def wait_for(run: Run, vm: VM, states: Collection[str], seconds: float, stage: str) -> State | None:
    """Watch the state file until it has one of ``states``; None when ``seconds`` were not enough."""
    began = time.monotonic()
    while True:
        state = client.read_state(run.host, vm.name)
        if state is not None and state["state"] in states:
            return state
        spent = time.monotonic() - began
        if spent > seconds:
            return None
        run.stage(stage, percent=100 * spent / seconds)
        run.check_cancelled()
        time.sleep(POLL)


def free_port(wanted: int, used: Iterable[int]) -> int:
    """``wanted`` if nothing on this host listens there, else a random other port that no VM has."""
    if _is_free(wanted):
        return wanted
    candidates = sorted(set(plan.VNC_PORTS) - set(used))
    for port in random.sample(candidates, len(candidates)):
        if _is_free(port):
            return port
    raise OperationFailed("No port for the VM's screen is free on this host.")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((plan.VNC_ADDRESS, port))
        except OSError:
            return False
    return True
