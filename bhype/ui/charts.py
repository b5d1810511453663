"""Charts as SVG that the server draws: lines over time, without a script. `ui/_chart.html` shows one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

WIDTH, HEIGHT = 600.0, 150.0
# More points than that are not seen.
BUCKETS = 120
# A limit so many times above everything is told, not drawn.
NEAR = 3.0

Points = Iterable[tuple[datetime, float]]


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity. segments: points of <polyline>, one text for each stretch without a gap; now and highest: as
    people read them, "" without data; areas: the same stretches down to the bottom."""

    label: str
    segments: tuple[str, ...]
    areas: tuple[str, ...]
    now: str
    highest: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A value that a line cannot pass. line: which, counted from 1; y: where it lies in the chart's own units, None for
    far above."""

    line: int
    label: str
    words: str
    y: float | None


@dataclass(frozen=True, slots=True)
class Spot:
    """A strip of the chart that tells its values on hover. left and width in the chart's own units."""

    left: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """heights: labels of the vertical axis, top first; times: of the horizontal one, oldest first."""

    title: str
    lines: tuple[Line, ...]
    spots: tuple[Spot, ...]
    heights: tuple[str, ...]
    times: tuple[str, ...]
    limits: tuple[Limit, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.spots

    @property
    def view_box(self) -> str:
        return f"0 0 {WIDTH:g} {HEIGHT:g}"


def draw(
    title: str,
    series: Sequence[tuple[str, Points]],
    start: datetime,
    end: datetime,
    words: Callable[[float], str],
    *,
    top: float = 0,
    base: int = 10,
    limits: Sequence[tuple[int, str, float]] = (),
) -> Chart:
    """Lines between two moments. words: how a value is written; top: where the axis ends, unless a value is higher;
    base: 2 for bytes, whose round numbers are powers of two; limits: (number of the line from 1, label,
    what it cannot pass)."""
    found = [(label, _buckets(points, start, end)) for label, points in series]
    highest = max((value for _, values in found for value in values if value is not None), default=0.0)
    # A limit is shown where the lines come near it.
    near = max((value for _, _, value in limits if value <= NEAR * highest), default=0.0)
    ceiling = top if top >= max(highest, 1) else nice(max(highest, near * 1.02), base)
    lines = tuple(_line(label, values, ceiling, words) for label, values in found)
    return Chart(
        title=title,
        lines=lines,
        spots=tuple(_spots(found, start, end, words)),
        heights=tuple(words(ceiling * part) for part in (1, 0.5, 0)),
        times=_times(start, end),
        limits=tuple(_limit(line, label, value, ceiling, words) for line, label, value in limits),
    )


def sparks(*lines: Sequence[float]) -> tuple[str, ...]:
    """Small lines for a table's cell, on one scale: points of a <polyline> in a box of 100 by 20, "" for one of less
    than two values."""
    highest = max((value for line in lines for value in line), default=0.0) or 1.0
    return tuple(
        _text(
            (number * 100 / (len(line) - 1), 19 - 18 * value / highest) for number, value in enumerate(line)
        )
        if len(line) > 1
        else ""
        for line in lines
    )


def nice(value: float, base: int = 10) -> float:
    """The next round number that is not below ``value``; 2 at least, so that the middle of an axis is a number."""
    if value <= 2:
        return 2.0
    if base == 2:
        return float(2 ** math.ceil(math.log2(value)))
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value * (1 - 1e-9))


def _buckets(points: Points, start: datetime, end: datetime) -> list[float | None]:
    """The mean of each of BUCKETS parts of the time; None where nothing was measured."""
    width = (end - start) / BUCKETS
    sums = [(0.0, 0)] * BUCKETS
    for at, value in points:
        number = int((at - start) / width) if at >= start else -1
        if 0 <= number <= BUCKETS:
            total, count = sums[min(number, BUCKETS - 1)]
            sums[min(number, BUCKETS - 1)] = (total + value, count + 1)
    return [total / count if count else None for total, count in sums]


def _line(label: str, values: list[float | None], ceiling: float, words: Callable[[float], str]) -> Line:
    stretches: list[list[tuple[float, float]]] = [[]]
    empty = 0
    for number, value in enumerate(values):
        if value is None:
            empty += 1
            continue
        # One empty part among others is only seldom measured; a longer gap is a gap.
        if empty > _gap(values) and stretches[-1]:
            stretches.append([])
        empty = 0
        x = (number + 0.5) * WIDTH / BUCKETS
        stretches[-1].append((x, HEIGHT - HEIGHT * min(value, ceiling) / ceiling))
    known = [value for value in values if value is not None]
    stretches = [points if len(points) > 1 else points * 2 for points in stretches if points]
    return Line(
        label=label,
        segments=tuple(_text(points) for points in stretches),
        areas=tuple(
            _text([(points[0][0], HEIGHT), *points, (points[-1][0], HEIGHT)]) for points in stretches
        ),
        now=words(known[-1]) if known else "",
        highest=words(max(known)) if known else "",
    )


def _limit(line: int, label: str, value: float, ceiling: float, words: Callable[[float], str]) -> Limit:
    y = round(HEIGHT - HEIGHT * value / ceiling, 1) if value <= ceiling else None
    return Limit(line, label, words(value), y)


def _gap(values: list[float | None]) -> int:
    """How many empty parts in a row are normal: as many as twice the usual distance of what was measured."""
    known = sum(value is not None for value in values)
    return 2 * (BUCKETS // known) if known else BUCKETS


def _text(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _spots(
    found: Sequence[tuple[str, list[float | None]]],
    start: datetime,
    end: datetime,
    words: Callable[[float], str],
) -> Iterable[Spot]:
    width = WIDTH / BUCKETS
    for number in range(BUCKETS):
        said = [f"{label} {words(value)}" for label, values in found if (value := values[number]) is not None]
        if said:
            at = timezone.localtime(start + (end - start) * (number + 0.5) / BUCKETS)
            yield Spot(round(number * width, 1), width, f"{at:%Y-%m-%d %H:%M}: {', '.join(said)}")


def _times(start: datetime, end: datetime) -> tuple[str, ...]:
    form = "%H:%M" if end - start <= timedelta(days=1) else "%d %b"
    return tuple(f"{timezone.localtime(start + (end - start) * part / 4):{form}}" for part in range(5))
