"""The supervisor with real firmware and real guests, as the lab's QEMU runs them."""

from __future__ import annotations

import os
import signal

import pytest

from bhype.host import CommandFailed
from tests.lab import efi

from .conftest import until

pytestmark = pytest.mark.guest
# Firmware under emulation on a busy machine.
LONG = 120.0


def boot(lab, image: bytes, **more: object) -> None:
    (lab.root / "vms/disk0.img").write_bytes(image)
    lab.start(lab.document(**more))


def heard(lab, line, words: bytes) -> bytes:
    line.settimeout(LONG)
    received = b""
    while words not in received:
        block = line.recv(4096)
        assert block, (received, lab.state(), lab.log("bhyve.log"), lab.log("vmrun.log"))
        received += block
    return received


def test_a_guest_runs_speaks_reboots_and_powers_off(real_lab):
    boot(real_lab, efi.echo())
    assert real_lab.state()["state"] == "running"
    with real_lab.serial() as line:
        heard(real_lab, line, b"ready")
        line.sendall(b"hello")
        heard(real_lab, line, b"hello")
        line.sendall(b"\x12")  # it resets itself
        until(lambda: real_lab.state()["restarts"] == 1, LONG)
        heard(real_lab, line, b"ready")
        real_lab.until("running", LONG)
        line.sendall(b"\x10")  # it powers off
        state = real_lab.until("stopped", LONG)
    assert (state["reason"], state["exit_code"]) == ("The guest powered off.", 1)
    assert real_lab.taps() == []
    assert not real_lab.host.exists("/dev/vmm/web1")
    assert "hello" in real_lab.log("serial1.log")


def test_a_guest_outlives_its_supervisor_and_hears_the_power_button_of_the_next(real_lab):
    boot(real_lab, efi.acpi())
    with real_lab.serial() as line:
        heard(real_lab, line, b"ready")
    state = real_lab.state()
    os.kill(state["supervisor"], signal.SIGKILL)
    until(lambda: not real_lab.state()["supervised"])
    real_lab.start(real_lab.document())
    assert real_lab.state()["pid"] == state["pid"]
    real_lab.ask("stop")
    assert real_lab.until("stopped", LONG)["reason"] == "The guest powered off."
    assert real_lab.taps() == []


def test_a_reset_button_and_a_triple_fault(real_lab):
    boot(real_lab, efi.echo())
    assert real_lab.ask("reset")["ok"]
    until(lambda: real_lab.state()["restarts"] == 1, LONG)
    real_lab.until("running", LONG)
    with real_lab.serial() as line:
        heard(real_lab, line, b"ready")
        line.sendall(b"\x14")
        state = real_lab.until("failed", LONG)
    assert (state["reason"], state["exit_code"]) == ("The guest ended in a triple fault.", 3)


def test_pulling_the_plug_and_a_killed_bhyve(real_lab):
    boot(real_lab, efi.hang())
    real_lab.ask("poweroff")
    assert real_lab.until("stopped", LONG)["reason"] == "It was powered off."
    real_lab.start()
    os.kill(real_lab.state()["pid"], signal.SIGKILL)
    assert real_lab.until("crashed", LONG)["reason"] == "bhyve was killed by signal 9."
    assert real_lab.taps() == []
    assert not real_lab.host.exists("/dev/vmm/web1")


def test_bhyves_own_complaint_is_the_reason(real_lab):
    document = real_lab.document()
    document["emulations"].append({"device": "raw", "value": "floppy,/x"})
    with pytest.raises(CommandFailed, match="unknown device"):
        real_lab.start(document)
    assert real_lab.state()["state"] == "failed"
    assert real_lab.taps() == []


def test_several_guests_at_a_time_do_not_mix(real_lab):
    """Two names of which one begins with the other."""
    (real_lab.root / "vms/disk0.img").write_bytes(efi.acpi())
    real_lab.start(real_lab.document(emulations=[], graphic=None))
    other = real_lab.document(name="web10", com1="/dev/nmdm-web10.1A", varfile="/vms/other.fd", graphic=None)
    real_lab.start(other | {"emulations": []})
    first = real_lab.state()
    real_lab.ask("poweroff")
    real_lab.until("stopped", LONG)
    real_lab.name = "web10"
    assert real_lab.state()["state"] == "running"
    assert real_lab.state()["pid"] != first["pid"]
    real_lab.ask("poweroff")
    real_lab.until("stopped", LONG)
