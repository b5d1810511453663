"""The one operation that belongs to no resource."""

from __future__ import annotations

from pydantic import BaseModel

from .registry import operation
from .run import Run


class PingParams(BaseModel):
    number: int = 0


@operation("tasks.ping", title="Check that the worker answers", right="hosts.change")
def ping(run: Run, params: PingParams) -> None:
    """Does nothing: shows that tasks are run, and how fast they start."""
    run.result(number=params.number)
