"""Which snapshots of a policy go, and why the others stay. Pure.

Age is told by the transaction group, which only grows: a clock that was set back makes no old snapshot new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A snapshot of a dataset with all that was taken with it below.

    kind: as org.bhype:kind says; txg: its transaction group; holds, clones: how many, of all its parts; is_common: a
    replica has it, too, and no newer one; is_ours: the policy took it, with all its parts.
    """

    name: str
    kind: str
    txg: int
    holds: int = 0
    clones: int = 0
    is_common: bool = False
    is_deferred: bool = False
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """goes: names, the oldest first; stays: why, by name."""

    goes: tuple[str, ...]
    stays: Mapping[str, str]


def decide(snapshots: Iterable[Candidate], keep: Mapping[str, int]) -> Decision:
    """Of each kind in ``keep`` the newest so many stay, and of the older ones those that something needs.

    What is of another kind, or not of the policy, always stays, and so does the newest snapshot of all.
    """
    ordered = sorted(snapshots, key=lambda one: (one.txg, one.name), reverse=True)
    newest = ordered[0] if ordered else None
    seen: dict[str, int] = {}
    goes, stays = [], {}
    for one in ordered:
        reason = _alien(one, keep)
        if not reason:
            seen[one.kind] = seen.get(one.kind, 0) + 1
            is_among = seen[one.kind] <= keep[one.kind]
            reason = f"among the newest {keep[one.kind]} {one.kind}" if is_among else needed(one)
        if not reason and one is newest:
            reason = "the newest of all"
        if reason:
            stays[one.name] = reason
        else:
            goes.append(one.name)
    return Decision(tuple(reversed(goes)), stays)


def _alien(one: Candidate, keep: Mapping[str, int]) -> str:
    if not one.is_ours:
        return "not taken by this policy"
    return "" if one.kind in keep else f"of another kind: {one.kind}"


def needed(one: Candidate) -> str:
    """Why a snapshot cannot go, whoever wants it; "" when nothing needs it."""
    if one.holds:
        return "held"
    if one.clones:
        return "a clone lives on it"
    if one.is_common:
        return "the last one that its replica has, too"
    return "goes by itself with its last clone or hold" if one.is_deferred else ""
