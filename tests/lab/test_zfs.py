"""zfs(8) of the lab through its wrapper: literal argv, literal answers (zfs.md sections 2 to 6, 8, 13)."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from bhype.lab.openzfs import files
from tests.lab.conftest import GIB

ID = "org.bhype:id=0b5e"


def listed(lab, *words):
    return lab.ok("zfs", "list", "-Hp", *words).splitlines()


def test_a_sparse_volume_is_a_file_of_its_size(lab):
    assert lab.ok("zfs", "create", "-s", "-o", "volmode=dev", "-o", ID, "-V", "20G", "tank/disk0") == ""
    node = lab.path("/dev/zvol/tank/disk0")
    assert node.stat().st_size == 20 * GIB
    assert node.stat().st_blocks == 0
    columns = "name,type,avail,refer,mountpoint,volsize,origin,encryption,keystatus,org.bhype:id"
    row = listed(lab, "-t", "filesystem,volume", "-o", columns, "tank/disk0")[0].split("\t")
    assert row[:2] == ["tank/disk0", "volume"]
    assert row[4:] == ["-", "21474836480", "-", "off", "-", "0b5e"]


def test_a_filesystem_is_a_folder_at_its_mountpoint(lab):
    lab.ok("zfs", "create", "tank/iso")
    assert lab.path("/tank/iso").is_dir()
    lab.ok("zfs", "create", "-o", "mountpoint=/var/db/bhype", "tank/other")
    assert lab.path("/var/db/bhype").is_dir()
    assert listed(lab, "-o", "name,mountpoint") == [
        "tank\t/tank",
        "tank/iso\t/tank/iso",
        "tank/other\t/var/db/bhype",
    ]
    lab.path("/tank/iso/file").write_text("data")
    lab.ok("zfs", "set", "mountpoint=/isos", "tank/iso")
    assert lab.path("/isos/file").read_text() == "data"
    assert not lab.path("/tank/iso").exists()
    lab.ok("zfs", "inherit", "mountpoint", "tank/iso")
    assert lab.path("/tank/iso/file").read_text() == "data"


def test_the_root_of_a_filesystem_has_its_mode_whatever_the_umask(lab):
    before = os.umask(0o077)
    try:
        lab.ok("zfs", "create", "tank/shown")
    finally:
        os.umask(before)
    assert lab.path("/tank/shown").stat().st_mode & 0o777 == 0o755


def test_parents_are_made_and_existing_ones_are_fine(lab):
    lab.ok("zfs", "create", "-p", "tank/a/b/c")
    lab.ok("zfs", "create", "-p", "tank/a/b/c")
    lab.ok("zfs", "create", "-p", "-s", "-V", "1G", "tank/x/y/disk")
    assert lab.path("/tank/a/b/c").is_dir()
    assert lab.path("/dev/zvol/tank/x/y/disk").stat().st_size == GIB


def test_properties_are_inherited_with_their_source(lab):
    lab.ok("zfs", "create", "-o", "org.bhype:id=7", "-o", "compression=lz4", "tank/a")
    lab.ok("zfs", "create", "tank/a/b")
    assert lab.ok(
        "zfs", "get", "-Hp", "-o", "name,property,value,source", "org.bhype:id,compress", "tank/a/b"
    ) == (
        "tank/a/b\torg.bhype:id\t7\tinherited from tank/a\n"
        "tank/a/b\tcompression\tlz4\tinherited from tank/a\n"
    )
    assert lab.ok("zfs", "get", "-Hp", "-o", "value,source", "org.bhype:id,quota", "tank") == (
        "-\t-\n0\tdefault\n"
    )
    assert lab.ok("zfs", "get", "-H", "-s", "local", "-o", "property,value", "all", "tank/a") == (
        "compression\tlz4\norg.bhype:id\t7\n"
    )


def test_a_volume_tells_its_settings(lab):
    lab.ok("zfs", "create", "-s", "-o", "volmode=dev", "-V", "20G", "tank/d")
    words = "volsize,volblocksize,volmode,refreservation"
    assert lab.ok("zfs", "get", "-Hp", "-o", "property,value,source", words, "tank/d") == (
        "volsize\t21474836480\tlocal\nvolblocksize\t16384\tdefault\nvolmode\tdev\tlocal\n"
        "refreservation\t0\tdefault\n"
    )
    assert lab.ok("zfs", "get", "volsize", "tank/d") == (
        "NAME    PROPERTY  VALUE    SOURCE\ntank/d  volsize   20G      local\n"
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tank/a/b"], "cannot create 'tank/a/b': parent does not exist\n"),
        (["tank/a b*"], "cannot create 'tank/a b*': invalid character '*' in name\n"),
        (["tank"], "cannot create 'tank': missing dataset name\n"),
        (["nope/a"], "cannot create 'nope/a': no such pool 'nope'\n"),
        (["-V", "1G", "nope/a"], "cannot open 'nope': no such pool\n"),
        (["-V", "xG", "tank/a"], "bad volume size 'xG': bad numeric value 'xG'\n"),
        (["-V", "0", "tank/a"], "cannot create 'tank/a': volume size cannot be zero\n"),
        (["-o", "sync=always", "-o", "sync=always", "tank/a"], "property 'sync' specified multiple times\n"),
        (["-o", "nope=1", "tank/a"], "cannot create 'tank/a': invalid property 'nope'\n"),
        (["-o", "Org:Id=1", "tank/a"], "cannot create 'tank/a': invalid property 'Org:Id'\n"),
        (["-o", "used=1", "tank/a"], "cannot create 'tank/a': 'used' is readonly\n"),
        (
            ["-o", "volsize=1G", "tank/a"],
            "cannot create 'tank/a': 'volsize' does not apply to datasets of this type\n",
        ),
        (["-o", "atime=maybe", "tank/a"], "cannot create 'tank/a': 'atime' must be one of 'on | off'\n"),
        (
            ["-o", "mountpoint=x", "tank/a"],
            "cannot create 'tank/a': 'mountpoint' must be an absolute path, 'none', or 'legacy'\n",
        ),
        (["-o", "org", "tank/a"], "missing '=' for property=value argument\n"),
        (
            ["-s", "-b", "1000", "-V", "1G", "tank/a"],
            "cannot create 'tank/a': 'volblocksize' must be power of 2 from 512B to 16M\n",
        ),
    ],
)  # fmt: skip
def test_create_refuses_with_the_reason(still_lab, words, text):
    assert still_lab.fails("zfs", "create", *words) == text
    assert listed(still_lab, "-o", "name") == ["tank"]


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["create", "-j", "tank/a"], "invalid option 'j'"),
        (["create"], "missing filesystem argument"),
        (["create", "-V", "1G"], "missing volume argument"),
        (["create", "a", "b"], "too many arguments"),
        (["create", "-V"], "missing size argument"),
        (["create", "-s", "tank/a"], "'-s' and '-b' can only be used when creating a volume"),
        (["create", "-u", "-V", "1G", "tank/a"], "'-u' can only be used when creating a filesystem"),
        (["list", "-j"], "invalid option 'j'"),
        (["list", "-o", "nope"], "bad property list: invalid property 'nope'"),
        (["list", "-t", "disk"], "invalid type 'disk'"),
        (["list", "-d", "x"], "x is not an integer"),
        (["list", "-o"], "invalid option 'o'"),
        (["get"], "missing property argument"),
        (["get", "nope", "tank"], "bad property list: invalid property 'nope'"),
        (["get", "-o", "colour", "used"], "invalid column name 'colour'"),
        (["set", "a:b=1"], "missing dataset name(s)"),
        (["set", "tank"], "missing property=value argument(s)"),
        (["set", "a:b=1", "tank", "c:d=1"], "invalid argument order"),
        (["destroy"], "missing dataset argument"),
        (["destroy", "--recursive", "tank/a"], "invalid option '-'"),
        (["snapshot"], "missing snapshot argument"),
        (["snapshot", "tank/nope@s"], "cannot open 'tank/nope': dataset does not exist"),
        (["rollback", "-x", "tank@a"], "invalid option 'x'"),
        (["clone", "tank@a"], "missing target dataset argument"),
        (["inherit", "compression"], "missing dataset argument"),
        (["hold", ".x", "tank@a"], "tag may not start with '.'"),
    ],
)
def test_a_bad_command_line_gets_usage_and_2(still_lab, words, first):
    text = still_lab.fails("zfs", *words, code=2)
    assert text.startswith(first + "\nusage:\n\t" + words[0])


def test_an_unknown_command_is_refused(lab):
    for word in ("redact", "allow", "nope"):
        text = lab.fails("zfs", word, "tank", code=2)
        assert text.startswith(f"unrecognized command '{word}'\nusage: zfs command args ...\n")
    assert lab.fails("zfs", code=2).startswith("missing command\nusage: zfs command args ...\n")


def test_nothing_found_is_no_failure(lab):
    answer = lab("zfs", "list", "-H", "-t", "snapshot")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert lab.fails("zfs", "list", "tank/nope") == "cannot open 'tank/nope': dataset does not exist\n"
    answer = lab("zfs", "list", "-H", "-o", "name", "tank", "tank/nope")
    assert (answer.code, answer.out) == (1, "tank\n")


def test_the_list_for_people_has_columns(lab):
    lab.ok("zfs", "create", "-s", "-V", "1G", "tank/a-long-name")
    head, root, volume = lab.ok("zfs", "list").splitlines()
    assert head == "NAME               USED  AVAIL  REFER  MOUNTPOINT"
    assert root.endswith("  /tank")
    assert volume.endswith("   56K  -")


def test_an_existing_dataset_is_not_made_again(lab):
    lab.ok("zfs", "create", "tank/a")
    assert lab.fails("zfs", "create", "tank/a") == "cannot create 'tank/a': dataset already exists\n"
    lab.ok("zfs", "create", "-s", "-V", "1G", "tank/v")
    assert lab.fails("zfs", "create", "tank/v/x") == "cannot create 'tank/v/x': parent is not a filesystem\n"


def test_a_dry_run_changes_nothing(lab):
    out = lab.ok("zfs", "create", "-nP", "-s", "-V", "20G", "tank/d")
    assert out == "create\ttank/d\nproperty\tvolsize\t21474836480\n"
    assert listed(lab, "-o", "name") == ["tank"]


def test_volume_size_is_rounded_up_at_creation_and_exact_later(lab):
    lab.ok("zfs", "create", "-s", "-V", "1000000", "tank/d")
    assert listed(lab, "-o", "volsize", "tank/d") == ["1015808"]
    assert lab.fails("zfs", "set", "volsize=1000000", "tank/d", code=255) == (
        "cannot set property for 'tank/d': 'volsize' must be a multiple of volume block size (16K)\n"
    )
    lab.ok("zfs", "set", "volsize=40G", "tank/d")
    assert lab.path("/dev/zvol/tank/d").stat().st_size == 40 * GIB


def test_reserved_volumes_need_their_room(small_lab):
    lab = small_lab
    lab.ok("zfs", "create", "-V", "500M", "tank/a")
    assert lab.fails("zfs", "create", "-V", "600M", "tank/b") == "cannot create 'tank/b': out of space\n"
    lab.ok("zfs", "create", "-s", "-V", "600M", "tank/b")
    assert (
        lab.fails("zfs", "set", "volsize=1G", "tank/a", code=255)
        == "cannot set property for 'tank/a': size is greater than available space\n"
    )
    assert lab.fails("zfs", "set", "refreservation=auto", "tank/b", code=255) == (
        "cannot set property for 'tank/b': size is greater than available space\n"
    )
    used, available = map(int, listed(lab, "-o", "used,avail", "tank")[0].split("\t"))
    assert used > 500 * 2**20
    assert available < 500 * 2**20
    row = listed(lab, "-o", "refreservation,usedbyrefreservation", "tank/a")[0].split("\t")
    assert int(row[0]) > 500 * 2**20
    assert int(row[1]) > 490 * 2**20


def test_a_quota_bounds_what_is_below(lab):
    lab.ok("zfs", "create", "-o", "quota=1G", "tank/a")
    assert lab.fails("zfs", "create", "-V", "2G", "tank/a/d") == "cannot create 'tank/a/d': out of space\n"
    assert lab.fails("zfs", "set", "quota=1K", "tank/a", code=255) == (
        "cannot set property for 'tank/a': size is less than current used or reserved space\n"
    )
    assert lab.fails("zfs", "set", "quota=0", "tank/a", code=255) == (
        "cannot set property for 'tank/a': use 'none' to disable quota/refquota\n"
    )


def test_a_snapshot_keeps_the_data_and_rollback_brings_it_back(lab):
    lab.ok("zfs", "create", "-s", "-V", "64M", "tank/d")
    node = lab.path("/dev/zvol/tank/d")
    with node.open("r+b") as file:
        file.seek(10 * 2**20)
        file.write(b"before")
    lab.ok("zfs", "snapshot", "tank/d@s1")
    with node.open("r+b") as file:
        file.seek(10 * 2**20)
        file.write(b"after!")
    lab.ok("zfs", "set", "volsize=128M", "tank/d")
    lab.ok("zfs", "rollback", "tank/d@s1")
    with node.open("rb") as file:
        file.seek(10 * 2**20)
        assert file.read(6) == b"before"
    assert node.stat().st_size == 64 * 2**20
    assert node.stat().st_blocks * 512 < 2**20, "holes stay holes"
    assert listed(lab, "-o", "volsize", "tank/d") == ["67108864"]


def test_rollback_of_a_filesystem_spares_those_below(lab):
    lab.ok("zfs", "create", "-p", "tank/a/b")
    lab.path("/tank/a/kept").write_text("1")
    lab.path("/tank/a/b/other").write_text("x")
    lab.ok("zfs", "snapshot", "tank/a@s")
    lab.path("/tank/a/kept").write_text("2")
    lab.path("/tank/a/new").write_text("2")
    lab.ok("zfs", "rollback", "tank/a@s")
    assert lab.path("/tank/a/kept").read_text() == "1"
    assert not lab.path("/tank/a/new").exists()
    assert lab.path("/tank/a/b/other").read_text() == "x"


def test_rollback_goes_to_the_latest_snapshot_only(lab):
    lab.ok("zfs", "create", "tank/a")
    for name in ("s1", "s2", "s3"):
        lab.ok("zfs", "snapshot", f"tank/a@{name}")
    assert lab.fails("zfs", "rollback", "tank/a@s1") == (
        "cannot rollback to 'tank/a@s1': more recent snapshots or bookmarks exist\n"
        "use '-r' to force deletion of the following snapshots and bookmarks:\n"
        "tank/a@s2\ntank/a@s3\n"
    )
    lab.ok("zfs", "clone", "tank/a@s2", "tank/clone1")
    assert lab.fails("zfs", "rollback", "-r", "tank/a@s1") == (
        "cannot rollback to 'tank/a@s1': clones of previous snapshots exist\n"
        "use '-R' to force deletion of the following clones and dependents:\ntank/clone1\n"
    )
    lab.ok("zfs", "rollback", "-R", "tank/a@s1")
    assert listed(lab, "-t", "all", "-o", "name") == ["tank", "tank/a", "tank/a@s1"]


def test_many_snapshots_are_all_or_none(lab):
    lab.ok("zfs", "create", "tank/a")
    lab.ok("zfs", "create", "tank/b")
    lab.ok("zfs", "snapshot", "tank/a@x")
    assert lab.fails("zfs", "snapshot", "tank/a@x") == (
        "cannot create snapshot 'tank/a@x': dataset already exists\n"
    )
    assert lab.fails("zfs", "snapshot", "tank/b@x", "tank/a@x") == (
        "cannot create snapshot 'tank/a@x': dataset already exists\nno snapshots were created\n"
    )
    lab.ok("zfs", "snapshot", "-r", "-o", "org.bhype:id=9", "tank@all")
    names = listed(lab, "-t", "snapshot", "-o", "name,org.bhype:id")
    assert names == ["tank@all\t9", "tank/a@x\t-", "tank/a@all\t9", "tank/b@all\t9"]


def test_snapshots_are_listed_by_dataset_and_age(lab):
    lab.ok("zfs", "create", "-p", "tank/a/b")
    for name in ("tank/a@z", "tank/a/b@q", "tank/a@a"):
        lab.ok("zfs", "snapshot", name)
    assert listed(lab, "-t", "snapshot", "-o", "name", "-s", "creation", "-d", "1", "tank/a") == [
        "tank/a@z",
        "tank/a@a",
    ]
    assert listed(lab, "-t", "snapshot", "-o", "name", "tank/a") == ["tank/a@z", "tank/a@a"]
    assert listed(lab, "-r", "-t", "snap", "-o", "name", "tank/a") == ["tank/a@z", "tank/a@a", "tank/a/b@q"]
    assert listed(lab, "-o", "name") == ["tank", "tank/a", "tank/a/b"]
    row = listed(lab, "-t", "snapshot", "-o", "name,creation,used,refer,userrefs,guid", "tank/a@z")[0].split(
        "\t"
    )
    assert row[0] == "tank/a@z"
    assert int(row[1]) > 1_700_000_000
    assert row[2:5] == ["0", "98304", "0"]
    assert int(row[5]) > 0


def test_a_clone_has_the_data_but_not_the_properties(lab):
    lab.ok("zfs", "create", "-s", "-o", "volmode=dev", "-o", ID, "-V", "64M", "tank/base")
    with lab.path("/dev/zvol/tank/base").open("r+b") as file:
        file.write(b"image")
    lab.ok("zfs", "snapshot", "tank/base@1")
    lab.ok("zfs", "clone", "-o", "volmode=dev", "tank/base@1", "tank/vm")
    with lab.path("/dev/zvol/tank/vm").open("r+b") as file:
        assert file.read(5) == b"image"
        file.seek(0)
        file.write(b"mine!")
    with lab.path("/dev/zvol/tank/base").open("rb") as file:
        assert file.read(5) == b"image"
    assert listed(lab, "-o", "origin,volsize,org.bhype:id", "tank/vm") == ["tank/base@1\t67108864\t-"]
    assert listed(lab, "-t", "snapshot", "-o", "clones", "tank/base@1") == ["tank/vm"]
    assert lab.fails("zfs", "clone", "tank/base@nope", "tank/y") == (
        "cannot open 'tank/base@nope': dataset does not exist\n"
    )


def test_promotion_turns_origin_and_clone_around(lab):
    lab.ok("zfs", "create", "tank/a")
    lab.path("/tank/a/file").write_text("1")
    lab.ok("zfs", "snapshot", "tank/a@s1")
    lab.ok("zfs", "clone", "tank/a@s1", "tank/b")
    assert lab.fails("zfs", "promote", "tank/a") == "cannot promote 'tank/a': not a cloned filesystem\n"
    lab.ok("zfs", "promote", "tank/b")
    assert listed(lab, "-t", "all", "-o", "name,origin") == [
        "tank\t-",
        "tank/a\ttank/b@s1",
        "tank/b\t-",
        "tank/b@s1\t-",
    ]
    lab.ok("zfs", "destroy", "tank/a")
    lab.path("/tank/b/file").write_text("2")
    lab.ok("zfs", "rollback", "tank/b@s1")
    assert lab.path("/tank/b/file").read_text() == "1"


def test_destroy_refuses_what_others_need(lab):
    lab.ok("zfs", "create", "-p", "tank/a/b")
    lab.ok("zfs", "snapshot", "tank/a@s1")
    assert lab.fails("zfs", "destroy", "tank/a") == (
        "cannot destroy 'tank/a': filesystem has children\n"
        "use '-r' to destroy the following datasets:\ntank/a/b\ntank/a@s1\n"
    )
    lab.ok("zfs", "clone", "tank/a@s1", "tank/clone1")
    assert lab.fails("zfs", "destroy", "tank/a@s1") == (
        "cannot destroy 'tank/a@s1': snapshot has dependent clones\n"
        "use '-R' to destroy the following datasets:\ntank/clone1\n"
    )
    assert lab.fails("zfs", "destroy", "-r", "tank/a") == (
        "cannot destroy 'tank/a': filesystem has dependent clones\n"
        "use '-R' to destroy the following datasets:\ntank/clone1\n"
    )
    assert lab.fails("zfs", "destroy", "tank") == (
        "cannot destroy 'tank': operation does not apply to pools\n"
        "use 'zfs destroy -r tank' to destroy all datasets in the pool\n"
        "use 'zpool destroy tank' to destroy the pool itself\n"
    )
    assert lab.fails("zfs", "destroy", "tank/a@nope") == (
        "could not find any snapshots to destroy; check snapshot names.\n"
    )
    assert lab.fails("zfs", "destroy", "tank/nope") == "cannot open 'tank/nope': dataset does not exist\n"
    lab.ok("zfs", "create", "-s", "-V", "1M", "tank/v")
    lab.ok("zfs", "snapshot", "tank/v@s")
    assert lab.fails("zfs", "destroy", "tank/v").startswith("cannot destroy 'tank/v': volume has children\n")
    lab.ok("zfs", "destroy", "-R", "tank/a")
    lab.ok("zfs", "destroy", "-r", "tank/v")
    assert listed(lab, "-t", "all", "-o", "name") == ["tank"]
    assert not lab.path("/tank/a").exists()
    assert list(lab.path("/dev/zvol").iterdir()) == []


def test_ranges_and_lists_of_snapshots_are_destroyed(lab):
    lab.ok("zfs", "create", "tank/a")
    for number in range(6):
        lab.ok("zfs", "snapshot", f"tank/a@{number}")
    out = lab.ok("zfs", "destroy", "-nvp", "tank/a@1%3,5")
    assert out == "destroy\ttank/a@1\ndestroy\ttank/a@2\ndestroy\ttank/a@3\ndestroy\ttank/a@5\nreclaim\t0\n"
    assert lab.ok("zfs", "destroy", "-nv", "tank/a@0") == "would destroy tank/a@0\nwould reclaim 0B\n"
    lab.ok("zfs", "destroy", "tank/a@1%3,5")
    assert listed(lab, "-t", "snapshot", "-o", "name") == ["tank/a@0", "tank/a@4"]
    lab.ok("zfs", "destroy", "tank/a@%")
    assert lab("zfs", "list", "-H", "-t", "snapshot").out == ""


def test_a_held_snapshot_stays(lab):
    lab.ok("zfs", "create", "tank/a")
    lab.ok("zfs", "snapshot", "tank/a@s1")
    lab.ok("zfs", "hold", "keep", "tank/a@s1")
    assert lab.fails("zfs", "hold", "keep", "tank/a@s1") == (
        "cannot hold snapshot 'tank/a@s1': tag already exists on this dataset\n"
    )
    assert lab.fails("zfs", "destroy", "tank/a@s1") == (
        "cannot destroy snapshot tank/a@s1: it's being held. Run 'zfs holds -r tank/a@s1' to see holders.\n"
    )
    assert re.fullmatch(
        r"tank/a@s1\tkeep\t\w{3} \w{3} [ \d]\d \d\d:\d\d \d{4}\n", lab.ok("zfs", "holds", "-H", "tank/a@s1")
    )
    assert listed(lab, "-t", "snapshot", "-o", "userrefs", "tank/a@s1") == ["1"]
    lab.ok("zfs", "destroy", "-d", "tank/a@s1")
    assert listed(lab, "-t", "snapshot", "-o", "defer_destroy", "tank/a@s1") == ["on"]
    lab.ok("zfs", "release", "keep", "tank/a@s1")
    assert lab("zfs", "list", "-H", "-t", "snapshot").out == ""
    assert lab.fails("zfs", "release", "keep", "tank/a@s1") == (
        "cannot release hold from snapshot 'tank/a@s1': dataset does not exist\n"
    )


def test_renaming_moves_the_data(lab):
    lab.ok("zfs", "create", "-p", "-s", "-V", "1M", "tank/old/disk")
    lab.path("/tank/old/file").write_text("x")
    lab.ok("zfs", "snapshot", "-r", "tank/old@s")
    lab.ok("zfs", "rename", "tank/old", "tank/new")
    assert lab.path("/tank/new/file").read_text() == "x"
    assert not lab.path("/tank/old").exists()
    assert lab.path("/dev/zvol/tank/new/disk").exists()
    assert not lab.path("/dev/zvol/tank/old").exists()
    lab.ok("zfs", "rename", "-r", "tank/new@s", "@t")
    assert listed(lab, "-t", "all", "-o", "name", "-r", "tank/new") == [
        *("tank/new", "tank/new@t", "tank/new/disk", "tank/new/disk@t"),
    ]
    assert lab.fails("zfs", "rename", "tank/new", "tank/new/x") == (
        "cannot rename to 'tank/new/x': New dataset name cannot be a descendant of current dataset name\n"
    )
    assert lab.fails("zfs", "rename", "tank/new", "tank/p/q") == (
        "cannot create 'tank/p/q': parent does not exist\n"
    )
    lab.ok("zfs", "rename", "-p", "tank/new", "tank/p/q")
    assert lab.path("/tank/p/q/file").read_text() == "x"


def test_paths_name_the_filesystem_that_holds_them(lab):
    lab.ok("zfs", "create", "tank/a")
    lab.path("/tank/a/folder").mkdir()
    assert listed(lab, "-o", "name", "/tank/a/folder") == ["tank/a"]


def test_space_in_use_is_told(lab):
    lab.ok("zfs", "create", "-s", "-V", "1G", "tank/d")
    with lab.path("/dev/zvol/tank/d").open("r+b") as file:
        file.write(b"x" * 2**20)
    lab.ok("zfs", "create", "tank/files")
    lab.path("/tank/files/one").write_bytes(b"y" * 2**20)
    for name, least in (("tank/d", 2**20), ("tank/files", 2**20), ("tank", 2 * 2**20)):
        used, refer = map(int, listed(lab, "-o", "used,refer", name)[0].split("\t"))
        assert least <= used < least + 2**20
        assert (refer == used) is (name != "tank")


def test_setting_is_told_or_refused(lab):
    lab.ok("zfs", "create", "tank/a")
    lab.ok("zfs", "set", "org.bhype:note=a b\tc", "tank/a")
    assert lab.ok("zfs", "get", "-H", "-o", "value", "org.bhype:note", "tank/a") == "a b\tc\n"
    assert lab.fails("zfs", "set", "casesensitivity=mixed", "tank/a", code=255) == (
        "cannot set property for 'tank/a': 'casesensitivity' is readonly\n"
    )
    assert (
        lab.fails("zfs", "set", "a:b=1", "tank/nope") == "cannot open 'tank/nope': dataset does not exist\n"
    )
    assert lab.fails("zfs", "inherit", "quota", "tank/a").startswith("'quota' property cannot be inherited\n")
    lab.ok("zfs", "inherit", "org.bhype:note", "tank/a")
    assert lab.ok("zfs", "get", "-H", "-o", "value", "org.bhype:note", "tank/a") == "-\n"


def test_the_version_is_two_lines(lab):
    lines = lab.ok("zfs", "version").splitlines()
    assert re.fullmatch(r"zfs-2\.2\.\d+-FreeBSD_g[0-9a-f]+", lines[0])
    assert lines[1] == lines[0].replace("zfs-", "zfs-kmod-", 1)


def test_two_commands_may_remove_the_same_bytes(tmp_path):
    """One tidies up what the other is about to remove: the lab's lock is free by then."""
    for number in range(400):
        (tmp_path / "doomed" / f"{number % 20}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "doomed" / f"{number % 20}" / f"{number}").touch()
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(files.remove, str(tmp_path / "doomed")) for _ in range(4)]:
            future.result()
    assert not (tmp_path / "doomed").exists()
