"""What kinds of changes wait for a confirmation, and which operations decide on them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """name: as `bhype.commit` has it; label: what waits, for "LABEL: confirm it, or ..."; confirm, revert: operations
    with the parameters name and note."""

    name: str
    label: str
    confirm: str = "network.confirm_change"
    revert: str = "network.revert_change"
    url_name: str = ""


_kinds: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    _kinds[kind.name] = kind


def find(name: str) -> Kind:
    """The kind of a change; one that nobody has told of is known by its name."""
    return _kinds.get(name) or Kind(name, f"A change of this host ({name})")
