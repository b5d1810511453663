"""What people wrote, as one document: what is applied, kept, compared, and gone back to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from django.db import transaction

from bhype.hosts.models import Host
from network.models import Alias, Forward, Rule, Switch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RuleRow:
    """As network.models.Rule, in its order."""

    id: int
    subject: str
    direction: str
    action: str
    family: str = ""
    protocol: str = ""
    peer: str = "any"
    ports: str = ""
    is_enabled: bool = True
    is_logged: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class ForwardRow:
    """As network.models.Forward."""

    id: int
    subject: str
    port: int
    target_port: int
    protocol: str = "tcp"
    count: int = 1
    interface: str = ""
    source: str = "any"
    is_enabled: bool = True
    is_logged: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class AliasRow:
    """As network.models.Alias."""

    id: int
    name: str
    kind: str
    entries: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """What a switch does with packets that no rule tells of."""

    uuid: str
    name: str
    passes_in: bool = True
    passes_out: bool = True


@dataclass(frozen=True, slots=True)
class Document:
    rules: tuple[RuleRow, ...] = ()
    forwards: tuple[ForwardRow, ...] = ()
    aliases: tuple[AliasRow, ...] = ()
    switches: tuple[PolicyRow, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """For Ruleset.document."""
        return asdict(self)


def of(host: Host) -> Document:
    """The rows as they are now: the draft."""
    with transaction.atomic():
        return Document(
            tuple(_row(RuleRow, row) for row in Rule.objects.filter(host=host)),
            tuple(_row(ForwardRow, row) for row in Forward.objects.filter(host=host)),
            tuple(_row(AliasRow, row) for row in Alias.objects.filter(host=host)),
            tuple(
                PolicyRow(str(row.uuid), row.name, row.passes_in, row.passes_out)
                for row in Switch.objects.filter(host=host)
            ),
        )


def read(stored: Mapping[str, Any]) -> Document:
    """What as_json() has written; what it did not know is left out. Raises ValueError: whoever wrote it may have been
    less careful than that."""
    if not isinstance(stored, Mapping):
        raise ValueError("not a document of rules")
    if not all(isinstance(one, Mapping) for rows in stored.values() for one in _rows(rows)):
        raise ValueError("not a document of rules")
    return Document(
        tuple(_stored(RuleRow, row) for row in stored.get("rules", ())),
        tuple(_stored(ForwardRow, row) for row in stored.get("forwards", ())),
        tuple(_stored(AliasRow, row) for row in stored.get("aliases", ())),
        tuple(_stored(PolicyRow, row) for row in stored.get("switches", ())),
    )


def _rows(rows: Any) -> list[Any]:
    if not isinstance(rows, list | tuple):
        raise ValueError("not a list of rules")
    return list(rows)


def restore(host: Host, document: Document) -> None:
    """Make the rows those of ``document`` again, with their numbers, so that what names them stays right."""
    with transaction.atomic():
        for model, rows in ((Alias, document.aliases), (Forward, document.forwards), (Rule, document.rules)):
            _restore(model, host, rows)
        for policy in document.switches:
            Switch.objects.filter(host=host, uuid=policy.uuid).update(
                passes_in=policy.passes_in, passes_out=policy.passes_out
            )


def _restore(model: Any, host: Host, rows: tuple[Any, ...]) -> None:
    model.objects.filter(host=host).exclude(pk__in=[row.id for row in rows]).delete()
    # Names are unique: those that are to be taken by others must be free first.
    had = model.objects.filter(host=host).in_bulk()
    for position, row in enumerate(rows):
        columns = asdict(row)
        columns.pop("id")
        if model is Rule:
            columns["position"] = position
        if model is Alias:
            columns["entries"] = list(row.entries)
            model.objects.filter(host=host, name=row.name).exclude(pk=row.id).update(name=f"~{row.id}")
        revision = had[row.id].revision + 1 if row.id in had else 1
        model.objects.update_or_create(pk=row.id, defaults={**columns, "host": host, "revision": revision})


def _row(kind: type[T], row: Any) -> T:
    values = {one.name: getattr(row, one.name) for one in fields(kind) if one.name != "entries"}  # type: ignore[arg-type]
    if kind is AliasRow:
        values["entries"] = tuple(str(entry) for entry in row.entries)
    return kind(**values)


def _stored(kind: type[T], row: Mapping[str, Any]) -> T:
    known = {one.name: str(one.type) for one in fields(kind)}  # type: ignore[arg-type]
    values = {name: value for name, value in row.items() if name in known}
    if isinstance(values.get("entries"), list):
        values["entries"] = tuple(values["entries"])
    for name, value in values.items():
        if type(value) is not _TYPES[known[name]] or not all(isinstance(one, str) for one in _inner(value)):
            raise ValueError(f"not a row of rules: {name} is {value!r}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"not a row of rules: {error}") from error


# By their names in the rows above.
_TYPES: dict[str, type] = {"str": str, "int": int, "bool": bool, "tuple[str, ...]": tuple}


def _inner(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else ()
