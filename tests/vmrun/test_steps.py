"""The steps of a start before bhyve: the loader and the TPM emulator, and their deaths."""

from __future__ import annotations

import os
import signal
import stat
import time

import pytest

from bhype.freebsd import ifconfig, ps
from bhype.host import CommandFailed
from bhype.vmrun import client, resources

from .conftest import until

GRUB = {"type": "grub", "config": "linux /vmlinuz\nboot\n"}


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def begin(lab):
    """Start without waiting for the guest."""
    started = []

    def go(**more):
        command = client.start_command(lab.host, lab.write(lab.document(**more)))
        started.append(lab.host.spawn(command))

    yield go
    lab.close()
    for process in started:
        process.wait(60)


def test_bhyveload_runs_before_every_start_with_the_memory_and_console_of_the_vm(lab):
    lab.plan({"exit": 0, "after": 0.4}, {})
    lab.start(lab.document(loader={"type": "bhyveload", "env": {"beastie_disable": "YES"}}))
    until(lambda: lab.state().get("restarts") == 1 and lab.state()["state"] == "running")
    assert lab.calls("bhyveload") == 2 * [
        ["bhyveload", "-c", "/dev/nmdm-web1.1A", "-m", "131072K", "-d", "/vms/disk0.img",
         "-e", "beastie_disable=YES", "web1"]
    ]  # fmt: skip
    assert len(lab.starts) == 2
    assert not any(word.startswith("bootrom") for word in lab.starts[0])
    assert "Consoles: userboot" in lab.log("bhyve.log")
    assert lab.state()["phase"] == ""


def test_a_vm_is_made_anew_only_when_the_kernel_has_let_go_of_the_old_one(lab):
    """Until FreeBSD 14.0 bhyvectl --destroy ends before that."""
    assert resources.renew_machine(lab.host, "web1") == []
    assert lab.calls("bhyvectl") == []
    lab.host.makedirs("/dev/vmm")
    lab.host.write_text("/dev/vmm/web1", "old")
    lab.tell("machine", going=2)
    assert resources.renew_machine(lab.host, "web1") == []
    assert lab.calls("bhyvectl") == 3 * [["bhyvectl", "--vm=web1", "--create"]]
    assert lab.host.read_text("/dev/vmm/web1") == ""


def test_grub_finds_its_device_map_and_configuration(lab):
    document = lab.document(loader=GRUB, wire_guest_mem=True)
    document["emulations"].append({"device": "ahci-cd", "path": "/vms/cd.iso"})
    (lab.root / "vms/cd.iso").write_bytes(b"")
    lab.start(document)
    folder = "/var/run/bhype/vms/web1"
    assert lab.calls("grub-bhyve") == [
        ["grub-bhyve", "-S", "-c", "/dev/nmdm-web1.1A", "-m", f"{folder}/device.map", "-M", "131072K",
         "-r", "host", "-d", folder, "web1"]
    ]  # fmt: skip
    assert lab.log("device.map") == "(hd0) /vms/disk0.img\n(cd0) /vms/cd.iso\n"
    assert lab.log("grub.cfg") == GRUB["config"]
    for name in ("device.map", "grub.cfg"):
        assert stat.S_IMODE((lab.root / folder[1:] / name).stat().st_mode) == 0o600
    lab.ask("poweroff")
    lab.until("stopped")
    assert lab.log("grub.cfg") == ""


def test_a_loader_that_fails_fails_the_start_with_its_own_words(lab):
    lab.tell("loader", exit=1, stderr="unable to load kernel\n")
    with pytest.raises(CommandFailed, match=r"failed with status 1\. It said: unable to load kernel"):
        lab.start(lab.document(loader={"type": "bhyveload"}))
    assert lab.state()["state"] == "failed"
    assert (lab.starts, lab.taps()) == ([], [])
    assert not lab.host.exists("/dev/vmm/web1")


def test_a_start_can_be_stopped_while_its_loader_runs(lab, begin):
    lab.tell("loader", after=300)
    begin(loader={"type": "bhyveload"})
    loader = lab.helper("loader")
    assert lab.state()["phase"] == "loader"
    assert lab.ask("stop")["ok"]
    assert lab.until("stopped")["reason"] == "It was stopped before it started."
    until(lambda: not is_alive(loader))
    assert (lab.starts, lab.taps()) == ([], [])


def test_a_killed_loader_is_a_failure(lab, begin):
    lab.tell("loader", after=300)
    begin(loader={"type": "bhyveload"})
    os.kill(lab.helper("loader"), signal.SIGKILL)
    assert "The loader was killed by signal 9." in lab.until("failed")["reason"]
    assert lab.taps() == []


@pytest.mark.parametrize("adopt", [True, False])
def test_what_a_supervisor_left_in_its_loader_phase_is_ended(lab, begin, adopt):
    lab.tell("loader", after=300)
    begin(loader={"type": "bhyveload"})
    loader = lab.helper("loader")
    os.kill(lab.state()["supervisor"], signal.SIGKILL)
    until(lambda: not lab.state()["supervised"])
    assert is_alive(loader)
    lab.tell("loader")
    lab.host.run(client.start_command(lab.host, "/vms/vm.json", adopt=adopt))
    assert not is_alive(loader)
    if adopt:
        assert lab.state()["state"] in {"stopped", "crashed"}
        assert (lab.starts, lab.taps()) == ([], [])
    else:
        assert lab.state()["state"] == "running"
        assert (len(lab.starts), len(lab.calls("bhyveload"))) == (1, 2)


TPM = {"type": "swtpm", "state": "/vms/tpm"}


def test_a_tpm_emulator_comes_and_goes_with_each_bhyve(lab):
    lab.start(lab.document(tpm=TPM))
    first = lab.helper("swtpm")
    lab.reboot()
    until(lambda: lab.state().get("restarts") == 1 and lab.state()["state"] == "running")
    second = lab.helper("swtpm")
    assert first != second
    assert not is_alive(first)
    socket = "/var/run/bhype/vms/web1/tpm.sock"
    assert lab.calls("swtpm")[0] == [
        "swtpm", "socket", "--tpm2", "--tpmstate", "dir=/vms/tpm,mode=0600",
        "--server", f"type=unixio,path={socket},mode=0600", "--flags", "not-need-init,startup-clear", "--terminate",
    ]  # fmt: skip
    assert any(word.startswith(f"tpm,swtpm,{socket}") for word in lab.starts[0])
    assert stat.S_IMODE((lab.root / "vms/tpm").stat().st_mode) == 0o700
    lab.ask("stop")
    lab.until("stopped")
    until(lambda: not is_alive(second))
    assert not (lab.root / socket[1:]).exists()
    assert lab.state()["helpers"] == {}


def test_a_tpm_emulator_that_does_not_come_up_fails_the_start(lab):
    lab.tell("swtpm", exit=1)
    with pytest.raises(
        CommandFailed, match=r"does not come up\. It said: swtpm: Could not open the state file"
    ):
        lab.start(lab.document(tpm=TPM))
    assert (lab.starts, lab.taps()) == ([], [])


def test_a_missing_program_is_told_with_what_to_install(lab):
    for program in ("usr/local/bin/swtpm", "usr/local/sbin/grub-bhyve"):
        (lab.root / program).unlink()
    with pytest.raises(CommandFailed) as caught:
        lab.start(lab.document(tpm=TPM, loader=GRUB))
    assert "pkg install swtpm" in caught.value.result.stderr
    assert "pkg install grub2-bhyve" in caught.value.result.stderr


def test_a_killed_tpm_emulator_is_told_and_the_guest_goes_on(lab):
    lab.start(lab.document(tpm=TPM))
    os.kill(lab.helper("swtpm"), signal.SIGKILL)
    until(lambda: lab.state()["warnings"])
    assert "The TPM emulator ended" in lab.state()["warnings"][0]
    assert lab.state()["state"] == "running"


def test_a_successor_takes_the_tpm_emulator_over(lab):
    lab.start(lab.document(tpm=TPM))
    emulator, pid = lab.helper("swtpm"), lab.state()["pid"]
    os.kill(lab.state()["supervisor"], signal.SIGKILL)
    until(lambda: not lab.state()["supervised"])
    lab.start(lab.document(tpm=TPM))
    assert (lab.helper("swtpm"), lab.state()["pid"]) == (emulator, pid)
    lab.ask("poweroff")
    lab.until("stopped")
    until(lambda: not is_alive(emulator))


def test_what_a_supervisor_left_of_a_tpm_emulator_is_ended(lab):
    lab.start(lab.document(tpm=TPM))
    emulator = lab.helper("swtpm")
    os.kill(lab.state()["supervisor"], signal.SIGKILL)
    until(lambda: not lab.state()["supervised"])
    # It hangs: the end of bhyve does not reach it.
    os.kill(emulator, signal.SIGSTOP)
    os.kill(lab.state()["pid"], signal.SIGKILL)
    until(lambda: lab.state()["state"] == "crashed")
    lab.host.run(client.start_command(lab.host, "/vms/vm.json", adopt=True))
    until(lambda: not is_alive(emulator))
    assert lab.taps() == []


@pytest.mark.parametrize("moment", [0.1, 0.25, 0.4, 0.6, 0.9])
def test_killed_at_any_step_of_its_start_it_is_taken_over_or_cleaned_up(lab, begin, moment):
    """A loader, an emulator, a rate: all that a start can leave behind."""
    lab.tell("loader", after=0.2)
    document = lab.document(loader={"type": "bhyveload"}, tpm=TPM, limits={"pcpu": 50})
    document["emulations"][1]["rate_in"] = "10M"
    begin(**document)
    until(lambda: lab.state().get("supervised"))
    time.sleep(moment)
    os.kill(lab.state()["supervisor"], signal.SIGKILL)
    until(lambda: not lab.state()["supervised"])
    lab.host.run(client.start_command(lab.host, "/vms/vm.json", adopt=True))
    if lab.state()["state"] == "running":
        assert lab.state()["supervised"]
        lab.ask("poweroff")
        lab.until("stopped")
    assert lab.state()["state"] in {"stopped", "crashed"}
    found = {one.name for one in lab.host.query(ifconfig.list_interfaces())}
    assert not found.intersection({"tap1001", "rtap1001", "tap900"})
    assert not lab.host.exists("/dev/vmm/web1")
    left = lab.host.listdir("/var/run/bhype/vms/web1")
    assert not {"vm.json", "secret.conf", "tpm.sock", "control.sock", "serial1.sock"}.intersection(left)
    until(lambda: not [one for one in lab.host.query(ps.processes()) if one.pid != os.getpid()])


def test_a_command_that_outlives_its_supervisor_leaves_nothing_behind(lab, begin):
    lab.tell("ngctl", slow="mkpeer")
    document = lab.document()
    document["emulations"][1]["rate_in"] = "10M"
    begin(**document)
    until(lambda: [call for call in lab.calls("ngctl") if call[1] == "mkpeer" and "eiface" in call])
    os.kill(lab.state()["supervisor"], signal.SIGKILL)
    lab.host.run(client.start_command(lab.host, "/vms/vm.json", adopt=True))
    assert lab.state()["state"] in {"stopped", "crashed"}
    time.sleep(1.5)  # all that the command may need
    found = {one.name for one in lab.host.query(ifconfig.list_interfaces())}
    assert not found.intersection({"tap1001", "rtap1001", "tap900"})
