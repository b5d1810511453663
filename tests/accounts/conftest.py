from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from django.db import OperationalError, connection

from bhype.accounts import signin


@pytest.fixture(autouse=True)
def quick_refusals(monkeypatch):
    """Refusals take their time in the panel; tests of what they say need not wait."""
    monkeypatch.setattr(signin, "REFUSAL_SECONDS", 0.0)


@pytest.fixture
def at_once(transactional_db):
    """Run calls at the same time, each with its own connection: ``at_once(f, g)`` gives their results."""

    def run(*calls: Callable[[], object]) -> list:
        barrier, results = threading.Barrier(len(calls)), []

        def attempt(call: Callable[[], object]) -> object:
            end = time.monotonic() + 60
            while True:
                try:
                    return call()
                except OperationalError:
                    # SQLite in memory, which tests use, refuses where a file would wait.
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.01)

        def thread(call: Callable[[], object]) -> None:
            barrier.wait()
            try:
                results.append(attempt(call))
            finally:
                connection.close()

        threads = [threading.Thread(target=thread, args=(call,)) for call in calls]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return results

    return run
