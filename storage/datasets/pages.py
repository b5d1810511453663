"""What the pages of datasets show: the list by its filters, and one dataset from all sides. Reads rows only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import QueryDict
from django.urls import reverse

from bhype.accounts.models import User
from bhype.freebsd import zfs_properties
from bhype.freebsd.zfs_properties import Setting
from bhype.tasks.models import Task
from storage.models import Dataset, Pool, Snapshot
from storage.sizes import human

from . import uses
from .uses import Use

PAGE_SIZE = 100
KINDS = {"filesystem": "Filesystems", "volume": "Volumes"}
SORTS = {"name": "Name", "-used": "Most used", "-volsize": "Largest volumes"}
# Filters that are one condition on rows; that for orphans asks who has them.
SHOWN = {"": "All", "encrypted": "Encrypted", "locked": "Locked", "orphans": "Orphans"}
# How many lines of what goes are shown; the host's own list has all of them.
LINES = 200


def page(key: str) -> tuple[str, str] | None:
    """Address and name of the dataset that a task is about, by its number; None when it is gone."""
    name = Dataset.objects.filter(pk=key).values_list("name", flat=True).first() if key.isdigit() else None
    return (reverse("storage:dataset", args=[name]), name) if name else None


@dataclass(frozen=True)
class Filters:
    """As they stand in the URL. Unknown words filter nothing."""

    q: str = ""
    pool: str = ""
    kind: str = ""
    show: str = ""
    sort: str = "name"
    page: str = "1"

    @classmethod
    def read(cls, data: QueryDict) -> Filters:
        words = {
            key: data.get(key, "").replace("\0", "").strip()[:200] for key in ("q", "pool", "kind", "show")
        }
        sort = data.get("sort", "name")
        return cls(
            q=words["q"],
            pool=words["pool"],
            kind=words["kind"] if words["kind"] in KINDS else "",
            show=words["show"] if words["show"] in SHOWN else "",
            sort=sort if sort in SORTS else "name",
            page=data.get("page", "1")[:7],
        )

    @property
    def are_set(self) -> bool:
        return bool(self.q or self.pool or self.kind or self.show)

    @property
    def is_tree(self) -> bool:
        """Whether every dataset stands below the one that it lies in."""
        return self.sort == "name" and not (self.q or self.kind or self.show)

    def rows(self) -> QuerySet[Dataset]:
        rows = Dataset.objects.select_related("pool__host").order_by(self.sort, "name")
        if self.q:
            rows = rows.filter(name__icontains=self.q)
        if self.pool:
            rows = rows.filter(pool__name=self.pool)
        if self.kind:
            rows = rows.filter(kind=self.kind)
        if self.show == "encrypted":
            rows = rows.exclude(encryption_root="")
        elif self.show == "locked":
            rows = rows.filter(key_status="unavailable")
        elif self.show == "orphans":
            rows = rows.filter(pk__in=[use.dataset.pk for use in uses.left()])
        if self.sort == "-volsize":
            rows = rows.filter(volsize__isnull=False)
        return rows


@dataclass(frozen=True)
class Listing:
    filters: Filters
    page: Page[Dataset]
    uses: list[Use]
    pools: list[str]

    @property
    def home(self) -> str:
        """Where a new dataset lies first."""
        return f"{self.filters.pool or self.pools[0]}/bhype" if self.pools else ""


def listing(data: QueryDict) -> Listing:
    """One page of the datasets, in a constant number of queries."""
    filters = Filters.read(data)
    page = Paginator(filters.rows(), PAGE_SIZE).get_page(filters.page)
    return Listing(filters, page, uses.uses(page), _adopted())


def other_homes(row: Dataset) -> list[str]:
    """Where else a new dataset may lie, if this is the home of bHype in a pool."""
    homes = [f"{name}/bhype" for name in _adopted()]
    return [home for home in homes if home != row.name] if row.name in homes else []


def _adopted() -> list[str]:
    return list(Pool.objects.filter(is_adopted=True).order_by("name").values_list("name", flat=True))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what a dataset uses; size in bytes, percent of all that it uses."""

    key: str
    label: str
    size: int
    percent: float
    colour: str


_PARTS = (
    ("usedbydataset", "its own data", "primary"), ("usedbychildren", "what lies in it", "azure"),
    ("usedbysnapshots", "its snapshots", "orange"), ("usedbyrefreservation", "kept for it", "secondary"),
)  # fmt: skip


def parts(row: Dataset) -> list[Part]:
    """What takes the space that a dataset uses, largest last; those that take none are left out."""
    sizes = {key: _number(row, key) for key, _, _ in _PARTS}
    whole = sum(sizes.values())
    return [
        Part(key, label, sizes[key], 100 * sizes[key] / whole, colour)
        for key, label, colour in _PARTS
        if sizes[key]
    ]


def _number(row: Dataset, key: str) -> int:
    word = str(row.properties.get(key, ["0"])[0])
    return int(word) if word.isascii() and word.isdigit() else 0


def fact(row: Dataset, key: str) -> str:
    """A property as it was observed; "" where there is none."""
    return str(row.properties.get(key, [""])[0])


def created_at(row: Dataset) -> datetime | None:
    seconds = _number(row, "creation")
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < 1 << 35 else None


@dataclass(frozen=True, slots=True)
class Line:
    """A setting of one dataset. value: as it holds; source: the dataset that it is inherited from, "here" or
    "default"; upper: what would hold if it were not set here, and whether it would be inherited."""

    setting: Setting
    value: str
    source: str
    raw: str
    upper: str
    is_inherited: bool

    @property
    def is_here(self) -> bool:
        return self.source == "here"


def lines(row: Dataset) -> list[Line]:
    """The settings of a dataset, with what would hold without its own, in one query."""
    found = zfs_properties.settings_of(row.kind)
    above = {
        each.name: each for each in Dataset.objects.filter(pool=row.pool_id, name__in=uses.parents(row.name))
    }
    return [_line(row, setting, above) for setting in found]


def _line(row: Dataset, setting: Setting, above: dict[str, Dataset]) -> Line:
    value, source = row.properties.get(setting.name, [setting.default, "default"])
    is_here = source in {"local", "received"}
    where = "here" if is_here else zfs_properties.source_of(source) or "default"
    upper = _from_above(row, setting.name, above) if setting.inherits else None
    if upper is None and where not in {"here", "default"}:
        # From above the home of bHype, of which there are no rows.
        upper = value
    below = shown(setting, setting.default if upper is None else upper)
    return Line(setting, shown(setting, value), where, str(value), below, upper is not None)


def _from_above(row: Dataset, key: str, above: dict[str, Dataset]) -> str | None:
    """What the nearest dataset above says of a property; None when none of them does."""
    for name in uses.parents(row.name):
        if name in above and (found := above[name].properties.get(key)):
            return str(found[0])
    return None


def shown(setting: Setting, value: str) -> str:
    """A value as people read it: 131072 of a size is "128 KiB"."""
    if (setting.is_size or setting.has_blocks) and value.isascii() and value.isdigit():
        return human(int(value)) if int(value) else "none"
    return value


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes with a dataset, as far as the rows tell. datasets: it and what is below it; snapshots: the first of
    them; clones: elsewhere, which keep it from going."""

    datasets: list[Dataset]
    snapshots: list[Snapshot]
    snapshot_count: int
    clones: list[Use]

    @property
    def used(self) -> int:
        return self.datasets[0].used if self.datasets else 0

    @property
    def more(self) -> int:
        return self.snapshot_count - len(self.snapshots)


def removal(row: Dataset) -> Removal:
    """In a constant number of queries."""
    inside = [each for each in _below(row) if uses.below(row.name, each)]
    snapshots = Snapshot.objects.filter(dataset__in=inside).select_related("dataset").order_by("pk")
    clones = Dataset.objects.filter(pool=row.pool_id, origin__startswith=row.name).select_related("pool")
    mine = {each.pk for each in inside}
    elsewhere = [
        each
        for each in clones
        if each.pk not in mine and each.origin.startswith((f"{row.name}@", f"{row.name}/"))
    ]
    return Removal(inside, list(snapshots[:LINES]), snapshots.count(), uses.uses(elsewhere))


def _below(row: Dataset) -> Iterable[Dataset]:
    return Dataset.objects.filter(pool=row.pool_id, name__startswith=row.name).order_by("name")


def children(row: Dataset) -> list[Use]:
    """The first of those that lie in it, at any depth."""
    inside = Dataset.objects.filter(pool=row.pool_id, name__startswith=f"{row.name}/").select_related("pool")
    return uses.uses(inside.order_by("name")[:20])


def clones(row: Dataset) -> list[Use]:
    """The datasets that were cloned from its snapshots."""
    rows = Dataset.objects.filter(pool=row.pool_id, origin__startswith=f"{row.name}@").select_related("pool")
    return uses.uses(rows.order_by("name")[:50])


def tasks(user: User, row: Dataset) -> list[Task]:
    """The last tasks about a dataset that the user may see."""
    found = Task.objects.visible_to(user).filter(subject=f"dataset:{row.pk}")
    return list(found.select_related("user").order_by("-id")[:5])


def last_preview(user: User, row: Dataset) -> Task | None:
    """The newest look at what would go with it."""
    found = Task.objects.visible_to(user).filter(
        subject=f"dataset:{row.pk}", operation="storage.preview_destroy"
    )
    return found.order_by("-id").first()
