"""The observer: reads this host a few times a minute and writes the observed columns.

One process per host. Each app registers a function in ``AppConfig.ready``; a sweep calls them in that order with a
``Sweep``. Whatever the number of VMs, a sweep runs a constant number of commands: every question is asked once and
answered to all. One that fails becomes a sentence in ``Host.problems`` and stops only the function that asked it.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from types import FrameType
from typing import Any, TypeVar

from django.conf import settings
from django.db import DatabaseError, close_old_connections, transaction
from django.utils import timezone

from bhype.freebsd.command import ParseError, Query
from bhype.host import CommandError, CommandTimeout, LocalHost
from bhype.live import publish
from bhype.tasks import ask
from bhype.tasks.models import Task

from .models import Host

T = TypeVar("T")
log = logging.getLogger(__name__)

PERIOD = 2.0
# No question may hold up the others for long; one that hung is not repeated for a minute.
QUERY_TIMEOUT = 15.0
REST = 60.0
# Whoever waits for the host to become ready on its own is asked again after this, doubled with every failure.
ASK_AGAIN = timedelta(seconds=60)

# One that did not look this time returns False: what it said last stands.
Function = Callable[["Sweep"], bool | None]
_functions: dict[str, Function] = {}
_slow: dict[str, Function] = {}
_boot_hooks: list[Callable[[Host], None]] = []


def register(function: Function, name: str = "", *, slow: bool = False) -> None:
    """Call ``function(sweep)`` in every sweep. ``name`` stands before its problems; default: its app's name.

    slow: it comes after those that are not, so that they need not wait for it.
    """
    (_slow if slow else _functions)[name or function.__module__.split(".")[-2]] = function


def on_boot(hook: Callable[[Host], None]) -> None:
    """Call ``hook(host row)`` once after each boot of the host, in the transaction that notes the boot."""
    if hook not in _boot_hooks:
        _boot_hooks.append(hook)


def booted(row: Host) -> None:
    """The host has booted since it was last seen; ``row`` has the new moment. Called inside a transaction."""
    for hook in _boot_hooks:
        hook(row)


class Sweep:
    """One look at the host. ``row`` is its Host, ``now`` the moment, ``number`` counts from 0."""

    def __init__(
        self,
        host: LocalHost,
        row: Host,
        number: int = 0,
        resting: dict[Any, Any] | None = None,
        memories: dict[type[Any], Any] | None = None,
    ) -> None:
        self.host, self.row, self.number = host, row, number
        self.now: datetime = timezone.now()
        self.problems: list[str] = []
        self._answers: dict[tuple[str, ...], Any] = {}
        self._resting: dict[tuple[str, ...], tuple[float, CommandError]] = {} if resting is None else resting
        self.memories: dict[type[Any], Any] = {} if memories is None else memories

    def memory(self, kind: type[T]) -> T:
        """What the observer keeps of ``kind`` from one sweep to the next; made as ``kind()`` when asked for first."""
        if kind not in self.memories:
            self.memories[kind] = kind()
        return self.memories[kind]  # type: ignore[no-any-return]

    def every(self, count: int) -> bool:
        """Whether this is one of each ``count`` sweeps, the first included: for what changes slowly."""
        return self.number % count == 0

    def ask(self, query: Query[T]) -> T:
        """The answer to ``query``; the command runs once per sweep. Raises CommandError and ParseError."""
        argv = query.command.argv
        if argv in self._answers:
            answer = self._answers[argv]
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]
        until, failure = self._resting.get(argv, (0.0, None))
        if failure is not None and time.monotonic() < until:
            raise failure
        self._resting.pop(argv, None)
        command = query.command.with_timeout(min(QUERY_TIMEOUT, query.command.timeout))
        try:
            answer = self.host.query(Query(command, query.parse))
        except (CommandError, ParseError) as error:
            self._answers[argv] = error
            if isinstance(error, CommandTimeout):
                self._resting[argv] = (time.monotonic() + REST, error)
            raise
        self._answers[argv] = answer
        return answer

    def problem(self, sentence: str) -> None:
        """Something is wrong with the host itself; shown on its page until a sweep no longer says so."""
        if sentence not in self.problems:
            self.problems.append(sentence)


def ask_once(operation: str, params: dict[str, Any] | None = None, subject: str = "") -> Task | None:
    """Let the system itself ask for ``operation``, unless it is at it, or just was.

    subject: tells apart the same operation on different things. Returns the task, or None when it is too early.
    """
    mine = Task.objects.filter(host=settings.HOST_NAME, operation=operation, user=None)
    if subject:
        mine = mine.filter(subject=subject)
    if mine.unfinished().exists():
        return None
    now = timezone.now()
    recent = list(mine.filter(created_at__gt=now - timedelta(hours=2)).order_by("-id")[:6])
    failures = 0
    for task in recent:
        if task.status == Task.Status.SUCCEEDED:
            break
        failures += 1
    if recent and now - recent[0].created_at < ASK_AGAIN * 2 ** max(0, failures - 1):
        return None
    return ask(operation, params or {}, None)


class Observer:
    """Of one host. memories: what its functions keep from one sweep to the next, by class (``Sweep.memory``)."""

    def __init__(self, host: LocalHost | None = None) -> None:
        self.host = host or LocalHost(settings.BHYPE_ROOT)
        self.number = 0
        self._resting: dict[Any, Any] = {}
        self._said: dict[str, list[str]] = {}
        self.memories: dict[type[Any], Any] = {}

    def sweep(self) -> Sweep:
        """Look at everything once. Functions that fail are noted; the rest goes on. Raises what is an error of ours, or
        of a row that nobody should have written, but only after all have looked."""
        failure: Exception | None = None
        row = Host.objects.this()
        sweep = Sweep(self.host, row, self.number, self._resting, self.memories)
        self.number += 1
        for name, function in (_functions | _slow).items():
            others, sweep.problems = sweep.problems, []
            try:
                if function(sweep) is False:
                    sweep.problems = self._said.get(name, [])
            except (CommandError, ParseError, OSError) as error:
                sweep.problem(f"{name}: {error}")
            except DatabaseError:
                raise
            except Exception as error:
                # Rows come from a process that is not root: what one function stumbles over must not stop the others,
                # such as the guards of changes.
                sweep.problem(f"{name}: {type(error).__name__}: {error}")
                failure = failure or error
            self._said[name] = sweep.problems
            sweep.problems = others + [problem for problem in sweep.problems if problem not in others]
        self._finish(sweep)
        if failure is not None:
            raise failure
        return sweep

    @staticmethod
    def _finish(sweep: Sweep) -> None:
        row = sweep.row
        changed = row.problems != sweep.problems or not row.is_online
        row.problems, row.seen_at = sweep.problems, sweep.now
        with transaction.atomic():
            row.save(update_fields=["problems", "seen_at"])
            if changed:
                publish(f"host:{row.pk}")

    def loop(self, period: float, stop: threading.Event) -> None:
        """Sweep until ``stop`` is set. A database that is away for a while does not end the observer."""
        while not stop.is_set():
            began = time.monotonic()
            close_old_connections()
            try:
                self.sweep()
            except DatabaseError as error:
                log.warning("the database did not answer, will try again: %s", error)
            except Exception:  # a row that breaks one part must not end the watch over all others
                log.exception("not all of the host could be looked at")
            stop.wait(max(0.1, period - (time.monotonic() - began)))


def run(period: float = PERIOD) -> None:
    """Observe until SIGTERM or SIGINT, then end cleanly after the sweep at hand."""
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    Observer().loop(period, stop)
