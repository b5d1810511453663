"""How the lab keeps its datasets: quick with many, whole after a kill, sharing the bytes of large clones."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess

import pytest

from tests.lab.conftest import lab_store

MIB = 2**20


@pytest.fixture
def many(lab):
    """500 volumes with 20,000 snapshots."""
    with lab_store(lab) as store:
        for number in range(500):
            store.add(f"tank/v{number}", "volume", props={"volsize": str(MIB)})
            for each in range(40):
                store.add(f"tank/v{number}@s{each}", "snapshot", props={}, holds={}, referenced=57344)
    return lab


def seconds(lab, *words):
    """Of a processor: what else the machine does is not in it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    lab.ok("zfs", *words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_many_snapshots_do_not_slow_what_is_not_about_them(many):
    lab = many
    alone = min(seconds(lab, "version") for _ in range(3))
    lab.ok("zfs", "create", "-s", "-V", "1G", "tank/base")
    lab.ok("zfs", "snapshot", "tank/base@b")
    deploys = [seconds(lab, "clone", "tank/base@b", f"tank/k{number}") for number in range(3)]
    assert min(deploys) < alone + 0.3
    assert min(seconds(lab, "list", "-Hp", "-o", "name,guid", "tank/v7") for _ in range(3)) < alone + 0.3
    rows = lab.ok("zfs", "list", "-Hp", "-t", "snapshot", "-o", "name,used", "tank/v7").splitlines()
    assert len(rows) == 40
    assert lab.ok("zfs", "list", "-H", "-o", "name", "-r", "-t", "snapshot", "tank").count("\n") == 20_001


def test_a_large_clone_shares_its_bytes_until_it_is_written_to(lab):
    lab.ok("zfs", "create", "-s", "-V", "64M", "tank/base")
    with lab.path("/dev/zvol/tank/base").open("r+b") as file:
        file.write(b"image" * (5 * MIB))
    lab.ok("zfs", "snapshot", "tank/base@b")
    lab.ok("zfs", "clone", "tank/base@b", "tank/c")
    lab.ok("zfs", "clone", "tank/base@b", "tank/d")
    first, second = lab.path("/dev/zvol/tank/c"), lab.path("/dev/zvol/tank/d")
    assert first.stat().st_ino == second.stat().st_ino
    assert lab.ok("zfs", "get", "-Hp", "-o", "value", "used", "tank/c") == "0\n"
    lab.ok("zfs", "set", "volsize=96M", "tank/c")
    assert (first.stat().st_size, second.stat().st_size) == (96 * MIB, 64 * MIB)
    os.environ["BHYPE_LAB"] = lab.folder
    try:
        from bhype.lab.openzfs import files

        files.own(str(second))
    finally:
        del os.environ["BHYPE_LAB"]
    with second.open("r+b") as file:
        file.write(b"other")
    lab.ok("zfs", "rollback", "tank/base@b")
    with lab.path("/dev/zvol/tank/base").open("rb") as file:
        assert file.read(5) == b"image"


def test_a_change_that_is_killed_has_changed_nothing(lab):
    lab.ok("zfs", "create", "tank/a")
    lab.path("/tank/a/file").write_text("1")
    lab.ok("zfs", "snapshot", "tank/a@s")
    for command in ("zfs rollback", "zfs destroy", "zfs rename", "zfs clone"):
        words = {
            "zfs rollback": ["rollback", "tank/a@s"],
            "zfs destroy": ["destroy", "-r", "tank/a"],
            "zfs rename": ["rename", "tank/a", "tank/b"],
            "zfs clone": ["clone", "tank/a@s", "tank/c"],
        }[command]
        lab.fault(json.dumps({"command": command, "do": "kill"}))
        assert lab("zfs", *words).code == -signal.SIGKILL
        assert lab.admin("fault", lab.folder, "").code == 0
    assert lab.ok("zfs", "list", "-H", "-o", "name", "-t", "all") == "tank\ntank/a\ntank/a@s\n"
    assert lab.path("/tank/a/file").read_text() == "1"


def test_what_an_older_lab_has_kept_is_taken_over(lab):
    state = f"{lab.folder}/state"
    guid = lab.ok("zfs", "get", "-Hp", "-o", "value", "guid", "tank").strip()
    with lab_store(lab) as store:
        old = {**store.data, "datasets": dict(store.datasets)}
    for name in ("zfs.db", "zfs.db-wal", "zfs.db-shm"):
        if os.path.exists(f"{state}/{name}"):
            os.unlink(f"{state}/{name}")
    with open(f"{state}/zfs.json", "w") as file:
        json.dump(old, file)
    assert lab.ok("zfs", "get", "-Hp", "-o", "value", "guid", "tank").strip() == guid
    lab.ok("zfs", "create", "tank/a")


def test_readers_wait_for_nobody(lab):
    hold = ["flock", f"{lab.folder}/state/zfs.lock", "sh", "-c", "echo held; exec sleep 600"]
    with subprocess.Popen(hold, start_new_session=True, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert lab.ok("zfs", "list", "-H", "-o", "name") == "tank\n"
        os.killpg(holder.pid, signal.SIGKILL)
