"""How the rules that people have written differ from those that are in force. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .document import Document
from .wording import Naming

ADDED, REMOVED, CHANGED, MOVED = "added", "removed", "changed", "moved"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is otherwise. kind: `ADDED` and so on; text: how it is, or was if it is removed; before: how it
    was, where it was changed."""

    kind: str
    what: str
    text: str
    before: str = ""


def between(old: Document, new: Document, names: Naming) -> list[Difference]:
    """What must be done to ``old`` to get ``new``, by name."""
    found = [
        *_rows("Rule", old.rules, new.rules, lambda row: _told(names.rule(row), row)),
        *_moves(old, new, names),
        *_rows("Forward", old.forwards, new.forwards, lambda row: _told(names.forward(row), row)),
        *_rows("Alias", old.aliases, new.aliases, lambda row: _alias(row, names)),
    ]
    had = {policy.uuid: policy for policy in old.switches}
    for policy in new.switches:
        before = had.get(policy.uuid)
        # A switch that is new lets everything pass, as without any rule.
        was = _policy(before) if before else "lets in and out what no rule tells of"
        if _policy(policy) != was:
            found.append(
                Difference(CHANGED, "Switch", f"{policy.name} {_policy(policy)}", f"{policy.name} {was}")
            )
    return found


def _rows(what: str, old: Sequence[Any], new: Sequence[Any], told: Any) -> list[Difference]:
    had, have = {row.id: row for row in old}, {row.id: row for row in new}
    found = [Difference(REMOVED, what, told(row)) for row in old if row.id not in have]
    for row in new:
        before = had.get(row.id)
        if before is None:
            found.append(Difference(ADDED, what, told(row)))
        elif before != row:
            found.append(Difference(CHANGED, what, told(row), told(before)))
    return found


def _moves(old: Document, new: Document, names: Naming) -> list[Difference]:
    """Rules that have another place among those that both have: as few as explain the new order."""
    both = {row.id for row in old.rules} & {row.id for row in new.rules}
    before = [row.id for row in old.rules if row.id in both]
    after = [row.id for row in new.rules if row.id in both]
    if before == after:
        return []
    stayed = _longest(before, after)
    by_id = {row.id: row for row in new.rules}
    return [Difference(MOVED, "Rule", names.rule(by_id[number])) for number in after if number not in stayed]


def _longest(before: list[int], after: list[int]) -> set[int]:
    """The most numbers that have kept their order: the longest rising run of their old places."""
    place = {number: index for index, number in enumerate(before)}
    best: list[list[int]] = []
    for number in after:
        runs = [run for run in best if place[run[-1]] < place[number]]
        best.append([*_max(runs), number])
    return set(_max(best))


def _max(runs: list[list[int]]) -> list[int]:
    longest: list[int] = []
    for run in runs:
        longest = run if len(run) > len(longest) else longest
    return longest


def _told(sentence: str, row: Any) -> str:
    marks = ["" if row.is_enabled else "off", "logged" if row.is_logged else "", row.note]
    told = ", ".join(mark for mark in marks if mark)
    return f"{sentence} ({told})" if told else sentence


def _alias(row: Any, names: Naming) -> str:
    entries = row.entries if row.kind == "ports" else [str(names.name(word)) for word in row.entries]
    note = f" ({row.note})" if row.note else ""
    return f"{row.name}: {', '.join(entries) or 'nothing'}{note}"


def _policy(policy: Any) -> str:
    into = "lets in" if policy.passes_in else "drops what comes to its guests"
    out = "lets out" if policy.passes_out else "drops what comes from them"
    if policy.passes_in and policy.passes_out:
        return "lets in and out what no rule tells of"
    return f"{into} and {out}, where no rule tells"
