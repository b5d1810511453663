"""Commit and confirm: what is changed on a host goes back by itself unless somebody confirms it in time.

For changes that can cut off whoever makes them, such as packet filter rules or the host's own address::

    commit.begin(host, "firewall", undo=[pfctl.load(ANCHOR, OLD)], seconds=60, note="12")
    with commit.changing(host, "firewall"):
        host.run(pfctl.load(ANCHOR, NEW))
    ...
    commit.confirm(host, "firewall")     # or commit.revert(host, "firewall"), or nothing: then undo runs

- `begin` writes down how to go back before anything is changed, and starts the change's guard: a process of its own
  session which neither the panel, nor its worker, nor its observer takes along when they die. At the deadline it runs
  ``undo``. A guard that was killed is replaced by `watch` (the observer calls it in each sweep). After a boot of the
  host nothing is waited for any more: what was not confirmed is taken back at once.
- ``undo`` and ``keep`` are steps: commands without input, or `Move`. They are run as root until they succeed, perhaps
  more than once and perhaps after a half of them was done, so each must be able to be repeated. ``keep`` is what makes
  the change last (a file moved to its place); it runs after the confirmation, and only then.
- The deadline is a moment of the monotonic clock: setting the host's clock moves nothing. Confirmation and deadline
  exclude each other by a file lock; what is not confirmed when it passes is TooLate.
- A name has one change at a time (`Busy`). What came of the last one stays to be looked at (`look`).

All functions are for root's processes. Standard library only. State: /var/db/bhype/commit/NAME.json, readable by root.
"""

from __future__ import annotations

from .changes import begin, changing, confirm, everything, look, pending, revert, watch
from .record import Busy, Change, Move, NoChange, Overtaken, State, TooLate

__all__ = [
    "Busy",
    "Change",
    "Move",
    "NoChange",
    "Overtaken",
    "State",
    "TooLate",
    "begin",
    "changing",
    "confirm",
    "everything",
    "look",
    "pending",
    "revert",
    "watch",
]
