"""What an operation is given: its host, its log, and the question whether it is to stop."""

from __future__ import annotations

import contextlib
import logging
import shlex
import threading
import time
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from bhype.freebsd.command import Command
from bhype.host import LocalHost, Result

from .asking import topics
from .errors import Cancelled
from .log import BATCH_SECONDS, Log

if TYPE_CHECKING:
    from bhype.accounts.models import User

    from .models import Task

logger = logging.getLogger(__name__)
CANCEL_SECONDS = 0.4
WAIT_POLL = 0.2


class Stop:
    """What this process knows of its end: plain attributes, since a signal handler uses them.

    is_running: it runs a task now; worker_ends: it was told to end.
    """

    is_running = False
    worker_ends = False


class Run:
    """One run of an operation.

    task: its row; user: who asked, None for the system; host: where its commands run: what it runs is in the
    task's log, and is killed when the task is cancelled.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.user: User | None = task.user
        self._log = Log(task, topics(task))
        self._result: dict[str, Any] = {}
        self._cancelled = False
        self._asked_at = time.monotonic()
        self._ticker: _Ticker | None = None
        self.host = LocalHost(
            settings.BHYPE_ROOT,
            listener=_CommandLog(self),
            should_stop=self.should_stop,
            leashed=True,
            patience=settings.COMMAND_PATIENCE,
        )

    def log(self, text: str) -> None:
        """Add a line, or several, to the task's log."""
        self._add("log", text)

    def stage(self, name: str, percent: float | None = None) -> None:
        """Tell what is being done now, and how far the whole task is (0 to 100)."""
        self._log.stage(name, percent)
        self._written()

    def result(self, **values: Any) -> None:
        """Keep values for whoever asked; they must be JSON. They are stored when the task ends."""
        self._result |= values

    def redact(self, *secrets: str) -> None:
        """Keep these words out of the log; parameters called password, secret or token are anyway."""
        self._log.hide(*secrets)

    def check_cancelled(self) -> None:
        """Raise Cancelled when the task is to stop: call it between the steps of long work in Python."""
        if self.should_stop():
            raise Cancelled

    def should_stop(self) -> bool:
        if self._ticker is None:
            self._look()
            self._written()
        return self._cancelled or Stop.worker_ends

    def wait(self, *tasks: Task) -> list[Task]:
        """The tasks as they ended, in their order. A process that is its own worker runs them itself.

        Raises Cancelled when this task is to stop; the others go on. Only an operation of which one runs at a time
        may wait, or waiting ones could take all workers.
        """
        from .models import Task
        from .runner import run_queued

        keys = [task.pk for task in tasks]
        while Task.objects.filter(pk__in=keys).unfinished().exists():
            self.check_cancelled()
            if self._ticker is None and run_queued():
                continue
            time.sleep(WAIT_POLL)
        ended = Task.objects.in_bulk(keys)
        return [ended[key] for key in keys if key in ended]

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled the task, as far as is known."""
        return self._cancelled

    @property
    def values(self) -> dict[str, Any]:
        return self._result

    def tick_by_thread(self) -> None:
        """Write the log and look for a cancel from a thread of its own, with its own connection: lines show
        while the operation waits or is in a transaction, and survive a rolled back one."""
        self._ticker = _Ticker(self)
        self._ticker.start()

    def close(self) -> None:
        """Write what is left of the log."""
        if self._ticker is not None:
            self._ticker.end()
            self._ticker = None
        self._log.flush()

    def tell(self, kind: str, text: str) -> None:
        """Add lines of a kind of TaskLine.Kind."""
        self._add(kind, text)

    def clean(self, text: str) -> str:
        return self._log.redact(text).replace("\0", "")

    def tick(self) -> None:
        self._look()
        if self._log.is_due:
            self._log.flush()

    def _add(self, kind: str, text: str) -> None:
        self._log.add(kind, text)
        self._written()

    def _written(self) -> None:
        if self._ticker is None and self._log.is_due:
            self._log.flush()

    def _look(self) -> None:
        from .models import Task

        now = time.monotonic()
        if self._cancelled or now - self._asked_at < CANCEL_SECONDS:
            return
        self._asked_at = now
        status = Task.objects.filter(pk=self.task.pk).values_list("status", flat=True).first()
        # A row that is gone was deleted under the task: stop as well.
        self._cancelled = status != Task.Status.RUNNING


class _CommandLog:
    """Hears of the host's commands (bhype.host.Listener)."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def started(self, command: Command) -> None:
        # Never the standard input: that is where secrets go.
        self._run.tell("command", "$ " + shlex.join(command.argv).replace("\n", "\\n"))

    def output(self, stream: str, line: str) -> None:
        self._run.tell("error" if stream == "stderr" else "output", line)

    def finished(self, command: Command, result: Result) -> None:
        if result.code not in command.ok_codes:
            self._run.tell("error", f"status {result.code} after {result.seconds:.1f} s")


class _Ticker(threading.Thread):
    def __init__(self, run: Run) -> None:
        super().__init__(name="task log", daemon=True)
        self._run = run
        self._over = threading.Event()

    def run(self) -> None:
        try:
            while not self._over.wait(BATCH_SECONDS):
                try:
                    self._run.tick()
                except (DatabaseError, InterfaceError) as error:
                    # Busy or away for a moment; what was to be written is kept.
                    logger.warning("Task %s: its log waits for the database: %s", self._run.task.pk, error)
                    connection.close()
        finally:
            with contextlib.suppress(DatabaseError, InterfaceError):
                connection.close()

    def end(self) -> None:
        self._over.set()
        self.join()
