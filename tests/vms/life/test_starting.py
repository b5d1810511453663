"""A start beside edits of the same VM: rows only."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from django.db import connection, connections, transaction

from vms.forms import EditVMForm, values
from vms.life import guard, starting
from vms.models import VM

GIB = 2**30


@pytest.mark.django_db(transaction=True)
def test_a_start_and_an_edit_at_one_moment_wait_for_each_other(vm, alice, monkeypatch):
    """Had each what the other needs, PostgreSQL would break one of them off."""
    # The tests' SQLite lies in memory, where a lock is an error at once: there they wait here.
    turn = threading.Lock() if connection.vendor == "sqlite" else nullcontext()
    monkeypatch.setattr(guard, "look", lambda host: guard.Memory(32 * GIB, 24 * GIB, 0, 0, 0))
    written, errors = threading.Event(), []

    def edit() -> None:
        try:
            with turn, transaction.atomic():
                form = EditVMForm(values(vm) | {"cpus": 1, "notes": "x"}, user=alice, vm=vm)
                assert form.is_valid() and form.save(alice), form.errors
                written.set()
                time.sleep(0.5)  # enough for the start to come so far
        except Exception as error:
            errors.append(error)
        finally:
            written.set()
            connections.close_all()

    editor = threading.Thread(target=edit)
    editor.start()
    written.wait(20)
    with turn:
        starting.claim_memory(SimpleNamespace(host=None, user=None), vm, force=False)
    editor.join(20)
    assert not errors
    row = VM.objects.get()
    assert (row.state, row.cpus, row.notes) == ("starting", 1, "x")
