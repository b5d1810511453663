from __future__ import annotations

import pytest

from bhype.live.models import Event
from bhype.tasks import ask, cancel, registry
from bhype.tasks.models import Task
from bhype.tasks.runner import run_queued


def lines(task):
    return list(task.lines.values_list("kind", "text"))


def test_it_runs_and_keeps_the_result(alice):
    ask("sample.free", {"name": "bob"}, alice)
    [task] = run_queued()
    assert (task.status, task.percent, task.stage, task.error) == ("succeeded", 100, "Working", "")
    assert "pid" in task.result
    assert lines(task) == [("log", "hello bob")]
    assert task.created_at <= task.started_at <= task.finished_at


def test_commands_and_their_output_are_in_the_log(alice):
    ask("sample.tell", {"password": "tr0ub4dor", "text": "the word is tr0ub4dor"}, alice)
    [task] = run_queued()
    assert lines(task) == [("log", "the word is ********"), ("command", "$ /bin/cat"), ("output", "********")]


def test_a_failure_says_its_sentence(alice):
    ask("sample.fail", {"name": "This"}, alice)
    [task] = run_queued()
    assert (task.status, task.error) == ("failed", "This could not be done.")


def test_a_failing_command_says_so(alice, settings):
    ask("sample.sleep", {"seconds": -1}, alice)
    [task] = run_queued()
    assert task.status == "failed"
    assert task.error.startswith("/bin/sleep failed with exit status 1: ")
    assert ("command", "$ /bin/sleep -1.0") in lines(task)
    assert any(kind == "error" for kind, _ in lines(task))


def test_an_error_of_the_program_ends_the_task_with_a_trace(alice):
    ask("sample.break", {}, alice)
    [task] = run_queued()
    assert task.error == "Unexpected error: ZeroDivisionError: oops"
    assert any("break_" in text for _, text in lines(task))


def test_the_right_is_checked_again_before_the_run(vm, alice, operator):
    for user in (alice, operator):
        ask("sample.start", {"vm_id": vm.pk}, user)
    vm.owner = None
    vm.save()
    operator.role = ""
    operator.save()
    ended = run_queued()
    assert {(task.status, task.error) for task in ended} == {
        ("failed", "alice has no right to do this any more."),
        ("failed", "operator has no right to do this any more."),
    }


def test_a_user_who_is_gone_gets_nothing_done(alice, stranger):
    ask("sample.free", {}, alice)
    ask("sample.free", {}, stranger)
    alice.delete()
    stranger.is_active = False
    stranger.save()
    assert [task.error[:30] for task in run_queued()] == ["The user who asked for this is"] * 2


def test_an_object_that_is_gone_is_named_as_such(vm, alice):
    ask("sample.start", {"vm_id": vm.pk}, alice)
    vm.delete()
    [task] = run_queued()
    assert task.error == "What this task was about does not exist any more."


def test_rows_from_elsewhere_are_validated(db):
    Task.objects.create(host="lab", operation="os.system", title="x", by_system=True)
    Task.objects.create(
        host="lab", operation="sample.sleep", title="x", by_system=True, params={"seconds": "x"}
    )
    assert [task.status for task in run_queued()] == ["failed", "failed"]


def test_another_hosts_tasks_are_left_alone(db):
    Task.objects.create(host="other", operation="sample.free", title="x", by_system=True)
    assert run_queued() == []


def test_a_task_cancelled_between_claim_and_start_does_not_run(alice, monkeypatch):
    ask("sample.sleep", {"seconds": 30}, alice)
    from bhype.tasks import queue, run, runner

    monkeypatch.setattr(run, "CANCEL_SECONDS", 0)
    key, token = queue.claim(4)
    cancel(Task.objects.get(pk=key), alice)
    task = queue.take_over(key, token)
    runner._execute(task, run.Run(task), threaded=False)
    task.refresh_from_db()
    assert task.status == "cancelled"
    # What is stopped half-way is put right, as after the death of a worker.
    assert [row.operation for row in run_queued()] == ["sample.recover"]


def test_a_task_runs_for_one_claim_only(alice):
    from bhype.tasks import queue

    ask("sample.free", {}, alice)
    key, token = queue.claim(4)
    assert queue.take_over(key, "claim:other") is None
    assert queue.take_over(key, token) is not None
    assert queue.take_over(key, token) is None


def test_the_result_must_be_storable(alice, monkeypatch):
    def odd(run, params):
        run.result(text="a\0b", odd={1, 2})

    found = registry.get("sample.free")
    monkeypatch.setitem(registry._operations, "sample.free", type(found)(**(vars(found) | {"function": odd})))
    ask("sample.free", {}, alice)
    [task] = run_queued()
    assert task.status == "succeeded"
    assert task.result == {"text": "ab", "odd": "{1, 2}"}


def test_every_change_is_told(alice):
    task = ask("sample.free", {}, alice)
    Event.objects.all().delete()
    run_queued()
    assert Event.objects.filter(topic=f"tasks:{alice.pk}").count() >= 2
    assert Event.objects.filter(topic=f"task:{task.pk}").count() >= 3


@pytest.mark.parametrize("count", [3])
def test_the_worker_command_runs_what_is_queued_once(alice, count, capsys):
    from django.core.management import call_command

    for number in range(count):
        ask("sample.free", {"name": str(number)}, alice)
    call_command("worker", once=True)
    assert capsys.readouterr().out.count("succeeded: Free") == count
