"""Operations and observer with the real supervisor, the lab's bhyve and guests under QEMU."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest
from django.conf import settings

from bhype.tasks import ask
from bhype.tasks.models import Task
from bhype.vmrun import client
from tests.conftest import make_user
from tests.lab import efi
from vms import plan
from vms.forms import VMForm
from vms.models import VM

pytestmark = pytest.mark.guest


@pytest.fixture
def maker(db):
    return make_user("maker", "operator")


def made(ready, maker, disk: bytes) -> VM:
    """A VM of 128 MiB on the NAT-ed switch whose only disk holds ``disk``."""
    form = VMForm(user=maker)
    data = {
        "name": "web1", "cpus": "1", "memory": "128M", "disk_size": "4M", "has_screen": "on", "has_serial": "on",
        "switch": str(form.fields["switch"].queryset.get().pk),
    }  # fmt: skip
    form = VMForm(data, user=maker)
    assert form.is_valid(), form.errors
    vm, _ = form.save(maker)
    run(ready, "vms.create")
    with (ready.root / f"dev/zvol/{vm.dataset}/disk0").open("r+b") as device:
        device.write(disk)
    return vm


def run(ready, operation: str, vm: VM | None = None, user=None, **params: object) -> Task:
    """Ask for the operation, unless it waits already, and run it to a good end."""
    if vm is not None:
        ask(operation, {"vm_id": vm.pk, **params}, user)
    *_, task = ready.run_tasks()
    assert (task.operation, task.status) == (operation, "succeeded"), task.error
    return task


def booted(ready, text: str = "ready", seconds: float = 120.0) -> None:
    """Wait until the guest has written ``text`` to its serial line."""
    log = ready.root / "var/run/bhype/vms/web1/serial1.log"
    end = time.monotonic() + seconds
    while not log.exists() or text not in log.read_text(errors="replace"):
        assert time.monotonic() < end, f"no {text!r} on the serial line"
        time.sleep(0.1)


def state(ready, vm: VM) -> VM:
    ready.sweep()
    vm.refresh_from_db()
    return vm


def test_a_vm_is_started_seen_stopped_and_deleted(ready, maker):
    vm = made(ready, maker, efi.acpi())
    run(ready, "vms.start", vm, maker)
    vm.refresh_from_db()
    assert vm.state == "running"
    assert ready.taps() == {vm.nics.get().tap}
    assert ready.nodes() == {"web1"}
    seen = state(ready, vm)
    assert seen.state == "running"
    assert seen.pid and seen.started_at and seen.memory_used
    assert seen.command[0] == "/usr/sbin/bhyve"
    assert vm.vnc_password not in " ".join(seen.command)
    assert vm.nics.get().tap in vm.nics.get().switch.members
    again = ask("vms.start", {"vm_id": vm.pk}, maker)
    ready.run_tasks()
    again.refresh_from_db()
    assert "is on already" in again.error
    refused = ask("vms.delete", {"vm_id": vm.pk}, maker)
    ready.run_tasks()
    refused.refresh_from_db()
    assert "Power it off first" in refused.error
    booted(ready)
    run(ready, "vms.stop", vm, maker, timeout=60)
    seen = state(ready, vm)
    assert (seen.state, seen.exit_code, seen.pid) == ("stopped", 1, None)
    assert seen.reason == "The guest powered off."
    run(ready, "vms.delete", vm, maker)
    assert ready.taps() == ready.nodes() == ready.datasets() == ready.run_folders() == set()


def test_a_deaf_guest_can_be_powered_off(ready, maker):
    vm = made(ready, maker, efi.acpi_deaf())
    run(ready, "vms.start", vm, maker)
    booted(ready)
    ask("vms.stop", {"vm_id": vm.pk, "timeout": 1}, maker)
    *_, task = ready.run_tasks()
    assert task.status == "failed"
    assert "did not react" in task.error and "Power off" in task.error
    assert state(ready, vm).state == "stopping"
    run(ready, "vms.poweroff", vm, maker)
    seen = state(ready, vm)
    assert (seen.state, seen.reason) == ("stopped", "It was powered off.")
    assert ready.taps() == ready.nodes() == set()


def test_a_guest_that_resets_is_started_again_and_one_that_powers_off_stays_off(ready, maker):
    vm = made(ready, maker, efi.echo())
    run(ready, "vms.start", vm, maker)
    booted(ready)
    run(ready, "vms.reset", vm, maker)
    end = time.monotonic() + 120
    while (ready.root / "var/run/bhype/vms/web1/serial1.log").read_text().count("ready") < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert state(ready, vm).state == "running"
    run(ready, "vms.poweroff", vm, maker)


def test_a_triple_fault_is_said_to_be_one(ready, maker):
    vm = made(ready, maker, efi.triple_fault())
    run(ready, "vms.start", vm, maker)
    end = time.monotonic() + 120
    while state(ready, vm).is_on:
        assert time.monotonic() < end
        time.sleep(0.3)
    assert vm.state == "failed"
    assert vm.exit_code == 3
    assert "triple fault" in vm.reason


def test_a_restart_applies_the_new_configuration(ready, maker):
    vm = made(ready, maker, efi.acpi())
    run(ready, "vms.start", vm, maker)
    booted(ready)
    VM.objects.filter(pk=vm.pk).update(memory=192 * 2**20)
    run(ready, "vms.restart", vm, maker, timeout=60)
    seen = state(ready, vm)
    assert seen.state == "running"
    assert f"{192 * 1024}K" in seen.command
    run(ready, "vms.poweroff", vm, maker)


def test_a_guest_outlives_its_supervisor_and_gets_a_successor(ready, maker):
    vm = made(ready, maker, efi.acpi())
    run(ready, "vms.start", vm, maker)
    booted(ready)
    old = client.read_state(ready.host, "web1")
    # Not even an edit that broke the file leaves the guest to itself.
    ready.host.write_text(plan.config_path(vm), "{broken", 0o600)
    os.kill(old["supervisor"], signal.SIGKILL)
    assert state(ready, vm).state == "running"
    assert [(task.operation, task.status) for task in ready.run_tasks()] == [("vms.adopt", "succeeded")]
    new = client.read_state(ready.host, "web1")
    assert new["supervised"] and new["supervisor"] != old["supervisor"]
    assert new["pid"] == old["pid"]
    run(ready, "vms.stop", vm, maker, timeout=60)
    assert state(ready, vm).state == "stopped"
    assert ready.taps() == ready.nodes() == set()


def test_what_was_killed_altogether_leaves_nothing(ready, maker):
    vm = made(ready, maker, efi.acpi())
    run(ready, "vms.start", vm, maker)
    old = client.read_state(ready.host, "web1")
    os.kill(old["supervisor"], signal.SIGKILL)
    os.kill(old["pid"], signal.SIGKILL)
    end = time.monotonic() + 120
    while state(ready, vm).is_on:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert vm.state == "crashed"
    ready.sweep()
    assert [(task.operation, task.status) for task in ready.run_tasks()] == [("vms.clean_up", "succeeded")]
    assert ready.taps() == ready.nodes() == set()
    assert len(ready.datasets()) == 2


def test_a_busy_port_moves_the_screen_to_another(ready, maker):
    vm = made(ready, maker, efi.acpi())
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", vm.vnc_port))
            other.listen()
        except OSError:
            pass  # some other program has it already: just what is wanted
        run(ready, "vms.start", vm, maker)
    vm.refresh_from_db()
    assert vm.vnc_port != settings.VNC_FIRST_PORT
    with socket.create_connection(("127.0.0.1", vm.vnc_port), 60) as screen:
        assert screen.recv(12).startswith(b"RFB ")
    run(ready, "vms.poweroff", vm, maker)
