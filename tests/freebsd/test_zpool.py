# ruff: noqa: PLW0108
"""zpool(8): what is asked of it, and what it says."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import arcstats, names, zpool, zpool_iostat, zpool_status
from bhype.freebsd.command import Command, ParseError, Query
from bhype.freebsd.zpool_layout import ALLOWED, KINDS, ROLES, Group, words
from bhype.freebsd.zpool_status import Member

MIRROR = Group("data", "mirror", ("da1", "da2"))


def line(command: Command | Query) -> str:
    return shlex.join((command.command if isinstance(command, Query) else command).argv)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (zpool.list_pools(), "list -Hp -o name,size,allocated,free,fragmentation,capacity,health,guid"),
        (zpool.get_properties(), "get -Hp -o name,property,source,value all"),
        (zpool_status.status(), "status -vpt"),
        (zpool_status.status("tank"), "status -vpt tank"),
        (zpool_status.importable(), "import"),
        (zpool_status.importable(destroyed=True), "import -D"),
        (zpool_iostat.over(5), "iostat -Hpy 5 1"),
        (
            zpool.create("tank", [MIRROR], {"ashift": "12"}, {"compression": "lz4", "mountpoint": "none"}),
            "create -o ashift=12 -O compression=lz4 -O mountpoint=none tank mirror da1 da2",
        ),
        (
            zpool.create(
                "tank",
                [
                    Group("spare", "stripe", ("da9",)), Group("cache", "stripe", ("nda1",)),
                    Group("log", "mirror", ("nda2", "nda3")), Group("data", "raidz2", ("da1", "da2", "da3", "da4")),
                    Group("data", "raidz2", ("da5", "da6", "da7", "da8")),
                    Group("special", "mirror", ("nda4", "nda5")), Group("log", "stripe", ("nda6",)),
                ],
                force=True,
            ),
            "create -f tank raidz2 da1 da2 da3 da4 raidz2 da5 da6 da7 da8 special mirror nda4 nda5 "
            "log nda6 mirror nda2 nda3 cache nda1 spare da9",
        ),
        (zpool.add("tank", [Group("cache", "stripe", ("da3",))]), "add tank cache da3"),
        (zpool.destroy("tank"), "destroy tank"),
        (zpool.export("tank"), "export tank"),
        (zpool.import_("123", "tank"), "import 123 tank"),
        (
            zpool.import_("123", "t2", force=True, mounted=False, readonly=True),
            "import -f -N -o readonly=on 123 t2",
        ),
        (zpool.attach("tank", "gpt/a", "da2"), "attach tank gpt/a da2"),
        (zpool.detach("tank", "da2"), "detach tank da2"),
        (zpool.replace("tank", "12345", "da2"), "replace tank 12345 da2"),
        (zpool.replace("tank", "da1"), "replace tank da1"),
        (zpool.offline("tank", "da1"), "offline tank da1"),
        (zpool.offline("tank", "da1", temporary=True), "offline -t tank da1"),
        (zpool.online("tank", "da1", expand=True), "online -e tank da1"),
        (zpool.remove("tank", "mirror-1"), "remove tank mirror-1"),
        (zpool.clear("tank"), "clear tank"),
        (zpool.clear("tank", "da1"), "clear tank da1"),
        (zpool.scrub("tank"), "scrub tank"),
        (zpool.scrub("tank", "pause"), "scrub -p tank"),
        (zpool.scrub("tank", "stop"), "scrub -s tank"),
        (zpool.trim("tank", "stop"), "trim -c tank"),
        (zpool.trim("tank", "pause"), "trim -s tank"),
        (zpool.labelclear("da1"), "labelclear -f /dev/da1"),
        (zpool.set_property("tank", "autotrim", "on"), "set autotrim=on tank"),
    ],
)  # fmt: skip
def test_commands_are_built(command, expected):
    assert line(command) == f"/sbin/zpool {expected}"


TAKERS = [
    lambda text: zpool.create(text, [MIRROR]),
    lambda text: zpool.create("tank", [Group("data", "stripe", (text,))]),
    lambda text: zpool.create("tank", [Group(text, "stripe", ("da1",))]),
    lambda text: zpool.create("tank", [Group("data", text, ("da1",))]),
    lambda text: zpool.create("tank", [MIRROR], {text: "on"}),
    lambda text: zpool.create("tank", [MIRROR], {}, {text: "on"}),
    lambda text: zpool.create("tank", [MIRROR], {"autotrim": text}),
    lambda text: zpool.add(text, [MIRROR]),
    lambda text: zpool.destroy(text),
    lambda text: zpool.export(text),
    lambda text: zpool.import_("1", text),
    lambda text: zpool.import_(text, "tank"),
    lambda text: zpool.attach("tank", "da1", text),
    lambda text: zpool.replace("tank", "da1", text or "-"),
    lambda text: zpool.scrub("tank", text),
    lambda text: zpool.trim("tank", text),
    lambda text: zpool.labelclear(text),
    lambda text: zpool.set_property("tank", text, "on"),
]
MEMBER_TAKERS = [
    lambda text: zpool.offline("tank", text),
    lambda text: zpool.detach("tank", text),
    lambda text: zpool.remove("tank", text),
    lambda text: zpool.attach("tank", text, "da1"),
    lambda text: zpool.replace("tank", text),
]
BAD = [
    "",
    "-f",
    "--",
    "a\nb",
    "a\0b",
    "../x",
    "a b c",
    "a;b",
    "a,b",
    "%s",
    "a*",
    "\u0430",
    "x" * 300,
    "a//b",
    "/a/../b",
]


@pytest.mark.parametrize("taker", [*TAKERS, *MEMBER_TAKERS])
@pytest.mark.parametrize("text", BAD)
def test_bad_names_never_reach_an_argv(taker, text):
    with pytest.raises(names.BadName):
        taker(text)


@given(st.text(max_size=40), st.sampled_from([*TAKERS, *MEMBER_TAKERS]))
def test_no_text_becomes_an_option_or_more_than_a_word(text, taker):
    try:
        command = taker(text)
    except names.BadName:
        return
    assert not text.startswith("-") and text.isprintable()
    assert len(shlex.split(line(command))) == len(command.argv)


@st.composite
def layouts(draw) -> list[Group]:
    """Any layout that zpool(8) takes."""
    free = [f"da{number}" for number in range(60)]
    groups = []
    for role in ROLES:
        for _ in range(draw(st.integers(1 if role == "data" else 0, 2))):
            kind = draw(st.sampled_from(sorted(ALLOWED[role])))
            count = draw(st.integers(KINDS[kind], KINDS[kind] + 2))
            groups.append(Group(role, kind, tuple(free.pop(0) for _ in range(count))))
    return draw(st.permutations(groups))


@given(layouts())
def test_a_layout_is_read_by_zpools_grammar_as_it_was_meant(groups):
    """As make_vdevs of zpool_vdev.c reads it: a word of a role holds until the next, a kind takes all that follows."""
    role, found, current = "data", [], None
    for word in words(groups):
        if word in ROLES:
            role, current = word, None
        elif word in KINDS:
            current = (role, word, [])
            found.append(current)
        elif current:
            current[2].append(word)
        else:
            found.append((role, "stripe", [word]))
    meant = [
        (group.role, group.kind, [name])
        if group.kind == "stripe" else (group.role, group.kind, list(group.disks))
        for group in groups
        for name in (group.disks if group.kind == "stripe" else [""])
    ]  # fmt: skip
    assert sorted(found) == sorted(meant)


@pytest.mark.parametrize(
    "groups",
    [
        [], [Group("log", "raidz1", ("da1", "da2", "da3"))], [Group("data", "mirror", ("da1",))],
        [MIRROR, Group("spare", "stripe", ("da1",))], [Group("cache", "mirror", ("da1", "da2"))],
        [Group("data", "stripe", ("da1", "da1"))],
    ],
)  # fmt: skip
def test_what_zpool_would_not_take_is_refused(groups):
    with pytest.raises(names.BadName):
        words(groups)


def test_pools_are_read():
    text = "zroot\t107374182400\t4831838208\t102542344192\t3\t4\tONLINE\t42\nold\t-\t-\t-\t-\t-\tFAULTED\t-\n"
    good, bad = zpool.list_pools().parse(text)
    assert (good.size, good.allocated, good.free, good.fragmentation, good.capacity, good.health, good.guid) == (
        107374182400, 4831838208, 102542344192, 3, 4, "ONLINE", "42",
    )  # fmt: skip
    assert (bad.size, bad.health, bad.guid) == (0, "FAULTED", "")
    with pytest.raises(ParseError):
        zpool.list_pools().parse("a\t1\t1\t1\t1\t1\tSPLENDID\t1\n")


def test_properties_are_read_without_the_features():
    text = (
        "tank\tautotrim\tlocal\ton\ntank\tfeature@lz4_compress\tlocal\tactive\ntank\tcomment\tlocal\ta b\tc\n"
    )
    assert zpool.get_properties().parse(text) == {
        "tank": {"autotrim": ("on", "local"), "comment": ("a b\tc", "local")}
    }


def test_what_pools_do_is_read():
    (one,) = zpool_iostat.over(1).parse("tank\t100\t900\t3\t4\t5000\t6000\n")
    assert (one.name, one.allocated, one.reads, one.writes, one.bytes_read, one.bytes_written) == (
        "tank", 100, 3, 4, 5000, 6000,
    )  # fmt: skip
    assert zpool_iostat.over(1).parse("") == []


def test_the_arc_is_read():
    text = "kstat.zfs.misc.arcstats.size: 100\nkstat.zfs.misc.arcstats.hits: 7\nkstat.zfs.misc.arcstats.c_max: x\n"
    found = arcstats.read().parse(text)
    assert (found.size, found.hits, found.most, found.misses) == (100, 7, 0, 0)


HEALTHY = """\
  pool: tank
 state: ONLINE
status: Some supported and requested features are not enabled on the pool.
\tThe pool can still be used, but some features are unavailable.
action: Enable all features using 'zpool upgrade'. Once this is done,
\tthe pool may no longer be accessible by software that does not support
\tthe features. See zpool-features(7) for details.
  scan: scrub in progress since Sun Jan  4 03:10:04 2026
\t1.20T / 3.00T scanned at 1.1G/s, 800G / 3.00T issued at 700M/s
\t0B repaired, 26.04% done, 00:55:10 to go
config:

\tNAME            STATE     READ WRITE CKSUM
\ttank            ONLINE       0     0     0
\t  mirror-0      ONLINE       0     0     0
\t    ada0p3      ONLINE       0     0  1200  (resilvering)  (untrimmed)
\t    gpt/b c     ONLINE       0     0     0  (100% trimmed, completed at Sun Jan  4 03:10:04 2026)
\tlogs\t
\t  ada2          ONLINE       0     0     0  block size: 512B configured, 4096B native  (trim unsupported)
\tspares
\t  ada3          AVAIL
\t  ada4          INUSE     currently in use

errors: No known data errors
"""
BROKEN = """\
  pool: data
 state: SUSPENDED
status: One or more devices are faulted in response to IO failures.
action: Make sure the affected devices are connected, then run 'zpool clear'.
   see: https://openzfs.github.io/openzfs-docs/msg/ZFS-8000-HC
  scan: scrub repaired 0B in 1 days 02:03:04 with 3 errors on Sun Jan  4 03:10:04 2026
remove: Removal of vdev 1 copied 1.5G in 0h3m, completed on Sun Jan  4 03:10:04 2026
checkpoint: created Sun Jan  4 03:10:04 2026, consumes 1.2M
config:

\tNAME                      STATE     READ WRITE CKSUM
\tdata                      UNAVAIL      3     4     0  insufficient replicas
\t  replacing-0             DEGRADED     0     0     0
\t    1234567890            UNAVAIL      0     0     0  was /dev/da1
\t    da2                   ONLINE       0     0     0  (resilvering)

errors: Permanent errors have been detected in the following files:

        /data/a: b.txt
        <metadata>:<0x0>
"""


def test_a_status_becomes_a_tree():
    (found,) = zpool_status.parse(HEALTHY)
    assert (found.name, found.state, found.errors) == ("tank", "ONLINE", "No known data errors")
    assert found.status.endswith("pool. The pool can still be used, but some features are unavailable.")
    scan = found.scan
    assert (scan.function, scan.state, scan.percent, scan.issued, scan.total, scan.eta) == (
        "scrub", "running", 26.04, "800G", "3.00T", "00:55:10",
    )  # fmt: skip
    assert scan.at == datetime(2026, 1, 4, 3, 10, 4, tzinfo=UTC)
    (mirror,) = found.root.children
    one, two = mirror.children
    assert (one.name, one.checksum, one.note, one.trim) == ("ada0p3", 1200, "(resilvering)", "untrimmed")
    assert (two.name, two.note, two.trim) == ("gpt/b c", "", "trimmed 2026-01-04 03:10")
    (log,) = found.groups["logs"]
    assert (log.note, log.trim) == ("block size: 512B configured, 4096B native", "unsupported")
    assert [(spare.name, spare.state, spare.note) for spare in found.groups["spares"]] == [
        ("ada3", "AVAIL", ""), ("ada4", "INUSE", "currently in use"),
    ]  # fmt: skip
    assert [leaf.name for leaf in found.leaves()] == ["ada0p3", "gpt/b c", "ada2", "ada3", "ada4"]


def test_several_pools_come_in_one_text():
    good, bad = zpool_status.parse(HEALTHY + "\n" + BROKEN)
    assert (good.name, bad.name, bad.state) == ("tank", "data", "SUSPENDED")
    assert bad.see.endswith("ZFS-8000-HC")
    assert (bad.scan.state, bad.scan.errors) == ("finished", 3)
    assert bad.errors == ("/data/a: b.txt", "<metadata>:<0x0>")
    assert [note.split()[0] for note in bad.notes] == ["Removal", "created"]
    assert bad.root.note == "insufficient replicas"
    (lost, new) = bad.root.children[0].children
    assert (lost.name, lost.note, new.note) == ("1234567890", "was /dev/da1", "(resilvering)")
    assert [member["name"] for member in bad.document()["config"][0]["children"]] == ["replacing-0"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none requested", ("none", "none", None, "")),
        (
            "scrub paused since Sun Jan  4 03:10:04 2026 scrub started on Sun Jan  4 03:00:04 2026 "
            "1.2T scanned, 800G issued, 3.00T total 0B repaired, 26.04% done",
            ("scrub", "paused", 26.04, "3.00T"),
        ),
        (
            "scrub in progress since Sun Jan 14 03:10:04 2026 1.20T scanned at 1.1G/s, 800G issued at 700M/s, 3.00T "
            "total 0B repaired, 26.04% done, no estimated completion time",
            ("scrub", "running", 26.04, "3.00T"),
        ),
        ("scrub canceled on Sun Jan  4 03:10:04 2026", ("scrub", "canceled", None, "")),
        (
            "resilvered 1.2G in 00:01:00 with 0 errors on Sun Jan  4 03:10:04 2026",
            ("resilver", "finished", None, ""),
        ),
        (
            "resilver (mirror-0) in progress since Sun Jan  4 03:10:04 2026 1M / 2M scanned, 1M / 2M issued "
            "1M resilvered, 50.00% done, 1 days 00:00:10 to go",
            ("resilver", "running", 50.0, "2M"),
        ),
        ("a new kind of scan", ("none", "none", None, "")),
    ],
)
def test_scans_of_all_versions_are_read(text, expected):
    status = HEALTHY.partition("  scan:")[0] + f"  scan: {text}\nconfig:\n\n\ttank  ONLINE  0 0 0\n"
    (found,) = zpool_status.parse(status)
    scan = found.scan
    assert (scan.function, scan.state, scan.percent, scan.total) == expected
    assert scan.text == text


def sample(name: str) -> str:
    """What OpenZFS 2.3.2 has printed, about pools of files."""
    return (Path(__file__).parent.parent / "samples" / "zpool" / f"{name}.txt").read_text()


def test_real_pools_are_read():
    tank, wide = zpool_status.parse(sample("two_pools"))
    assert (tank.state, tank.scan.state, wide.scan.state, wide.scan.errors) == (
        "DEGRADED",
        "none",
        "finished",
        0,
    )
    assert [one.name for one in tank.root.children] == ["mirror-0", "mirror-1"]
    assert [(leaf.name, leaf.state, leaf.trim) for leaf in tank.root.children[0].leaves()] == [
        ("/tmp/d1", "ONLINE", "untrimmed"), ("/tmp/d2", "OFFLINE", "untrimmed"),
    ]  # fmt: skip
    assert [(one.name, one.state, one.note) for one in tank.groups["spares"]] == [("/tmp/d6", "AVAIL", "")]
    assert [leaf.trim for leaf in wide.root.leaves()] == ["81% trimmed", "73% trimmed", "73% trimmed"]


def test_a_real_replacement_is_read():
    (tank,) = zpool_status.parse(sample("replacing"))
    scan = tank.scan
    assert (scan.function, scan.state, scan.percent, scan.issued, scan.total, scan.eta) == (
        "resilver", "running", 100.0, "19.9M", "19.9M", "00:00:00",
    )  # fmt: skip
    old, new = tank.root.children[1].children[1].children
    assert (old.name, new.name, new.note, new.trim) == ("/tmp/d4", "/tmp/dA", "(resilvering)", "untrimmed")


def test_real_damage_is_read():
    (wide,) = zpool_status.parse(sample("damaged"))
    assert (wide.state, wide.errors, wide.scan.errors) == ("ONLINE", ("/wide/f",), 261)
    assert [leaf.checksum for leaf in wide.leaves()] == [636, 631, 528]


def test_real_lists_of_imports_are_read():
    (tank,) = zpool_status.parse(sample("importable"))
    assert (tank.guid, tank.state, tank.root.note) == (
        "14607449323800891252",
        "UNAVAIL",
        "insufficient replicas",
    )
    assert [(leaf.name, leaf.state, leaf.note) for leaf in tank.root.children[0].leaves()] == [
        ("/tmp/d1", "UNAVAIL", "cannot open"), ("/tmp/d2", "OFFLINE", ""),
    ]  # fmt: skip
    (wide,) = zpool_status.parse(sample("destroyed"))
    assert wide.is_destroyed and [leaf.name for leaf in wide.leaves()] == ["/tmp/d7", "/tmp/d8", "/tmp/d9"]


def test_other_real_answers_are_read():
    tank, wide = zpool.list_pools().parse(sample("list"))
    assert (tank.health, wide.fragmentation, wide.guid) == ("DEGRADED", 12, "12305024866347537191")
    found = zpool.get_properties().parse(sample("get"))
    assert found["wide"]["ashift"] == ("12", "local") and not any("feature@" in key for key in found["tank"])
    assert [one.allocated for one in zpool_iostat.over(1).parse(sample("iostat"))] == [42590208, 64249856]


IMPORTABLE = """\
   pool: old
     id: 4711
  state: ONLINE (DESTROYED)
status: The pool was last accessed by another system.
 action: The pool can be imported using its name or numeric identifier and
\tthe '-f' flag.
   see: https://openzfs.github.io/openzfs-docs/msg/ZFS-8000-EY
 config:

\told         ONLINE
\t  mirror-0  ONLINE
\t    da3     ONLINE
\t    da4     UNAVAIL  cannot open
\tcache
\t  da5

\tAdditional devices are known to be part of this pool, though their
\texact configuration cannot be determined.
"""


def test_importable_pools_are_listed():
    (found,) = zpool_status.parse(IMPORTABLE)
    assert (found.name, found.guid, found.state, found.is_destroyed) == ("old", "4711", "ONLINE", True)
    assert [(leaf.name, leaf.state, leaf.note) for leaf in found.root.leaves()] == [
        ("da3", "ONLINE", ""), ("da4", "UNAVAIL", "cannot open"),
    ]  # fmt: skip
    assert [leaf.name for leaf in found.groups["cache"]] == ["da5"]
    assert "flag." in found.action and zpool_status.parse("") == []


@pytest.mark.parametrize(
    "text",
    [
        "all pools are healthy\n", "pool 'tank' is healthy\n", "  pool: x\n state: ONLINE\n",
        "  pool: x\n state: ONLINE\nconfig:\n\n\tx  SPLENDID\n", "  pool: x\n state: ONLINE\nconfig:\n\n",
    ],
)  # fmt: skip
def test_what_is_no_status_is_refused(text):
    with pytest.raises(ParseError):
        zpool_status.parse(text)


@given(st.data())
def test_no_text_breaks_the_parser(data):
    good = data.draw(st.sampled_from([HEALTHY, BROKEN, IMPORTABLE]))
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    try:
        zpool_status.parse(good[:start] + data.draw(st.text(max_size=60)) + good[end:])
    except ParseError as error:
        assert str(error)


NAMES = st.from_regex(r"[a-z][a-z0-9/._-]{0,12}( [a-z0-9]{1,3})?", fullmatch=True)
STATES = st.sampled_from(["ONLINE", "DEGRADED", "FAULTED", "OFFLINE", "UNAVAIL", "REMOVED"])
NOTES = st.sampled_from(["", "(resilvering)", "was /dev/da1", "too many errors"])
COUNTS = st.integers(0, 10**9)
LEAF = st.builds(Member, NAMES, STATES, COUNTS, COUNTS, COUNTS, NOTES)
GROUP = st.builds(
    Member, NAMES, STATES, COUNTS, COUNTS, COUNTS, NOTES, st.just(""), st.lists(LEAF, max_size=4).map(tuple)
)
ROOT = st.builds(
    Member,
    NAMES,
    STATES,
    COUNTS,
    COUNTS,
    COUNTS,
    NOTES,
    st.just(""),
    st.lists(GROUP, min_size=1, max_size=4).map(tuple),
)


def rendered(member: Member, depth: int, width: int) -> str:
    """As print_status_config of zpool_main.c."""
    note = f"  {member.note}" if member.note else ""
    text = f"\t{' ' * depth}{member.name:<{width - depth}}  {member.state:<8}"
    text += f" {member.read:5} {member.write:5} {member.checksum:5}{note}\n"
    return text + "".join(rendered(child, depth + 2, width) for child in member.children)


@given(ROOT, st.lists(GROUP, max_size=2), st.lists(LEAF, max_size=2))
def test_any_tree_comes_back_as_it_was_printed(root, logs, cache):
    rows = rendered(root, 0, 24)
    rows += "\tlogs\t\n" + "".join(rendered(one, 2, 24) for one in logs) if logs else ""
    rows += "\tcache\n" + "".join(rendered(one, 2, 24) for one in cache) if cache else ""
    (found,) = zpool_status.parse(
        f"  pool: t\n state: ONLINE\nconfig:\n\n{rows}\nerrors: No known data errors\n"
    )
    assert found.root == root
    assert found.groups.get("logs", ()) == tuple(logs)
    assert found.groups.get("cache", ()) == tuple(cache)
