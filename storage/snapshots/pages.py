"""What the pages of snapshots show. Reads rows only, and never counts them all: there may be a hundred thousand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.urls import reverse

from bhype.accounts.access import signed_in
from bhype.accounts.models import User
from bhype.tasks.models import Task
from bhype.ui.pages import render_page
from storage import owners
from storage.models import Dataset, Snapshot, SnapshotTier
from storage.owners import Owner

from .forms import SHOWN
from .moments import MANUAL
from .operations import MOST

PAGE = 100
OTHER = "other"
KINDS = (("", "Any kind"), (MANUAL, "Manual"), *SnapshotTier.Kind.choices, (OTHER, "Not bHype's"))


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of the list as they stand in the URL. before: moment and number of the last one shown."""

    q: str = ""
    kind: str = ""
    held: bool = False
    before: tuple[datetime, int] | None = None

    @classmethod
    def read(cls, data: QueryDict) -> Filters:
        kind = data.get("kind", "")
        return cls(
            data.get("q", "").replace("\0", "").strip()[:100],
            kind if kind in dict(KINDS) else "",
            data.get("held") == "1",
            _cursor(data.get("before", "")),
        )

    @property
    def are_set(self) -> bool:
        return bool(self.q or self.kind or self.held)

    def apply(self, rows: QuerySet[Snapshot]) -> QuerySet[Snapshot]:
        """Those of ``rows`` that the filters leave, the newest first."""
        rows = rows.order_by("-created_at", "-id")
        if self.kind:
            rows = rows.filter(kind="" if self.kind == OTHER else self.kind)
        if self.held:
            rows = rows.filter(holds__gt=0)
        if self.q:
            dataset, at, name = self.q.partition("@")
            if at:
                rows = rows.filter(dataset__name__icontains=dataset, name__icontains=name)
            else:
                inside = Dataset.objects.filter(name__icontains=self.q)
                rows = rows.filter(Q(dataset__in=inside) | Q(name__icontains=self.q))
        return rows

    def page(self, rows: QuerySet[Snapshot]) -> QuerySet[Snapshot]:
        """One page, and one more to tell whether there are others."""
        rows = self.apply(rows)
        if self.before:
            moment, key = self.before
            rows = rows.filter(created_at__lte=moment).exclude(created_at=moment, id__gte=key)
        return rows[: PAGE + 1]


def _cursor(text: str) -> tuple[datetime, int] | None:
    moment, _, key = text.partition("_")
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return (found, int(key)) if found.tzinfo and key.isascii() and key.isdigit() and len(key) < 19 else None


@dataclass(frozen=True, slots=True)
class Line:
    """A snapshot in the list. parts: how many datasets it is of; used: bytes of all of them."""

    row: Snapshot
    owner: Owner | None
    parts: int
    used: int

    @property
    def name(self) -> str:
        return self.owner.name if self.owner else self.row.dataset.name


@dataclass(frozen=True, slots=True)
class Listing:
    filters: Filters
    lines: list[Line]
    before: str


def all_roots() -> QuerySet[Snapshot]:
    """Of what was taken together one for all."""
    return Snapshot.objects.filter(is_root=True)


def listing(filters: Filters, rows: QuerySet[Snapshot]) -> Listing:
    """One page of snapshots, in a constant number of queries."""
    found = list(filters.page(rows).select_related("dataset__pool"))
    shown = found[:PAGE]
    parts = _parts(shown)
    by_uuid = owners.by_uuid({row.bhype_id for row in shown})
    lines = [Line(row, by_uuid.get(row.bhype_id), *parts[row.pk]) for row in shown]
    last = shown[-1] if len(found) > PAGE else None
    return Listing(filters, lines, f"{last.created_at.isoformat()}_{last.pk}" if last else "")


def _parts(shown: list[Snapshot]) -> dict[int, tuple[int, int]]:
    """Of each row how many datasets were taken with it, its own included, and the bytes that only they hold."""
    rows = Snapshot.objects.filter(txg__in={row.txg for row in shown}, name__in={row.name for row in shown})
    together: dict[tuple[int, int, str], list[tuple[str, int]]] = {}
    for pool, txg, name, dataset, used in rows.order_by().values_list(
        "dataset__pool", "txg", "name", "dataset__name", "used"
    ):
        together.setdefault((pool, txg, name), []).append((dataset, used))
    found = {}
    for row in shown:
        place = row.dataset.name
        same = together.get((row.dataset.pool_id, row.txg, row.name), [])
        sizes = [used for name, used in same if name == place or name.startswith(f"{place}/")]
        found[row.pk] = (len(sizes), sum(sizes))
    return found


def chosen(data: QueryDict) -> list[int]:
    """The numbers of the rows that a form means: those that were ticked, or all that match its filters."""
    if data.get("all"):
        filters = Filters.read(QueryDict(data.get("query", "").lstrip("?")[:2000]))
        return list(filters.apply(all_roots()).values_list("pk", flat=True)[:MOST])
    words = data.getlist("snapshot")[:MOST]
    return [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 19]


# What came of asking: previews, files, differences.


@dataclass(frozen=True, slots=True)
class Door:
    """Where the pages of snapshots lead to. app: the operations'; do: where their forms go; delete, rollback: where
    what was looked at is agreed to; back: the list; crumbs: what stands above."""

    app: str
    do: str
    delete: str
    back: str
    crumbs: tuple[tuple[str, str], ...]
    rollback: str = ""


def storage_door() -> Door:
    back = reverse("storage:snapshots")
    crumbs = (("Storage", reverse("storage:pools")), ("Snapshots", back))
    return Door("storage", reverse("storage:snapshots_do"), reverse("storage:snapshots_delete"), back, crumbs)


def result_task(user: User, key: int, app: str) -> Task:
    """The task of a page of this app that the user has asked for. Raises Http404: what lies in a snapshot is for nobody
    else."""
    names = [f"{app}.{name}" for name in SHOWN.values()]
    task = Task.objects.filter(pk=key, user=user, operation__in=names).first()
    if task is None:
        raise Http404
    return task


def result_page(request: HttpRequest, key: int, door: Door, subject: str = "") -> HttpResponse:
    """What came of a task, live while it runs. subject: what it must be about, "" for anything."""
    task = result_task(signed_in(request), key, door.app)
    if subject and task.subject != subject:
        raise Http404
    context = {
        "task": task, "result": task.result, "door": door, "what": task.operation.partition(".")[2],
        "snapshot": task.params.get("snapshot_id") or task.params.get("name", ""),
        "folders": _folders(str(task.result.get("path", ""))), "tab": "snapshots",
    }  # fmt: skip
    return render_page(request, "storage/snapshot_result.html", context, part="outcome")


def _folders(path: str) -> list[tuple[str, str]]:
    """The folders on the way to a path: name and path of each."""
    parts = path.split("/") if path else []
    return [(part, "/".join(parts[: number + 1])) for number, part in enumerate(parts)]
