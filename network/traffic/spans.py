"""From counters to rates over spans of time. Pure: the observer asks at its looks, the pages ask what there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bhype.freebsd.netstat import Counters


@dataclass(frozen=True, slots=True)
class Span:
    """seconds: its length; kept: for how long its samples are."""

    seconds: int
    kept: timedelta


SHORT, MIDDLE, LONG = SPANS = (
    Span(10, timedelta(hours=1)),
    Span(60, timedelta(days=1)),
    Span(900, timedelta(days=30)),
)
# What a page shows, from samples of which span.
RANGES = {"hour": SHORT, "day": MIDDLE, "month": LONG}


@dataclass(frozen=True, slots=True)
class Rates:
    """What went through a port per second, in a span of so many seconds that began at ``at``."""

    port: str
    at: datetime
    seconds: int
    octets_in: float
    octets_out: float
    packets_in: float
    packets_out: float
    drops: float


@dataclass(slots=True)
class _Sum:
    """What was counted of a port in the span that is not over, and in how many seconds."""

    seconds: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * 5)


class Meter:
    """Remembers the counters of one host between looks; spans begin at round times.

    A counter that went back belongs to an interface that was made anew: what it says was counted since then. A port
    that was not there at the look before is measured from this one on.
    """

    def __init__(self) -> None:
        self._at: datetime | None = None
        self._last: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._sums: dict[int, dict[str, _Sum]] = {span.seconds: {} for span in SPANS}

    def is_due(self, now: datetime) -> bool:
        """Whether the shortest span of the last look is over."""
        return self._at is None or number_of(now, SHORT.seconds) != number_of(self._at, SHORT.seconds)

    def look(self, now: datetime, found: Mapping[str, Counters]) -> list[Rates]:
        """The rates of the spans that are over, by the counters of now. found: by ports."""
        before, self._at = self._at, now
        last, self._last = self._last, {port: (one.name, _counts(one)) for port, one in found.items()}
        if before is None or now <= before:
            return []
        passed = (now - before).total_seconds()
        for port, (name, counts) in self._last.items():
            had = last.get(port)
            if had is None or had[0] != name:
                continue
            is_new = any(new < old for new, old in zip(counts, had[1], strict=True))
            more = counts if is_new else [new - old for new, old in zip(counts, had[1], strict=True)]
            for sums in self._sums.values():
                one = sums.setdefault(port, _Sum())
                one.seconds += passed
                one.counts = [count + plus for count, plus in zip(one.counts, more, strict=True)]
        return list(self._over(before, now))

    def _over(self, before: datetime, now: datetime) -> Iterable[Rates]:
        for seconds, sums in self._sums.items():
            number = number_of(before, seconds)
            if number == number_of(now, seconds):
                continue
            at = begin_of(number, seconds)
            for port, one in sums.items():
                yield Rates(port, at, seconds, *(round(count / one.seconds, 3) for count in one.counts))
            sums.clear()


def number_of(moment: datetime, seconds: int) -> int:
    """Which span of this length since 1970 the moment is in."""
    return int(moment.timestamp() // seconds)


def begin_of(number: int, seconds: int) -> datetime:
    """The moment at which that span begins."""
    return datetime.fromtimestamp(number * seconds, UTC)


def _counts(one: Counters) -> tuple[int, ...]:
    return one.octets_in, one.octets_out, one.packets_in, one.packets_out, one.drops
