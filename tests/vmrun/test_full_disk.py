"""A VM on a host that cannot write its files any more."""

from __future__ import annotations

import os
import pty
import selectors

import pytest

from bhype.host import LocalHost
from bhype.vmrun import rundir, serial
from bhype.vmrun.rundir import LOG, RunDir

from .conftest import until

LIMIT = 1000


@pytest.fixture
def folder(short_path, monkeypatch):
    """The run directory of a VM where no log can be put aside: there is a folder in its way."""
    for module in (rundir, serial):
        monkeypatch.setattr(module, "LOG_LIMIT", LIMIT)
    run = RunDir(LocalHost(str(short_path)), "web1")
    run.take()
    for name in (LOG, "serial1.log"):
        run.host.makedirs(run.file(f"{name}.1"))
    return run


def test_a_guest_reboots_and_refused_limits_change_nothing(lab):
    lab.start()
    state = lab.state()
    for name in ("vm.json", "secret.conf"):
        # Where the supervisor writes first what then takes the file's place.
        lab.host.makedirs(f"/var/run/bhype/vms/web1/{name}.{state['supervisor']}.new")
    answer = lab.ask("limits", nice=5)
    assert (answer["ok"], "vm.json: Is a directory." in answer["error"]) == (False, True)
    lab.reboot()
    until(lambda: lab.state().get("restarts") == 1 and lab.state()["state"] == "running")
    assert lab.state()["supervisor"] == state["supervisor"]
    assert os.getpriority(os.PRIO_PROCESS, lab.state()["pid"]) == os.getpriority(os.PRIO_PROCESS, 0)


def test_what_bhyve_says_is_given_up_rather_than_the_supervisor(folder):
    folder.host.write_text(folder.file(LOG), "x" * (LIMIT + 1))
    folder.rotate_open(LOG)
    assert folder.log_size(LOG) == 0


def test_a_serial_line_goes_on_in_its_old_log(folder):
    guest, line_end = pty.openpty()
    folder.host.makedirs("/dev")
    os.symlink(os.ttyname(line_end), folder.host.path("/dev/nmdm-web1.1B"))
    with selectors.DefaultSelector() as selector:
        line = serial.SerialLine(folder, selector, "com1", "/dev/nmdm-web1.1A")
        line.connect()

        def reaches(size: int) -> bool:
            os.write(guest, b"y" * 100)
            for key, mask in selector.select(1):
                key.data(mask)
            return folder.log_size("serial1.log") > size

        until(lambda: reaches(3 * LIMIT))
        line.close()
    for end in (guest, line_end):
        os.close(end)
