"""What the pages of pools show, from rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db.models import Model, QuerySet
from django.utils import timezone

from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.tasks.models import Task
from bhype.ui import charts
from bhype.ui.charts import Chart
from bhype.ui.templatetags.ui import filesize
from storage.models import PhysicalDisk, Pool, PoolSample

from . import advice, capacity, inventory
from .capacity import Forecast

M = TypeVar("M", bound=Model)

RANGES = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
}
# What the properties page shows, with what they mean (zpoolprops(7)).
PROPERTIES = {
    "autotrim": "Tell disks at once what is free.",
    "autoexpand": "Use all the room when all disks of a group have become larger.",
    "autoreplace": "Replace a disk by a new one that is put into its slot.",
}


@dataclass(frozen=True, slots=True)
class Card:
    """A pool at a glance. advice: what to do; forecast: None when it is not known; parts: what it is made of."""

    pool: Pool
    level: int
    advice: list[str]
    forecast: Forecast | None
    parts: str

    @property
    def scan(self) -> dict[str, Any]:
        return dict(self.pool.status.get("scan") or {})

    @property
    def is_scanning(self) -> bool:
        return self.scan.get("state") in {"running", "paused"}

    @property
    def damaged(self) -> list[str]:
        """The paths of damaged files."""
        found = self.pool.status.get("errors")
        return found if isinstance(found, list) else []

    @property
    def gain(self) -> float:
        """Bytes a day, without sign."""
        return abs(self.forecast.per_day) if self.forecast else 0.0

    @property
    def has_errors(self) -> bool:
        """Whether there is something to clear."""
        return self.pool.health != "ONLINE" or any(
            advice.errors(leaf) for leaf in advice.leaves(self.pool.status)
        )

    @property
    def can_trim(self) -> bool:
        """Whether one of its disks can be told what is free, as far as they say."""
        return {leaf.get("trim", "") for leaf in advice.leaves(self.pool.status)} - {""} != {"unsupported"}

    @property
    def is_sick(self) -> bool:
        return bool(self.advice)

    @property
    def is_left_to_us(self) -> bool:
        """Whether this host lets bHype adopt and change it."""
        return not settings.POOLS or self.pool.name in settings.POOLS

    @property
    def is_usable(self) -> bool:
        return self.pool.health in {"ONLINE", "DEGRADED"}

    @property
    def colour(self) -> str:
        """Of the bar: the levels' own."""
        return "red" if self.level >= 90 else "yellow" if self.level else "primary"


def card(pool: Pool, samples: Sequence[tuple[datetime, int]] = ()) -> Card:
    return Card(
        pool=pool,
        level=capacity.level(pool.percent_full),
        advice=advice.advice(pool.health, pool.status),
        forecast=capacity.forecast(samples, pool.size),
        parts=parts(pool.status),
    )


def cards() -> list[Card]:
    """All pools, those that are not well first. One query for the samples of all forecasts."""
    samples: dict[int, list[tuple[datetime, int]]] = {}
    for key, at, allocated in _recent(PoolSample.objects.all()).values_list("pool_id", "at", "allocated"):
        samples.setdefault(key, []).append((at, allocated))
    made = [card(pool, samples.get(pool.pk, [])) for pool in Pool.objects.select_related("host")]
    return sorted(
        made, key=lambda one: (advice.rank(one.pool.health, one.pool.status, one.level), one.pool.name)
    )


def samples_of(pool: Pool) -> list[tuple[datetime, int]]:
    return list(_recent(pool.samples.all()).values_list("at", "allocated"))


def _recent(samples: QuerySet[PoolSample]) -> QuerySet[PoolSample]:
    """Those of a forecast, oldest first."""
    return samples.filter(at__gte=timezone.now() - capacity.LONGEST).order_by("at")


def parts(status: dict[str, Any]) -> str:
    """In words: "2 mirrors of 2 disks, 1 spare"."""
    counts: dict[str, int] = {}
    for kind, width in advice.data_groups(status):
        word = "disk" if kind == "stripe" else f"{kind} of {width} disks"
        counts[word] = counts.get(word, 0) + 1
    said = [f"{count} {_plural(word, count)}" for word, count in counts.items()]
    for title, members in advice.groups(status)[1:]:
        disks = sum(len(member.get("children") or [0]) for member in members)
        word = {"Spares": "spare", "Deduplication": "deduplication disk"}.get(title, f"{title.lower()} disk")
        said.append(f"{disks} {_plural(word, disks)}")
    return ", ".join(said)


def _plural(word: str, count: int) -> str:
    if count == 1:
        return word
    head, of, rest = word.partition(" of ")
    return f"{head}s{of}{rest}"


@dataclass(frozen=True, slots=True)
class Row:
    """A member of a pool in its tree. actions: what can be done with it, see `actions`; disk: the row of its disk."""

    name: str
    shown: str
    depth: int
    state: str
    read: int
    write: int
    checksum: int
    note: str
    trim: str
    is_leaf: bool
    actions: frozenset[str]
    disk: PhysicalDisk | None = None

    @property
    def size(self) -> int:
        """Of the whole disk that it is, in bytes; 0 where that is not known."""
        return self.disk.size if self.disk and self.disk.name == self.shown else 0

    @property
    def has_buttons(self) -> bool:
        """Whether something else can be done than to bring in another disk."""
        return bool(self.actions - {"replace", "attach"})

    @property
    def errors(self) -> int:
        return self.read + self.write + self.checksum


@dataclass(frozen=True, slots=True)
class Part:
    title: str
    rows: list[Row] = field(default_factory=list)


def tree(pool: Pool, disks: Iterable[PhysicalDisk] = ()) -> list[Part]:
    """The parts of a pool, each with its members in order."""
    known = list(disks)
    return [
        Part(title, [row for member in members for row in _rows(member, title, known)])
        for title, members in advice.groups(pool.status)
    ]


def _rows(
    member: dict[str, Any], title: str, disks: list[PhysicalDisk], depth: int = 0, parent: str = ""
) -> Iterator[Row]:
    """The member and what is in it. parent: the kind of the group that it is in, such as "mirror"."""
    children = member.get("children") or []
    name, note = str(member.get("name", "")), str(member.get("note", ""))
    was = note.removeprefix("was ").removeprefix("/dev/") if note.startswith("was ") else ""
    yield Row(
        name=name,
        shown=was or name,
        depth=min(depth, 3),
        state=str(member.get("state", "")),
        read=int(member.get("read", 0)),
        write=int(member.get("write", 0)),
        checksum=int(member.get("checksum", 0)),
        note="" if was else note,
        trim=str(member.get("trim", "")),
        is_leaf=not children,
        actions=frozenset(actions(member, title, parent, depth)),
        disk=None
        if children
        else next((disk for disk in disks if inventory.is_on(was or name, disk.name)), None),
    )
    for child in children:
        yield from _rows(child, title, disks, depth + 1, name.rpartition("-")[0])


def actions(member: dict[str, Any], title: str, parent: str, depth: int) -> Iterable[str]:
    """What makes sense for a member: replace, attach, offline, online, detach, remove, clear.

    title: of its part; parent: the kind of the group that it is in, such as "mirror"; depth: 0 for one that stands in
    no group. Whether the pool can do without it is zpool(8)'s to say.
    """
    state, is_group = str(member.get("state", "")), bool(member.get("children"))
    if is_group:
        if title == "Log":
            yield "remove"
        return
    if title == "Spares":
        if state == "AVAIL":
            yield "remove"
        return
    if title == "Cache":
        yield "remove"
    elif parent in {"replacing", "spare"}:
        yield "detach"
    else:
        yield "replace"
        if parent in {"", "mirror"}:
            yield "attach"
        if parent == "mirror":
            yield "detach"
        if title == "Log" and not depth:
            yield "remove"
    if state in {"OFFLINE", "UNAVAIL", "REMOVED", "FAULTED"}:
        yield "online"
    elif depth and parent not in {"replacing", "spare"}:
        yield "offline"
    if advice.errors(member) or state == "FAULTED":
        yield "clear"


def member(pool: Pool, name: str) -> Row | None:
    """The member of this name, as last observed."""
    return next(
        (row for part in tree(pool, pool.host.physical_disks.all()) for row in part.rows if row.name == name),
        None,
    )


def free_disks(host: Host) -> list[PhysicalDisk]:
    """Disks that nothing has, in the order of their numbers."""
    found = host.physical_disks.filter(used_by="", size__gt=0)
    return sorted(found, key=lambda disk: (disk.name.rstrip("0123456789"), len(disk.name), disk.name))


def since(samples: QuerySet[M], wanted: str) -> QuerySet[M]:
    """The samples of the last "hour", "day", "week" or "month", oldest first."""
    return samples.filter(at__gte=timezone.now() - RANGES[wanted]).order_by("at")


def usage(pool: Pool, wanted: str) -> list[Chart]:
    """The charts of a pool and of its host's ARC over "hour", "day", "week" or "month"."""
    end = timezone.now()
    start = end - RANGES[wanted]
    rows, arc = list(since(pool.samples.all(), wanted)), list(since(pool.host.arc_samples.all(), wanted))

    def of(name: str) -> list[tuple[datetime, float]]:
        return [(row.at, float(getattr(row, name))) for row in rows]

    hits = [(one.at, 100 * one.hits / (one.hits + one.misses)) for one in arc if one.hits + one.misses > 0]
    sizes = [
        ("Size", [(one.at, float(one.size)) for one in arc]),
        ("Target", [(one.at, float(one.target)) for one in arc]),
    ]
    return [
        charts.draw("Space used", [("Used", of("allocated"))], start, end, size, top=pool.size, base=2),
        charts.draw(
            "Throughput", [("Read", of("bytes_read")), ("Written", of("bytes_written"))], start, end, rate, base=2
        ),
        charts.draw("Operations", [("Reads", of("reads")), ("Writes", of("writes"))], start, end, per_second),
        charts.draw("Cache in memory (ARC)", sizes, start, end, size, base=2),
        charts.draw("Reads that the ARC answered", [("Hits", hits)], start, end, percent, top=100),
    ]  # fmt: skip


def size(value: float) -> str:
    return filesize(value)


def rate(value: float) -> str:
    return f"{filesize(value)}/s"


def per_second(value: float) -> str:
    return f"{value:.0f}/s"


def percent(value: float) -> str:
    return f"{value:.0f}%"


def found_pools(user: User) -> Task | None:
    """The last task that has looked for pools that could be imported."""
    if not user.can("storage.change"):
        return None
    done = Task.objects.filter(operation="storage.find_pools", status=Task.Status.SUCCEEDED)
    return done.order_by("-id").first()
