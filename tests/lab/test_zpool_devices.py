"""Pools whose devices come, go, fail and are replaced (zfs.md sections 10 and 11)."""

from __future__ import annotations

import itertools
import json
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bhype.freebsd import zpool_status
from bhype.lab.disks import VERBS
from tests.lab.conftest import GIB

MIRROR = ("mirror", "da1", "da2")
SUSPENDED = "pool I/O is currently suspended"


@pytest.fixture
def lab(lab):
    """Its scrubs and resilvers are quick."""
    pace(lab, 0.3)
    return lab


def pace(lab, seconds):
    """Let the scrubs, resilvers and trims that start from now on take so long."""
    path = Path(lab.folder, "state", "host.json")
    host = json.loads(path.read_text())
    host["tunables"]["lab.scan.seconds"] = str(seconds)
    path.write_text(json.dumps(host))


def do(lab, *words):
    answer = lab.admin("disk", lab.folder, *words)
    assert answer.code == 0, answer.err


def states(lab, pool="data"):
    """The state of each row of the configuration, by its name."""
    rows = {}
    for line in lab.ok("zpool", "status", pool).partition("config:")[2].splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] not in ("NAME", "errors:"):
            rows[words[0]] = words[1]
    return rows


def health(lab, pool="data"):
    return lab.ok("zpool", "list", "-H", "-o", "health", pool).strip()


def test_a_mirror_lives_on_one_disk_and_takes_the_other_back(lab):
    lab.ok("zpool", "create", "data", *MIRROR)
    lab.ok("zfs", "create", "data/x")
    lab.path("/data/x/file").write_text("1")
    do(lab, "pull", "da1")
    assert states(lab)["da1"] == "REMOVED" and health(lab) == "DEGRADED"
    assert "One or more devices has been removed" in lab.ok("zpool", "status", "-x")
    lab.ok("zfs", "snapshot", "data/x@still")
    do(lab, "insert", "da1")
    assert states(lab)["da1"] == "REMOVED", "nobody has brought it online"
    pace(lab, 60)
    lab.ok("zpool", "online", "data", "da1")
    text = lab.ok("zpool", "status", "data")
    assert re.search(r"da1 +ONLINE +0 +0 +0  \(resilvering\)", text)
    assert "  scan: resilver in progress since " in text and re.search(r"[0-9.]+% done", text)
    assert lab.fails("zpool", "scrub", "data") == "cannot scrub data: currently resilvering\n"
    pace(lab, 0.3)
    lab.ok("zpool", "resilver", "data")
    lab.ok("zpool", "wait", "data")
    assert re.search(
        r"  scan: resilvered \S+ in 00:00:0\d with 0 errors on ", lab.ok("zpool", "status", "data")
    )
    assert health(lab) == "ONLINE" and lab.path("/data/x/file").read_text() == "1"


def test_a_pool_without_its_only_disk_is_suspended_until_it_is_cleared(lab):
    lab.ok("zfs", "create", "tank/x")
    do(lab, "pull", "da0")
    assert health(lab, "tank") == "SUSPENDED"
    assert states(lab, "tank") == {"tank": "UNAVAIL", "da0": "REMOVED"}
    for words, prefix in (
        (["create", "tank/y"], "cannot create 'tank/y'"),
        (["set", "quota=1G", "tank/x"], "cannot set property for 'tank/x'"),
        (["destroy", "tank/x"], "cannot destroy 'tank/x'"),
        (["rename", "tank/x", "tank/z"], "cannot rename 'tank/z'"),
    ):
        assert lab.fails("zfs", *words) == f"{prefix}: {SUSPENDED}\n"
    assert lab.ok("zfs", "list", "-H", "-o", "name") == "tank\ntank/x\n", "what is known is still told"
    for words in (
        ["scrub", "tank"],
        ["export", "tank"],
        ["set", "autotrim=on", "tank"],
        ["add", "tank", "da1"],
    ):
        assert lab.fails("zpool", *words).endswith(f": {SUSPENDED}\n")
    assert lab.fails("zpool", "clear", "tank") == "cannot clear errors for tank: I/O error\n"
    do(lab, "insert", "da0")
    assert health(lab, "tank") == "SUSPENDED", "only zpool clear lets it go on"
    lab.ok("zpool", "clear", "tank")
    assert health(lab, "tank") == "ONLINE"
    lab.ok("zfs", "create", "tank/y")


def test_a_broken_disk_is_faulted_and_replaced(lab):
    lab.ok("zpool", "create", "data", *MIRROR)
    do(lab, "break", "da2")
    text = lab.ok("zpool", "status", "data")
    assert re.search(r"da2 +FAULTED +3 +17 +0  too many errors", text)
    assert "Replace the faulted device, or use 'zpool clear'" in text
    lab.ok("zpool", "replace", "-w", "data", "da2", "da3")
    assert states(lab) == {"data": "ONLINE", "mirror-0": "ONLINE", "da1": "ONLINE", "da3": "ONLINE"}
    lab.ok("zpool", "create", "more", "da4")
    do(lab, "break", "da4")
    assert health(lab, "more") == "SUSPENDED", "a disk without a mirror takes the pool with it"
    do(lab, "mend", "da4")
    lab.ok("zpool", "clear", "more")
    assert health(lab, "more") == "ONLINE"


def test_a_spare_stands_in_until_the_disk_is_back_or_gone(lab):
    lab.ok("zpool", "create", "data", *MIRROR, "spare", "da3")
    do(lab, "pull", "da1")
    lab.ok("zpool", "replace", "-w", "data", "da1", "da3")
    assert states(lab)["spare-0"] == "DEGRADED"
    assert re.search(r"\n\tspares\n\t  da3 +INUSE     currently in use\n", lab.ok("zpool", "status", "data"))
    do(lab, "insert", "da1")
    lab.ok("zpool", "online", "data", "da1")
    lab.ok("zpool", "wait", "data")
    assert states(lab) == {
        **{"data": "ONLINE", "mirror-0": "ONLINE", "da1": "ONLINE", "da2": "ONLINE", "da3": "AVAIL"},
    }
    lab.ok("zpool", "replace", "-w", "data", "da1", "da3")
    lab.ok("zpool", "detach", "data", "da1")
    assert states(lab) == {"data": "ONLINE", "mirror-0": "ONLINE", "da3": "ONLINE", "da2": "ONLINE"}
    assert lab.fails("zpool", "create", "x", "da3").endswith("/dev/da3 is part of active pool 'data'\n")
    lab.ok("zpool", "create", "x", "da1")


def test_a_scrub_can_be_paused_and_stopped(lab):
    pace(lab, 60)
    lab.ok("zpool", "scrub", "tank")
    assert "  scan: scrub in progress since " in lab.ok("zpool", "status", "tank")
    lab.ok("zpool", "scrub", "-p", "tank")
    paused = lab.ok("zpool", "status", "tank")
    assert "  scan: scrub paused since " in paused and "\tscrub started on " in paused
    done = re.findall(r"[0-9.]+% done", paused)
    time.sleep(0.1)
    assert re.findall(r"[0-9.]+% done", lab.ok("zpool", "status", "tank")) == done
    assert lab.fails("zpool", "scrub", "-p", "tank").endswith("use 'zpool scrub' to resume scrub\n")
    lab.ok("zpool", "scrub", "tank")
    assert "  scan: scrub in progress since " in lab.ok("zpool", "status", "tank")
    lab.ok("zpool", "scrub", "-s", "tank")
    assert "  scan: scrub canceled on " in lab.ok("zpool", "status", "tank")


def test_a_scrub_finds_what_has_rotted_and_mends_it_from_the_other_side(lab):
    lab.ok("zpool", "create", "data", *MIRROR)
    do(lab, "rot", "da1", str(1024**2))
    lab.ok("zpool", "scrub", "-w", "data")
    text = lab.ok("zpool", "status", "data")
    assert re.search(r"  scan: scrub repaired 1M in 00:00:0\d with 0 errors on ", text)
    assert re.search(r"da1 +ONLINE +0 +0 +8", text) and "Applications are unaffected." in text
    lab.ok("zpool", "clear", "data")
    assert lab.ok("zpool", "status", "-x", "data") == "pool 'data' is healthy\n"


def test_what_rots_without_a_mirror_is_lost(lab):
    do(lab, "rot", "da0")
    lab.ok("zpool", "scrub", "-w", "tank")
    text = lab.ok("zpool", "status", "tank")
    assert "errors: 1 data errors, use '-v' for a list\n" in text and "Applications may be affected." in text
    assert lab.ok("zpool", "status", "-v", "tank").endswith(
        "errors: Permanent errors have been detected in the following files:\n\n        tank:<0x1>\n"
    )


def test_only_flash_is_trimmed(lab):
    assert re.search(r"da0 .*  \(trim unsupported\)", lab.ok("zpool", "status", "-t", "tank"))
    assert lab("zpool", "trim", "tank").err == "cannot trim: no devices in pool support trim operations\n"
    assert lab("zpool", "trim", "tank", "da0").err == (
        "cannot trim 'da0': trim operations are not supported by this device\n"
    )
    lab.ok("zpool", "create", "data", "ada0", "nda1")
    pace(lab, 60)
    lab.ok("zpool", "trim", "data", "ada0")
    assert re.search(r"ada0 .*  \(trimming\)", lab.ok("zpool", "status", "data"))
    assert re.search(r"ada0 .*  \(\d+% trimmed, started at ", lab.ok("zpool", "status", "-t", "data"))
    lab.ok("zpool", "trim", "-s", "data", "ada0")
    assert re.search(r"\(\d+% trimmed, suspended, started at ", lab.ok("zpool", "status", "-t", "data"))
    pace(lab, 0.3)
    lab.ok("zpool", "trim", "-w", "data", "ada0")
    assert re.search(r"ada0 .*  \(100% trimmed, completed at ", lab.ok("zpool", "status", "-t", "data"))
    assert re.search(r"nda1 .*  \(untrimmed\)", lab.ok("zpool", "status", "-t", "data"))


def test_a_pool_grows_with_larger_disks(lab):
    do(lab, "add", "da5", str(128 * GIB))
    do(lab, "add", "da6", str(128 * GIB))
    lab.ok("zpool", "create", "data", *MIRROR)
    before = int(lab.ok("zpool", "list", "-Hp", "-o", "size", "data"))
    lab.ok("zpool", "replace", "-w", "data", "da1", "da5")
    lab.ok("zpool", "replace", "-w", "data", "da2", "da6")
    assert int(lab.ok("zpool", "list", "-Hp", "-o", "size", "data")) == before
    grows = int(lab.ok("zpool", "list", "-Hp", "-o", "expandsize", "data"))
    assert grows > 60 * GIB
    lab.ok("zpool", "online", "-e", "data", "da5")
    assert int(lab.ok("zpool", "list", "-Hp", "-o", "size", "data")) == before + grows
    assert int(lab.ok("zfs", "list", "-Hp", "-o", "avail", "data")) > 120 * GIB


def test_a_pool_moves_to_another_name_with_all_its_history(lab):
    lab.ok("zpool", "create", "data", *MIRROR)
    lab.ok("zfs", "create", "-o", "compression=off", "data/x")
    lab.ok("zpool", "export", "data")
    assert lab.fails("zpool", "create", "x", "da1").endswith("/dev/da1 is part of exported pool 'data'\n")
    lab.ok("zpool", "import", "data", "again")
    assert [line[20:] for line in lab.ok("zpool", "history", "again").splitlines()[1:-1]] == [
        *("zpool create data mirror da1 da2", "zfs create -o compression=off data/x"),
        *("zpool export data", "zpool import data again"),
    ]
    lab.ok("zpool", "destroy", "again")
    assert "  state: ONLINE (DESTROYED)\n" in lab.ok("zpool", "import", "-D")
    lab.ok("zpool", "create", "other", *MIRROR)
    assert lab("zpool", "import", "-D").err == "no pools available to import\n", "its disks were taken"


def test_what_a_layout_survives_is_what_its_name_says(lab):
    """All losses of disks, against the arithmetic of mirrors and raidz."""
    layouts = {("mirror", 2): 1, ("mirror", 3): 2, ("raidz1", 3): 1, ("raidz2", 4): 2}
    disks = ["da1", "da2", "da3", "da4"]
    for (kind, width), survives in layouts.items():
        lab.ok("zpool", "create", "data", kind, *disks[:width])
        for lost in (disks[:count] for count in range(1, survives + 1)):
            for disk in lost:
                lab.ok("zpool", "offline", "data", disk)
            assert health(lab) == "DEGRADED"
            left = disks[len(lost)]
            more = lab("zpool", "offline", "data", left)
            assert (more.code, more.err) == (
                (1, f"cannot offline {left}: no valid replicas\n") if len(lost) == survives else (0, "")
            )
            for disk in disks[:width]:
                lab.ok("zpool", "online", "data", disk)
            lab.ok("zpool", "wait", "data")
        assert health(lab) == "ONLINE"
        lab.ok("zpool", "destroy", "data")


def test_commands_at_the_same_time_take_a_disk_once(lab):
    pairs = list(itertools.combinations(["da1", "da2", "da3", "da4"], 2))
    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(lambda n: lab("zpool", "create", f"p{n}", "mirror", *pairs[n]), range(6)))
    names = lab.ok("zpool", "list", "-H", "-o", "name").split()
    assert [f"p{n}" in names for n in range(6)] == [answer.code == 0 for answer in made]
    used = [disk for n, answer in enumerate(made) if answer.code == 0 for disk in pairs[n]]
    assert used and len(used) == len(set(used))
    assert all(" is part of active pool 'p" in answer.err for answer in made if answer.code)


@pytest.mark.parametrize("nth", [1, 2])
def test_a_command_that_is_killed_leaves_a_pool_or_none(lab, nth):
    fault = {"command": "zpool create", "do": "kill", "nth": 1, "when": ("before", "after")[nth - 1]}
    lab.fault(json.dumps(fault))
    assert lab("zpool", "create", "data", *MIRROR).code != 0
    there = "data" in lab.ok("zpool", "list", "-H", "-o", "name").split()
    assert there == (nth == 2)
    again = lab("zpool", "create", "data", *MIRROR)
    assert again.code == (1 if there else 0)


def test_iostat_has_seven_columns_and_rows_for_devices(lab):
    lab.ok("zpool", "create", "data", *MIRROR, "log", "nda1")
    rows = [line.split("\t") for line in lab.ok("zpool", "iostat", "-Hpv", "data").splitlines()]
    assert [row[0] for row in rows] == ["data", "mirror-0", "da1", "da2", "", "nda1"]
    assert all(len(row) == 7 for row in rows if row[0]), "the head of the logs is an empty line"
    assert all(number.isdigit() for number in rows[0][1:])
    assert len(lab.ok("zpool", "iostat", "-Hpy", "tank", "0.1", "2").splitlines()) == 2


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_the_status_can_be_read_and_no_disk_is_in_two_places(lab, seed):
    """A walk through all that can be done to a pool and its disks, in any order."""
    chance = random.Random(seed)
    disks = ["da1", "da2", "da3", "da4", "ada0", "nda1"]
    pace(lab, 0.05)
    lab.ok(
        "zpool",
        "create",
        "-f",
        "data",
        *chance.choice([MIRROR, ("raidz", "da1", "da2", "da3"), ("da1", "da2")]),
    )
    for _ in range(30):
        one, other = chance.sample(disks, 2)
        words = chance.choice(
            [
                *(["offline", "data", one], ["online", "data", one], ["clear", "data"], ["scrub", "data"]),
                *(["replace", "-f", "data", one, other], ["attach", "-f", "data", one, other]),
                *(["detach", "data", one], ["remove", "data", one], ["add", "-f", "data", "spare", one]),
                *(
                    ["add", "-f", "data", "log", one],
                    ["pull", one],
                    ["insert", one],
                    ["break", one],
                    ["mend", one],
                ),
                *(["replace", "-f", "data", one], ["export", "data"], ["import", "data"]),
            ]
        )
        answer = (
            lab.admin("disk", lab.folder, *words)
            if len(words) == 2 and words[0] in VERBS
            else lab("zpool", *words)
        )
        assert answer.code in (0, 1, 2, 255) and "Traceback" not in answer.err, (words, answer)
        told = lab("zpool", "status", "data")
        if told.code:
            assert told.err == "cannot open 'data': no such pool\n"
            lab("zpool", "import", "data")
            continue
        names = re.findall(r"\n\t +(n?a?da\d)(?:/old)? ", told.out.partition("\tspares\n")[0])
        assert len(names) == len(set(names)), (words, told.out)
        zpool_status.parse(told.out)
