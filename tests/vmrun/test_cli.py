"""The command line of vmrun."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

from bhype.freebsd import pciconf
from bhype.vmrun.cli import Misuse, main, read_options

from .conftest import PROJECT, until

SMALL = {"name": "web1", "cpu": 1, "mem": "64M", "emulations": []}


def vmrun(lab, *words: str, input: str = "", **more: object) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "bhype.vmrun", "--root", str(lab.root), *words]
    return subprocess.run(
        argv, cwd=PROJECT, input=input, capture_output=True, text=True, timeout=60, check=False, **more
    )


def dry(lab, document: dict, *words: str) -> subprocess.CompletedProcess:
    return vmrun(lab, "-c", "-", "-d", *words, input=json.dumps(document))


def test_options_stand_apart_attached_and_behind_equals():
    for words in (
        ["-c", "a", "-t", "b", "-p", "c"],
        ["-ca", "-tb", "-pc"],
        ["--config=a", "--target=b", "-p", "c"],
    ):
        assert read_options(words).values == {"config": "a", "target": "b", "pid_file": "c"}
    options = read_options(["-c-", "-P", "s", "--no-reboot", "-f", "--", "-x", "-o", "a=b"])
    assert options.values == {"config": "-", "supervisor_pid_file": "s"}
    assert (options.flags, options.rest) == ({"no_reboot", "force"}, ["-x", "-o", "a=b"])


@pytest.mark.parametrize(
    "words",
    [
        ["-c"],
        ["-c", "a", "b"],
        ["-c", "a", "--p", "b"],
        ["--target", "a"],
        ["-x"],
        ["-c", "a", "--run-dir", "b"],
    ],
)
def test_misuse_is_refused(words):
    with pytest.raises(Misuse):
        read_options(words)


def test_the_schema_is_printed():
    argv = [sys.executable, "-m", "bhype.vmrun", "--schema"]
    result = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["title"] == "vm.json"


def test_a_dry_run_is_one_line_that_a_shell_reads_back(lab):
    document = {
        **SMALL,
        "emulations": [{"device": "virtio-blk", "path": "/vms/a disk's (1).img"}],
        "options": {"bios.vendor": "a $b; rm -rf"},
    }
    lab.host.write_text("/vms/a disk's (1).img", "")
    result = dry(lab, document, "--", "-o", "bios.version=1 2")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    words = shlex.split(result.stdout)
    assert words[words.index("-s") :][4:6] == ["-s", "0:1:0,virtio-blk,/vms/a disk's (1).img"]
    assert words[-5:] == ["-o", "bios.vendor=a $b; rm -rf", "-o", "bios.version=1 2", "web1"]


def test_a_target_is_chosen(lab):
    document = {**SMALL, "targets": {"install": {"emulations": [{"device": "virtio-rnd"}]}}}
    assert "virtio-rnd" in dry(lab, document, "-t", "install").stdout
    assert "virtio-rnd" not in dry(lab, document).stdout
    result = dry(lab, document, "--target=none")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "web1\n└─ targets\n   └─ There is no target 'none'. Known: install.\n"


def test_a_wrong_configuration_is_a_tree_by_device_and_no_success(lab):
    document = {
        **SMALL,
        "cpu": 0,
        "emulations": [
            {"device": "virtio-blk", "path": "/d", "ser": "x" * 21, "bootindex": -1},
            {"device": "nvme"},
        ],
    }
    for words in (["-d"], [], ["--detach"]):
        result = vmrun(lab, "-c-", *words, input=json.dumps(document))
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == (
            "web1\n"
            "├─ vm\n"
            "│  └─ cpu: 0 is not a number of CPUs.\n"
            "├─ emulations[0] virtio-blk\n"
            f"│  ├─ ser: {'x' * 21!r} is not a text of at most 20 ASCII characters.\n"
            "│  └─ bootindex: -1 is not a number.\n"
            "└─ emulations[1] nvme\n"
            "   └─ path: It needs a path or ram.\n"
        )
    assert not (lab.root / "var/run/bhype").exists()


def test_what_is_missing_is_told_beside_the_line(lab):
    document = {
        **SMALL,
        "emulations": [
            {"device": "virtio-net", "name": "tap77"},
            {"device": "virtio-9p", "share": "a", "path": "/no"},
        ],
    }
    result = dry(lab, document)
    assert result.returncode == 1
    assert result.stdout.startswith("/usr/sbin/bhyve ")
    assert result.stderr == (
        "web1\n"
        "├─ 0:1:0 virtio-net\n"
        '│  └─ The interface tap77 is missing. Run: ifconfig tap77 create; or say "fix": true.\n'
        "└─ 0:2:0 virtio-9p\n"
        "   └─ The folder /no is missing. Make it, or give another path.\n"
    )
    # -f says "fix" for all.
    assert "tap77" not in dry(lab, document, "-f").stderr


def test_a_device_is_looked_up_for_the_line(lab):
    device = {"device": "passthru", "lookup": {"vendor": "0x144d144d", "device": "0xa808b808"}}
    result = dry(lab, {**SMALL, "wire_guest_mem": True, "emulations": [device]})
    assert "-s 0:1:0,passthru,2/0/0 " in result.stdout
    assert "2/0/0 is not reserved for guests" in result.stderr


def test_a_background_vm_has_no_terminal(lab):
    result = dry(lab, {**SMALL, "com1": "stdio"}, "--detach")
    assert result.returncode == 1
    assert "A VM in the background has no standard input and output." in result.stderr


def test_debug_shows_what_was_understood_but_no_password(lab):
    document = {
        **SMALL,
        "graphic": {"host": "127.0.0.1", "port": lab.port, "password": "geheim12"},
        "colour": 1,
    }
    result = dry(lab, document, "--debug")
    assert result.returncode == 0
    assert "memory: 67108864" in result.stderr
    assert "not read: vm: colour" in result.stderr
    assert "geheim12" not in result.stdout + result.stderr


def test_pid_files_tell_the_guest_and_its_supervisor(lab, tmp_path):
    """-p is bhyve's and -P the supervisor's, as in vmrun."""
    guest, own = tmp_path / "bhyve.pid", tmp_path / "vmrun.pid"
    path = lab.host.path(lab.write(lab.document()))
    result = vmrun(lab, "-c", path, "--detach", "-p", str(guest), "-P", str(own))
    assert result.returncode == 0, result.stderr
    state = lab.state()
    assert (int(guest.read_text()), int(own.read_text())) == (state["pid"], state["supervisor"])
    before = state["pid"]
    lab.ask("reset")
    until(lambda: lab.state()["restarts"] == 1 and lab.state()["state"] == "running")
    assert int(guest.read_text()) == lab.state()["pid"] != before


def test_a_pid_file_that_cannot_be_written_is_told_before_the_start(lab, tmp_path):
    path = lab.host.path(lab.write(lab.document()))
    result = vmrun(lab, "-c", path, "--detach", "-p", str(tmp_path / "none/bhyve.pid"))
    assert result.returncode == 1
    assert "none/bhyve.pid: No such file or directory" in result.stderr
    assert lab.starts == []


def test_the_words_behind_two_dashes_reach_bhyve(lab):
    path = lab.host.path(lab.write(lab.document()))
    result = vmrun(lab, "-c", path, "--detach", "--", "-o", "bios.vendor=x y")
    assert result.returncode == 0, result.stderr
    words = lab.state()["command"]
    assert words[words.index("-o") + 1] == "bios.vendor=x y"


def test_the_script_of_a_target_runs_with_its_words_and_the_name(lab):
    script = lab.root / "vms/hook.sh"
    said = shlex.quote(str(lab.root / "vms/said"))
    script.write_text(f"#!/bin/sh\nprintf '%s|' \"$@\" > {said}.new\nmv {said}.new {said}\n")
    script.chmod(0o755)
    document = lab.document(targets={"x": {"post_start_script": "/vms/hook.sh 'a b' c"}})
    path = lab.host.path(lab.write(document))
    result = vmrun(lab, "-c", path, "-t", "x", "--detach")
    assert result.returncode == 0, result.stderr
    until((lab.root / "vms/said").exists)
    assert (lab.root / "vms/said").read_text() == "a b|c|web1|"


def test_the_exit_status_is_bhyves(lab):
    lab.plan({"exit": 3, "after": 0.1})
    path = lab.host.path(lab.write(lab.document()))
    result = vmrun(lab, "-c", path, "--no-reboot")
    assert result.returncode == 3, result.stderr
    assert os.listdir(lab.root / "var/run/bhype/vms/web1")


def test_a_device_that_says_fix_is_reserved_for_the_guest(lab):
    device = {"device": "passthru", "src": "2:0:0", "fix": True}
    document = lab.document(wire_guest_mem=True)
    document["emulations"].append(device)
    lab.start(document)
    reserved = [one.place for one in lab.host.query(pciconf.devices()) if one.is_reserved]
    assert reserved == ["2/0/0"]
    assert "0:3:0,passthru,2/0/0" in lab.state()["command"]


def test_help_is_an_option_and_no_value():
    assert read_options(["-c", "vm.json", "-t", "-h"]).values["target"] == "-h"
    assert main(["--help"]) == 0
    assert main(["-c", "/nosuch", "-h"]) == 0
    assert main(["-c", "/nosuch", "-t", "-h"]) == 1
