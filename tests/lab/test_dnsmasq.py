"""dnsmasq(8) of the lab: Debian's own reads configurations; without wires a process that does nothing serves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bhype.lab import bhyve_state

CONF = "/usr/local/etc/nat.conf"
PID = "/var/run/nat.pid"
TEXT = """\
interface=sw-nat
bind-interfaces
dhcp-range=10.77.0.100,10.77.0.199,12h
dhcp-leasefile=/var/db/nat.leases
"""


def dnsmasq(lab, *words: str) -> subprocess.CompletedProcess[str]:
    program = str(lab.path("/usr/local/sbin/dnsmasq"))
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=60)


def start(lab, conf: str = CONF, pid: str = PID) -> subprocess.CompletedProcess[str]:
    return dnsmasq(lab, f"--conf-file={conf}", f"--pid-file={pid}")


@pytest.fixture
def switch(lab):
    lab("kldload", "-n", "if_bridge")
    lab.ok("ifconfig", "bridge", "create", "name", "sw-nat", "up")
    lab.ok("ifconfig", "sw-nat", "inet", "10.77.0.1/24")
    lab.path(CONF).write_text(TEXT)
    yield lab
    for file in lab.path("/var/run").glob("*.pid"):
        os.kill(int(file.read_text()), signal.SIGKILL)


def is_gone(pid: int, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while bhyve_state.ticks(pid) is not None:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_it_reads_a_configuration_as_the_real_one_does(switch):
    done = dnsmasq(switch, "--test", f"--conf-file={CONF}")
    assert (done.returncode, done.stderr) == (0, "dnsmasq: syntax check OK.\n")
    switch.path(CONF).write_text(TEXT + "no-such-option\n")
    done = dnsmasq(switch, "--test", f"--conf-file={CONF}")
    assert done.returncode == 1 and done.stderr.rstrip().endswith(f"at line 5 of {CONF}")
    assert dnsmasq(switch, "--test", "--conf-file=/nowhere").returncode == 3
    assert list(Path(switch.folder, "state/dnsmasq").iterdir()) == []


def test_it_serves_until_it_is_ended_and_ps_shows_it(switch):
    done = start(switch)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = int(switch.path(PID).read_text())
    assert f"/usr/local/sbin/dnsmasq --conf-file={CONF} --pid-file={PID}" in switch.ok(
        "ps", "-axo", "pid,command"
    )
    os.kill(pid, signal.SIGHUP)
    time.sleep(0.1)
    assert bhyve_state.ticks(pid) is not None
    os.kill(pid, signal.SIGTERM)
    assert is_gone(pid)
    assert CONF not in switch.ok("ps", "-axo", "pid,command")


def test_it_starts_only_where_the_real_one_would(switch):
    other = CONF.replace("nat", "other")
    switch.path(other).write_text(TEXT)
    assert start(switch).returncode == 0
    done = start(switch, other, "/var/run/other.pid")
    assert (done.returncode, "Address already in use" in done.stderr) == (2, True)
    switch.path(other).write_text(TEXT.replace("sw-nat", "sw-none"))
    done = start(switch, other, "/var/run/other.pid")
    assert (done.returncode, done.stderr) == (2, "dnsmasq: unknown interface sw-none\n")
    switch.path(other).write_text("what\n")
    assert start(switch, other, "/var/run/other.pid").returncode == 1


def test_it_ends_with_the_lab(switch):
    assert start(switch).returncode == 0
    pid = int(switch.path(PID).read_text())
    switch.path(PID).unlink()
    moved = switch.folder + ".gone"
    os.rename(switch.folder, moved)
    try:
        assert is_gone(pid)
    finally:
        os.rename(moved, switch.folder)


def test_with_wires_it_is_the_real_one_in_the_labs_namespace(wired):
    assert shutil.which("dnsmasq", path="/usr/sbin:/usr/local/sbin")
    wired("kldload", "-n", "if_bridge")
    wired.ok("ifconfig", "bridge", "create", "name", "sw-nat", "up")
    wired.ok("ifconfig", "sw-nat", "inet", "10.77.0.1/24")
    wired.path(CONF).write_text(TEXT)
    assert start(wired).returncode == 0
    pid = int(wired.path(PID).read_text())
    ours, theirs = (os.readlink(f"/proc/{each}/ns/net") for each in (os.getpid(), pid))
    assert ours != theirs
    assert "--keep-in-foreground" in Path(f"/proc/{pid}/cmdline").read_text()
    assert wired.path("/var/db/nat.leases").exists()
    # As the real one says it.
    done = start(wired, CONF, "/var/run/other.pid")
    assert done.returncode == 2 and "Address already in use" in done.stderr
    assert wired.admin("wires", wired.folder, "off").code == 0
    assert is_gone(pid)
