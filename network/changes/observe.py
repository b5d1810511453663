"""Mirrors what waits on the host in rows, and gives changes whose guard was killed another one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import transaction

from bhype import commit
from bhype.commit import Change
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep
from bhype.live import publish
from network.models import HostChange


def observe(sweep: Sweep) -> None:
    commit.watch(sweep.host)
    found = commit.everything(sweep.host)
    mirror(sweep.row, found)
    _forget(sweep.row, {change.name for change in found})


def _forget(host: Host, known: set[str]) -> None:
    """A change of which the host knows nothing does not wait: it could not be begun, or its file was removed."""
    ended = (HostChange.State.CONFIRMED, HostChange.State.REVERTED)
    rows = HostChange.objects.filter(host=host).exclude(state__in=ended).exclude(name__in=known)
    if rows:
        with transaction.atomic():
            rows.update(
                state=HostChange.State.REVERTED, reason="The host knows nothing of it.", changed_at=_now()
            )
            publish("changes")


def mirror(host: Host, changes: Iterable[Change]) -> None:
    """Write the rows of ``changes``, and tell open pages of those that are new or otherwise."""
    known = {row.name: row for row in HostChange.objects.filter(host=host)}
    for change in changes:
        row = known.get(change.name)
        values = {
            "note": change.note[:200], "state": change.state, "reason": change.reason, "problem": change.problem,
            "deadline": datetime.fromtimestamp(change.ends_at, UTC),
        }  # fmt: skip
        if row is not None and all(getattr(row, key) == value for key, value in values.items()):
            continue
        if row is None and change.has_ended:
            # It was over before anybody saw it wait: nothing is to be decided.
            continue
        with transaction.atomic():
            HostChange.objects.update_or_create(
                host=host, name=change.name, defaults=values | {"changed_at": _now()}
            )
            publish("changes", f"change:{change.name}")


def _now() -> datetime:
    return datetime.now(UTC)
