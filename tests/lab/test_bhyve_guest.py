"""Guests that really run: exit statuses, the power button, signals, serial ports, the screen, bhyvectl and ps."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from bhype.lab import bhyve_state
from tests.lab import efi, vnc
from tests.lab.conftest import drop_lab, make_lab
from tests.lab.guests import PATIENCE, ROM, Guest, guest

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def host():
    lab = make_lab()
    lab.ok("kldload", "vmm", "nmdm", "if_bridge")
    yield lab
    drop_lab(lab)


def state(lab):
    return json.loads((lab.path("/").parent / "state/bhyve.json").read_text())


def gone(pid):
    deadline = time.monotonic() + PATIENCE
    while bhyve_state.ticks(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return bhyve_state.ticks(pid) is None


def _spent(pid):
    """Seconds of processor time that a process has taken (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_guest_decides_the_exit_status(host):
    images = {
        "shutdown": (efi.shutdown(), 1),
        "reset": (efi.reset(), 0),
        "triple": (efi.triple_fault(), 3),
        "halt": (efi.halt(), 2),
    }
    guests = [Guest(host, name, image) for name, (image, _) in images.items()]
    try:
        found = {each.name: each.status() for each in guests}
    finally:
        for each in guests:
            each.close()
    assert found == {name: code for name, (_, code) in images.items()}
    # The kernel's VMs are still there, the processes' traces are not.
    assert sorted(os.listdir(host.path("/dev/vmm"))) == sorted(images)
    assert not [name for name in os.listdir(host.path("/dev")) if name.startswith("nmdm")]
    assert state(host) == {}
    for name in images:
        host.ok("bhyvectl", f"--vm={name}", "--destroy")


def test_sigterm_is_the_power_button_only_under_acpi(host):
    with guest(host, "plain", efi.hang()) as plain, guest(host, "acpi", efi.acpi(), "-D") as with_acpi:
        early = Guest(host, "early", efi.acpi())
        early.process.terminate()
        assert early.status() == -signal.SIGTERM
        early.close()
        plain.ready()
        plain.process.terminate()
        assert plain.status() == -signal.SIGTERM
        with_acpi.ready()
        assert host.path("/dev/vmm/acpi").exists()
        with_acpi.process.terminate()
        assert with_acpi.status() == 1
    assert not host.path("/dev/vmm/acpi").exists()  # -D
    assert state(host) == {}


def test_a_guest_that_sleeps_costs_no_time_and_hears_the_button(host):
    with guest(host, "idle", efi.acpi_idle()) as idle:
        idle.ready()
        qemu = state(host)["idle"]["qemu_pid"]
        before = _spent(qemu)
        time.sleep(1)
        assert _spent(qemu) - before < 0.3
        idle.process.terminate()
        assert idle.status() == 1
    host.ok("bhyvectl", "--vm=idle", "--destroy")


def test_a_guest_may_ignore_the_button_and_kill_leaves_no_qemu(host):
    with guest(host, "deaf", efi.acpi_deaf()) as deaf:
        deaf.ready()
        qemu = state(host)["deaf"]["qemu_pid"]
        deaf.process.terminate()
        deaf.process.terminate()
        time.sleep(1)
        deaf.process.terminate()
        assert deaf.process.poll() is None
        deaf.process.kill()
        assert deaf.status() == -signal.SIGKILL
        assert gone(qemu)
    # Its entry is stale, and everybody sees that.
    assert "deaf" in state(host)
    assert "bhyve: deaf" not in host.ok("ps", "-axo", "command")
    assert host.path("/dev/vmm/deaf").exists()
    host.ok("bhyvectl", "--vm=deaf", "--destroy")
    assert not host.path("/dev/vmm").exists() or "deaf" not in os.listdir(host.path("/dev/vmm"))


def test_a_running_guest_from_all_sides(host):
    host.ok("ifconfig", "bridge", "create")
    tap = host.ok("ifconfig", "tap", "create").strip()
    host.ok("ifconfig", "bridge0", "inet", "10.77.0.1/24", "addm", tap, "up")
    port = vnc.free_port()
    devices = [
        *("-s", f"5,virtio-net,{tap},mac=58:9c:fc:00:00:01", "-s", "3,ahci-cd", "-s", "30,xhci,tablet"),
        *("-s", f"29,fbuf,rfb=127.0.0.1:{port},w=800,h=600,password=secret12345"),
    ]
    with guest(host, "web1", efi.echo(), *devices) as web1:
        web1.ready()
        # the serial port
        web1.type(b"hello")
        assert web1.until(b"hello").endswith(b"hello")
        web1.hang_up()
        web1.listen()
        web1.type(b"again")
        assert web1.until(b"again").endswith(b"again")
        # the screen: password, one client at a time
        with vnc.connect(port) as wrong:
            assert not vnc.sign_in(wrong, "wrong")
        with vnc.connect(port) as first:
            assert vnc.sign_in(first, "secret12xyz")
            assert vnc.size(first)[0] >= 640
            with pytest.raises(TimeoutError):
                vnc.connect(port, timeout=0.5)
        vnc.connect(port).close()
        # what others see of it
        entry = state(host)["web1"]
        assert (entry["vnc_port"], entry["taps"]) == (port, [tap])
        assert b"secret12" not in Path(f"/proc/{entry['qemu_pid']}/cmdline").read_bytes()
        assert f"Opened by PID {entry['pid']}" in host.ok("ifconfig", tap)
        assert entry["pid"] == web1.process.pid
        rows = json.loads(host.ok("ps", "--libxo", "json", "-axo", "pid,pcpu,rss,etimes,command"))
        row = next(
            row for row in rows["process-information"]["process"] if row["command"] == "bhyve: web1 (bhyve)"
        )
        assert int(row["pid"]) == entry["pid"]
        assert int(row["rss"]) > 10_000
        assert float(row["percent-cpu"]) > 0
        stats = dict(
            line.rsplit("\t", 1) for line in host.ok("bhyvectl", "--vm=web1", "--get-stats").splitlines()[1:]
        )
        assert int(stats["Resident memory".ljust(40)]) > 10 << 20
        assert host.ok("bhyvectl", "--vm", "web1", "--get-active-cpus") == "active cpus:\t 0\n"
        assert host("bhyvectl", "--vm=web1", "--cpu=1", "--get-stats").out == "errno = 22\n"
        host.ok("bhyvectl", "--vm=web1", "--inject-nmi")
        # a second one is refused
        twice = host("bhyve", "-s", "31,lpc", "-l", f"bootrom,{ROM}", "web1")
        assert (twice.code, twice.err) == (4, "vm_reinit: Device busy\n")
        other = host("bhyve", "-s", "31,lpc", "-l", f"bootrom,{ROM}", "-s", f"5,virtio-net,{tap}", "web2")
        assert (other.code, other.err.splitlines()[0]) == (4, f"open of tap device /dev/{tap} failed")
        host.ok("bhyvectl", "--vm=web1", "--force-reset")
        assert web1.status() == 0
        # over the VM that is still in the kernel it starts again
        web1.close()
        web1.start()
        host.ok("bhyvectl", "--vm=web1", "--force-poweroff")
        assert web1.status() == 1
        web1.close()
        web1.start()
        host.ok("bhyvectl", "--vm=web1", "--destroy")
        assert web1.status() == 4
        assert web1.process.stderr.read() == "vm_run error -1, errno 6\n"
        assert not host.path("/dev/vmm/web1").exists()


def test_a_waiting_screen_holds_the_guest(host):
    port = vnc.free_port()
    with guest(host, "wait", efi.shutdown(), "-s", f"29,fbuf,rfb=127.0.0.1:{port},wait", acpi="-AY") as wait:
        deadline = time.monotonic() + PATIENCE
        while "wait" not in state(host):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        text = host.ok("ps", "-axo", "command")
        assert "bhyve: wait" not in text
        assert "/usr/sbin/bhyve -AY" in text
        with vnc.connect(port):
            assert wait.status() == 1


def test_stopping_the_lab_ends_its_guests(host):
    with guest(host, "stop", efi.hang()) as running:
        while "stop" not in state(host):
            time.sleep(0.01)
        assert host.admin("stop", host.folder).out == "1 guests ended\n"
        assert running.status() == -signal.SIGTERM


def test_a_machine_that_qemu_refuses_is_a_device_error(host):
    host.path("/vm").mkdir(exist_ok=True)
    host.path("/vm/odd.img").write_bytes(bytes(1 << 20))
    answer = host(
        "bhyve",
        "-s",
        "31,lpc",
        "-l",
        f"bootrom,{ROM}",
        "-s",
        "4,virtio-blk,/vm/odd.img,sectorsize=4194304",
        "odd",
    )
    assert answer.code == 4
    assert answer.err.endswith("Device emulation initialization error: Invalid argument\n")
    assert "odd" not in state(host)
    host.ok("bhyvectl", "--vm=odd", "--destroy")
