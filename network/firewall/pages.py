"""What the pages of rules show: rows with their sentences, and the draft beside what is in force. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from bhype.accounts.models import User
from bhype.hosts.models import Host
from network.models import Firewall, Forward, HostChange, Rule, Ruleset

from . import checks, difference, document, rulesets, seen, world
from .checks import Problem
from .difference import Difference
from .document import Document
from .wording import Named, Naming, endpoints_of, naming
from .world import World

CHANGE = "firewall"
SECONDS = 60
# To read and to click: not less, and nobody waits longer.
SHORTEST, LONGEST = 10, 600


@dataclass(frozen=True, slots=True)
class Line:
    """A rule or a forward in a list. place: of a rule, from 1; note: why it meets nothing now, as the host's
    observer tells."""

    row: Any
    text: str
    subject: Named
    place: int = 0
    note: str = ""


def state(host: Host) -> Firewall:
    """What is known of the host's packet filter; a row that is not stored where the observer has not been yet."""
    return Firewall.objects.filter(host=host).first() or Firewall(host=host)


def world_now(host: Host) -> World:
    """What rules are about, as it is now."""
    return world.load(host, seen.stored(state(host)))


def in_force(host: Host) -> tuple[Ruleset | None, Document]:
    """What is loaded: the newest rule set that is confirmed, or waits for that; and what it was made of."""
    waiting = Ruleset.objects.filter(host=host, state=Ruleset.State.PENDING).first()
    row = waiting or rulesets.newest(host)
    if row is None:
        return None, Document()
    try:
        return row, document.read(row.document)
    except ValueError:
        return row, Document()


@dataclass(frozen=True, slots=True)
class Draft:
    """applied: what is in force; errors keep it from being applied, warnings do not; waits: what nobody has confirmed
    yet."""

    applied: Ruleset | None
    differences: list[Difference]
    errors: list[Problem]
    warnings: list[Problem]
    waits: HostChange | None
    last: Ruleset | None


def draft(host: Host, user: User, address: str) -> Draft:
    """The draft with everything that is wrong with it. address: where the person comes from, not to be locked out."""
    applied, old = in_force(host)
    new = document.of(host)
    now = world_now(host)
    rows = (*old.rules, *old.forwards, *new.rules, *new.forwards)
    aliased = {word for alias in (*old.aliases, *new.aliases) for word in alias.entries}
    names = naming(host, endpoints_of(rows) | aliased, user)
    found = [*_named(checks.document(new, now), new, names), *checks.locks_out(new, now, address)]
    waits = HostChange.objects.filter(host=host, name=CHANGE).first()
    return Draft(
        applied,
        difference.between(old, new, names),
        [problem for problem in found if not problem.is_warning],
        [problem for problem in found if problem.is_warning],
        waits if waits is not None and not waits.has_ended else None,
        Ruleset.objects.filter(host=host).first(),
    )


def _named(problems: Iterable[Problem], new: Document, names: Naming) -> list[Problem]:
    """The problems of all rows, each with what it is about: beside many others "it" tells nothing."""
    labels = {f"rule:{row.id}": f"Rule {n}, {names.rule(row)}" for n, row in enumerate(new.rules, 1)}
    labels |= {f"forward:{row.id}": names.forward(row) for row in new.forwards}
    labels |= {f"alias:{row.id}": f"Alias {row.name}" for row in new.aliases}
    return [
        replace(problem, sentence=f"{labels[problem.about]}: {problem.sentence}")
        if problem.about in labels
        else problem
        for problem in problems
    ]


@dataclass(frozen=True, slots=True)
class Lists:
    """The rules and the forwards of a page. subjects: those that have rules, by name."""

    rules: list[Line]
    forwards: list[Line]
    subjects: list[tuple[str, str]]
    state: Firewall


def lists(
    host: Host, user: User, about: Iterable[str] | None = None, to: Iterable[str] | None = None
) -> Lists:
    """What people wrote, in its order and as one person may read it; constant in queries.

    about: only the rules with these subjects; to: only the forwards to these guests.
    """
    every = list(Rule.objects.filter(host=host))
    wanted, guests = None if about is None else set(about), None if to is None else set(to)
    mine = [(place, row) for place, row in enumerate(every, 1) if wanted is None or row.subject in wanted]
    leading = [row for row in Forward.objects.filter(host=host) if guests is None or row.subject in guests]
    subjects = {row.subject for row in every} if wanted is None or len(wanted) == 1 else set()
    names = naming(host, subjects | endpoints_of([*(row for _, row in mine), *leading]), user)
    known = state(host)

    def line(row: Any, text: str, kind: str, place: int = 0) -> Line:
        return Line(row, text, names.name(row.subject), place, str(known.notes.get(f"{kind}:{row.pk}", "")))

    return Lists(
        [line(row, names.way(row), "rule", place) for place, row in mine],
        [line(row, names.forward(row), "forward") for row in leading],
        sorted(((word, names.name(word).label) for word in subjects), key=lambda pair: pair[1]),
        known,
    )


def forwards(host: Host, user: User, subjects: Iterable[str] | None = None) -> list[Line]:
    """The forwards of a host, or those to some guests."""
    return lists(host, user, (), subjects).forwards
