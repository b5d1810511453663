"""zfs send and receive of the lab: real data, the words of zfs.md section 7 and of libzfs_sendrecv.c."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab.conftest import drop_lab, lab_store, make_lab

MIB = 2**20


def stream(lab, *words):
    """What ``zfs send`` writes."""
    done = subprocess.run(lab.argv("zfs", "send", *words), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def take(lab, data, *words):
    """Feed ``zfs receive``: exit status, stdout, stderr."""
    done = subprocess.run(
        lab.argv("zfs", "receive", *words), input=data, capture_output=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def taken(lab, data, *words):
    code, out, err = take(lab, data, *words)
    assert (code, err) == (0, ""), err
    return out


def listed(lab, *words):
    return lab.ok("zfs", "list", "-Hp", *words).splitlines()


def left(lab):
    """What lies in the lab's folders of bytes in the making."""
    return os.listdir(f"{lab.folder}/state/zfs-recv")


@pytest.fixture
def tree(lab):
    """A filesystem with files, and a volume below it, at one snapshot."""
    lab.ok("zfs", "create", "-o", "org.bhype:id=0b5e", "-o", "compression=lz4", "tank/a")
    lab.ok("zfs", "create", "-s", "-V", "64M", "-o", "volmode=dev", "tank/a/disk0")
    folder = lab.path("/tank/a")
    (folder / "inner").mkdir()
    (folder / "inner/note").write_text("hello")
    (folder / "vm.json").write_text("{}")
    (folder / "vm.json").chmod(0o600)
    (folder / "link").symlink_to("vm.json")
    write(lab, "tank/a/disk0", 5 * MIB, b"five")
    lab.ok("zfs", "snapshot", "-r", "tank/a@s1")
    return lab


def write(lab, volume, at, data):
    with open(lab.path(f"/dev/zvol/{volume}"), "r+b") as file:
        os.pwrite(file.fileno(), data, at)


def read(lab, volume, at, count):
    with open(lab.path(f"/dev/zvol/{volume}"), "rb") as file:
        return os.pread(file.fileno(), count, at)


def test_a_volume_arrives_with_its_bytes_its_holes_and_without_properties(tree):
    data = stream(tree, "tank/a/disk0@s1")
    assert len(data) < MIB
    taken(tree, data, "-o", "volmode=dev", "tank/b")
    node = tree.path("/dev/zvol/tank/b")
    assert (node.stat().st_size, node.stat().st_blocks < 1000) == (64 * MIB, True)
    assert read(tree, "tank/b", 5 * MIB, 4) == b"five"
    assert listed(tree, "-t", "snapshot", "-o", "name", "-r", "tank/b") == ["tank/b@s1"]
    guids = listed(tree, "-t", "snapshot", "-o", "guid", "-d", "1", "tank/b", "tank/a/disk0")
    assert len(set(guids)) == 1
    got = tree.ok("zfs", "get", "-Hp", "-o", "value,source", "volmode,refreservation,volsize", "tank/b")
    assert got == "dev\tlocal\n0\tdefault\n67108864\tlocal\n"


def test_a_filesystem_arrives_with_modes_links_and_is_mounted(tree):
    taken(tree, stream(tree, "tank/a@s1"), "tank/b")
    folder = tree.path("/tank/b")
    assert (folder / "inner/note").read_text() == "hello"
    assert (folder / "vm.json").stat().st_mode & 0o777 == 0o600
    assert os.readlink(folder / "link") == "vm.json"


def test_it_stays_unmounted_with_u_until_mounted(tree):
    taken(tree, stream(tree, "tank/a@s1"), "-u", "tank/b")
    assert not tree.path("/tank/b").exists()
    assert listed(tree, "-o", "mounted", "-d", "0", "tank/b") == ["no"]
    tree.ok("zfs", "mount", "tank/b")
    assert tree.path("/tank/b/vm.json").exists()
    assert tree.fails("zfs", "mount", "tank/b") == "cannot mount 'tank/b': filesystem already mounted\n"
    tree.ok("zfs", "unmount", "tank/b")
    assert tree.fails("zfs", "unmount", "tank/b") == "cannot unmount 'tank/b': not currently mounted\n"


def test_a_tree_arrives_with_snapshots_properties_and_clones(tree):
    tree.ok("zfs", "clone", "tank/a/disk0@s1", "tank/a/disk1")
    write(tree, "tank/a/disk1", 0, b"own")
    tree.path("/tank/a/vm.json").write_text("{2}")
    tree.ok("zfs", "snapshot", "-r", "-o", "org.bhype:why=test", "tank/a@s2")
    taken(
        tree, stream(tree, "-R", "tank/a@s2"), "-u", "-o", "org.bhype:id=new", "-x", "compression", "tank/b"
    )
    assert listed(tree, "-t", "all", "-o", "name", "-r", "tank/b") == [
        *("tank/b", "tank/b@s1", "tank/b@s2", "tank/b/disk0", "tank/b/disk0@s1", "tank/b/disk0@s2"),
        *("tank/b/disk1", "tank/b/disk1@s2"),
    ]
    assert listed(tree, "-o", "origin", "-d", "0", "tank/b/disk1") == ["tank/b/disk0@s1"]
    got = tree.ok(
        "zfs",
        "get",
        "-H",
        "-r",
        "-o",
        "name,value,source",
        "-t",
        "filesystem,volume",
        "org.bhype:id",
        "tank/b",
    )
    assert got.splitlines() == [
        "tank/b\tnew\tlocal",
        "tank/b/disk0\tnew\tinherited from tank/b",
        "tank/b/disk1\tnew\tinherited from tank/b",
    ]
    assert tree.ok("zfs", "get", "-H", "-o", "value,source", "volmode", "tank/b/disk0") == "dev\treceived\n"
    assert tree.ok("zfs", "get", "-H", "-o", "value,source", "compression", "tank/b") == "on\tdefault\n"
    assert tree.ok("zfs", "get", "-H", "-o", "value", "org.bhype:why", "tank/b@s2") == "test\n"
    assert (read(tree, "tank/b/disk1", 0, 3), read(tree, "tank/b/disk1", 5 * MIB, 4)) == (b"own", b"five")


def test_increments_bring_what_changed_and_only_that(tree):
    taken(tree, stream(tree, "tank/a/disk0@s1"), "tank/b")
    taken(tree, stream(tree, "tank/a@s1"), "tank/c")
    write(tree, "tank/a/disk0", 5 * MIB, b"\0\0\0\0")
    write(tree, "tank/a/disk0", 40 * MIB, b"forty")
    (tree.path("/tank/a") / "inner/note").unlink()
    (tree.path("/tank/a") / "inner").rmdir()
    (tree.path("/tank/a") / "inner").write_text("a file now")
    tree.ok("zfs", "set", "volsize=96M", "tank/a/disk0")
    tree.ok("zfs", "snapshot", "-r", "tank/a@s2")
    tree.ok("zfs", "snapshot", "-r", "tank/a@s3")
    data = stream(tree, "-I", "s1", "tank/a/disk0@s3")
    assert len(data) < MIB
    taken(tree, data, "tank/b")
    taken(tree, stream(tree, "-i", "@s1", "tank/a@s2"), "tank/c")
    assert listed(tree, "-t", "snapshot", "-o", "name", "-d", "1", "tank/b") == [
        "tank/b@s1",
        "tank/b@s2",
        "tank/b@s3",
    ]
    assert tree.path("/dev/zvol/tank/b").stat().st_size == 96 * MIB
    assert (read(tree, "tank/b", 5 * MIB, 4), read(tree, "tank/b", 40 * MIB, 5)) == (b"\0\0\0\0", b"forty")
    assert (tree.path("/tank/c") / "inner").read_text() == "a file now"
    assert tree.ok("zfs", "rollback", "-r", "tank/b@s1") == ""
    assert read(tree, "tank/b", 5 * MIB, 4) == b"five"
    assert tree.path("/dev/zvol/tank/b").stat().st_size == 64 * MIB


def test_sizes_are_told_before_and_on_the_way(tree):
    write(tree, "tank/a/disk0", 0, random.Random(1).randbytes(MIB))
    tree.ok("zfs", "snapshot", "tank/a/disk0@s2")
    out = tree.ok("zfs", "send", "-nP", "tank/a/disk0@s2")
    first, last = out.splitlines()
    size = int(last.removeprefix("size\t"))
    assert first == f"full\ttank/a/disk0@s2\t{size}"
    assert MIB <= size < 2 * MIB
    out = tree.ok("zfs", "send", "-nP", "-I", "@s1", "tank/a/disk0@s2")
    assert out == f"incremental\ts1\ttank/a/disk0@s2\t{MIB + 624}\nsize\t{MIB + 624}\n"
    assert tree("zfs", "send", "-nv", "-R", "tank/a@s1").out.startswith(
        "full send of tank/a@s1 estimated size is "
    )
    done = subprocess.run(
        tree.argv("zfs", "send", "-vP", "tank/a/disk0@s2"), capture_output=True, timeout=60, check=True
    )
    assert done.stderr.decode().splitlines()[-1] == f"size\t{size}"
    assert len(done.stdout) > MIB


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tank/a/disk0@nope"], "cannot open 'tank/a/disk0@nope': dataset does not exist\n"),
        (["-i", "@nope", "tank/a@s1"], "cannot open 'tank/a@nope': dataset does not exist\n"),
        (
            ["-i", "tank/a/disk0@s1", "tank/a@s1"],
            "warning: cannot send 'tank/a@s1': not an earlier snapshot from the same fs\n",
        ),
        (["-R", "tank/a"], "Error: Unsupported flag with filesystem or bookmark.\n"),
        (["-I", "#b", "tank/a@s1"], "Error: multiple snapshots cannot be sent from a bookmark.\n"),
        (["-X", "tank/b", "tank/a@s1"], "Cannot specify dataset exclusion (-X) on a non-recursive send.\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_told_in_zfs_words(tree, words, text):
    assert tree.fails("zfs", "send", *words) == text


def test_wrong_options_are_usage_errors(tree):
    assert tree.fails("zfs", "send", code=2).startswith("missing snapshot argument\nusage:\n\tsend ")
    assert tree.fails("zfs", "send", "-q", "x", code=2).startswith("invalid option 'q'\n")
    assert tree.fails("zfs", "receive", code=2).startswith("missing snapshot argument\nusage:\n\treceive ")
    assert "mutually exclusive" in tree.fails("zfs", "receive", "-d", "-e", "tank", code=2)


def test_what_cannot_be_received_is_told_in_zfs_words(tree):
    full = stream(tree, "tank/a/disk0@s1")
    package = stream(tree, "-R", "tank/a@s1")
    tree.ok("zfs", "snapshot", "tank/a/disk0@s2")
    step = stream(tree, "-i", "@s1", "tank/a/disk0@s2")
    new, more = "cannot receive new filesystem stream: ", "cannot receive incremental stream: "
    snapshots = "destination has snapshots (eg. tank/a@s1)\nmust destroy them to overwrite it\n"
    missing = "cannot open 'tank/x': dataset does not exist\n"
    cases = [
        (full, ["tank/a/disk0"], new + "destination 'tank/a/disk0' exists\nmust specify -F to overwrite it\n"),
        (full, ["tank/a"], new + "destination 'tank/a' exists\nmust specify -F to overwrite it\n"),
        (full, ["-F", "tank/a"], new + snapshots),
        (full, ["tank/x/y"], missing + new + "unable to restore to destination\n"),
        (full, ["tank/a/disk0/x"], new + "parent 'tank/a/disk0' is not a filesystem\n"),
        (full, ["-d", "tank/x"], "cannot receive: specified fs (tank/x) does not exist\n"),
        (step, ["tank/x"], more + "destination 'tank/x' does not exist\n"),
        (step, ["tank/a"], more + "most recent snapshot of tank/a does not\nmatch incremental source\n"),
        (package, ["tank/x@s"], "cannot receive: cannot specify snapshot name for multi-snapshot stream\n"),
        (b"", ["tank/x"], "cannot receive: failed to read from stream\n"),
        (b"no stream" * 100, ["tank/x"], "cannot receive: invalid stream (bad magic number)\n"),
        (full, ["-o", "quota=1G", "tank/x"], "cannot receive: cannot receive: invalid property 'quota'\n"),
        (full, ["-o", "volsize=x", "tank/x"], new + "bad numeric value 'x'\n"),
    ]  # fmt: skip
    before = listed(tree, "-t", "all", "-o", "name")
    for data, words, text in cases:
        assert take(tree, data, *words)[2] == text, words
    assert listed(tree, "-t", "all", "-o", "name") == before
    assert left(tree) == []


def test_a_changed_destination_is_refused_unless_forced(tree):
    taken(tree, stream(tree, "tank/a/disk0@s1"), "tank/b")
    tree.ok("zfs", "snapshot", "tank/a/disk0@s2")
    step = stream(tree, "-i", "@s1", "tank/a/disk0@s2")
    write(tree, "tank/b", 0, b"mine")
    words = "destination tank/b has been modified\nsince most recent snapshot\n"
    assert take(tree, step, "tank/b")[2] == f"cannot receive incremental stream: {words}"
    taken(tree, step, "-F", "tank/b")
    assert read(tree, "tank/b", 0, 4) == b"\0\0\0\0"


def test_a_clone_needs_its_origin_and_a_plain_send_of_it_does_not(tree):
    tree.ok("zfs", "clone", "tank/a/disk0@s1", "tank/c")
    tree.ok("zfs", "snapshot", "tank/c@t")
    plain, replicated = stream(tree, "tank/c@t"), stream(tree, "-R", "tank/c@t")
    taken(tree, replicated, "tank/d")
    assert listed(tree, "-o", "origin", "tank/d") == ["tank/a/disk0@s1"]
    other = make_lab()
    try:
        text = "cannot receive: local origin for clone tank/d@t does not exist\n"
        assert take(other, replicated, "tank/d")[2] == text
        taken(other, plain, "tank/d")
        assert read(other, "tank/d", 5 * MIB, 4) == b"five"
    finally:
        drop_lab(other)


def test_a_stream_cut_off_anywhere_leaves_nothing(tree):
    data = stream(tree, "tank/a/disk0@s1")
    for length in (1, 11, 40, len(data) // 2, len(data) - 1):
        code, _, err = take(tree, data[:length], "tank/b")
        assert (code, err.startswith("cannot receive")) == (1, True), err
        assert "incomplete stream" in err or "failed to read from stream" in err, err
    assert "tank/b" not in listed(tree, "-o", "name")
    assert left(tree) == []


@settings(max_examples=12)
@given(st.data())
def test_a_damaged_stream_leaves_nothing(data):
    lab = damaged_lab()
    sent = lab.sent
    place = data.draw(st.integers(0, len(sent) - 1))
    bad = bytearray(sent)
    bad[place] ^= 1 << data.draw(st.integers(0, 7))
    code, _, err = take(lab, bytes(bad), "tank/b")
    assert code == 1, err
    assert "cannot receive" in err
    assert "Traceback" not in err
    assert listed(lab, "-o", "name") == ["tank", "tank/a"]


_damaged = []


def damaged_lab():
    if not _damaged:
        lab = make_lab()
        lab.ok("zfs", "create", "tank/a")
        lab.path("/tank/a/file").write_text("data" * 20)
        lab.ok("zfs", "snapshot", "tank/a@s")
        lab.sent = stream(lab, "tank/a@s")
        _damaged.append(lab)
    return _damaged[0]


@pytest.fixture(scope="module", autouse=True)
def _drop():
    yield
    while _damaged:
        drop_lab(_damaged.pop())


def test_entries_that_lead_out_of_the_filesystem_are_refused(lab, tmp_path):
    from bhype.lab.openzfs.stream import Writer

    begin = {
        **{"toname": "tank/a@s", "type": "filesystem", "toguid": 5, "fromguid": 0, "clone": False},
        **{"creation": 1, "volsize": 0, "volblocksize": "16384", "holds": []},
    }
    dress = {"mode": 0o644, "mtime": 0, "uid": 0, "gid": 0}
    for path in ("../x", "./../x", "/etc/x", "./a/../../x", "./link/x"):
        with open(tmp_path / "stream", "wb") as file:
            writer = Writer(file.fileno(), lambda _: None)
            writer.begin(**begin)
            writer.write("dir", {"path": ".", **dress})
            writer.write("link", {"path": "./link", "target": "/tmp"})
            writer.write("file", {"path": path, "keeps": False, **dress})
            writer.end()
        code, _, err = take(lab, (tmp_path / "stream").read_bytes(), "tank/b")
        assert (code, err) == (1, "cannot receive new filesystem stream: invalid backup stream\n"), path
    assert left(lab) == []


def test_a_receiver_that_was_killed_leaves_nothing_for_long(tree):
    data = stream(tree, "tank/a/disk0@s1")
    killed = subprocess.Popen(tree.argv("zfs", "receive", "tank/b"), stdin=subprocess.PIPE)
    killed.stdin.write(data[: len(data) // 2])
    killed.stdin.flush()
    deadline = time.monotonic() + 60
    while not any(name.endswith("draft") for name in left(tree)) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdin.close()
    assert "tank/b" not in listed(tree, "-o", "name")
    taken(tree, data, "tank/b")
    assert left(tree) == []


def test_a_full_pool_takes_nothing(small_lab):
    small_lab.ok("zfs", "create", "-s", "-V", "64M", "tank/a")
    write(small_lab, "tank/a", 0, random.Random(2).randbytes(MIB))
    small_lab.ok("zfs", "snapshot", "tank/a@s")
    data = stream(small_lab, "tank/a@s")
    small_lab.fault('{"command": "zfs receive", "do": "full"}')
    assert take(small_lab, data, "tank/b")[2] == "cannot receive new filesystem stream: out of space\n"
    assert "tank/b" not in listed(small_lab, "-o", "name")


def test_others_go_on_while_a_stream_is_under_way(tree):
    """Neither side holds the state while bytes flow: send reads it once, receive changes it at the end."""
    waiting = subprocess.Popen(tree.argv("zfs", "receive", "tank/b"), stdin=subprocess.PIPE)
    try:
        tree.ok("zfs", "create", "tank/meanwhile")
        waiting.communicate(stream(tree, "tank/a/disk0@s1"), timeout=60)
    finally:
        waiting.wait()
    assert waiting.returncode == 0
    assert {"tank/b", "tank/meanwhile"} <= set(listed(tree, "-o", "name"))


def test_zstream_tells_what_a_stream_holds(tree):
    file = tree.path("/tmp/s")
    file.write_bytes(stream(tree, "-R", "tank/a@s1"))
    program = tree.path("/usr/bin/zstream")
    done = subprocess.run([program, "dump", "/tmp/s"], capture_output=True, text=True, timeout=60, check=True)
    names = [
        line.removeprefix("\ttoname = ") for line in done.stdout.splitlines() if line.startswith("\ttoname")
    ]
    assert names == ["tank/a@s1", "tank/a@s1", "tank/a/disk0@s1"]
    assert "\tTotal DRR_BEGIN records = 3 (0 bytes)\n" in done.stdout
    file.write_bytes(b"x" * 100)
    assert subprocess.run(
        [program, "dump", "/tmp/s"], capture_output=True, timeout=60, check=False
    ).returncode


def test_a_rollback_that_was_killed_has_rolled_back_or_not(tree):
    """State and bytes agree wherever a command dies: bytes move only when the state says so."""
    write(tree, "tank/a/disk0", 0, b"new")
    tree.fault('{"command": "zfs rollback", "do": "kill", "when": "after", "nth": 1}')
    assert tree("zfs", "rollback", "tank/a/disk0@s1").code == -9
    assert read(tree, "tank/a/disk0", 0, 3) == b"\0\0\0"


@pytest.mark.parametrize("stage", ["hide", "state"])
def test_bytes_come_back_to_their_place_after_a_kill(tree, stage):
    """As a rename leaves them that died before, or just after, its state was written."""
    name = "tank/a/disk0"
    with lab_store(tree) as store:
        shelf = store.shelf(name)
        if stage == "state":
            for key in [name, *store.snapshots(name)]:
                store.datasets[key.replace("disk0", "disk9")] = store.datasets.pop(key)
            name = "tank/a/disk9"
            store.datasets[name]["shown"] = f"/dev/zvol/{name}"
    os.rename(tree.path("/dev/zvol/tank/a/disk0"), shelf)
    open(f"{tree.folder}/state/zfs-unfinished", "w").close()
    tree.ok("zfs", "create", "tank/anything")
    assert read(tree, name, 5 * MIB, 4) == b"five"
