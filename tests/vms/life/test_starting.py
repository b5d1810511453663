"""A start and a deletion beside an edit of the same VM: rows only, and threads with connections of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from django.db import connection, connections, transaction

from vms import operating, wanted
from vms.forms import EditVMForm, values
from vms.life import guard, starting
from vms.models import VM, Disk

GIB = 2**30
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def beside(vm, alice) -> Callable[[Callable[[], None], float, float], None]:
    """Do something while the VM is being edited, which pauses for so many seconds before and after it writes: enough
    for the other one to come so far. Had each what the other needs, PostgreSQL would break one of them off."""
    # The tests' SQLite lies in memory, where a lock is an error at once: there they wait here.
    turn = threading.Lock() if connection.vendor == "sqlite" else nullcontext()
    begun, errors = threading.Event(), []

    def edit(before: float, after: float) -> None:
        try:
            with turn, transaction.atomic():
                wanted.lock(vm.pk)
                if before:
                    begun.set()
                    time.sleep(before)
                form = EditVMForm(values(vm) | {"cpus": 1, "notes": "x"}, user=alice, vm=vm)
                assert form.is_valid() and form.save(alice), form.errors
                begun.set()
                time.sleep(after)
        except Exception as error:
            errors.append(error)
        finally:
            begun.set()
            connections.close_all()

    def both(other: Callable[[], None], before: float, after: float) -> None:
        editor = threading.Thread(target=edit, args=(before, after))
        editor.start()
        begun.wait(60)
        with turn:
            other()
        editor.join(60)
        assert not errors

    return both


def test_a_start_and_an_edit_at_one_moment_wait_for_each_other(beside, vm, monkeypatch):
    monkeypatch.setattr(guard, "look", lambda host: guard.Memory(32 * GIB, 24 * GIB, 0, 0, 0))
    run = SimpleNamespace(host=None, user=None)
    beside(lambda: starting.claim_memory(run, vm, force=False), 0, 0.5)
    row = VM.objects.get()
    assert (row.state, row.cpus, row.notes) == ("starting", 1, "x")


def test_a_deletion_and_an_edit_at_one_moment_wait_for_each_other(beside, vm):
    beside(lambda: operating.forget_row(vm), 0.5, 0)
    assert not VM.objects.exists() and not Disk.objects.exists()
