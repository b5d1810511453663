"""django-q2's cluster of processes as bHype runs it: one guard, one pusher, the workers.

It differs from django_q.cluster.Cluster where that would not do: the guard is the main process and there is
no monitor process, since nothing is kept of results; hand-overs go through a datagram socket, because a
process that is killed while it waits in a multiprocessing.Queue holds that queue's lock for ever; and the end
is bounded: running tasks get a few seconds, then they are interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import select
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from types import FrameType
from typing import Any

from django_q.cluster import Sentinel
from django_q.conf import Conf
from django_q.pusher import pusher
from django_q.signals import post_spawn

from .broker import TaskBroker
from .run import Stop

logger = logging.getLogger(__name__)
# Seconds for running tasks to end by themselves, and to end after they were told to.
GRACE = 5.0
HARD = 10.0
PARENT_SECONDS = 1.0
ROOM_SECONDS = 0.05
LONGEST_MESSAGE = 65_536


class Hands:
    """A queue between processes that survives the kill -9 of any of them: each message is one datagram."""

    def __init__(self) -> None:
        self._out, self._in = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._guard = os.getpid()

    def put(self, message: Any) -> None:
        """Waits while there is no room: Linux does so by itself, FreeBSD answers ENOBUFS (unix(4), SOCK_DGRAM)."""
        while True:
            try:
                self._in.send(json.dumps(message).encode())
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                time.sleep(ROOM_SECONDS)
            else:
                return

    def get(self) -> Any:
        """The next message; "STOP" when the guard is gone, which would leave the worker behind for ever."""
        while True:
            readable, _, _ = select.select([self._out], [], [], PARENT_SECONDS)
            if readable:
                # Another worker may have been faster.
                with contextlib.suppress(BlockingIOError):
                    return json.loads(self._out.recv(LONGEST_MESSAGE, socket.MSG_DONTWAIT))
            elif os.getppid() != self._guard:
                return "STOP"

    def qsize(self) -> int:
        return 0

    def empty(self) -> bool:
        return not select.select([self._out], [], [], 0)[0]


class NoResults:
    """What workers put here is not kept: a task's end is written by its runner."""

    def put(self, _result: Any) -> None:
        return

    def qsize(self) -> int:
        return 0

    def empty(self) -> bool:
        return True


class Flag:
    """An event that a signal handler may set while the same process waits for it; multiprocessing's would
    wait for itself."""

    def __init__(self) -> None:
        self._out, self._in = socket.socketpair()
        self._in.setblocking(False)  # noqa: FBT003
        self._set = False

    def set(self) -> None:
        self._set = True
        with contextlib.suppress(OSError):
            self._in.send(b"!")

    def is_set(self) -> bool:
        return self._set

    def wait(self, seconds: float) -> bool:
        if not self._set:
            select.select([self._out], [], [], seconds)
        return self._set


class NoMonitor:
    """Stands where the stock cluster keeps its monitor process."""

    pid = 0

    def __init__(self, stop: Flag) -> None:
        self._stop = stop

    def is_alive(self) -> bool:
        return not self._stop.is_set()


class Guard(Sentinel):  # type: ignore[misc]
    """Starts pusher and workers and replaces those that die, until a signal ends it."""

    def __init__(self, broker: TaskBroker, in_child: Callable[[], None]) -> None:
        self._hurry = False
        self._in_child = in_child
        super().__init__(Flag(), Flag(), uuid.uuid4(), broker, start=False)
        self.task_queue = Hands()
        self.result_queue = NoResults()
        signal.signal(signal.SIGTERM, self._signalled)
        signal.signal(signal.SIGINT, self._signalled)
        post_spawn.connect(self._in_worker, weak=False)

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        # The second one means it.
        self._hurry = self.stop_event.is_set()
        self.stop_event.set()

    def _in_worker(self, **_: Any) -> None:
        """Runs in each new worker process."""
        self._in_child()
        Stop.worker_ends = False
        signal.signal(signal.SIGTERM, _end_worker)
        # Ctrl-C reaches the whole group; the guard decides. Not SIG_IGN, which commands would inherit.
        signal.signal(signal.SIGINT, _leave_it)

    def spawn_pusher(self) -> Any:
        return self.spawn_process(self._push, self.task_queue, self.event_out, self.broker)

    def _push(self, *arguments: Any) -> None:
        self._in_child()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, _leave_it)
        guard = os.getppid()
        dequeue = self.broker.dequeue

        def dequeue_for_guard() -> Any:
            if os.getppid() != guard:
                # kill -9 of the guard: another one will be started, with a pusher of its own.
                sys.exit(0)
            return dequeue()

        self.broker.dequeue = dequeue_for_guard
        pusher(*arguments)

    def spawn_monitor(self) -> Any:
        return NoMonitor(self.stop_event)

    def stop(self) -> None:
        """End pusher and workers: wait a little for running tasks, then interrupt them, then kill."""
        self.event_out.set()
        self.pusher.join(Conf.POLL + 3)
        if self.pusher.is_alive():
            self.pusher.kill()
        for _ in self.pool:
            self.task_queue.put("STOP")
        for number, seconds in ((0, GRACE), (signal.SIGTERM, HARD), (signal.SIGKILL, 1.0)):
            for process in self.pool:
                if number and process.is_alive():
                    logger.info("Worker process %s has not ended; signal %s", process.pid, number)
                    os.kill(process.pid, number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and any(process.is_alive() for process in self.pool):
                if self._hurry and not number:
                    break
                time.sleep(0.05)


def _end_worker(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM in a worker: its task is stopped and marked as interrupted; between tasks it just ends."""
    if Stop.is_running:
        Stop.worker_ends = True
    else:
        sys.exit(0)


def _leave_it(_number: int, _frame: FrameType | None) -> None:
    return
