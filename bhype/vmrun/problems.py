"""What is wrong with a VM, grouped by device and shown as a tree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """where: the device or part, as "0:3:0 virtio-net"; what: a sentence; mend: what to do, a sentence."""

    where: str
    what: str
    mend: str = ""

    @property
    def key(self) -> str:
        """The key of a vm.json that it is about, empty when it is about none: what stands before the colon."""
        word, colon, _ = self.what.partition(":")
        return word if colon and word.replace("_", "").isalnum() else ""


class Unfit(Exception):
    """The VM cannot be started as it is configured. Holds all problems, not only the first."""

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.name = name
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.where}: {problem.what}" for problem in self.problems))


def tree(name: str, problems: Iterable[Problem]) -> str:
    """The problems as lines of text, with those of one device under one branch."""
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(problem.where, []).append(problem)
    lines = [name]
    for where, members in groups.items():
        last_group = where == list(groups)[-1]
        lines.append(f"{'└─' if last_group else '├─'} {where}")
        for problem in members:
            guide = "   " if last_group else "│  "
            branch = "└─" if problem is members[-1] else "├─"
            lines.append(f"{guide}{branch} {problem.what}{f' {problem.mend}' if problem.mend else ''}")
    return "\n".join(lines)
