"""What waits for a confirmation is on every page, and decided there."""

from __future__ import annotations

import pytest

from bhype import commit
from bhype.accounts.models import AuditEntry
from bhype.freebsd import ifconfig
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep
from bhype.tasks.models import Task
from network.changes import observe
from network.models import HostChange


@pytest.fixture
def waiting(lab, host) -> str:
    """A change that would take a bridge away again."""
    lab.host.run(ifconfig.create_bridge("sw-x", description="bhype/switch/x"))
    commit.begin(lab.host, "test", [ifconfig.destroy("sw-x")], 600, note="7")
    yield "test"
    if commit.pending(lab.host):
        commit.revert(lab.host, "test")


def look(lab) -> None:
    observe.observe(Sweep(lab.host, Host.objects.this()))


def row() -> HostChange:
    return HostChange.objects.get(name="test")


def has_bridge(lab) -> bool:
    return "sw-x" in lab.commands("/sbin/ifconfig", "-l")


def test_the_observer_tells_of_it_and_the_banner_shows_it(lab, waiting, as_user, admin):
    assert "take" not in as_user(admin).get("/network/changes/").content.decode()
    look(lab)
    assert (row().state, row().note) == ("waiting", "7")
    text = as_user(admin).get("/network/changes/").content.decode()
    assert "data-countdown" in text and 'value="confirm"' in text


@pytest.mark.parametrize(
    ("do", "state", "stays"), [("confirm", "confirmed", True), ("revert", "reverted", False)]
)
def test_one_click_decides(lab, waiting, as_user, admin, do, state, stays):
    look(lab)
    answer = as_user(admin).post(f"/network/changes/{row().pk}/", {"do": do})
    assert answer.status_code == 200
    assert [task.status for task in lab.run_tasks()] == ["succeeded"]
    assert row().state == state and has_bridge(lab) == stays
    assert AuditEntry.objects.get(action=f"network.{do}").object == "change test"


def test_what_was_taken_back_is_told_with_its_reason(lab, waiting, as_user, admin):
    look(lab)
    commit.revert(lab.host, "test", "Nobody confirmed it in time.")
    look(lab)
    assert "Nobody confirmed it in time." in as_user(admin).get("/network/changes/").content.decode()


def test_a_confirmation_that_comes_too_late_is_told(lab, waiting, as_user, admin):
    look(lab)
    as_user(admin).post(f"/network/changes/{row().pk}/", {"do": "confirm"})
    commit.revert(lab.host, "test", "Nobody confirmed it in time.")
    (task,) = lab.run_tasks()
    assert task.status == "failed" and "Nobody confirmed it in time." in task.error
    assert row().state == "reverted"


def test_a_confirmation_of_another_change_of_that_name_is_refused(lab, waiting, as_user, admin):
    look(lab)
    as_user(admin).post(f"/network/changes/{row().pk}/", {"do": "confirm"})
    commit.revert(lab.host, "test")
    commit.begin(lab.host, "test", [], 600, note="8")
    (task,) = lab.run_tasks()
    assert task.status == "failed"
    assert commit.look(lab.host, "test").state == "waiting"


def test_others_see_it_only_with_the_right_and_decide_nothing(lab, waiting, as_user, viewer, stranger):
    look(lab)
    address = f"/network/changes/{row().pk}/"
    text = as_user(viewer).get("/network/changes/").content.decode()
    assert "data-countdown" in text and 'value="confirm"' not in text
    assert "data-countdown" not in as_user(stranger).get("/network/changes/").content.decode()
    for user in (viewer, stranger):
        assert as_user(user).post(address, {"do": "confirm"}).status_code == 404
    assert not Task.objects.exists()


def test_what_was_over_before_anybody_saw_it_is_not_told(lab, host):
    commit.begin(lab.host, "test", [], 600)
    commit.revert(lab.host, "test")
    look(lab)
    assert not HostChange.objects.exists()


def test_a_change_of_which_the_host_knows_nothing_does_not_wait(lab, host):
    HostChange.objects.create(host=host, name="gone", state="waiting")
    look(lab)
    assert HostChange.objects.get().state == "reverted"
