"""Rows of rule sets: which is in force, and what has become of the one that waited for its confirmation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from bhype import commit
from bhype.host import Host as Machine
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks.models import Task
from network.models import Ruleset

from . import document
from .document import Document

# What bhype.commit calls the change of the rules; its note is the number of the rule set.
CHANGE = "firewall"
APPLY = "network.apply_rules"
State = Ruleset.State


@dataclass(frozen=True, slots=True)
class InForce:
    """What pf is to have: document of the rule set ``number`` (0: none was ever confirmed); is_pending: it waits."""

    document: Document
    number: int = 0
    is_pending: bool = False


def in_force(host: Host, machine: Machine) -> InForce:
    """Call `settle` first."""
    change = commit.look(machine, CHANGE)
    if change is not None and change.state in {commit.State.WAITING, commit.State.KEEPING}:
        row = Ruleset.objects.filter(host=host, number=_number(change.note)).first()
        if row is not None:
            return InForce(document.read(row.document), row.number, change.state == commit.State.WAITING)
    row = newest(host)
    return InForce(document.read(row.document), row.number) if row else InForce(Document())


def newest(host: Host) -> Ruleset | None:
    """The one that was confirmed last."""
    return Ruleset.objects.filter(host=host, state=State.CONFIRMED).order_by("-ended_at", "-number").first()


def _number(note: str) -> int:
    return int(note) if note.isascii() and note.isdigit() and len(note) < 10 else 0


def new(host: Host, wanted: Document, text: str, seconds: int, user: Any) -> Ruleset:
    """A row that is being checked. Whoever asks at the same moment gets the next number."""
    with transaction.atomic():
        Host.objects.select_for_update(no_key=True).get(pk=host.pk)
        last = Ruleset.objects.filter(host=host).aggregate(last=Max("number"))["last"] or 0
        row = Ruleset.objects.create(
            host=host, number=last + 1, document=wanted.as_json(), text=text, seconds=seconds, user=user
        )
        publish("firewall")
    return row


def end(row: Ruleset, state: str, reason: str = "") -> None:
    """Nothing more becomes of a rule set."""
    with transaction.atomic():
        Ruleset.objects.filter(pk=row.pk).update(state=state, reason=reason, ended_at=timezone.now())
        publish("firewall", f"ruleset:{row.pk}")
    row.refresh_from_db()


def settle(host: Host, machine: Machine, *, is_ours: bool = False) -> list[Ruleset]:
    """Bring the rows of rule sets that were not over to what has become of them on the host; returns those that have
    changed. is_ours: the caller runs the one operation that could be at it."""
    rows = list(Ruleset.objects.filter(host=host, state__in=[State.CHECKING, State.PENDING]))
    if not rows:
        return []
    change = commit.look(machine, CHANGE)
    is_applying = Task.objects.unfinished().filter(host=host.name, operation=APPLY).exists()
    changed = []
    for row in rows:
        if change is not None and change.note == str(row.number):
            if change.state == commit.State.CONFIRMED:
                end(row, State.CONFIRMED)
            elif change.state == commit.State.REVERTED:
                end(row, State.REVERTED, change.reason or "Nobody confirmed it in time.")
            elif row.state == State.CHECKING:
                wait(row, change)
            else:
                continue
        elif is_applying and not is_ours:
            continue
        else:
            end(row, State.REFUSED, "Applying it was broken off before anything was changed.")
        changed.append(row)
    return changed


def wait(row: Ruleset, change: commit.Change) -> None:
    """The rule set waits for its confirmation."""
    with transaction.atomic():
        Ruleset.objects.filter(pk=row.pk).update(
            state=State.PENDING, deadline=datetime.fromtimestamp(change.ends_at, UTC)
        )
        publish("firewall", f"ruleset:{row.pk}")
    row.refresh_from_db()
