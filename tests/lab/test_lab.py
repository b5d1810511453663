"""The lab as a whole: its folder, its state under concurrency and kills, its faults, its speed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.lab.conftest import ROOT, lab_store
from tests.lab.test_ifconfig import guest

__all__ = ["guest"]


def test_creating_again_refreshes_and_keeps(lab):
    lab.ok("zfs", "create", "tank/mine")
    wrapper = lab.path("/sbin/zfs")
    wrapper.write_text("#!/bin/sh\nexit 9\n")
    assert lab.admin("create", "--cpus", "4", lab.folder).code == 0
    assert lab.ok("zfs", "list", "-H", "-o", "name") == "tank\ntank/mine\n"
    assert lab.ok("sysctl", "-n", "hw.ncpu") == "4\n"
    assert lab.ok("ifconfig", "-l") == "em0 lo0\n"


def test_the_firmware_is_there_or_said_to_be_missing(lab):
    folder = lab.path("/usr/local/share/uefi-firmware")
    if os.path.exists("/usr/share/OVMF/OVMF_CODE_4M.fd"):
        assert sorted(os.listdir(folder)) == ["BHYVE_UEFI.fd", "BHYVE_UEFI_CODE.fd", "BHYVE_UEFI_VARS.fd"]
    else:
        assert "Install the package ovmf" in lab.admin("create", lab.folder).err


def test_nothing_is_lost_when_many_create_at_once(lab):
    running = [
        subprocess.Popen(lab.argv("zfs", "create", "-p", "-s", "-V", "1G", f"tank/vms/vm{number}"))
        for number in range(20)
    ]
    assert [process.wait(60) for process in running] == [0] * 20
    names = lab.ok("zfs", "list", "-H", "-t", "volume", "-o", "name").split()
    assert sorted(names) == sorted(f"tank/vms/vm{number}" for number in range(20))
    assert len(os.listdir(lab.path("/dev/zvol/tank/vms"))) == 20
    ids = lab.ok("zfs", "list", "-Hp", "-t", "volume", "-o", "createtxg").split()
    assert len(set(ids)) == 20


def test_readers_never_see_a_half_written_state(lab):
    writers = [subprocess.Popen(lab.argv("zfs", "create", f"tank/d{number}")) for number in range(10)]
    while any(writer.poll() is None for writer in writers):
        assert lab.ok("zfs", "list", "-H", "-o", "name").startswith("tank\n")


def test_a_program_killed_while_it_holds_the_lock_frees_it(lab):
    hold = ["flock", f"{lab.folder}/state/zfs.lock", "sh", "-c", "echo held; exec sleep 600"]
    holder = subprocess.Popen(hold, start_new_session=True, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    waiting = subprocess.Popen(lab.argv("zfs", "create", "tank/a"))
    time.sleep(0.2)
    assert waiting.poll() is None
    os.killpg(holder.pid, signal.SIGKILL)
    holder.communicate()
    assert waiting.wait(60) == 0


def test_a_destroy_that_was_killed_half_way_has_destroyed_nothing(lab):
    lab.ok("zfs", "create", "-s", "-V", "1M", "tank/v")
    lab.ok("zfs", "create", "tank/f")
    lab.path("/tank/f/file").write_text("1")
    guids = lab.ok("zfs", "get", "-Hp", "-o", "value", "guid", "tank/v", "tank/f").split()
    shelf = f"{lab.folder}/state/zfs-data"
    # As if it had died after putting the bytes aside and before writing the state.
    os.rename(lab.path("/tank/f"), f"{shelf}/{guids[0]}")
    os.rename(lab.path("/dev/zvol/tank/v"), f"{shelf}/{guids[1]}")
    with open(f"{shelf}/12345", "w") as file:
        file.write("bytes of nobody")
    open(f"{lab.folder}/state/zfs-unfinished", "w").close()
    lab.ok("zfs", "create", "tank/other")
    assert lab.path("/tank/f/file").read_text() == "1"
    assert lab.path("/dev/zvol/tank/v").stat().st_size == 2**20
    assert os.listdir(shelf) == []


def test_a_fault_meets_the_nth_call(lab):
    lab.fault(
        '{"command": "zfs create", "nth": 2, "do": "fail", "text": "cannot create: I/O error", "code": 3}'
    )
    lab.ok("zfs", "create", "tank/a")
    assert lab.fails("zfs", "create", "tank/b", code=3) == "cannot create: I/O error\n"
    lab.ok("zfs", "create", "tank/c")
    assert lab.ok("zfs", "list", "-H", "-o", "name") == "tank\ntank/a\ntank/c\n"


def test_a_fault_meets_words_in_order(lab):
    lab.fault('[{"command": "ifconfig addm", "do": "fail"}, {"command": "zfs create tank/b", "do": "fail"}]')
    lab.ok("ifconfig", "tap0", "create")
    lab.ok("zfs", "create", "tank/a")
    lab.fails("zfs", "create", "-o", "org.bhype:id=1", "tank/b")
    lab.fails("ifconfig", "bridge0", "create", "addm", "tap0")
    assert lab.admin("clear", lab.folder).code == 0
    lab.ok("ifconfig", "bridge0", "create", "addm", "tap0")


def test_a_command_can_hang(lab):
    lab.fault('{"command": "zfs destroy", "do": "hang"}')
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(lab.argv("zfs", "destroy", "tank/a"), timeout=0.5, check=False)


def test_a_command_can_be_slow(lab):
    lab.fault('{"command": "zfs create", "do": "slow", "seconds": 0.4}')
    start = time.monotonic()
    lab.ok("zfs", "create", "tank/a")
    assert time.monotonic() - start >= 0.4


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
def test_a_command_can_die_before_or_after_the_work(lab, when, there):
    lab.fault(json.dumps({"command": "zfs create", "do": "kill", "when": when}))
    assert lab("zfs", "create", "tank/a").code == -signal.SIGKILL
    assert lab.path("/tank/a").exists() is there
    assert ("tank/a" in lab.ok("zfs", "list", "-H", "-o", "name")) is there


def test_a_command_can_fail_though_its_work_is_done(lab):
    lab.fault('{"command": "zfs create", "do": "fail", "when": "after", "text": "no"}')
    assert lab.fails("zfs", "create", "tank/a") == "no\n"
    assert "tank/a" in lab.ok("zfs", "list", "-H", "-o", "name")


def test_a_pool_can_be_full(lab):
    lab.ok("zfs", "create", "tank/a")
    lab.fault('{"command": "zfs", "do": "full"}')
    assert lab.fails("zfs", "create", "-s", "-V", "1G", "tank/b") == "cannot create 'tank/b': out of space\n"
    assert lab.fails("zfs", "snapshot", "tank/a@s") == "cannot create snapshot 'tank/a@s': out of space\n"
    assert lab.ok("zfs", "list", "-Hp", "-o", "avail", "tank") == "0\n"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"do": "fail"}',
        '{"command": "zfs", "do": "explode"}',
        '{"command": "zfs", "do": "fail", "on": 1}',
    ],
)
def test_bad_faults_are_refused(lab, text):
    assert lab.admin("fault", lab.folder, text).code == 2
    assert not os.path.exists(f"{lab.folder}/faults.json")


def test_what_a_guest_has_open_is_busy(lab, guest):
    lab.ok("zfs", "create", "-p", "-s", "-V", "1G", "tank/vms/web1")
    lab.ok("zfs", "create", "tank/iso")
    lab.ok("zfs", "snapshot", "tank/vms/web1@s")
    files = [str(lab.path("/dev/zvol/tank/vms/web1")), str(lab.path("/tank/iso/install.iso"))]
    process = guest(files=files)
    assert lab.fails("zfs", "rollback", "tank/vms/web1@s") == (
        "cannot rollback 'tank/vms/web1': dataset is busy\n"
    )
    assert lab.fails("zfs", "destroy", "-r", "tank/vms/web1") == (
        "cannot destroy 'tank/vms/web1': dataset is busy\n"
    )
    assert lab.fails("zfs", "rename", "tank/vms/web1", "tank/vms/web2") == (
        "cannot rename 'tank/vms/web1': dataset is busy\n"
    )
    assert lab.fails("zfs", "destroy", "tank/iso") == (
        "cannot unmount '/tank/iso': pool or dataset is busy\n"
    )
    assert lab.fails("zpool", "destroy", "tank") == "cannot destroy 'tank': pool is busy\n"
    assert lab.fails("zpool", "export", "tank") == "cannot export 'tank': pool is busy\n"
    process.kill()
    process.wait()
    lab.ok("zfs", "destroy", "-r", "tank/vms")
    lab.ok("zfs", "destroy", "tank/iso")


def test_stop_ends_the_guests(lab, guest):
    process = guest()
    node = lab.path("/dev/vmm/vm1")
    node.parent.mkdir()
    node.touch()
    stopping = subprocess.Popen(
        [sys.executable, "-m", "bhype.lab", "stop", lab.folder], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.wait(60) == -signal.SIGTERM
    assert stopping.communicate(timeout=60)[0] == "1 guests ended\n"
    assert not node.parent.exists()


def test_a_full_lab_is_listed_in_one_quick_command(lab):
    with lab_store(lab) as store:
        for number in range(1000):
            store.add(f"tank/v{number}", "volume", props={"volsize": "1048576"})
    assert len(lab.ok("zfs", "list", "-Hp", "-o", "name,used,avail,refer").splitlines()) == 1001
