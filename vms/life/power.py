"""A VM's supervisor as operations use it: what it is asked, what it says, and waiting for what comes of it."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Collection, Iterable
from typing import Any

from bhype.freebsd import ps
from bhype.host import CommandFailed, LocalHost
from bhype.tasks import OperationFailed, Run
from bhype.vmrun import client
from vms import place, plan
from vms.models import VM

POLL = 0.2
REQUEST_SECONDS = 10.0
LEAVE_SECONDS = 5.0
BUSY = "has a supervisor already"
ENDED = frozenset({VM.State.STOPPED, VM.State.CRASHED, VM.State.FAILED})
State = dict[str, Any]


def run_folder(name: str) -> str:
    """Where a VM's supervisor keeps its state, sockets and logs."""
    return f"{client.RUN_DIR}/{name}"


def is_on(host: LocalHost, name: str) -> bool:
    """Whether the VM's bhyve runs, or its supervisor is about to start it (again)."""
    state = client.read_state(host, name)
    if state is not None and state.get("supervised") and state["state"] in plan.ON:
        return True
    return has_process(host, name)


def has_process(host: LocalHost, name: str) -> bool:
    """Whether there is a bhyve with the VM's name as its title."""
    return any(process.vm == name for process in host.query(ps.processes()))


def request(run: Run, vm: VM, verb: str, **more: Any) -> State:
    """Tell the supervisor; where it has died, its successor first. Returns its state.

    more: what the verb takes. Raises OperationFailed and CommandError.
    """
    answer = client.request(run.host, vm.name, verb, REQUEST_SECONDS, **more)
    state = client.read_state(run.host, vm.name) or {}
    if not answer["ok"] and not state.get("supervised") and has_process(run.host, vm.name):
        run.log("The supervisor has died; starting its successor.")
        place.check(run.host, vm)
        supervise(run, vm, adopt=True)
        answer = client.request(run.host, vm.name, verb, REQUEST_SECONDS, **more)
    if not answer["ok"]:
        raise OperationFailed(str(answer["error"]))
    told = answer["state"]
    return told if isinstance(told, dict) else {}


def supervise(run: Run, vm: VM, target: str | None = None, *, adopt: bool = False) -> None:
    """Start a supervisor. It starts bhyve, with ``target`` chosen; ``adopt``: it takes over the one that runs, or
    cleans up after it, whatever has become of vm.json meanwhile. Raises CommandError."""
    config = plan.document(vm) if adopt else plan.config_path(vm)
    deadline = time.monotonic() + LEAVE_SECONDS
    while True:
        try:
            run.host.run(client.start_command(run.host, config, target=target, adopt=adopt))
        except CommandFailed as error:
            # The last supervisor has written that the VM is off, but has not yet left.
            if BUSY not in error.result.stderr or time.monotonic() > deadline:
                raise
            time.sleep(POLL)
        else:
            return


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
