"""Many VMs at once: a pool limits how many run, a tag names them, and each has its own result."""

from __future__ import annotations

import pytest

from bhype.accounts.models import User
from bhype.tasks import Refused, ask, queue, runner
from bhype.tasks.models import Task
from vms.life import bulk
from vms.models import VM, Tag


@pytest.fixture
def many(vm) -> list[VM]:
    made = VM.objects.bulk_create(
        VM(
            host=vm.host, pool=vm.pool, owner=vm.owner, name=f"m{n}", memory=2**26, vnc_port=7000 + n,
            vnc_password="x", state="stopped",
        )
        for n in range(100)
    )  # fmt: skip
    tag = Tag.objects.create(name="many")
    VM.tags.through.objects.bulk_create(VM.tags.through(vm=row, tag=tag) for row in made)
    return made


def claims() -> int:
    count = 0
    while queue.claim(1000):
        count += 1
    return count


def test_a_hundred_are_asked_for_at_once_and_three_run_at_a_time(many, alice):
    outcomes = bulk.act("start", many, alice)
    assert sum(outcome.task is not None for outcome in outcomes) == 100
    assert claims() == bulk.PARALLEL
    assert len(set(Task.objects.values_list("pool", flat=True))) == 1


def test_two_bulks_do_not_wait_for_each_other(many, alice):
    bulk.act("start", many[:10], alice, parallel=2)
    bulk.act("start", many[10:20], alice, parallel=5)
    assert claims() == 7


def test_one_alone_needs_no_pool(vm, alice):
    bulk.act("start", [vm], alice)
    assert Task.objects.get().pool == ""


def test_a_task_asks_for_all_with_a_tag_that_its_user_may_operate(many, alice, stranger, settings, tmp_path):
    settings.BHYPE_ROOT = str(tmp_path)
    VM.objects.filter(pk__in=[vm.pk for vm in many[:60]]).update(owner=stranger)
    VM.objects.filter(pk=many[60].pk).update(state="running")
    task = ask("vms.bulk", {"action": "start", "tag": "many", "parallel": 7}, alice)
    assert (task.title, task.subject) == ("Start the VMs tagged many", "tag:many")
    [done] = runner.run_queued(1)
    assert done.status == "succeeded", done.error
    assert len(done.result["tasks"]) == 39
    assert list(done.result["refused"]) == ["m60"]
    assert claims() == 7
    assert set(Task.objects.exclude(pk=task.pk).values_list("user", flat=True)) == {alice.pk}


def test_what_is_no_action_is_refused(alice):
    with pytest.raises(Refused):
        ask("vms.bulk", {"action": "delete", "tag": "x"}, alice)
    with pytest.raises(Refused):
        ask("vms.bulk", {"action": "start", "vm_ids": [1], "parallel": 0}, alice)
    assert User.objects.count() == 1
