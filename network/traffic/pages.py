"""What pages show of traffic, from rows alone.

Samples have the host's view. People read a port by its guest's view: what the host sends into a tap, the guest has
received. An uplink and a mesh are read by the host's view, and a switch by what came into it and what it passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.utils import timezone

from bhype.ui import charts
from bhype.ui.charts import Chart
from network.models import TrafficSample

from .spans import MIDDLE, RANGES, SHORT, Rates, Span, begin_of, number_of

# A port's newest sample tells its rate now; an older one tells of the past.
FRESH = timedelta(seconds=55)
SPARK = timedelta(minutes=30)
COUNTS = ("octets_in", "octets_out", "packets_in", "packets_out", "drops")
TITLES = {"hour": "Last hour", "day": "Last day", "month": "Last 30 days"}


@dataclass(frozen=True, slots=True)
class Now:
    """The rates of a port now, in bits per second as people read them, and its last half hour: points of two
    <polyline> in a box of 100 by 20, "" where too little is known. drops: packets per second."""

    received: str
    sent: str
    drops: float
    received_line: str
    sent_line: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One port on a page of charts. rates: (received, sent) limits in bits per second, None for none."""

    port: str
    title: str
    note: str = ""
    rates: tuple[int | None, int | None] = (None, None)


def is_guest(port: str) -> bool:
    """Whether the port is a guest's, which is read by the guest's view."""
    return not port.startswith(("switch:", "uplink:", "mesh:"))


def words(port: str) -> tuple[str, str]:
    """What its two directions are called, with whose view it is: (in, out)."""
    return ("In", "Out") if port.startswith("switch:") else ("Received", "Sent")


def range_of(asked: str | None) -> str:
    return asked if asked in RANGES else "hour"


def samples(host_id: int, ports: Iterable[str], wanted: str) -> dict[str, list[Rates]]:
    """What went through ports over "hour", "day" or "month", oldest first, in one query."""
    span = RANGES[wanted]
    found: dict[str, list[Rates]] = {port: [] for port in ports}
    rows = _since(host_id, found, span, timezone.now() - span.kept)
    for port, number, *counts in rows.values_list("port__name", "number", *COUNTS):
        rates = (round(count / span.seconds, 3) for count in counts)
        found[port].append(Rates(port, begin_of(number, span.seconds), span.seconds, *rates))
    return found


def _since(host_id: int, ports: Iterable[str], span: Span, begin: datetime) -> QuerySet[TrafficSample]:
    """The samples of ports since a moment, oldest first."""
    rows = TrafficSample.objects.filter(port__host=host_id, port__name__in=list(ports), seconds=span.seconds)
    return rows.filter(number__gte=number_of(begin, span.seconds)).order_by("number")


def figures(host_id: int, shown: Sequence[Shown], wanted: str) -> list[tuple[Shown, list[Chart]]]:
    """The charts of some ports: bits, packets, and what was lost if something was."""
    end = timezone.now()
    start = end - RANGES[wanted].kept
    found = samples(host_id, [one.port for one in shown], wanted)
    return [(one, _charts(one, found[one.port], start, end)) for one in shown]


def _charts(one: Shown, rows: list[Rates], start: datetime, end: datetime) -> list[Chart]:
    into, out = words(one.port)
    sides = ((into, "out"), (out, "in")) if is_guest(one.port) else ((into, "in"), (out, "out"))

    def line(label: str, name: str, factor: int = 1) -> tuple[str, list[tuple[datetime, float]]]:
        return label, [(row.at, factor * getattr(row, name)) for row in rows]

    limits = [
        (number, f"Limit of {label.lower()}", float(rate))
        for number, ((label, _), rate) in enumerate(zip(sides, one.rates, strict=True), 1)
        if rate is not None
    ]
    made = [
        charts.draw(
            "Bits", [line(label, f"octets_{way}", 8) for label, way in sides], start, end, bits,
            limits=limits,
        ),
        charts.draw(
            "Packets", [line(label, f"packets_{way}") for label, way in sides], start, end, per_second
        ),
    ]  # fmt: skip
    if any(row.drops for row in rows):
        made.append(charts.draw("Lost packets", [line("Lost", "drops")], start, end, per_second))
    return made


def now(host_id: int, ports: Iterable[str], most: int | None = None) -> dict[str, Now]:
    """The rates of ports now, with a small line of each, for lists: two queries whatever their number.

    most: only so many, those with most traffic; they come first.
    """
    moment = timezone.now()
    fresh = _since(host_id, ports, SHORT, moment - FRESH)
    newest = {row[0]: row for row in fresh.values_list("port__name", "octets_in", "octets_out", "drops")}
    busy = sorted(newest.values(), key=lambda row: -row[1] - row[2])[:most]
    chosen = [row[0] for row in busy] if most else list(newest)
    past = _since(host_id, chosen, MIDDLE, moment - SPARK)
    lines: dict[str, list[tuple[int, int]]] = {}
    for port, octets_in, octets_out in past.values_list("port__name", "octets_in", "octets_out"):
        lines.setdefault(port, []).append(_sides(port, octets_in, octets_out))
    return {port: _now(*newest[port], lines.get(port, [])) for port in chosen}


def _sides(port: str, octets_in: int, octets_out: int) -> tuple[int, int]:
    """(received, sent) in bytes, by the view in which the port is read."""
    return (octets_out, octets_in) if is_guest(port) else (octets_in, octets_out)


def _now(port: str, octets_in: int, octets_out: int, drops: int, line: list[tuple[int, int]]) -> Now:
    """By what a port had in its newest short span, and in the longer ones of its line."""
    received, sent = (bits(8 * octets / SHORT.seconds) for octets in _sides(port, octets_in, octets_out))
    # Both lines of a port have one scale, whichever it is.
    lines = charts.sparks([pair[0] for pair in line], [pair[1] for pair in line])
    return Now(received, sent, drops / SHORT.seconds, lines[0], lines[1])


def bits(value: float) -> str:
    """Bits per second as network people say it: ``1.5 Mbit/s``."""
    unit = "bit/s"
    for larger in ("kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "bit/s" else f"{value:.1f} {unit}"


def per_second(value: float) -> str:
    return f"{value:,.0f}/s" if value >= 10 or value == 0 else f"{value:.1f}/s"
