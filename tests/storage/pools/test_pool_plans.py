"""What pools of some disks would be, how full they get, and how that is drawn."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd.geom import DiskInfo, Table
from bhype.freebsd.zpool_layout import KINDS, Group, words
from bhype.freebsd.zpool_status import Member, PoolStatus
from bhype.ui import charts
from storage.pools import advice, capacity, inventory, layouts, pages
from storage.pools.layouts import Disk

GIB, TIB = 2**30, 2**40
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def disks(*sizes: int) -> list[Disk]:
    return [Disk(f"da{number}", size) for number, size in enumerate(sizes)]


DISKS = st.lists(st.integers(GIB, 20 * TIB), min_size=1, max_size=24).map(lambda sizes: disks(*sizes))


@pytest.mark.parametrize(
    ("kind", "width", "block", "sectors"),
    [
        # vdev_raidz_asize: 32 data sectors of 4 KiB and their parity, rounded up to parity + 1.
        ("raidz1", 3, 128, 48), ("raidz1", 5, 128, 40), ("raidz2", 6, 128, 48), ("raidz3", 8, 128, 56),
        # 4 data sectors: a parity for each row, and padding. Nothing is gained by a wide group.
        ("raidz1", 3, 16, 6), ("raidz1", 5, 16, 6), ("raidz2", 6, 16, 6), ("raidz2", 10, 16, 6),
        ("mirror", 2, 128, 32), ("stripe", 1, 16, 4),
    ],
)  # fmt: skip
def test_a_block_takes_what_zfs_says(kind, width, block, sectors):
    assert layouts.on_disks(block * 1024, kind, width, 12) == sectors * 4096


def test_what_layouts_hold_and_survive():
    found = {one.key: one for one in layouts.layouts(disks(*[TIB] * 6))}
    assert set(found) == {"mirror-2", "mirror-3", "raidz1-3", "raidz1-6", "raidz2-6", "raidz3-6", "stripe-1"}
    tib = {key: round(one.figures.usable / TIB, 2) for key, one in found.items()}
    # 1/32 is kept back, at most 128 GiB.
    assert tib == {
        "mirror-2": 2.91, "mirror-3": 1.94, "raidz1-3": 3.87, "raidz1-6": 4.67, "raidz2-6": 3.87, "raidz3-6": 2.74,
        "stripe-1": 5.87,
    }  # fmt: skip
    assert round(found["raidz2-6"].figures.for_volumes / TIB, 2) == 3.87
    assert round(found["raidz1-6"].figures.for_volumes / TIB, 2) == 3.87
    assert {key: (one.figures.survives, one.figures.at_best) for key, one in found.items()} == {
        "mirror-2": (1, 3), "mirror-3": (2, 4), "raidz1-3": (1, 2), "raidz1-6": (1, 1), "raidz2-6": (2, 2),
        "raidz3-6": (3, 3), "stripe-1": (0, 0),
    }  # fmt: skip
    assert [one.key for one in found.values() if one.is_advised] == ["mirror-2"]
    assert found["mirror-2"].figures.survival == "any 1 disk, up to 1 in each of the 3 groups"
    assert found["stripe-1"].figures.survival.startswith("no disk")


@pytest.mark.parametrize(
    ("kind", "count", "real"),
    [
        ("stripe", 3, 310546268160), ("mirror", 2, 103515422720), ("mirror", 3, 103515422720),
        ("raidz1", 3, 206493450240), ("raidz1", 5, 412248965120), ("raidz1", 6, 495342059520),
        ("raidz2", 6, 412986900480), ("raidz3", 8, 472289116160), ("raidz2", 10, 786196070400),
    ],
)  # fmt: skip
def test_the_usable_size_is_that_of_real_pools(kind, count, real):
    """used + available of `zfs list` for pools of 100 GiB disks, as OpenZFS 2.3.2 has told it."""
    found = disks(*[100 * GIB] * count)
    groups = layouts.arrange(kind, count, found)
    told = layouts.figures(groups, {one.name: one.size for one in found}).usable
    assert abs(told - real) < real / 100


@given(DISKS)
def test_every_layout_is_one_that_zpool_takes(found):
    for one in layouts.layouts(found):
        groups = layouts.arrange(one.kind, one.width, found)
        named = [name for group in groups for name in group.disks]
        assert sorted(named) == sorted(disk.name for disk in found)
        assert set(named) < set(words(groups)) | {""} or set(named) == set(words(groups))
        assert all(len(group.disks) >= KINDS[group.kind] for group in groups)
        assert 0 <= one.figures.for_volumes <= one.figures.usable * 1.01 <= one.figures.raw * 1.01
        assert 0 <= one.figures.survives < len(found) and one.figures.survives <= one.figures.at_best


@given(DISKS)
def test_more_safety_never_holds_more(found):
    by_kind = {(one.kind, one.width): one.figures.usable for one in layouts.layouts(found)}
    for (kind, width), usable in by_kind.items():
        assert usable <= by_kind["stripe", 1]
        for other in ("raidz2", "raidz3"):
            if kind == "raidz1" and (other, width) in by_kind:
                assert by_kind[other, width] <= usable


@given(DISKS, st.integers(0, 23))
def test_a_lost_disk_is_survived_as_told(found, lost):
    """Each group on its own: a model that knows nothing of the plan's arithmetic."""
    for one in layouts.layouts(found):
        alive = {disk.name for disk in found} - {f"da{lost % len(found)}"}
        lives = True
        for group in layouts.arrange(one.kind, one.width, found):
            here = len(alive & set(group.disks))
            needed = {"stripe": len(group.disks), "mirror": 1}.get(
                group.kind, len(group.disks) - int(group.kind[-1:] if group.kind.startswith("raidz") else 0)
            )
            lives = lives and here >= needed
        assert lives == (one.figures.survives >= 1)


def test_a_plan_warns_of_what_costs():
    two = disks(TIB, 2 * TIB)
    assert any("differ in size" in said for said in layouts.plan("mirror-2", {"data": two}).warnings)
    assert any(
        "all data of the pool is lost" in said for said in layouts.plan("stripe-1", {"data": two}).warnings
    )
    wide = layouts.plan("raidz1-9", {"data": disks(*[TIB] * 9)})
    assert any("pads small blocks" in said for said in wide.warnings) and any(
        "more than 8" in said for said in wide.warnings
    )
    mixed = [Disk("da0", TIB, is_rotating=True), Disk("nda0", TIB, is_rotating=False)]
    assert any("mixed" in said for said in layouts.plan("mirror-2", {"data": mixed}).warnings)
    spare = layouts.plan("mirror-2", {"data": two, "spare": [Disk("da9", GIB)], "log": [Disk("da8", GIB)]})
    assert any("too small" in said for said in spare.warnings) and any(
        "one log disk" in said for said in spare.warnings
    )
    assert not spare.problems


def test_a_plan_refuses_what_would_not_work():
    two = disks(TIB, TIB)
    assert layouts.plan("mirror-2", {}).problems == ("Choose at least one disk for data.",)
    assert layouts.plan("raidz2-6", {"data": two}).problems == ("2 disks cannot be arranged so.",)
    assert "lost pool" in layouts.plan("mirror-2", {"data": two, "special": [Disk("da8", TIB)]}).problems[0]
    assert "smaller than 64 MiB" in layouts.plan("mirror-2", {"data": disks(1, TIB)}).problems[0]
    assert "two roles" in layouts.plan("mirror-2", {"data": two, "spare": two[:1]}).problems[0]


def test_beside_data_stand_mirrors():
    four = disks(*[TIB] * 4)
    assert [len(group.disks) for group in layouts.beside("special", four)] == [2, 2]
    assert [group.kind for group in layouts.beside("log", four[:1])] == ["stripe"]
    assert [group.kind for group in layouts.beside("cache", four)] == ["stripe"]
    assert layouts.beside("log", four[:3]) == [Group("log", "mirror", ("da0", "da1", "da2"))]


def test_an_addition_does_not_make_a_pool_less_safe():
    mirrors = [("mirror", 2)]
    assert layouts.plan_addition(mirrors, "data", "stripe", disks(TIB)).problems
    assert layouts.plan_addition(mirrors, "special", "mirror", disks(TIB)).problems
    assert not layouts.plan_addition(mirrors, "data", "mirror", disks(TIB, TIB)).problems
    assert not layouts.plan_addition([("stripe", 1)], "data", "stripe", disks(TIB)).problems
    assert not layouts.plan_addition(mirrors, "cache", "", disks(TIB)).problems
    other = layouts.plan_addition(mirrors, "data", "raidz1", disks(TIB, TIB, TIB))
    assert any("another way" in said for said in other.warnings)
    assert layouts.plan_addition(mirrors, "data", "raidz2", disks(TIB, TIB)).problems
    assert layouts.plan_addition(mirrors, "data", "mirror", []).problems


def test_a_pools_block_is_at_least_4_kib():
    assert layouts.ashift_of(disks(TIB)) == 12
    assert layouts.ashift_of([Disk("da0", TIB, sector_size=8192)]) == 13


# How full.


@pytest.mark.parametrize(
    ("percent", "level"), [(0, 0), (79.9, 0), (80, 80), (84, 80), (85, 85), (90, 90), (95, 95), (100, 95)]
)
def test_levels(percent, level):
    assert capacity.level(percent) == level
    assert bool(capacity.sentence("tank", percent)) == bool(level)


def samples(days: int, per_day: float, start: float = 10 * GIB) -> list[tuple[datetime, int]]:
    return [
        (NOW - timedelta(hours=days * 24 - hour), int(start + per_day * hour / 24))
        for hour in range(days * 24 + 1)
    ]


def test_a_forecast_follows_a_line():
    found = capacity.forecast(samples(20, GIB), 70 * GIB)
    assert found is not None and found.words == "full in about 40 days"
    assert math.isclose(found.per_day, GIB, rel_tol=0.01)
    assert capacity.forecast(samples(20, -GIB, 40 * GIB), 70 * GIB).words == "not getting fuller"
    assert capacity.forecast(samples(20, 1000), 70 * GIB).words == "not full within ten years"
    assert capacity.forecast(samples(20, 3 * GIB), 71 * GIB).words == "full in about 8 hours"


def test_too_few_samples_tell_nothing():
    assert capacity.forecast([], 1) is None
    assert capacity.forecast(samples(20, GIB)[-5:], 1) is None
    assert capacity.forecast(samples(1, GIB)[1:], 70 * GIB) is None


@given(
    st.lists(st.tuples(st.integers(0, 40 * 86400), st.integers(0, 10 * TIB)), max_size=60), st.integers(0, 20 * TIB)
)  # fmt: skip
def test_no_samples_break_a_forecast(found, size):
    rows = sorted((NOW - timedelta(seconds=age), held) for age, held in found)
    forecast = capacity.forecast(rows, size)
    assert forecast is None or forecast.words
    assert forecast is None or forecast.days is None or forecast.days >= 0


@given(st.lists(st.integers(0, 200 * 86400), max_size=200, unique=True))
def test_the_ring_keeps_the_new_and_joins_the_old(ages):
    moments = [(age, NOW - timedelta(seconds=age)) for age in ages]
    groups, gone = capacity.buckets(moments, NOW)
    joined = [age for group in groups for age in group]
    assert len(joined) == len(set(joined)) and not set(joined) & set(gone)
    assert all(age > 3 * 3600 for age in joined) and set(gone) == {age for age in ages if age > 120 * 86400}
    # Once thinned out, nothing more is joined.
    left = [
        (age, at) for age, at in moments if age not in gone and age not in {a for g in groups for a in g[1:]}
    ]
    again, gone_again = capacity.buckets(left, NOW)
    assert not gone_again and not again


def test_years_of_minutes_stay_few():
    moments = [(minute, NOW - timedelta(minutes=minute)) for minute in range(60 * 24 * 200)]
    groups, gone = capacity.buckets(moments, NOW)
    left = len(moments) - len(gone) - sum(len(group) - 1 for group in groups)
    assert left < 3500


# What has a disk.


def disk(name: str = "da1", *, is_open: bool = False, size: int = GIB) -> DiskInfo:
    return DiskInfo(name, size, 512, "", "", None, is_open)


def pool(*names: str) -> PoolStatus:
    return PoolStatus(
        "tank", "ONLINE", Member("tank", "ONLINE", children=tuple(Member(name, "ONLINE") for name in names))
    )


@pytest.mark.parametrize(
    ("found", "tables", "pools", "said"),
    [
        (disk(), [], [], ""), (disk(), [], [pool("da10", "da11p1")], ""),
        (disk(), [], [pool("da1")], "in the pool tank"),
        (disk(), [], [pool("/dev/da1p3")], "in the pool tank"), (disk(), [], [pool("da1.eli")], "in the pool tank"),
        (disk(), [Table("da1", "GPT", (("da1p1", "efi"), ("da1p2", "efi")))], [], "holds partitions: efi"),
        (disk(), [Table("da1", "MBR", ())], [], "holds an empty table of partitions (MBR)"),
        (disk(), [Table("da1s1", "BSD", (("da1s1a", "freebsd-ufs"),))], [], "holds partitions: freebsd-ufs"),
        (disk(is_open=True), [], [], "is used by the host"), (disk(size=0), [], [], "has no medium"),
        (
            disk(is_open=True), [Table("da1", "GPT", (("da1p3", "freebsd-zfs"),))], [pool("da1p3")],
            "in the pool tank; holds partitions: freebsd-zfs",
        ),
    ],
)  # fmt: skip
def test_what_has_a_disk(found, tables, pools, said):
    assert inventory.used_by(found, tables, pools) == said


def test_what_is_left_on_a_disk():
    gone = PoolStatus("old", "ONLINE", pool("da1").root, is_destroyed=True)
    assert inventory.left_on("da1", [gone, pool("da2")]) == "of the destroyed pool old"
    assert inventory.left_on("da3", [gone]) == ""


# What pages say.


def test_members_offer_what_makes_sense():
    def found(title: str, parent: str = "", depth: int = 0, **member: object) -> set[str]:
        return set(pages.actions({"name": "da1", "state": "ONLINE"} | member, title, parent, depth))

    assert found("Data") == {"replace", "attach"}
    assert found("Data", "mirror", 1) == {"replace", "attach", "detach", "offline"}
    assert found("Data", "raidz2", 1) == {"replace", "offline"}
    assert found("Data", "raidz2", 1, state="UNAVAIL") == {"replace", "online"}
    assert found("Data", "raidz2", 1, checksum=3) == {"replace", "offline", "clear"}
    assert found("Data", "replacing", 2) == {"detach"}
    assert found("Spares", state="AVAIL") == {"remove"} and found("Spares", state="INUSE") == set()
    assert found("Cache") == {"remove"} and found("Log") == {"replace", "attach", "remove"}
    assert found("Log", children=[{}]) == {"remove"} and found("Data", children=[{}]) == set()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3),
    )
)
def test_advice_is_for_statuses_only_but_never_breaks(errors):
    status = {"errors": errors if isinstance(errors, list) else "No known data errors", "config": []}
    assert isinstance(advice.advice("ONLINE", status), list)
    assert advice.advice("SUSPENDED", {}) and advice.rank("SUSPENDED", {}, 0) < advice.rank("DEGRADED", {}, 0)
    assert advice.rank("ONLINE", {}, 95) < advice.rank("ONLINE", {}, 80) < advice.rank("ONLINE", {}, 0)


# Charts.


def test_a_chart_has_gaps_where_nothing_was_measured():
    start = NOW - timedelta(hours=2)
    points = [(start + timedelta(minutes=minute), float(minute)) for minute in (*range(40), *range(80, 120))]
    chart = charts.draw("Load", [("All", points)], start, NOW, lambda value: f"{value:.0f}")
    (line,) = chart.lines
    assert len(line.segments) == 2 and (line.now, line.highest) == ("119", "119")
    assert chart.heights == ("200", "100", "0") and len(chart.times) == 5
    assert len(chart.spots) == 80 and chart.spots[0].title.endswith("All 0")
    assert charts.draw("Load", [("All", [])], start, NOW, str).is_empty


@given(st.lists(st.tuples(st.integers(-100, 8000), st.floats(0, 1e15)), max_size=50))
def test_every_point_lies_in_the_chart(found):
    start = NOW - timedelta(hours=2)
    points = [(start + timedelta(seconds=seconds), value) for seconds, value in found]
    chart = charts.draw("x", [("y", points)], start, NOW, str)
    for line in chart.lines:
        for segment in (*line.segments, *line.areas):
            for pair in segment.split():
                x, y = map(float, pair.split(","))
                assert 0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT


@given(st.floats(0, 1e18), st.sampled_from([2, 10]))
def test_axes_end_at_round_numbers(value, base):
    top = charts.nice(value, base)
    assert top >= value * (1 - 1e-6) and (value <= 2 or top <= value * 2.5 + 1)
