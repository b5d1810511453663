"""Tasks: named, typed operations that a worker runs. This is the door of the room for the other rooms.

Models are imported late in these modules, because the package is imported before the app registry is ready.
"""

from __future__ import annotations

from .asking import ask, cancel, retry
from .errors import Cancelled, OperationFailed, Refused
from .registry import Operation, operation
from .run import Run

__all__ = [
    "Cancelled",
    "Operation",
    "OperationFailed",
    "Refused",
    "Run",
    "ask",
    "cancel",
    "operation",
    "retry",
]
