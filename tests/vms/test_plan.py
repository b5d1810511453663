from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import names
from bhype.freebsd.bhyve import command
from bhype.vmrun.config import parse
from bhype.vmrun.machine import machine
from storage.models import Iso
from vms import plan
from vms.models import VM, Nic

GIB = 2**30


def test_media_sit_in_slot_3_disks_from_4_and_ports_from_10(vm, pool):
    iso = Iso.objects.create(pool=pool, name="debian.iso", size=1)
    vm.devices.create(kind="ahci-cd", slot="0:3:0", iso=iso)
    document = plan.document(vm)
    assert {entry["device"]: entry["slot"] for entry in document["emulations"]} == {
        "ahci-cd": "0:3:0", "virtio-blk": "0:4:0", "virtio-net": "0:10:0",
    }  # fmt: skip
    assert document["emulations"][0]["path"] == "/tank/bhype/isos/debian.iso"
    assert document["emulations"][1]["path"] == "/dev/zvol/tank/bhype/vms/web1/disk0"


def test_the_supervisor_understands_the_document(vm):
    config = parse(plan.document(vm))
    assert config.unknown == ()
    argv = list(command(machine(config, folder="/x")).argv)
    assert argv[0] == "/usr/sbin/bhyve"
    assert argv[-1] == "web1"
    slots = [argv[place + 1].split(",")[0] for place, word in enumerate(argv) if word == "-s"]
    assert slots == ["0:0:0", "0:31:0", "0:4:0", "0:10:0", "0:1:0", "0:2:0"]
    assert argv[argv.index("-c") + 1] == "cpus=2,sockets=1,cores=2,threads=1"


def test_the_port_of_a_vm_is_marked_as_its_own(vm):
    (port,) = [entry for entry in plan.document(vm)["emulations"] if entry["device"] == "virtio-net"]
    nic = Nic.objects.get()
    assert port["name"] == nic.tap
    assert port["bridge"] == "sw-nat"
    assert port["description"] == f"bhype/vm/{vm.uuid}/0"
    assert port["mac"] == "58:9c:fc:00:00:01"
    assert "mtu" not in port


def test_the_port_has_the_mtu_of_its_switch(vm, switch):
    switch.mtu = 9000
    switch.save()
    (port,) = [entry for entry in plan.document(vm)["emulations"] if entry["device"] == "virtio-net"]
    assert port["mtu"] == 9000


def test_a_vm_without_screen_and_serial_has_neither(vm):
    vm.has_screen = vm.has_serial = False
    document = plan.document(vm)
    assert "graphic" not in document
    assert "com1" not in document


def test_the_shown_command_and_configuration_tell_no_password(vm):
    assert vm.vnc_password not in plan.command_line(vm)
    assert shlex.split(plan.command_line(vm))[-1] == "web1"
    shown = plan.without_secrets(plan.document(vm))
    assert vm.vnc_password not in str(shown)
    assert shown["graphic"]["port"] == 5900


@pytest.mark.parametrize("state", [*VM.State.values, "restarting"])
def test_every_state_answers_for_every_action(state):
    possible = plan.actions(state)
    assert set(possible) == {"start", "stop", "poweroff", "reset", "restart", "console", "delete"}
    assert all(why is None or why.endswith(".") for why in possible.values())
    if state in {"creating", "deleting"}:
        assert all(possible.values())


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        ("stopped", {"start", "delete"}),
        ("failed", {"start", "delete"}),
        ("crashed", {"start", "delete"}),
        ("lost", {"delete"}),
        ("running", {"stop", "poweroff", "reset", "restart", "console"}),
        ("starting", {"poweroff", "console"}),
        ("stopping", {"stop", "poweroff", "console"}),
    ],
)
def test_what_can_be_done_in_a_state(state, possible):
    assert {action for action, why in plan.actions(state).items() if why is None} == possible


def test_everything_that_goes_is_listed(vm):
    lines = "\n".join(plan.removal(vm))
    assert "10 GiB" in lines
    assert "tank/bhype/vms/web1/disk0" in lines
    assert "58:9c:fc:00:00:01" in lines


@given(st.sets(st.sampled_from(plan.VNC_PORTS)))
def test_a_port_is_never_given_twice(used):
    port = plan.free_vnc_port(used)
    assert port not in used
    assert port in plan.VNC_PORTS


def test_ports_can_run_out():
    with pytest.raises(LookupError):
        plan.free_vnc_port(plan.VNC_PORTS)


def test_new_addresses_are_unicast_and_differ():
    made = {plan.new_mac() for _ in range(50)}
    assert len(made) > 40
    assert all(names.mac(mac) == mac and mac.startswith("58:9c:fc:") for mac in made)


def test_passwords_are_eight_characters_that_bhyve_takes():
    assert re.fullmatch(r"[A-Za-z0-9]{8}", plan.new_vnc_password())


@given(st.integers(1, 2**45), st.integers(1, 2**45), st.integers(0, 2**45))
def test_memory_is_never_given_beyond_the_host(memory, host, committed):
    problem = plan.memory_problem(memory, host, committed)
    assert (problem is None) == (memory + committed <= host - min(host // 10, GIB))


def test_an_unobserved_host_refuses_nothing():
    assert plan.memory_problem(2**50, 0) is None
    assert plan.disk_problem(2**60, 0) is None
    assert plan.cpus_problem(200, 0) is None


@given(st.lists(st.sampled_from(["vm1", "vm2", "vm3", "vm10", "vmx", "web", "vm01", "vm"])))
def test_a_suggested_name_is_free_and_valid(existing):
    name = plan.suggest_name(existing)
    assert name not in existing
    assert names.vm_name(name) == name


def test_ports_for_vnc_begin_where_the_panel_says():
    assert plan.free_vnc_port([], first=6100) == 6100
    assert plan.free_vnc_port([6100], first=6100) == 6101
    assert plan.free_vnc_port([port for port in plan.VNC_PORTS if port >= 6100], first=6100) == 5900
