"""One key of a vm.json, described once: its check, its words for people and its form. And the reading of tables
of them, with all that is wrong at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bhype.vmrun.fields import Field
from bhype.vmrun.problems import Problem

Values = dict[str, Any]
# Sentences about values that do not go together, each behind the key it is about: "disk: It is missing."
Rule = Callable[[Values], Iterable[str]]
MISSING = "It is missing."


@dataclass(frozen=True, slots=True)
class Option:
    """One key. check: returns the value as it is used, or raises ValueError with a sentence.

    kind: what a form shows: text, number, flag, size, path, list, table (an object, of ``options`` when they are
    known) or tables (a list of such objects, or of their ``short`` key alone). choices: the only values.
    equals_root: whether setting it is as much as being root on the host, or a function of the value that tells.
    unit: of the number; default: what holds when it is absent. rule: of a table, checks its values together.
    """

    key: str
    check: Field
    label: str
    help: str = ""
    choices: tuple[str | int, ...] = ()
    equals_root: bool | Callable[[Any], bool] = False
    kind: str = "text"
    unit: str = ""
    default: Any = None
    group: str = ""
    is_required: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)
    short: str = ""
    rule: Rule | None = None

    def read(self, value: Any) -> Any:
        """The value checked. Raises ValueError."""
        found = self.check(value)
        if self.choices and found not in self.choices:
            raise ValueError(f"{found!r} is none of {', '.join(map(str, self.choices))}.")
        return found

    def is_root(self, value: Any) -> bool:
        """Whether this value equals root on the host."""
        return self.equals_root(value) if callable(self.equals_root) else self.equals_root


def by_key(*options: Option) -> dict[str, Option]:
    return {option.key: option for option in options}


def table(value: Any) -> Values:
    """A JSON object; its keys are checked by `Reader`."""
    if not isinstance(value, dict):
        raise ValueError("It is not a JSON object.")
    return value


class Reader:
    """Collects problems, and keys that nothing reads, on the way through a document."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.unknown: list[str] = []

    def complain(self, where: str, why: str, mend: str = "") -> None:
        self.problems.append(Problem(where, why, mend))

    def read(
        self,
        where: str,
        source: Values,
        options: Mapping[str, Option],
        others: frozenset[str] = frozenset(),
        *,
        rule: Rule | None = None,
        prefix: str = "",
    ) -> Values:
        """Those of ``options`` that are there, checked; null counts as not there. prefix: what stands before
        the key in a problem."""
        before = len(self.problems)
        found: Values = {}
        for key, value in source.items():
            if key not in options:
                if key not in others:
                    self.unknown.append(f"{where}: {prefix}{key}")
            elif value is not None:
                self._one(where, options[key], value, found, prefix)
        for key, option in options.items():
            if option.is_required and source.get(key) is None:
                self.complain(where, f"{prefix}{key}: {MISSING}")
        if rule and len(self.problems) == before:
            for why in rule(found):
                self.complain(where, prefix + why)
        return found

    def _one(self, where: str, option: Option, value: Any, found: Values, prefix: str) -> None:
        key = option.key
        try:
            if option.kind == "tables":
                found[key] = tuple(self._rows(where, option, value, prefix))
            elif option.options:
                inside = f"{prefix}{key}: " if where != "vm" else ""
                found[key] = self.read(
                    where if inside else key, table(value), option.options, rule=option.rule, prefix=inside
                )
            else:
                found[key] = option.read(value)
        except (ValueError, TypeError) as error:
            self.complain(where, f"{prefix}{key}: {error}")

    def _rows(self, where: str, option: Option, value: Any, prefix: str) -> Iterable[Values]:
        rows = option.check(value)
        for number, row in enumerate(rows):
            source = row if isinstance(row, dict) or not option.short else {option.short: row}
            inside = f"{prefix}{option.key}: number {number}: "
            if isinstance(source, dict):
                yield self.read(where, source, option.options, rule=option.rule, prefix=inside)
            else:
                self.complain(where, f"{inside}It is not a JSON object.")
