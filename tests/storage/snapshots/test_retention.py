"""Retention against a model: years of fake time, with missed runs, clocks that jump, holds, clones and replicas."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.policies import plan as policies
from storage.snapshots.retention import Candidate, decide

KINDS = ("frequent", "hourly", "daily", "weekly", "monthly", "yearly")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca")


def shot(number: int, kind: str = "daily", **more: object) -> Candidate:
    return Candidate(f"{kind}-{number}", kind, number, **more)  # type: ignore[arg-type]


def test_the_newest_of_a_kind_stay_and_the_older_go():
    decision = decide([shot(number) for number in (3, 1, 2, 5, 4)], {"daily": 2})
    assert decision.goes == ("daily-1", "daily-2", "daily-3")
    assert decision.stays == dict.fromkeys(("daily-4", "daily-5"), "among the newest 2 daily")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"holds": 1}, "held"), ({"clones": 2}, "a clone lives on it"), ({"is_deferred": True}, "goes by itself"),
        ({"is_common": True}, "replica"), ({"is_ours": False}, "not taken by this policy"),
    ],
)  # fmt: skip
def test_what_something_needs_stays_and_is_told(more, why):
    decision = decide([shot(1, **more), shot(2), shot(3), shot(4)], {"daily": 1})
    assert decision.goes == ("daily-2", "daily-3")
    assert why in decision.stays["daily-1"]


def test_other_kinds_and_the_newest_of_all_stay():
    found = [shot(1, "manual"), shot(2, "hourly"), shot(3, "hourly")]
    assert decide(found, {"hourly": 0}).goes == ("hourly-2",)
    assert decide(found, {"hourly": 0}).stays["hourly-3"] == "the newest of all"
    assert decide(found, {"daily": 1}).goes == ()
    assert decide([], {"daily": 1}).goes == ()


@st.composite
def candidates(draw):
    count = draw(st.integers(0, 40))
    flags = st.sampled_from(
        [
            {},
            {},
            {},
            {},
            {"holds": 1},
            {"clones": 1},
            {"is_common": True},
            {"is_ours": False},
            {"is_deferred": True},
        ]
    )
    kinds = st.sampled_from((*KINDS, "manual", ""))
    return [shot(number, draw(kinds), **draw(flags)) for number in draw(st.permutations(range(count)))]


@given(candidates(), st.dictionaries(st.sampled_from(KINDS), st.integers(0, 5)))
def test_nothing_goes_that_must_stay_and_nothing_stays_without_reason(found, keep):
    decision = decide(found, keep)
    by_name = {one.name: one for one in found}
    assert set(decision.goes) | set(decision.stays) == set(by_name)
    assert not set(decision.goes) & set(decision.stays)
    for name in decision.goes:
        one = by_name[name]
        assert one.is_ours and one.kind in keep
        assert not (one.holds or one.clones or one.is_common or one.is_deferred)
        newer = [other for other in found if other.kind == one.kind and other.is_ours and other.txg > one.txg]
        assert len(newer) >= keep[one.kind]
        assert any(other.txg > one.txg for other in found)
    # Once is enough: what is left loses nothing more.
    assert decide([by_name[name] for name in decision.stays], keep).goes == ()


# Years.


@dataclass
class Model:
    """A host with one policy. taken: every snapshot that there ever was; held, cloned, common: names."""

    zone: str
    tiers: dict[str, tuple[str, int]]
    now: datetime
    there: list[Candidate] = field(default_factory=list)
    slots: dict[str, list[datetime]] = field(default_factory=dict)
    txg: int = 0
    next_run: dict[str, datetime | None] = field(default_factory=dict)

    def take(self, kind: str, name: str, *, is_ours: bool = True) -> None:
        if name not in {one.name for one in self.there}:
            self.txg += 1
            self.there.append(Candidate(name, kind, self.txg, is_ours=is_ours))

    def run(self) -> None:
        """What the observer and the worker do at this moment."""
        for kind, (when, keep) in self.tiers.items():
            step = policies.due(when, self.zone, self.next_run.get(kind), self.now)
            assert step.next_run > self.now
            self.next_run[kind] = step.next_run
            if step.slot is None:
                continue
            assert step.slot <= self.now
            self.slots.setdefault(kind, []).append(step.slot)
            self.take(kind, f"{kind}-{step.slot:%Y%m%dT%H%M%SZ}")
            self.thin(kind, keep)

    def thin(self, kind: str, keep: int) -> None:
        before = list(self.there)
        goes = set(decide(before, {kind: keep}).goes)
        self.there = [one for one in before if one.name not in goes]
        for one in before:
            if one.holds or one.clones or one.is_common or one.kind != kind or not one.is_ours:
                assert one in self.there, one
        ours = [one for one in before if one.kind == kind and one.is_ours]
        assert ours[-keep:] == [one for one in self.there if one.kind == kind and one.is_ours][-keep:]
        assert before[-1] in self.there
        loose = [
            one
            for one in self.there
            if one.kind == kind and one.is_ours and not (one.holds or one.clones or one.is_common)
        ]
        assert len(loose) <= keep

    def change(self, index: int, **values: object) -> None:
        if self.there:
            at = index % len(self.there)
            self.there[at] = replace(self.there[at], **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("zone", ZONES)
def test_years_of_daily_weekly_and_monthly_runs_miss_no_day_and_double_none(zone):
    """The days of daylight saving time included, at moments that it skips or repeats."""
    tiers = {"daily": ("every day 02:30", 7), "weekly": ("sun 02:30", 4), "monthly": ("monthly 31 01:30", 12)}
    start = datetime(2024, 1, 1, 12, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    model = Model(zone, tiers, start)
    model.run()
    until = start + timedelta(days=2 * 366)
    while model.now < until:
        model.now = min(moment for moment in model.next_run.values() if moment) + timedelta(seconds=1)
        model.run()
    days = [slot.astimezone(ZoneInfo(zone)).date() for slot in model.slots["daily"]]
    assert days == [date(2024, 1, 2) + timedelta(days=number) for number in range(len(days))]
    assert len(days) >= 2 * 365
    assert {day.weekday() for day in (slot.astimezone(ZoneInfo(zone)) for slot in model.slots["weekly"])} == {
        6
    }
    assert {slot.astimezone(ZoneInfo(zone)).day for slot in model.slots["monthly"]} == {31}
    assert [one.kind for one in model.there].count("daily") == 7


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe"])
@pytest.mark.parametrize("day", [date(2025, 3, 30), date(2025, 10, 26), date(2025, 4, 6), date(2025, 10, 5)])
def test_hours_go_on_through_the_change_of_clocks(zone, day):
    start = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC) - timedelta(hours=6)
    model = Model(zone, {"hourly": ("every hour", 5)}, start)
    for _ in range(6 * 42):
        model.run()
        model.now += timedelta(minutes=10)
    slots = model.slots["hourly"]
    assert slots == sorted(set(slots))
    assert all(later - earlier <= timedelta(hours=2) for earlier, later in itertools.pairwise(slots))
    assert len(model.there) == 5


events = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 60 * 24 * 40)),
    st.tuples(st.just("jump"), st.integers(-60 * 24 * 400, 60 * 24 * 400)),
    st.tuples(st.just("holds"), st.integers(0, 99)),
    st.tuples(st.just("clones"), st.integers(0, 99)),
    st.tuples(st.just("common"), st.integers(0, 99)),
    st.tuples(st.just("free"), st.integers(0, 99)),
    st.tuples(st.just("manual"), st.integers(0, 9)),
)


@settings(max_examples=60)
@given(
    st.sampled_from(ZONES),
    st.dictionaries(st.sampled_from(KINDS), st.integers(1, 6), min_size=1),
    st.lists(events, max_size=60),
)
def test_years_of_accidents_lose_nothing_that_is_needed(zone, keep, story):
    tiers = {kind: (policies.DEFAULTS[kind][0], count) for kind, count in keep.items()}
    model = Model(zone, tiers, datetime(2024, 10, 20, tzinfo=UTC))
    for number, (event, value) in enumerate(story):
        match event:
            case "wait" | "jump":
                model.now += timedelta(minutes=value)
                model.run()
            case "manual":
                model.take("manual", f"manual-{number}-{value}", is_ours=bool(value % 2))
            case "common":
                model.there = [replace(one, is_common=False) for one in model.there]
                model.change(value, is_common=True)
            case "free":
                model.change(value, holds=0, clones=0)
            case _:
                model.change(value, **{event: 1})
    # A clock that was set back does not keep the next snapshot waiting for years.
    for kind, moment in model.next_run.items():
        step = policies.due(tiers[kind][0], zone, moment, model.now)
        assert step.next_run - model.now <= timedelta(days=367)


def test_runs_that_were_missed_are_made_up_for_once():
    now = datetime(2026, 5, 10, 12, 7, tzinfo=UTC)
    late = policies.due("every hour", "UTC", now - timedelta(days=9), now)
    assert late.slot == datetime(2026, 5, 10, 12, tzinfo=UTC)
    assert late.next_run == datetime(2026, 5, 10, 13, tzinfo=UTC)
    assert policies.due("every hour", "UTC", late.next_run, now).slot is None
    exact = datetime(2026, 5, 10, 13, tzinfo=UTC)
    assert policies.due("every hour", "UTC", exact, exact).slot == exact
    assert policies.due("every hour", "UTC", None, now).slot is None
