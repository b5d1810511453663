"""What others see of the supervisors."""

from __future__ import annotations

import json
import os

import pytest

from bhype.host import LocalHost, listen_unix
from bhype.vmrun import client


@pytest.fixture
def host(short_path):
    return LocalHost(str(short_path))


def put(host, name, **state):
    host.makedirs(f"{client.RUN_DIR}/{name}")
    host.write_text(f"{client.RUN_DIR}/{name}/state.json", json.dumps({"name": name, **state}))


def test_a_host_without_vms_has_no_states(host):
    assert client.read_states(host) == {}
    assert client.read_state(host, "web1") is None


def test_states_are_read_by_name_and_what_is_unreadable_is_left_out(host):
    put(host, "web1", state="running", pid=os.getpid(), supervisor=os.getpid())
    put(host, "web2", state="stopped", pid=None, supervisor=None)
    host.makedirs(f"{client.RUN_DIR}/web3")
    for text in ("{", "[]"):
        host.write_text(f"{client.RUN_DIR}/web3/state.json", text)
        states = client.read_states(host)
        assert {name: (s["state"], s["supervised"]) for name, s in states.items()} == {
            "web1": ("running", True), "web2": ("stopped", False),
        }  # fmt: skip


def test_a_vm_whose_processes_are_gone_is_not_running(host):
    put(host, "web1", state="running", pid=2**22 + 1, supervisor=2**22 + 2)
    assert client.read_state(host, "web1")["state"] == "stopped"
    host.makedirs("/dev/vmm")
    host.write_text("/dev/vmm/web1", "")
    state = client.read_state(host, "web1")
    assert (state["state"], state["pid"]) == ("crashed", None)


def test_a_vm_without_its_supervisor_still_runs(host):
    put(host, "web1", state="running", pid=os.getpid(), supervisor=2**22 + 2)
    assert client.read_state(host, "web1")["state"] == "running"


def test_nobody_there_and_nobody_answering_are_sentences(host):
    assert client.request(host, "web1", "stop")["error"] == "web1 has no supervisor; it is not running."
    assert client.request(host, "../x", "stop")["ok"] is False
    host.makedirs(f"{client.RUN_DIR}/web1")
    with listen_unix(host.path(f"{client.RUN_DIR}/web1/control.sock"), 0o600):
        answer = client.request(host, "web1", "stop", 0.1)
    assert answer["error"] == "The supervisor of web1 did not answer within 0.1 s."


def test_the_start_command_is_bhypes_own_python(host):
    command = client.start_command(host, "/tank/vm.json", target="install", adopt=True)
    assert command.native
    assert command.argv[1:3] == ("-S", "-E")
    assert command.argv[4:] == (
        "--detach", "--root", host.root, "-c", f"{host.root}/tank/vm.json", "--adopt", "-t", "install",
    )  # fmt: skip
