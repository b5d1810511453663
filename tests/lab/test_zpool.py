"""zpool(8) of the lab (zfs.md sections 10 and 11)."""

from __future__ import annotations

import pytest

from tests.lab.conftest import GIB

NO_DEVICE = "no such device in /dev\nmust be a full path or shorthand device name\n"


def disks(lab, *names, size=128 * 2**20):
    for name in names:
        with lab.path(f"/tmp/{name}").open("wb") as file:
            file.truncate(size)
    return [f"/tmp/{name}" for name in names]


def test_the_list_has_eleven_columns(lab):
    row = lab.ok("zpool", "list", "-Hp").rstrip("\n").split("\t")
    assert row[:2] == ["tank", str(100 * GIB)]
    assert int(row[2]) + int(row[3]) == 100 * GIB
    assert row[4:] == ["-", "-", "0", "0", "1.00", "ONLINE", "-"]
    assert lab.ok("zpool", "list").splitlines()[0].split() == [
        *(
            "NAME",
            "SIZE",
            "ALLOC",
            "FREE",
            "CKPOINT",
            "EXPANDSZ",
            "FRAG",
            "CAP",
            "DEDUP",
            "HEALTH",
            "ALTROOT",
        ),
    ]
    assert lab.ok("zpool", "list", "-H", "-o", "name,cap,frag,dedup") == "tank\t0%\t0%\t1.00x\n"
    assert lab.fails("zpool", "list", "nope") == "cannot open 'nope': no such pool\n"


def test_the_status_of_a_mirror(lab):
    lab.ok("zpool", "create", "data", "mirror", *disks(lab, "one", "two"))
    assert lab.ok("zpool", "status", "data") == (
        "  pool: data\n"
        " state: ONLINE\n"
        "config:\n"
        "\n"
        "\tNAME          STATE     READ WRITE CKSUM\n"
        "\tdata          ONLINE       0     0     0\n"
        "\t  mirror-0    ONLINE       0     0     0\n"
        "\t    /tmp/one  ONLINE       0     0     0\n"
        "\t    /tmp/two  ONLINE       0     0     0\n"
        "\n"
        "errors: No known data errors\n"
    )
    assert lab.ok("zpool", "status", "-x") == "all pools are healthy\n"
    assert lab.ok("zpool", "status", "-x", "data") == "pool 'data' is healthy\n"


def test_pools_have_the_room_of_their_disks(lab):
    size = 128 * 2**20
    metaslabs = 7 * 16 * 2**20  # of a device without its labels
    lab.ok("zpool", "create", "two", *disks(lab, "a", "b"))
    lab.ok("zpool", "create", "z", "raidz", *disks(lab, "c", "d", "e"))
    sizes = lab.ok("zpool", "list", "-Hp", "-o", "name,size")
    assert sizes == f"tank\t{100 * GIB}\ntwo\t{2 * metaslabs}\nz\t{11 * 32 * 2**20}\n"
    assert int(lab.ok("zfs", "list", "-Hp", "-o", "avail", "z")) < 2 * size
    assert lab.path("/two").is_dir()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["a", "ada9"], f"cannot open 'ada9': {NO_DEVICE}"),
        (["tank", "/tmp/big"], "cannot create 'tank': pool already exists\n"),
        (["a", "/tmp/small"], "cannot create 'a': one or more devices is less than the minimum size (64M)\n"),
        (
            ["mirror", "/tmp/big"],
            "cannot create 'mirror': name is reserved\npool name may have been omitted\n",
        ),
        (
            ["a/b", "/tmp/big"],
            "cannot create 'a/b': invalid character '/' in pool name\nuse 'zfs create' to create a dataset\n",
        ),
        (["a", "mirror", "/tmp/big"], "invalid vdev specification: mirror requires at least 2 devices\n"),
        (["a", "vtbd1"], f"cannot open 'vtbd1': {NO_DEVICE}"),
        (
            ["-o", "colour=red", "a", "/tmp/big"],
            "property 'colour' is not a valid pool or vdev property\n",
        ),
    ],
)  # fmt: skip
def test_create_refuses_with_the_reason(still_lab, words, text):
    disks(still_lab, "big")
    disks(still_lab, "small", size=2**20)
    assert still_lab.fails("zpool", "create", *words) == text


def test_a_disk_serves_one_pool(lab):
    (disk,) = disks(lab, "one")
    lab.ok("zpool", "create", "data", disk)
    assert lab.fails("zpool", "create", "more", disk) == (
        "invalid vdev specification\nuse '-f' to override the following errors:\n"
        "/tmp/one is part of active pool 'data'\n"
    )
    lab.ok("zfs", "create", "data/x")
    lab.ok("zpool", "destroy", "data")
    assert not lab.path("/data").exists()
    assert lab.ok("zfs", "list", "-H", "-o", "name") == "tank\n"
    lab.ok("zpool", "create", "more", disk)


def test_an_exported_pool_comes_back(lab):
    lab.ok("zpool", "create", "data", *disks(lab, "one"))
    lab.ok("zfs", "create", "data/x")
    lab.path("/data/x/file").write_text("1")
    lab.ok("zpool", "export", "data")
    assert not lab.path("/data/x").exists()
    assert lab.fails("zfs", "list", "data/x") == "cannot open 'data/x': dataset does not exist\n"
    assert "   pool: data\n" in " " + lab.ok("zpool", "import", "-d", "/tmp")
    assert (
        lab.fails("zpool", "import", "-d", "/tmp", "nope") == "cannot import 'nope': no such pool available\n"
    )
    assert lab.fails("zpool", "import", "-d", "/tmp", "data", "tank") == (
        "cannot import 'data' as 'tank': pool already exists\n"
    )
    lab.ok("zpool", "import", "-d", "/tmp", "data", "again")
    assert lab.path("/again/x/file").read_text() == "1"
    answer = lab("zpool", "import")
    assert (answer.code, answer.out, answer.err) == (0, "", "no pools available to import\n")


def test_a_scrub_runs_once_at_a_time(lab):
    assert lab.fails("zpool", "scrub", "-s", "tank") == (
        "cannot cancel scrubbing tank: there is no active scrub\n"
    )
    lab.ok("zpool", "scrub", "tank")
    assert "  scan: scrub in progress since " in lab.ok("zpool", "status")
    assert lab.fails("zpool", "scrub", "tank") == (
        "cannot scrub tank: currently scrubbing; use 'zpool scrub -s' to cancel scrub\n"
    )
    lab.ok("zpool", "scrub", "-s", "tank")
    assert "  scan: scrub canceled on " in lab.ok("zpool", "status")


def test_properties_of_pools(lab):
    assert lab.ok(
        "zpool", "get", "-Hp", "-o", "property,value", "health,autotrim,feature@bookmarks", "tank"
    ) == ("health\tONLINE\nautotrim\toff\nfeature@bookmarks\tenabled\n")
    assert lab.fails("zpool", "get", "nope", "tank", code=2).startswith(
        "bad property list: invalid property 'nope'\nusage:\n\tget "
    )


def test_no_pools_is_no_failure(lab):
    lab.ok("zpool", "destroy", "tank")
    assert lab.ok("zpool", "list") == "no pools available\n"
    assert lab.ok("zpool", "list", "-H") == ""
    answer = lab("zpool", "status")
    assert (answer.code, answer.out, answer.err) == (0, "", "no pools available\n")


@pytest.mark.parametrize(
    "words", [["list", "-j"], ["status", "-j"], ["create", "-Q", "/x", "a", "b"], ["get", "-z"]]
)
def test_unknown_options_are_refused(still_lab, words):
    letter = words[1][1]
    assert still_lab.fails("zpool", *words, code=2).startswith(
        f"invalid option '{letter}'\nusage:\n\t{words[0]} "
    )


def test_unknown_commands_are_refused(lab):
    assert lab.fails("zpool", "unite", "tank", code=2).startswith(
        "unrecognized command 'unite'\nusage: zpool command args ...\n"
    )
