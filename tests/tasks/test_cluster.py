"""The real worker: processes that are killed, cancelled and ended, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tasks.own_database import own_database

BASE = Path(__file__).resolve().parents[2]
# One worker for all of them.
pytestmark = pytest.mark.xdist_group("cluster")


@pytest.fixture(scope="module")
def seen():
    """What happened to a whole worker (tests.tasks.cluster)."""
    with own_database() as environment:
        command = [sys.executable, "-m", "tests.tasks.cluster"]
        done = subprocess.run(
            command, check=False, cwd=BASE, env=environment, capture_output=True, text=True, timeout=600
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_tasks_start_at_once(seen):
    assert seen["latency"]["statuses"] == ["succeeded"]
    # Far above what is measured in make bench, far below what a forgotten wake-up would give: half of the poll.
    assert seen["latency"]["median"] < 700


def test_brokers_that_race_claim_each_task_once_and_each_lock_once(seen):
    assert seen["racing_brokers"] == {"claimed": 80, "twice": 0, "faults": [], "left": 0}


def test_tasks_with_one_lock_run_one_at_a_time(seen):
    assert seen["locks"] == {"statuses": ["succeeded"], "overlaps": 0}


def test_cancel_kills_the_whole_process_group(seen):
    assert seen["cancelled_group"]["was_alive"] == [True, True]
    assert seen["cancelled_group"]["alive"] == [False, False]
    assert seen["cancelled_group"]["status"] == "cancelled"


def test_a_killed_workers_task_is_interrupted_and_recovered(seen):
    assert seen["killed_while_running"] == {"recovery": "succeeded", "by_system": True, "params": "killed"}


def test_a_task_that_takes_its_worker_with_it_is_interrupted_and_recovered(seen):
    assert seen["died_by_itself"] == {"recovery": "succeeded", "by_system": True, "params": "dead"}


def test_it_goes_on_after_all_its_processes_were_killed(seen):
    # Pusher and workers; a multiprocessing.Queue would hang here.
    assert seen["idle_killed"] == {"statuses": ["succeeded"], "processes": 5}


def test_a_second_worker_of_a_host_is_refused(seen):
    assert seen["second_worker"]["code"] == 1
    assert "Another worker" in seen["second_worker"]["said"]


def test_the_group_of_the_run_folder_may_knock(seen):
    assert seen["socket_mode"] == {"mode": "0o660", "group": True}


def test_a_killed_guard_leaves_no_process_behind_and_can_be_started_again(seen):
    assert seen["guard_killed"] == {"orphan": "succeeded", "after": "succeeded"}


def test_an_ended_worker_lets_short_tasks_end_and_interrupts_long_ones(seen):
    end = seen["terminated"]
    assert (end["quick"], end["long"]) == ("succeeded", "interrupted")
    # It is done when the worker is started again.
    assert end["recovery"] == ["queued"]
    assert end["left"] == []
    assert end["seconds"] < 40
