"""Whose a dataset is. The rooms above tell of their things: owners.register("vm", ...) in ready().

Every dataset of bHype carries org.bhype:id, the UUID of the thing that it belongs to; children have it from their
parent. What carries the UUID of no thing is an orphan (`storage.orphans`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from django.urls import NoReverseMatch, reverse
from django.utils.functional import lazy


@dataclass(frozen=True, slots=True)
class Owner:
    """A thing that has datasets.

    kind: the word it was registered by; key: its number as text; name: as people know it; url: its page, "" without
    one; uuid: as org.bhype:id says it; host_id and pool_id: of the rows; datasets: all that it knows of, the one that
    holds the others first; tags: its tags; is_production: marked so; is_on: its datasets are in use now; person: the
    number of the user who owns it, None for nobody or everybody; is_whole: nothing makes, removes or rolls it back now;
    is_lost: its dataset is not there, None where only the observed datasets can tell.
    """

    kind: str
    key: str
    name: str
    url: str
    uuid: str
    host_id: int
    pool_id: int
    datasets: tuple[str, ...]
    tags: tuple[str, ...] = ()
    is_production: bool = False
    is_on: bool = False
    person: int | None = None
    is_whole: bool = True
    is_lost: bool | None = None

    @property
    def dataset(self) -> str:
        """The dataset that holds it."""
        return self.datasets[0]

    @property
    def label(self) -> str:
        """Its kind in words."""
        return _kinds[self.kind].label if self.kind in _kinds else self.kind


# The UUIDs that are asked for, or None for all -> the things that have them, in a constant number of queries.
Resolver = Callable[[Collection[str] | None], Iterable[Owner]]


@dataclass(frozen=True, slots=True)
class Kind:
    """label: in words, such as "virtual machine"; give_url: name of the page where what is left of such a thing is put
    to use again, by the number of the dataset's row; "" where there is none."""

    name: str
    label: str
    resolver: Resolver
    part: str
    give_url: str = ""


_kinds: dict[str, Kind] = {}


def register(kind: str, resolver: Resolver, *, label: str, part: str, give_url: str = "") -> None:
    """Let a room tell of its things. part: the folder of the pool's home in which they lie, such as "vms"."""
    _kinds[kind] = Kind(kind, label, resolver, part, give_url)


def kinds() -> list[Kind]:
    return list(_kinds.values())


def kind_of(part: str) -> Kind | None:
    """The kind of the things that lie in this part of a pool's home."""
    return next((kind for kind in _kinds.values() if kind.part == part), None)


def find(uuids: Iterable[str] | None = None, *, kind: str = "") -> list[Owner]:
    """The things with these UUIDs, or all; of one kind, or of every kind. Words that are no UUID are nobody's."""
    wanted = None if uuids is None else {word for word in uuids if is_uuid(word)}
    if wanted is not None and not wanted:
        return []
    chosen = [found for found in _kinds.values() if kind in {"", found.name}]
    return [owner for found in chosen for owner in found.resolver(wanted)]


def by_uuid(uuids: Iterable[str] | None = None) -> dict[str, Owner]:
    """As `find`, by UUID."""
    return {owner.uuid: owner for owner in find(uuids)}


def of(uuid: str) -> Owner | None:
    """The thing with this UUID."""
    return next(iter(find([uuid])), None)


def is_uuid(word: str) -> bool:
    """Whether a mark is that of a thing, and not one of bHype's own words."""
    try:
        return str(UUID(word)) == word
    except ValueError:
        return False


def _address(name: str, *args: object) -> str:
    """The address of a page, "" where this installation has no such page."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


# Found when it is shown: worker and observer never load the pages and the API, which would take 30 MiB in each process.
address = lazy(_address, str)
