"""Which task is next: one per lock, in the order asked, fair among users; and what dead workers leave."""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bhype.accounts.models import User
from bhype.tasks import ask, queue
from bhype.tasks.broker import TaskBroker
from bhype.tasks.models import Task, TaskLine
from bhype.tasks.process import identity


def put(user=None, lock="", status="queued", **values):
    return Task.objects.create(
        host="lab", operation="sample.free", title="T", user=user, lock=lock, status=status, **values
    )


def take(workers=100):
    found = queue.claim(workers)
    return Task.objects.get(pk=found[0]) if found else None


def test_the_oldest_goes_first(alice):
    tasks = [put(alice) for _ in range(3)]
    assert [take() for _ in range(4)] == [*tasks, None]


def test_a_held_lock_is_passed_by(alice):
    put(alice, "a", "running")
    put(alice, "a")
    free = put(alice, "b")
    assert take() == free
    assert take() is None


def test_a_task_that_is_being_cancelled_holds_its_lock(alice):
    put(alice, "a", "cancelling")
    put(alice, "a")
    assert take() is None


def test_users_take_turns(alice, stranger):
    mine = [put(alice) for _ in range(3)]
    other = put(stranger)
    assert [take(), take(), take()] == [mine[0], other, mine[1]]


def test_the_system_is_a_user_among_others(alice):
    mine = [put(alice) for _ in range(2)]
    system = put(None, by_system=True)
    assert [take(), take()] == [mine[0], system]


def test_of_one_lock_the_first_asked_runs_first_whoever_asked(alice, stranger):
    put(alice, "x", "running")
    first = put(alice, "vm:1")
    put(stranger, "vm:1")
    assert take() == first
    assert take() is None


def test_no_more_run_than_there_are_workers(alice):
    put(alice)
    put(alice)
    assert take(workers=1) is not None
    assert take(workers=1) is None


def test_other_hosts_are_left_alone(alice):
    Task.objects.create(host="other", operation="sample.free", title="T", user=alice)
    assert take() is None


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.integers(0, 2), st.sampled_from(["", "a", "b", "c"])),
            st.just(("claim",)),
            st.tuples(st.just("end"), st.integers(0, 9)),
        ),
        max_size=40,
    )
)
@hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_is_asked_and_ends_the_order_holds(steps, db):
    Task.objects.all().delete()
    users = [User.objects.get_or_create(username=f"u{n}")[0] for n in range(3)]
    for step in [*steps, ("claim",)]:
        if step[0] == "ask":
            put(users[step[1]], step[2])
            continue
        running = list(Task.objects.filter(status="running").order_by("id"))
        if step[0] == "end":
            if running:
                Task.objects.filter(pk=running[step[1] % len(running)].pk).update(status="succeeded")
            continue
        held = {task.lock for task in running if task.lock}
        busy = Counter(task.user_id for task in running)
        ready = [task for task in Task.objects.filter(status="queued") if task.lock not in held]
        claimed = take()
        assert (claimed is None) == (not ready)
        if claimed:
            assert claimed in ready
            same = [task.pk for task in ready if task.lock and task.lock == claimed.lock]
            assert claimed.pk == min(same, default=claimed.pk)
            least = min(busy[task.user_id] for task in ready)
            # It is of a user with the fewest running, or stands in such a user's way.
            in_the_way = any(task.lock == claimed.lock and busy[task.user_id] == least for task in ready)
            assert busy[claimed.user_id] == least or (claimed.lock and in_the_way)


def plan_of(queryset):
    sql, params = queryset.order_by().query.sql_with_params()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            ("EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN ") + sql, params
        )
        return " ".join(str(row) for row in cursor.fetchall())


def test_looking_for_the_next_task_reads_indexes_only(alice):
    from django.db.models import Min

    queued = Task.objects.filter(host="lab", status="queued").exclude(lock__in=["a"])
    same_lock = Task.objects.filter(host="lab", status="queued", lock="a")
    for wanted in (queued.values_list("user_id").annotate(first=Min("id")), same_lock):
        plan = plan_of(wanted)
        assert "using" in plan.lower()
        assert "Seq Scan" not in plan
        assert "SCAN" not in plan


def test_a_claim_asks_the_database_a_few_things_however_many_are_queued(alice, django_assert_max_num_queries):
    Task.objects.bulk_create(
        [Task(host="lab", operation="o", title="T", user=alice, lock=f"l{n % 3}") for n in range(300)]
    )
    with django_assert_max_num_queries(7):
        assert take_key() is not None


def take_key():
    return queue.claim(100)


def test_the_broker_hands_over_the_number_of_the_row_and_nothing_else(alice, settings, monkeypatch):
    from django_q.conf import Conf
    from django_q.signing import BadSignature, SignedPackage

    monkeypatch.setattr(Conf, "SECRET_KEY", "of the worker")
    task = put(alice, params={"x": "y"})
    [(key, package)] = TaskBroker("lab").dequeue()
    assert key == task.pk
    content = SignedPackage.loads(package)
    assert content["func"] == "bhype.tasks.runner.run"
    assert content["args"][0] == task.pk
    assert set(content) == {"id", "name", "func", "args", "kwargs"}
    monkeypatch.setattr(Conf, "SECRET_KEY", settings.SECRET_KEY)
    with pytest.raises(BadSignature):
        SignedPackage.loads(package)


def test_an_idle_broker_waits_no_longer_than_its_poll(db):
    assert TaskBroker("lab").dequeue() is None


def test_nothing_is_enqueued_through_django_q(db):
    with pytest.raises(NotImplementedError):
        TaskBroker("lab").enqueue("x")


def test_a_gone_workers_task_is_interrupted(alice):
    task = ask("sample.sleep", {"name": "x"}, alice)
    Task.objects.update(status="running", worker="4194304:1", started_at=timezone.now())
    assert queue.mark_interrupted() == [task]
    task.refresh_from_db()
    assert (task.status, task.error) == ("interrupted", "The worker process that ran this task has ended.")
    recovery = Task.objects.get(operation="sample.recover")
    assert (recovery.by_system, recovery.user, recovery.lock) == (True, None, "x")
    assert queue.mark_interrupted() == []


def test_a_living_workers_task_is_left_alone(alice):
    put(alice, status="running", worker=identity())
    assert queue.mark_interrupted() == []


def test_a_process_number_that_is_used_again_is_another_process(alice):
    put(alice, status="running", worker=f"{os.getpid()}:1")
    assert len(queue.mark_interrupted()) == 1


def test_a_lost_hand_over_goes_back_to_the_queue(alice):
    old = timezone.now() - timedelta(minutes=5)
    lost = put(alice, status="running", worker="claim:x", started_at=old)
    cancelled = put(alice, status="cancelling", worker="claim:y", started_at=old)
    fresh = put(alice, status="running", worker="claim:z", started_at=timezone.now())
    assert queue.mark_interrupted() == []
    states = dict(Task.objects.values_list("pk", "status"))
    assert states == {lost.pk: "queued", cancelled.pk: "cancelled", fresh.pk: "running"}
    queue.mark_interrupted(restarted=True)
    fresh.refresh_from_db()
    assert fresh.status == "queued"


def test_what_is_interrupted_again_and_again_is_not_recovered_for_ever(alice):
    for _ in range(6):
        ask("sample.sleep", {"name": "x"}, alice)
        Task.objects.filter(operation="sample.sleep", status="queued").update(
            status="running", worker="4194304:1"
        )
        queue.mark_interrupted()
        Task.objects.filter(operation="sample.recover").update(status="succeeded")
    assert Task.objects.filter(operation="sample.recover").count() == queue.MOST_RECOVERIES
    assert TaskLine.objects.filter(text__contains="too often").exists()


def test_another_hosts_running_tasks_are_not_judged_here(alice):
    Task.objects.create(host="other", operation="x", title="T", status="running", worker="4194304:1")
    assert queue.mark_interrupted() == []


def test_old_finished_tasks_go_with_their_logs(alice):
    old = timezone.now() - timedelta(days=100)
    gone = put(alice, status="succeeded", created_at=old)
    TaskLine.objects.create(task=gone, text="x")
    waiting = put(alice, created_at=old)
    again = put(alice, status="failed", retry_of=gone)
    assert queue.prune() == 1
    assert set(Task.objects.all()) == {waiting, again}
    assert not TaskLine.objects.exists()


def test_only_so_many_tasks_are_kept(alice):
    tasks = [put(alice, status="succeeded") for _ in range(10)]
    assert queue.prune(number=4) == 6
    assert list(Task.objects.order_by("pk")) == tasks[6:]
    assert queue.prune(number=4) == 0


def recovery(status, minutes, **values):
    moment = timezone.now() - timedelta(minutes=minutes)
    return Task.objects.create(
        host="lab", operation="sample.recover", title="R", subject="bed:x", by_system=True, status=status,
        params={"name": "x"}, created_at=moment, finished_at=moment, **values,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("history", "is_repeated"),
    [
        ([("failed", 2)], True),
        ([("interrupted", 2)], True),
        ([("failed", 0)], False),
        ([("failed", 9), ("failed", 3)], True),
        ([("failed", 9), ("failed", 1)], False),
        ([("failed", 9), ("succeeded", 3)], False),
        ([("failed", 9), ("queued", 3)], False),
        ([("cancelled", 9)], False),
        ([("failed", 60 * 25)], False),
    ],
)
def test_a_recovery_that_failed_is_asked_again_after_a_growing_pause(db, history, is_repeated):
    for status, minutes in history:
        recovery(status, minutes)
    found = queue.repeat_recoveries()
    assert [(task.operation, task.by_system, task.params) for task in found] == (
        [("sample.recover", True, {"name": "x"})] if is_repeated else []
    )
    assert queue.repeat_recoveries() == []
