"""What pages show of traffic, from rows alone.

Samples have the host's view. People read a port by its guest's view: what the host sends into a tap, the guest has
received. An uplink and a mesh are read by the host's view, and a switch by what came into it and what it passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from bhype.ui import charts
from bhype.ui.charts import Chart
from network.models import TrafficSample

from .spans import MIDDLE, RANGES, SHORT

# A port's newest sample tells its rate now; an older one tells of the past.
FRESH = timedelta(seconds=55)
SPARK = timedelta(minutes=30)
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


def samples(host_id: int, ports: Iterable[str], wanted: str) -> dict[str, list[TrafficSample]]:
    """The samples of ports over "hour", "day" or "month", oldest first, in one query."""
    span = RANGES[wanted]
    found: dict[str, list[TrafficSample]] = {port: [] for port in ports}
    rows = TrafficSample.objects.filter(
        host=host_id, port__in=found, seconds=span.seconds, at__gte=timezone.now() - span.kept
    )
    for row in rows.order_by("at"):
        found[row.port].append(row)
    return found


def figures(host_id: int, shown: Sequence[Shown], wanted: str) -> list[tuple[Shown, list[Chart]]]:
    """The charts of some ports: bits, packets, and what was lost if something was."""
    end = timezone.now()
    start = end - RANGES[wanted].kept
    found = samples(host_id, [one.port for one in shown], wanted)
    return [(one, _charts(one, found[one.port], start, end)) for one in shown]


def _charts(one: Shown, rows: list[TrafficSample], start: datetime, end: datetime) -> list[Chart]:
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
    rows = TrafficSample.objects.filter(host=host_id, port__in=list(ports))
    fresh = rows.filter(seconds=SHORT.seconds, at__gte=moment - FRESH).order_by("at")
    newest = {row[0]: row for row in fresh.values_list("port", "octets_in", "octets_out", "drops")}
    busy = sorted(newest.values(), key=lambda row: -row[1] - row[2])[:most]
    chosen = [row[0] for row in busy] if most else list(newest)
    past = rows.filter(port__in=chosen, seconds=MIDDLE.seconds, at__gte=moment - SPARK).order_by("at")
    lines: dict[str, list[tuple[float, float]]] = {}
    for port, octets_in, octets_out in past.values_list("port", "octets_in", "octets_out"):
        lines.setdefault(port, []).append(_sides(port, octets_in, octets_out))
    return {port: _now(*newest[port], lines.get(port, [])) for port in chosen}


def _sides(port: str, octets_in: float, octets_out: float) -> tuple[float, float]:
    """(received, sent) in bytes per second, by the view in which the port is read."""
    return (octets_out, octets_in) if is_guest(port) else (octets_in, octets_out)


def _now(
    port: str, octets_in: float, octets_out: float, drops: float, line: list[tuple[float, float]]
) -> Now:
    received, sent = _sides(port, octets_in, octets_out)
    # Both lines of a port have one scale.
    lines = charts.sparks([pair[0] for pair in line], [pair[1] for pair in line])
    return Now(bits(8 * received), bits(8 * sent), drops, lines[0], lines[1])


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
