"""pf at work on the wires of the lab (`bhype.lab.wires`): what is loaded is carried into Linux' packet filter.

Without wires nothing moves, so that there are no states, and all counts stay 0.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


@dataclass(frozen=True)
class Live:
    """A state as pfctl prints it. rule: the id of the rule that made it."""

    number: int
    protocol: str
    direction: str
    source: str
    source_port: int
    target: str
    target_port: int
    rule: int = 0
    interface: str = "all"
    packets: int = 0
    octets: int = 0
    since: float = 0.0

    def text(self) -> str:
        """One line of ``pfctl -ss``: the inner end first."""
        source = _end(self.source, self.source_port)
        target = _end(self.target, self.target_port)
        ends = f"{target} <- {source}" if self.direction == "in" else f"{source} -> {target}"
        word = {"tcp": "ESTABLISHED:ESTABLISHED", "udp": "MULTIPLE:MULTIPLE"}.get(self.protocol, "0:0")
        return f"{self.interface} {self.protocol} {ends}       {word}"

    def age(self) -> str:
        seconds = max(0, int(time.time() - self.since))
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _end(address: str, port: int) -> str:
    if not port:
        return address
    return f"{address}[{port}]" if ":" in address else f"{address}:{port}"


def carry() -> None:
    """Bring Linux' packet filter to what is loaded; nothing without wires."""


def read(data: dict[str, Any]) -> None:
    """Add what rules have counted on the wires to ``data["counts"]``."""


def states() -> Iterator[Live]:
    """The states that there are."""
    return iter(())


def forget(which: Callable[[Live], bool] | None) -> int:
    """End the states that ``which`` meets, or all; returns how many."""
    del which
    return 0


__all__ = ["Live", "carry", "core", "forget", "read", "states"]
