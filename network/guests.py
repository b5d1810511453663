"""Who is plugged into switches. The rooms above tell of their things: guests.register("vm", ...) in ready()."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Port:
    """A network port of a guest. key: "nic:12"; interface: on the host, such as tap1012; may_spoof: it may send with
    addresses that are not its own; static: the addresses that it was told to take, without prefix lengths; is_linked:
    its cable is plugged in; is_private, vlan, tagged: as `network.switches.wanted.Port` has them."""

    key: str
    index: int
    switch_id: int | None
    mac: str
    interface: str
    may_spoof: bool = False
    static: tuple[str, ...] = ()
    is_linked: bool = True
    is_private: bool = False
    vlan: int | None = None
    tagged: str = ""


@dataclass(frozen=True, slots=True)
class Guest:
    """A thing with ports. endpoint: how rules name it, "vm:UUID"; name: as people know it; url: its page; tags: its
    tags; is_on: it may send packets now; person: the number of the user who owns it, None for nobody."""

    kind: str
    endpoint: str
    name: str
    url: str
    host_id: int
    tags: tuple[str, ...] = ()
    is_on: bool = False
    person: int | None = None
    ports: tuple[Port, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which guests are asked for; what is None is not asked. switches: with a port on one of these rows; macs: with a
    port that has one of these MAC addresses."""

    host_id: int | None = None
    switches: tuple[int, ...] | None = None
    endpoints: tuple[str, ...] | None = None
    macs: tuple[str, ...] | None = None


# In a constant number of queries.
Resolver = Callable[[Wanted], Iterable[Guest]]


@dataclass(frozen=True, slots=True)
class Kind:
    """label: in words, such as "VM"."""

    name: str
    label: str
    resolver: Resolver


_kinds: dict[str, Kind] = {}


def register(kind: str, resolver: Resolver, *, label: str) -> None:
    """Let a room tell of its guests."""
    _kinds[kind] = Kind(kind, label, resolver)


def unregister(kind: str) -> None:
    """The room is closed: tests end with that."""
    _kinds.pop(kind, None)


def kinds() -> list[Kind]:
    return list(_kinds.values())


def find(
    *,
    host_id: int | None = None,
    switches: Iterable[int] | None = None,
    endpoints: Iterable[str] | None = None,
    macs: Iterable[str] | None = None,
) -> list[Guest]:
    """The guests that are asked for, of every kind, by name."""
    wanted = Wanted(
        host_id,
        None if switches is None else tuple(switches),
        None if endpoints is None else tuple(endpoints),
        None if macs is None else tuple(macs),
    )
    found = [guest for kind in _kinds.values() for guest in kind.resolver(wanted)]
    return sorted(found, key=lambda guest: (guest.name, guest.kind))
