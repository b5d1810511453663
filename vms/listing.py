"""The list of VMs by its filters, as pages and bulk actions read it. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db.models import CharField, Count, F, IntegerField, Q, Sum, Value
from django.http import QueryDict

from bhype.accounts.models import User

from .addresses import pages as addresses
from .models import VM, Nic, VMQuerySet
from .pages import Row, rows_of, with_parts

PAGE_SIZE = 50
# The word of the filter for VMs that are marked so.
PRODUCTION = "production"
# Filters of the state chips: several states of the model are one question to a person.
GROUPS = {
    "running": ("Running", ("running", "starting", "stopping")),
    "stopped": ("Stopped", ("stopped",)),
    "problem": ("Problems", ("crashed", "failed", "lost")),
    "locked": ("Locked", ("locked",)),
    "busy": ("Being made or deleted", ("creating", "deleting")),
}
SORTS: dict[str, Any] = {
    "name": "name", "state": "state", "cpus": "cpus", "memory": "memory", "cpu": "cpu_percent",
    "disk": "disk_total", "owner": "owner__username", "host": "host__name", "created": "created_at",
}  # fmt: skip
SORT_CHOICES = (
    ("name", "Name"), ("state", "State"), ("-cpu", "CPU in use"), ("-memory", "Memory"), ("-disk", "Disk"),
    ("owner", "Owner"), ("-created", "Newest"),
)  # fmt: skip


@dataclass(frozen=True)
class Filters:
    """The list's filters, as they stand in the URL. Unknown words filter nothing."""

    q: str = ""
    state: str = ""
    tag: str = ""
    owner: str = ""
    host: str = ""
    mark: str = ""
    sort: str = "name"
    page: int = 1

    @classmethod
    def read(cls, data: QueryDict) -> Filters:
        words = {
            key: data.get(key, "").replace("\0", "").strip()[:100]
            for key in ("q", "state", "tag", "owner", "host", "mark")
        }
        sort = data.get("sort", "name")
        page = data.get("page", "1")
        return cls(
            **words,
            sort=sort if sort.removeprefix("-") in SORTS else "name",
            page=int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
        )

    def apply(self, rows: VMQuerySet) -> VMQuerySet:
        """Everything but the state, which the chips count."""
        if self.q:
            with_mac = Nic.objects.filter(mac__icontains=self.q).values("vm")
            at = Q(pk__in=with_mac) | Q(pk__in=addresses.with_address(self.q).values("vm"))
            rows = rows.filter(Q(name__icontains=self.q) | Q(notes__icontains=self.q) | at)
        if self.tag:
            rows = rows.filter(tags__name=self.tag)
        if self.owner:
            rows = rows.filter(owner__username=self.owner)
        if self.host:
            rows = rows.filter(host__name=self.host)
        if self.mark == PRODUCTION:
            rows = rows.filter(is_production=True)
        return rows

    def states(self) -> tuple[str, ...]:
        if self.state in GROUPS:
            return GROUPS[self.state][1]
        return (self.state,) if self.state in VM.State.values else ()

    @property
    def are_set(self) -> bool:
        return bool(self.q or self.state or self.tag or self.owner or self.host or self.mark)


@dataclass(frozen=True)
class Chip:
    key: str
    label: str
    count: int
    active: bool


@dataclass(frozen=True)
class Head:
    """A column's head: ``sort`` is what a click sorts by, ``order`` how it is sorted now."""

    key: str
    label: str
    sort: str
    order: str


COLUMNS = (
    ("name", "Name"), ("state", "State"), ("cpu", "CPU"), ("memory", "Memory"), ("disk", "Disk"),
    ("net", "Network"), ("owner", "Owner"), ("host", "Host"),
)  # fmt: skip


def _order(key: str, sort: str) -> tuple[str, str]:
    if key not in SORTS:
        return "", ""
    if sort == key:
        return f"-{key}", "ascending"
    return key, "descending" if sort == f"-{key}" else ""


@dataclass
class Listing:
    """One page of the list of VMs."""

    filters: Filters
    rows: list[Row]
    total: int
    pages: int
    chips: list[Chip]
    tags: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    # With one host its column tells nothing.
    one_host: bool = True

    @property
    def heads(self) -> list[Head]:
        return [Head(key, label, *_order(key, self.filters.sort)) for key, label in COLUMNS]

    @property
    def previous(self) -> int:
        return self.page - 1

    @property
    def next(self) -> int:
        return self.page + 1

    @property
    def page(self) -> int:
        return min(self.filters.page, self.pages)

    @property
    def first(self) -> int:
        return (self.page - 1) * PAGE_SIZE + 1

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1


def matching(user: User, filters: Filters) -> VMQuerySet:
    """Every VM that the filters leave of those the user may see."""
    rows = filters.apply(VM.objects.visible_to(user))
    return rows.filter(state__in=filters.states()) if filters.states() else rows


def listing(user: User, data: QueryDict, *, with_choices: bool = True) -> Listing:
    """One page of VMs by the filters in ``data``; with_choices False leaves out what the filter bar needs."""
    filters = Filters.read(data)
    by_state, choices = _words(
        user, filters, ("host__name", "owner__username", "tags__name") if with_choices else ("host__name",)
    )
    everything = sum(by_state.values())
    counts = {key: sum(by_state.get(state, 0) for state in states) for key, (_, states) in GROUPS.items()}
    total = sum(by_state.get(state, 0) for state in filters.states()) if filters.states() else everything
    pages = max(1, -(-total // PAGE_SIZE))
    start = (min(filters.page, pages) - 1) * PAGE_SIZE
    vms = list(with_parts(_sorted(matching(user, filters), filters.sort))[start : start + PAGE_SIZE])
    addresses.attach(vms)
    chips = [Chip("", "All", everything, not filters.state)] + [
        Chip(key, label, counts[key], filters.state == key)
        for key, (label, _) in GROUPS.items()
        if counts[key] or filters.state == key or key in {"running", "stopped"}
    ]
    found = Listing(filters, rows_of(vms, user), total, pages, chips)
    found.one_host = len(choices["host__name"]) < 2
    if with_choices:
        found.tags, found.owners = choices["tags__name"], choices["owner__username"]
        found.hosts = choices["host__name"] if user.can("hosts.view") else []
    return found


def _words(
    user: User, filters: Filters, columns: tuple[str, ...]
) -> tuple[dict[str, int], dict[str, list[str]]]:
    """How many VMs the filters leave in each state, and what ``columns`` say of all VMs that the user may see: each
    word once and in order. One query."""
    visible = VM.objects.visible_to(user).order_by()
    states = filters.apply(visible).values_list(Value("state", CharField()), "state")
    others = (
        visible.filter(**{f"{column}__isnull": False}).values_list(
            Value(column, CharField()), column, Value(0, IntegerField())
        )
        for column in columns
    )
    counts: dict[str, int] = {}
    choices: dict[str, list[str]] = {column: [] for column in columns}
    for column, word, count in sorted(states.annotate(Count("pk", distinct=True)).union(*others)):
        if column == "state":
            counts[word] = count
        else:
            choices[column].append(word)
    return counts, choices


def _sorted(rows: VMQuerySet, sort: str) -> VMQuerySet:
    column = SORTS[sort.removeprefix("-")]
    if column == "disk_total":
        rows = rows.annotate(disk_total=Sum("disks__size"))
    order = F(column).desc(nulls_last=True) if sort.startswith("-") else F(column).asc(nulls_last=True)
    return rows.order_by(order, "name", "pk")
