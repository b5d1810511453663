"""What a running task tells: log lines and stage, collected and written in batches, so that a chatty command
costs a few transactions a second and a page still sees its lines at once."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from bhype import live

if TYPE_CHECKING:
    from .models import Task, TaskLine

BATCH_SECONDS = 0.2
BATCH_LINES = 50
LONGEST_LINE = 2_000
MOST_LINES = 20_000
MOST_CHARACTERS = 2_000_000
SHORTEST_SECRET = 4
HIDDEN = "********"
SECRET_NAMES = ("password", "passphrase", "secret", "token", "private_key")

# Colours and cursor movements of terminals (ECMA-48), then what is left of control characters but the tab.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """One line as it may be stored and shown: no escapes, no control characters, of bounded length.

    Of a progress line that a program overwrote with carriage returns, the last state is kept.
    """
    text = text[: LONGEST_LINE * 8]
    text = _CONTROLS.sub("", _ESCAPES.sub("", text.rstrip("\r\n").rpartition("\r")[2]))
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1] + "…"


def secrets_of(params: Any) -> Iterable[str]:
    """The values of parameters that are secret by their name, at any depth; none of what is no object."""
    if not isinstance(params, dict):
        return
    for name, value in params.items():
        if isinstance(value, dict):
            yield from secrets_of(value)
        elif isinstance(value, str) and any(word in name.lower() for word in SECRET_NAMES):
            yield value


class Log:
    """Safe to use from several threads. Nothing is written before ``flush``."""

    def __init__(self, task: Task, topics: Iterable[str]) -> None:
        self._task = task
        self._topics = tuple(topics)
        self._lock = threading.Lock()
        self._lines: list[TaskLine] = []
        self._stage: dict[str, Any] = {}
        self._secrets: list[str] = []
        self._count = self._characters = 0
        self._flushed_at = time.monotonic()
        self.hide(*secrets_of(task.params))

    def hide(self, *secrets: str) -> None:
        """Keep these words out of the log from now on; very short ones would hide everything and are not."""
        self._secrets += [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
        # The longest first: one may be part of another.
        self._secrets.sort(key=len, reverse=True)

    def redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def add(self, kind: str, text: str) -> None:
        """Add text, one row for each of its lines."""
        from .models import TaskLine

        now = timezone.now()
        # Secrets are looked for before lines are taken apart and cut: both could split one.
        for line in self.redact(text).split("\n"):
            with self._lock:
                if self._count > MOST_LINES or self._characters > MOST_CHARACTERS:
                    return
                shown = clean(line)
                self._count += 1
                self._characters += len(shown)
                if self._count > MOST_LINES or self._characters > MOST_CHARACTERS:
                    kind, shown = TaskLine.Kind.ERROR, "The log is full; what follows is not kept."
                self._lines.append(TaskLine(task=self._task, at=now, kind=kind, text=shown))

    def stage(self, name: str, percent: float | None) -> None:
        with self._lock:
            self._stage["stage"] = clean(self.redact(name))[:120]
            if percent is not None:
                self._stage["percent"] = max(0, min(100, int(percent)))

    @property
    def is_due(self) -> bool:
        waiting = len(self._lines)
        if not waiting and not self._stage:
            return False
        return waiting >= BATCH_LINES or time.monotonic() - self._flushed_at >= BATCH_SECONDS

    def flush(self) -> None:
        """Write what has been collected. When the database refuses, it is kept for the next time."""
        from .models import Task, TaskLine

        with self._lock:
            lines, stage = self._lines, self._stage
            self._lines, self._stage = [], {}
        self._flushed_at = time.monotonic()
        if not lines and not stage:
            return
        try:
            with transaction.atomic():
                TaskLine.objects.bulk_create(lines, batch_size=500)
                if stage:
                    Task.objects.filter(pk=self._task.pk, status__in=Task.STARTED).update(**stage)
                live.publish(*(self._topics if stage else self._topics[:1]))
        except BaseException:
            with self._lock:
                self._lines = lines + self._lines
                self._stage = stage | self._stage
            raise
