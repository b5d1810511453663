from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from bhype.accounts.models import User
from bhype.tasks.models import Task
from tests import rows
from vms.management.commands import demo
from vms.models import VM


@pytest.mark.guest
def test_the_demo_fills_a_lab_and_can_be_repeated(lab, monkeypatch, capsys):
    # Two are enough here, of which one runs.
    monkeypatch.setattr(demo, "SAMPLES", (demo.SAMPLES[0], demo.SAMPLES[3]))
    call_command("demo")
    assert "2 of them are new" in capsys.readouterr().out
    assert dict(VM.objects.values_list("name", "state")) == {"web1": "running", "db1": "stopped"}
    assert not User.objects.get(username="anna").has_usable_password()
    count = Task.objects.count()
    call_command("demo")
    assert "0 of them are new" in capsys.readouterr().out
    assert VM.objects.count() == 2
    assert Task.objects.count() == count


def test_there_are_a_dozen_samples_with_names_of_their_own():
    assert len({sample.name for sample in demo.SAMPLES}) == 12
    assert {sample.owner for sample in demo.SAMPLES} == set(demo.USERS)


def test_the_demo_is_refused_on_a_real_host(settings, db):
    settings.BHYPE_ROOT = "/"
    with pytest.raises(CommandError, match="real host"):
        call_command("demo")
    assert not VM.objects.exists()


def test_filling_makes_whole_vms_and_finished_tasks(db):
    rows.fill(vms=30, tasks=45)
    assert VM.objects.count() == 30
    assert all(vm.disks.count() == vm.nics.count() == 1 and vm.tags.count() == 2 for vm in VM.objects.all())
    assert Task.objects.count() == 45
    assert not Task.objects.unfinished().exists()
