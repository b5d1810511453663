from __future__ import annotations

import pytest
from django.db import transaction
from pydantic import BaseModel

from bhype.live.models import Event
from bhype.tasks import Refused, ask, cancel, operation, retry
from bhype.tasks.models import Task


def test_it_queues_a_row_for_the_worker(alice):
    task = ask("sample.sleep", {"name": "bed", "seconds": 1}, alice)
    task.refresh_from_db()
    assert (task.status, task.title, task.lock, task.subject) == ("queued", "Sleep as bed", "bed", "bed:bed")
    assert (task.host, task.user, task.params) == ("lab", alice, {"name": "bed", "seconds": 1.0})


def test_it_tells_open_pages(alice):
    task = ask("sample.sleep", {"name": "bed"}, alice)
    topics = set(Event.objects.values_list("topic", flat=True))
    assert topics == {f"task:{task.pk}", "tasks", f"tasks:{alice.pk}", "bed:bed"}


def test_it_is_undone_with_the_callers_transaction(alice):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        ask("sample.free", {}, alice)
        raise ZeroDivisionError
    assert not Task.objects.exists()
    assert not Event.objects.exists()


def test_the_title_names_the_object(vm, alice):
    task = ask("sample.start", {"vm_id": vm.pk}, alice)
    assert (task.title, task.subject, task.lock) == ("Start web1", f"vm:{vm.pk}", f"vm:{vm.pk}")


def test_it_goes_to_the_host_of_the_object(vm, alice):
    vm.host.name = "other"
    vm.host.save()
    assert ask("sample.start", {"vm_id": vm.pk}, alice).host == "other"


def test_asking_twice_gives_the_task_that_waits(alice, admin):
    first = ask("sample.free", {"name": "x"}, alice)
    assert ask("sample.free", {"name": "x"}, alice) == first
    assert ask("sample.free", {"name": "y"}, alice) != first
    assert ask("sample.free", {"name": "x"}, admin) != first
    assert ask("sample.free", {"name": "x"}, None) != first
    assert Task.objects.count() == 4


def test_asking_again_after_it_started_makes_another(alice):
    first = ask("sample.free", {}, alice)
    Task.objects.update(status="running")
    assert ask("sample.free", {}, alice) != first


def test_a_task_of_a_deleted_user_is_not_taken_for_the_systems(alice):
    first = ask("sample.free", {}, alice)
    alice.delete()
    assert ask("sample.free", {}, None) != first


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"seconds": "long"}, "seconds"),
        ({"name": 7}, "name"),
        ({"name": "x" * 21}, "name"),
        ({"note": "a\0b"}, "note"),
        ({"note": "\ud800"}, "note"),
    ],
)
def test_it_refuses_bad_parameters(alice, params, field):
    with pytest.raises(Refused) as refused:
        ask("sample.sleep", params, alice)
    assert (refused.value.code, refused.value.field, refused.value.status) == ("invalid", field, 422)
    assert not Task.objects.exists()


def test_missing_and_forbidden_look_the_same(vm, alice, stranger, viewer):
    answers = set()
    for user, key in ((stranger, vm.pk), (viewer, vm.pk), (alice, vm.pk + 1)):
        with pytest.raises(Refused) as refused:
            ask("sample.start", {"vm_id": key}, user)
        answers.add((refused.value.code, refused.value.message, refused.value.status))
    assert len(answers) == 1
    assert answers.pop()[2] == 404


def test_only_the_system_asks_for_what_has_no_right(admin):
    with pytest.raises(Refused):
        ask("sample.recover", {}, admin)
    assert ask("sample.recover", {}, None).by_system


def test_an_unknown_operation_is_an_error_of_the_program(alice):
    with pytest.raises(LookupError):
        ask("sample.nothing", {}, alice)


def test_a_long_lock_stays_one_lock_per_thing(alice):
    class Local(BaseModel):
        name: str

    globals()["Local"] = Local

    @operation("sample.long", title="{name}", right="self", lock="{name}")
    def long(run, params: Local) -> None: ...

    locks = [ask("sample.long", {"name": "n" * 300 + end}, alice).lock for end in "ab"]
    assert locks[0] != locks[1]
    assert all(len(lock) <= 120 for lock in locks)


def test_two_operations_cannot_share_a_name():
    with pytest.raises(ValueError, match="two operations"):

        @operation("sample.free", title="x")
        def other(run, params: BaseModel) -> None: ...


def test_a_waiting_task_is_cancelled_at_once(alice):
    task = cancel(ask("sample.free", {}, alice), alice)
    assert task.status == "cancelled"
    assert task.finished_at is not None


def test_a_running_task_is_told_to_stop(alice):
    task = ask("sample.free", {}, alice)
    Task.objects.update(status="running")
    assert cancel(task, alice).status == "cancelling"
    assert cancel(task, alice).status == "cancelling"


def test_what_is_over_cannot_be_cancelled(alice):
    task = ask("sample.free", {}, alice)
    Task.objects.update(status="succeeded")
    with pytest.raises(Refused, match="over already") as refused:
        cancel(task, alice)
    assert refused.value.status == 409


def test_who_may_cancel_and_retry(alice, stranger, operator, admin):
    for change, status in ((cancel, "queued"), (retry, "failed")):
        task = ask("sample.free", {}, alice)
        Task.objects.filter(pk=task.pk).update(status=status)
        task.refresh_from_db()
        for user in (stranger, operator):
            with pytest.raises(Refused) as refused:
                change(task, user)
            assert refused.value.status == 404
        change(task, admin)


def test_a_token_that_may_only_read_cancels_nothing(vm, alice):
    task = ask("sample.start", {"vm_id": vm.pk}, alice)
    alice.scope = "read"
    with pytest.raises(Refused):
        cancel(task, alice)
    alice.scope = "operate"
    cancel(task, alice)


def test_a_retry_is_a_new_task(alice, admin):
    task = ask("sample.fail", {"name": "it"}, alice)
    Task.objects.update(status="failed")
    task.refresh_from_db()
    again = retry(task, admin)
    assert (again.retry_of, again.user, again.params, again.status) == (task, admin, task.params, "queued")


@pytest.mark.parametrize("status", ["queued", "running", "cancelling", "succeeded"])
def test_only_what_did_not_succeed_is_tried_again(alice, status):
    task = ask("sample.fail", {}, alice)
    Task.objects.update(status=status)
    task.refresh_from_db()
    with pytest.raises(Refused) as refused:
        retry(task, alice)
    assert refused.value.status == 409
