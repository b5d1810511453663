"""The supervisor, with guests that do at once what is asked of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from bhype.freebsd import ifconfig
from bhype.host import CommandFailed, connect_unix
from bhype.vmrun import client

from .conftest import PROJECT, UUID, until


def vmrun(lab, *words, **options):
    argv = [sys.executable, "-S", "-E", str(PROJECT / "bhype/vmrun"), "--root", str(lab.root), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, **options)


def test_a_vm_starts_and_says_so(lab):
    lab.start()
    state = lab.state()
    assert (state["state"], state["reason"], state["restarts"], state["supervised"]) == (
        "running",
        "",
        0,
        True,
    )
    assert state["vnc"] == {"host": "127.0.0.1", "port": lab.port}
    assert (state["uuid"], state["serial"], state["exit_code"]) == (UUID, ["com1"], None)
    assert abs(state["started_at"] - time.time()) < 30
    assert state["command"][1:] == lab.starts[0]
    assert lab.ask("status") == {
        "ok": True,
        "error": None,
        "state": {k: v for k, v in state.items() if k != "supervised"},
    }


def test_its_tap_is_made_marked_and_put_into_its_switch(lab):
    lab.start()
    found = {interface.name: interface for interface in lab.host.query(ifconfig.list_interfaces())}
    assert found["tap1001"].description == f"bhype/vm/{UUID}/0"
    assert ifconfig.GROUP in found["tap1001"].groups
    assert found["sw-nat"].members == ("tap1001",)
    assert lab.ask("stop")["ok"]
    lab.until("stopped")
    assert lab.taps() == []


def test_it_gets_its_own_uefi_variables_once(lab):
    lab.start()
    template = lab.root / "usr/local/share/uefi-firmware/BHYVE_UEFI_VARS.fd"
    copy = lab.root / "vms/vars.fd"
    assert copy.read_bytes() == template.read_bytes()
    lab.ask("poweroff")
    lab.until("stopped")
    copy.write_bytes(b"the guest's")
    lab.start()
    assert copy.read_bytes() == b"the guest's"


def test_the_password_reaches_bhyve_in_a_private_file(lab):
    lab.start()
    assert (lab.root / "fake/secret").read_text() == "pci.0.3.0.password=pw123456\n"
    secret = lab.root / "var/run/bhype/vms/web1/secret.conf"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert "pw123456" not in json.dumps(lab.state())
    lab.ask("poweroff")
    lab.until("stopped")
    assert not secret.exists()


def test_stop_presses_the_power_button(lab):
    lab.start()
    assert lab.ask("stop")["state"]["state"] == "stopping"
    state = lab.until("stopped")
    assert (state["reason"], state["exit_code"], state["pid"], state["supervisor"]) == (
        "The guest powered off.", 1, None, None,
    )  # fmt: skip
    assert not lab.host.exists("/dev/vmm/web1")
    assert not lab.host.exists(client.serial_socket("web1"))
    assert lab.ask("status") == {
        "ok": False,
        "error": "web1 has no supervisor; it is not running.",
        "state": {},
    }


def test_a_guest_without_acpi_is_ended_by_stop(lab):
    lab.plan({"raw": True})
    lab.start()
    lab.ask("stop")
    assert lab.until("stopped")["reason"].startswith("It was ended at once")


def test_a_guest_that_ignores_the_button_can_be_powered_off(lab):
    lab.plan({"deaf": True})
    lab.start()
    lab.ask("stop")
    time.sleep(0.3)
    assert lab.state()["state"] == "stopping"
    lab.ask("poweroff")
    assert lab.until("stopped")["reason"] == "It was powered off."


def test_a_bhyve_that_hangs_is_killed_in_the_end(lab):
    lab.plan({"deaf": True, "stuck": True})
    lab.start()
    lab.ask("poweroff")
    state = lab.until("stopped")
    assert (state["reason"], state["exit_code"]) == ("It was powered off.", -9)
    assert lab.taps() == []


def test_a_guest_that_powers_off_stays_off(lab):
    lab.plan({"exit": 1, "after": 0.6})
    lab.start()
    assert lab.until("stopped")["reason"] == "The guest powered off."
    assert len(lab.starts) == 1


def test_a_guest_that_reboots_is_started_again(lab):
    lab.plan({"exit": 0, "after": 0.5}, {})
    lab.start()
    until(lambda: lab.state().get("restarts") == 1 and lab.state()["state"] == "running")
    assert len(lab.starts) == 2
    assert lab.starts[0] == lab.starts[1]
    assert lab.taps() == ["tap1001"]


def test_a_guest_that_only_reboots_is_given_up(lab):
    lab.plan({"exit": 0, "after": 0.1, "init": False})
    with pytest.raises(CommandFailed, match="rebooted more than 10 times within 60 s"):
        lab.start()
    state = lab.state()
    assert (state["state"], state["restarts"]) == ("failed", 10)
    assert len(lab.starts) == 11
    assert lab.taps() == []


def test_reset_starts_the_guest_again_and_is_no_reboot_loop(lab):
    lab.start()
    for number in range(1, 13):
        until(lambda: lab.state()["state"] == "running")
        assert lab.ask("reset")["ok"]
        until(lambda: lab.state()["restarts"] == number)  # noqa: B023
    lab.until("running")


def test_restart_goes_through_a_shut_down(lab):
    lab.plan({}, {"deaf": True}, {})
    lab.start()
    assert lab.ask("restart")["ok"]
    until(lambda: lab.state()["restarts"] == 1 and lab.state()["state"] == "running")
    # The second guest does not listen: the plug is pulled after the wait.
    assert lab.ask("restart", wait=0.3)["ok"]
    until(lambda: lab.state()["restarts"] == 2 and lab.state()["state"] == "running")
    assert len(lab.starts) == 3


@pytest.mark.parametrize(
    ("run", "state", "reason"),
    [
        ({"exit": 3, "after": 0.5}, "failed", "The guest ended in a triple fault."),
        ({"exit": 2, "after": 0.5}, "stopped", "The guest halted."),
        ({"exit": 134, "after": 0.5}, "crashed", "bhyve ended with exit status 134."),
    ],
)
def test_other_ends_are_told(lab, run, state, reason):
    lab.plan(run)
    lab.start()
    assert lab.until(state)["reason"] == reason
    assert lab.taps() == []


def test_a_bhyve_that_fails_at_once_fails_the_start_with_its_own_words(lab):
    lab.plan({"exit": 4, "after": 0, "stderr": "bind: Address already in use\n", "init": False})
    with pytest.raises(CommandFailed, match="It said: bind: Address already in use"):
        lab.start()
    assert lab.state()["state"] == "failed"
    assert "Address already in use" in lab.log("bhyve.log")
    assert lab.taps() == []


def test_a_killed_bhyve_is_a_crash(lab):
    lab.start()
    os.kill(lab.state()["pid"], signal.SIGKILL)
    assert lab.until("crashed")["reason"] == "bhyve was killed by signal 9."
    assert lab.taps() == []
    assert not lab.host.exists("/dev/vmm/web1")
    lab.start()


def test_what_is_missing_is_told_by_device_and_nothing_is_left(lab):
    document = lab.document()
    document["emulations"][0]["path"] = "/vms/none.img"
    document["emulations"][1]["bridge"] = "sw-none"
    document["mem"] = "999G"
    with socket.socket() as other:
        other.bind(("127.0.0.1", lab.port))
        other.listen()
        with pytest.raises(CommandFailed) as caught:
            lab.start(document)
    for words in (
        "0:1:0 virtio-blk",
        "/vms/none.img cannot be opened",
        "The switch sw-none is missing",
        "The VM wants 1022976 MiB, the host has 8192 MiB",
        f"127.0.0.1:{lab.port} is in use",
    ):
        assert words in caught.value.result.stderr
    assert lab.starts == []
    assert lab.taps() == []
    assert lab.state()["state"] == "failed"


def test_a_second_supervisor_is_refused(lab):
    lab.start()
    with pytest.raises(CommandFailed, match=f"has a supervisor already, process {lab.state()['supervisor']}"):
        lab.start()
    assert lab.state()["state"] == "running"
    assert len(lab.starts) == 1


def test_many_starts_at_once_start_one(lab):
    path = lab.write(lab.document())
    outcomes = []

    def start():
        try:
            lab.host.run(client.start_command(lab.host, path))
            outcomes.append("started")
        except CommandFailed:
            outcomes.append("refused")

    threads = [threading.Thread(target=start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 4 + ["started"]
    assert len(lab.starts) == 1


def kill_supervisor(lab) -> int:
    """Returns the process of the bhyve that goes on."""
    state = lab.state()
    os.kill(state["supervisor"], signal.SIGKILL)
    until(lambda: not lab.state()["supervised"])
    return state["pid"]


def test_the_guest_outlives_its_supervisor_and_a_successor_takes_over(lab):
    lab.start()
    pid = kill_supervisor(lab)
    assert lab.state()["state"] == "running"
    assert lab.ask("status")["error"] == "web1 has no supervisor; it is not running."
    lab.start()
    state = lab.state()
    assert (state["state"], state["pid"], state["supervised"]) == ("running", pid, True)
    assert len(lab.starts) == 1
    with lab.serial() as line:
        line.sendall(b"still there")
        received = b""  # what the last one has not read any more comes first
        while b"still there" not in received:
            received += line.recv(100)
    lab.ask("stop")
    assert lab.until("stopped")["reason"] == "The guest powered off."
    assert lab.taps() == []


def test_a_successor_never_knows_less_than_its_predecessor(lab):
    lab.start()
    pid = kill_supervisor(lab)
    command = client.start_command(lab.host, lab.write(lab.document()))
    seen = []
    process = lab.host.spawn(command)
    while process.poll() is None:
        state = lab.state()
        seen.append((state["state"], state["pid"], state["command"][0]))
    assert set(seen) == {("running", pid, "/usr/sbin/bhyve")}


def test_a_successor_starts_the_guest_again_when_it_reboots(lab):
    lab.start()
    kill_supervisor(lab)
    lab.start()
    lab.ask("reset")
    until(lambda: lab.state()["restarts"] == 1 and lab.state()["state"] == "running")
    assert len(lab.starts) == 2


def test_the_vm_goes_on_when_who_starts_it_is_killed(lab):
    """As a worker's death does to the command that waits until the guest runs."""
    process = lab.host.spawn(client.start_command(lab.host, lab.write(lab.document())))
    until(lambda: (client.read_state(lab.host, lab.name) or {}).get("supervised"))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    lab.until("running")
    time.sleep(0.3)
    assert lab.state()["supervised"]


def test_a_successor_sees_a_guest_power_off(lab):
    lab.start()
    pid = kill_supervisor(lab)
    lab.start()
    os.kill(pid, signal.SIGTERM)
    state = lab.until("stopped")
    assert (state["reason"], state["exit_code"]) == ("The guest powered off.", 1)


def test_a_supervisor_that_is_asked_to_leave_leaves_the_guest(lab):
    lab.start()
    pid = lab.state()["pid"]
    os.kill(lab.state()["supervisor"], signal.SIGTERM)
    until(lambda: not lab.state()["supervised"])
    assert lab.state()["state"] == "running"
    assert lab.taps() == ["tap1001"]
    lab.start()
    assert lab.state()["pid"] == pid


def test_what_ended_unwatched_is_shown_as_it_is(lab):
    lab.start()
    os.kill(kill_supervisor(lab), signal.SIGTERM)
    until(lambda: lab.state()["state"] == "stopped")
    lab.start()
    os.kill(kill_supervisor(lab), signal.SIGKILL)
    until(lambda: lab.state()["state"] == "crashed")
    assert lab.taps() == ["tap1001"]
    # A successor that may only take over cleans up.
    lab.host.run(client.start_command(lab.host, "/vms/vm.json", adopt=True))
    assert lab.taps() == []
    assert json.loads(lab.log("state.json"))["state"] == "crashed"
    assert not lab.host.exists("/dev/vmm/web1")
    assert len(lab.starts) == 2


def test_adopting_takes_over_what_runs_and_starts_nothing(lab):
    path = lab.write(lab.document())
    lab.host.run(client.start_command(lab.host, path, adopt=True))
    assert lab.state() == {}
    lab.start()
    pid = kill_supervisor(lab)
    lab.host.run(client.start_command(lab.host, path, adopt=True))
    assert (lab.state()["pid"], lab.state()["supervised"]) == (pid, True)


def test_taps_of_others_are_left_alone(lab):
    lab.host.run(ifconfig.create("tap1001", description="somebody's"))
    document = lab.document()
    document["emulations"][1]["fix"] = False
    lab.start(document)
    lab.ask("stop")
    lab.until("stopped")
    assert lab.taps() == ["tap1001"]


def test_an_orphaned_tap_of_the_same_vm_is_used_again_and_goes_with_it(lab):
    lab.host.run(ifconfig.create("tap1001", description=f"bhype/vm/{UUID}/0", group=ifconfig.GROUP))
    lab.start()
    lab.ask("stop")
    lab.until("stopped")
    assert lab.taps() == []


def test_targets_follow_each_other_on_reboot(lab):
    document = lab.document(
        targets={"install": {"emulations": [{"device": "virtio-rnd"}], "next_target": "default"}}
    )
    lab.plan({"exit": 0, "after": 0.5}, {})
    lab.start(document, target="install")
    until(lambda: lab.state().get("restarts") == 1 and lab.state()["state"] == "running")
    assert ["virtio-rnd" in " ".join(argv) for argv in lab.starts] == [True, False]


def test_stale_console_sockets_are_removed_and_other_files_kept(lab):
    stale = lab.root / "vms/console.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(stale))
    keep = lab.root / "vms/keep.sock"
    keep.write_text("no socket")
    document = lab.document()
    document["emulations"].append(
        {"device": "virtio-console", "ports": ["/vms/console.sock", "/vms/keep.sock"]}
    )
    lab.start(document)
    assert not stale.exists()
    assert keep.exists()


def test_the_serial_line_is_logged_and_served_to_many(lab):
    lab.start()
    with lab.serial() as one, lab.serial() as two:
        for line in (one, two):
            received = b""
            while b"ready\r\n" not in received:
                received += line.recv(100)
        one.sendall(b"hello")
        assert one.recv(100) == b"hello"
        assert two.recv(100) == b"hello"
    until(lambda: "hello" in lab.log("serial1.log"))
    path = lab.root / "var/run/bhype/vms/web1/serial1.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_who_watches_a_serial_line_cannot_type(lab):
    lab.start()
    watching = connect_unix(lab.host.path(client.serial_socket("web1", watch=True)), 60)
    with lab.serial() as writing, watching:
        while b"ready" not in watching.recv(100):
            pass
        watching.sendall(b"not this")
        writing.sendall(b"but this")
        assert watching.recv(100) == b"but this"
    path = lab.root / "var/run/bhype/vms/web1/serial1-watch.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    lab.ask("poweroff")
    lab.until("stopped")
    assert not path.exists()


def test_a_serial_client_that_does_not_read_holds_nobody_up(lab):
    lab.start()
    with lab.serial() as slow, lab.serial() as quick:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        quick.sendall(b"\x06")
        received = b""
        while b"\x06" not in received:
            received = received[-10:] + quick.recv(65536)
        assert lab.ask("status")["ok"]
    # More than a MiB came: the log was turned over.
    until((lab.root / "var/run/bhype/vms/web1/serial1.log.1").exists)
    assert (lab.root / "var/run/bhype/vms/web1/serial1.log").stat().st_size < 1 << 20


def test_the_serial_line_comes_back_after_a_reboot(lab):
    lab.start()
    with lab.serial() as line:
        while b"ready" not in line.recv(100):
            pass
        line.sendall(b"\x12")
        received = b""
        while b"ready\r\n" not in received:
            received += line.recv(100)
    assert lab.state()["restarts"] == 1


@pytest.mark.parametrize(
    "text", [b"\n", b"[]\n", b"{}\n", b'{"verb": "explode"}\n', b"\xff\n", b'{"verb": []}\n']
)
def test_odd_requests_get_an_answer_and_do_nothing(lab, text):
    lab.start()
    with client.connect_unix(str(lab.root / "var/run/bhype/vms/web1/control.sock"), 60) as connection:
        connection.sendall(text)
        answer = json.loads(connection.makefile().readline())
    assert answer["ok"] is False
    assert answer["error"]
    assert lab.state()["state"] == "running"


def test_a_supervisor_is_small(lab):
    lab.start()
    with open(f"/proc/{lab.state()['supervisor']}/status") as file:
        resident = int(file.read().split("VmRSS:")[1].split()[0])
    assert resident < 15 * 1024


def test_a_dry_run_prints_one_line_and_changes_nothing(lab):
    path = lab.host.path(lab.write(lab.document()))
    result = vmrun(lab, "-c", path, "--dry-run")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    assert result.stdout.startswith("/usr/sbin/bhyve -A -H -u -D -c 2 -m 131072K ")
    assert lab.taps() == []
    assert not (lab.root / "var/run/bhype").exists()


def test_a_dry_run_prints_its_line_also_when_things_are_missing(lab):
    document = lab.document()
    document["emulations"][0]["path"] = "/vms/no ne.img"
    result = vmrun(lab, "-c-", "-d", "--debug", input=json.dumps(document | {"colour": "red"}))
    assert result.returncode == 1
    assert result.stdout.count("\n") == 1
    assert "'0:1:0,virtio-blk,/vms/no ne.img'" in result.stdout
    assert "└─ /vms/no ne.img cannot be opened: No such file or directory." in result.stderr
    assert "not read: vm: colour" in result.stderr
    assert "pw123456" not in result.stderr + result.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 64, "-c is missing."),
        (["-c"], 64, "-c wants a value."),
        (["-c", "x", "--fast"], 64, "There is no option --fast."),
        (["-c", "/nowhere.json"], 1, "/nowhere.json: No such file or directory"),
        (["-c", "-", "--reboot-on=x"], 64, "--reboot-on wants exit statuses"),
        (["-c", "-", "--reboot-count", "x"], 64, "--reboot-count wants a number"),
        (["--help"], 0, ""),
    ],
)
def test_misuse_is_told(lab, words, code, said):
    result = vmrun(lab, *words, input=json.dumps(lab.document()))
    assert result.returncode == code
    assert said in result.stderr


def test_bad_json_is_told_as_a_tree(lab):
    result = vmrun(lab, "-c-", "--detach", input="{")
    assert result.returncode == 1
    assert result.stderr.startswith("vm\n└─ configuration\n   └─ This is not JSON")


def test_in_the_foreground_it_ends_with_bhyves_status(lab):
    lab.plan({"exit": 0, "after": 0.1}, {"exit": 0, "after": 0.1}, {"exit": 2, "after": 0.1})
    document = json.dumps(lab.document())
    assert vmrun(lab, "-c-", "--no-reboot", input=document).returncode == 0
    assert len(lab.starts) == 1
    assert vmrun(lab, "-c-", "--reboot-count", "1", "--reboot-on=0,2", input=document).returncode == 2
    assert len(lab.starts) == 3
    assert lab.taps() == []


def test_a_serial_line_on_stdio_is_for_the_foreground(lab):
    result = vmrun(lab, "-c-", "--detach", input=json.dumps(lab.document(com1="stdio")))
    assert result.returncode == 1
    assert "A VM in the background has no standard input and output." in result.stderr
