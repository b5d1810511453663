"""How full pools are: levels, a forecast from what they held, and the ring of samples. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

# Percent, and what to think of it: ZFS gets slower as free space gets short, and cannot delete without any.
LEVELS = (
    (95, "VMs will stop when it is full: free some space now."),
    (90, "It is slow already: free some space, or add disks."),
    (85, "Free some space, or add disks."),
    (80, "Plan to free some space, or to add disks."),
)
# A line through less than a day of samples says nothing about weeks.
SHORTEST = timedelta(days=1)
LONGEST = timedelta(days=30)
FEWEST = 6
FARTHEST = 3650.0

T = TypeVar("T")


def level(percent: float) -> int:
    """The level that is reached: 80, 85, 90 or 95; 0 below."""
    return next((limit for limit, _ in LEVELS if percent >= limit), 0)


def sentence(name: str, percent: float) -> str:
    """What to say of a pool's level; "" below all."""
    reached = level(percent)
    return (
        f"The pool {name} is {percent:.0f}% full (level {reached}). {dict(LEVELS)[reached]}"
        if reached
        else ""
    )


@dataclass(frozen=True, slots=True)
class Forecast:
    """per_day: bytes that it gains, negative where it loses; days: until it is full, None when it will not be."""

    per_day: float
    days: float | None

    @property
    def words(self) -> str:
        if self.days is None:
            return "not getting fuller" if self.per_day <= 0 else "not full within ten years"
        if self.days < 2:
            return f"full in about {max(1, round(self.days * 24))} hours"
        return f"full in about {round(self.days)} days"


def forecast(samples: Sequence[tuple[datetime, int]], size: int) -> Forecast | None:
    """A straight line (least squares) through (moment, allocated bytes), oldest first; None when there are too few.

    Only the last month counts. It is full at ``size`` bytes, counted from the last sample.
    """
    if not samples:
        return None
    last, held = samples[-1]
    recent = [(at, bytes_) for at, bytes_ in samples if last - at <= LONGEST]
    if len(recent) < FEWEST or last - recent[0][0] < SHORTEST:
        return None
    days = [(at - last).total_seconds() / 86400 for at, _ in recent]
    mean_day = sum(days) / len(days)
    mean_held = sum(bytes_ for _, bytes_ in recent) / len(recent)
    spread = sum((day - mean_day) ** 2 for day in days)
    slope = (
        sum((day - mean_day) * (bytes_ - mean_held) for day, (_, bytes_) in zip(days, recent, strict=True))
        / spread
    )
    left = max(0, size - held) / slope if slope > 0 else None
    return Forecast(slope, left if left is not None and left <= FARTHEST else None)


# Older than this, so much of time is one sample.
RING = (
    (timedelta(hours=3), timedelta(minutes=1)),
    (timedelta(days=2), timedelta(minutes=10)),
    (timedelta(days=120), timedelta(hours=1)),
)


def buckets(moments: Iterable[tuple[T, datetime]], now: datetime) -> tuple[list[list[T]], list[T]]:
    """Which samples become one, and which go: (groups of at least two, oldest first in each; too old ones)."""
    groups: dict[tuple[int, int], list[T]] = {}
    old: list[T] = []
    for key, at in moments:
        age = now - at
        for number, (reach, width) in enumerate(RING):
            if age <= reach:
                if number:
                    groups.setdefault((number, int(at.timestamp() // width.total_seconds())), []).append(key)
                break
        else:
            old.append(key)
    return [group for group in groups.values() if len(group) > 1], old
