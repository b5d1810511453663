"""What zfs(8) says of snapshots, in and out; and which of them belong together. No host, no rows."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import zfs_snapshots
from bhype.freebsd.command import ParseError
from bhype.freebsd.names import BadName
from bhype.freebsd.zfs_snapshots import SnapshotDetail
from storage.snapshots import moments


def detail(name: str, txg: int = 1, **more: object) -> SnapshotDetail:
    values = {
        "guid": f"{zlib.crc32(name.encode())}{txg}", "created": datetime(2026, 1, 1, tzinfo=UTC), "used": 1,
        "referenced": 2, "written": 3, "holds": 0, "is_deferred": False, "clones": (), "bhype_id": "bhype",
        "kind": "manual", "is_common": False, "note": "",
    }  # fmt: skip
    return SnapshotDetail(name=name, txg=txg, **{**values, **more})  # type: ignore[arg-type]


def test_details_are_read_as_zfs_writes_them():
    line = "\t".join(
        [
            "tank/a@s",
            "123",
            "45",
            "1767225600",
            "10",
            "20",
            "30",
            "1",
            "off",
            "tank/x,tank/y",
            "u",
            "daily",
            "-",
            "a\tnote",
        ]
    )
    (found,) = zfs_snapshots.details("tank/a").parse(line + "\n")
    assert (found.dataset, found.tail, found.txg, found.holds) == ("tank/a", "s", 45, 1)
    assert (found.clones, found.kind, found.is_common, found.note) == (
        ("tank/x", "tank/y"),
        "daily",
        False,
        "a\tnote",
    )
    assert found.created == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["x", "tank/a\t" + "1\t" * 12 + "x\n", "tank/a@s\t1\t1\t9999999999999999\t" + "1\t" * 9 + "x\n"]
)
def test_other_lines_are_refused(text):
    with pytest.raises(ParseError):
        zfs_snapshots.details("tank/a").parse(text)


def test_the_argv_of_every_command():
    def argv(command):
        return " ".join(getattr(command, "command", command).argv[1:])

    assert argv(zfs_snapshots.destroy("t/a", ["a", "b%c"], recursive=True)) == "destroy -r t/a@a,b%c"
    assert argv(zfs_snapshots.loss("t/a", ["a%b"])) == "destroy -nvp t/a@a%b"
    assert argv(zfs_snapshots.hold("kept", "t/a@s", recursive=True)) == "hold -r kept t/a@s"
    assert argv(zfs_snapshots.release("kept", "t/a@s")) == "release kept t/a@s"
    assert argv(zfs_snapshots.diff("t/a@s")) == "diff -FHt t/a@s t/a"
    assert argv(zfs_snapshots.annotate("t/a@s", "")) == "inherit org.bhype:note t/a@s"
    assert (
        argv(zfs_snapshots.changes("t"))
        == "get -Hp -r -t filesystem,volume -o name,value snapshots_changed t"
    )


@pytest.mark.parametrize("tails", [[], [""], ["a b"], ["a%b%c"], ["-r"], ["a@b"], ["%"]])
def test_no_odd_name_reaches_a_destruction(tails):
    with pytest.raises(BadName):
        zfs_snapshots.destroy("tank/a", tails)


def test_differences_are_read():
    text = "1767225600.000000001\tM\tF\t/tank/a/b\n1767225600.1\tx\n"
    with pytest.raises(ParseError):
        zfs_snapshots.diff("t/a@s").parse(text)
    text = (
        "1767225600.000000001\tM\tF\t/tank/a\\0040b\t(+1)\n"
        "1767225601.000000001\tR\t/\t/tank/old\t/tank/n\\0303\\0244w\n"
    )
    changed, renamed = zfs_snapshots.diff("t/a@s").parse(text)
    assert (changed.change, changed.kind, changed.path, changed.target) == ("M", "F", "/tank/a b", "")
    assert (renamed.path, renamed.target) == ("/tank/old", "/tank/näw")


def test_the_loss_is_read():
    assert zfs_snapshots.loss("t/a", ["s"]).parse("destroy\tt/a@s\nreclaim\t12\n") == zfs_snapshots.Loss(
        ("t/a@s",), 12
    )


@given(st.lists(st.sampled_from([f"s{number}" for number in range(12)]), unique=True), st.integers(0, 12))
def test_a_span_names_just_what_was_wanted(wanted, count):
    there = [f"s{number}" for number in range(count)]
    found = []
    for span in zfs_snapshots.pattern(wanted, there):
        first, _, last = span.partition("%")
        found += there[there.index(first) : there.index(last or first) + 1]
    assert found == [name for name in there if name in wanted]


@given(st.text(max_size=1200))
def test_a_note_is_a_line_that_a_property_can_hold_or_is_refused(note):
    try:
        line = zfs_snapshots.one_line(note)
    except BadName:
        return
    assert line.isprintable() and "%" not in line and len(line) <= zfs_snapshots.NOTE_MAX
    zfs_snapshots.annotate("tank/a@s", line)


def test_what_was_taken_together_is_one():
    found = moments.moments(
        "t/vm",
        [
            detail("t/vm@a", 5), detail("t/vm/disk0@a", 5), detail("t/vm/disk1@a", 9), detail("t/vm/disk0@only", 7),
            detail("t/vm@b", 3),
        ],
    )  # fmt: skip
    assert [(moment.name, len(moment.parts), moment.strays) for moment in found] == [
        ("b", 1, ()), ("a", 2, ("t/vm/disk1@a",)),
    ]  # fmt: skip
    assert "another moment" in moments.obstacle(found[1])
    assert moments.obstacle(found[0]) == ""


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"kind": ""}, "did not take"),
        ({"holds": 1}, "held"),
        ({"clones": ("x",)}, "clone"),
        ({"is_common": True}, "replica"),
    ],
)  # fmt: skip
def test_what_is_needed_is_told(more, why):
    (moment,) = moments.moments("t/a", [detail("t/a@s", **more)])
    assert why in moments.obstacle(moment)


def test_a_name_has_room_below_too():
    with pytest.raises(BadName):
        moments.check_name("tank/a", "x" * 240, ["tank/a/" + "y" * 20])
    assert moments.check_name("tank/a", "x" * 200) == "x" * 200
