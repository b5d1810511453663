"""What nobody confirms goes back, whoever dies meanwhile; what is confirmed stays."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time

import pytest

from bhype import commit
from bhype.commit import __main__ as program
from bhype.commit import changes, clock, guard, record
from bhype.commit.record import State
from bhype.freebsd.command import Command
from bhype.host import CommandFailed

from .conftest import until


def test_what_is_confirmed_stays(world):
    world.begin(note="12")
    assert world.rules == "new"
    assert commit.pending(world.host)[0].remaining > 0
    assert commit.confirm(world.host, "firewall", "12").state == State.CONFIRMED
    until(lambda: not world.guards())
    assert world.rules == "new" and not commit.pending(world.host)


def test_what_nobody_confirms_goes_back(world):
    world.begin()
    world.expire(0.3)
    world.wait(State.REVERTED)
    assert world.rules == "old"
    assert commit.look(world.host, "firewall").reason == guard.IN_TIME
    with pytest.raises(commit.TooLate):
        commit.confirm(world.host, "firewall")
    until(lambda: not world.guards())


def test_it_can_be_taken_back_before(world):
    world.begin()
    commit.revert(world.host, "firewall", "It was wrong.")
    with pytest.raises(commit.TooLate, match=r"comes back\. It was wrong\."):
        commit.confirm(world.host, "firewall")
    assert (world.rules, world.state()) == ("old", State.REVERTED)
    with pytest.raises(commit.NoChange):
        commit.confirm(world.host, "firewall", "another")


def test_two_at_once_are_refused_and_the_next_may_follow(world):
    world.begin()
    with pytest.raises(commit.Busy, match="Confirm it or take it back"):
        commit.begin(world.host, "firewall", [], 60)
    commit.begin(world.host, "address", [], 60)
    commit.revert(world.host, "address")
    commit.confirm(world.host, "firewall")
    world.begin()
    commit.confirm(world.host, "firewall")
    with pytest.raises(commit.NoChange):
        commit.revert(world.host, "firewall")


def test_confirming_twice_and_reverting_twice_change_nothing(world):
    world.begin()
    commit.confirm(world.host, "firewall")
    assert commit.confirm(world.host, "firewall").state == State.CONFIRMED
    world.begin()
    commit.revert(world.host, "firewall")
    world.set("somebody else's")
    assert commit.revert(world.host, "firewall").state == State.REVERTED
    assert world.rules == "somebody else's"


def test_a_change_that_fails_is_taken_back_at_once(world):
    with pytest.raises(CommandFailed, match="no device"):
        _fail(world)
    assert (world.rules, world.state()) == ("old", State.REVERTED)
    assert "no device" in commit.look(world.host, "firewall").reason


def _fail(world) -> None:
    commit.begin(world.host, "firewall", [world.command("old")], 60)
    with commit.changing(world.host, "firewall"):
        world.set("half")
        broken = world.folder / "other.fail"
        broken.touch()
        world.host.run(Command(("/sbin/set", str(world.folder / "other"), "new")))


def test_going_back_waits_for_a_change_that_is_being_made(world):
    commit.begin(world.host, "firewall", [world.command("old")], 60)
    with commit.changing(world.host, "firewall"):
        record.write(world.host, commit.look(world.host, "firewall"), deadline=clock.now())
        time.sleep(1)  # the guard looks twice a second
        world.set("new")
        assert world.state() == State.WAITING
    world.wait(State.REVERTED)
    assert world.rules == "old"
    with pytest.raises(commit.TooLate), commit.changing(world.host, "firewall"):
        world.set("too late")
    assert world.rules == "old"


# Who dies meanwhile.

WORKER = """
commit.begin(w.host, "firewall", [w.command("old")], 60)
with commit.changing(w.host, "firewall"):
    w.set("new")
    {inside}
{after}
"""
WAIT = 'print("ready", flush=True); import time; time.sleep(60)'


@pytest.mark.parametrize(("inside", "after"), [(WAIT, "pass"), ("pass", WAIT)])
def test_the_worker_is_killed_and_the_old_rules_come_back(world, inside, after):
    process = world.script(WORKER.format(inside=inside, after=after))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    world.expire()
    world.wait(State.REVERTED)
    assert world.rules == "old"


def test_the_worker_is_killed_and_what_was_confirmed_stays(world):
    process = world.script(WORKER.format(inside="pass", after=WAIT))
    commit.confirm(world.host, "firewall")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    until(lambda: not world.guards())
    assert world.rules == "new"


def test_the_guard_is_killed_and_the_observer_gives_another(world):
    world.begin()
    world.kill_guard()
    assert [change.name for change in commit.watch(world.host)] == ["firewall"]
    assert len(world.guards()) == 1
    assert not commit.watch(world.host)
    world.expire()
    world.wait(State.REVERTED)
    assert world.rules == "old"


def test_the_guard_is_killed_and_it_can_be_confirmed_all_the_same(world):
    world.begin()
    world.kill_guard()
    commit.confirm(world.host, "firewall")
    assert not commit.watch(world.host)
    assert world.rules == "new"


def test_all_are_killed_and_the_observer_takes_it_back_after_the_deadline(world):
    process = world.script(WORKER.format(inside="pass", after=WAIT))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    world.kill_guard()
    world.expire()
    assert world.rules == "new"
    with pytest.raises(commit.TooLate):
        commit.confirm(world.host, "firewall")
    commit.watch(world.host)
    world.wait(State.REVERTED)
    assert world.rules == "old"


@pytest.mark.parametrize("by", ["guard", "worker"])
def test_a_command_that_outlives_who_was_killed_changes_nothing_later(world, by):
    """Whoever takes it back waits for it, even when it goes back itself: after that, the next change may come."""
    at_work = world.folder / "rules.at-work"
    if by == "guard":
        world.begin()
        (world.folder / "rules.slow").touch()
        world.expire()
        until(at_work.exists)
    else:
        slow = 'print("ready", flush=True)\n    (w.folder / "rules.slow").touch()\n    w.set("new")'
        worker = world.script(WORKER.format(inside=slow, after="pass"))
        until(at_work.exists)
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()
    world.kill_guard()
    assert commit.revert(world.host, "firewall").state == State.REVERTED
    assert world.rules == "old"
    world.set("the next")
    time.sleep(0.6)  # all that it may need
    assert world.rules == "the next"


def test_a_command_that_hangs_keeps_nothing_from_going_back(world, monkeypatch):
    monkeypatch.setattr(record, "COMMANDS_WITHIN", 0.1)
    world.begin()
    straggler = record._open(world.host, "firewall", "commands")
    fcntl.flock(straggler, fcntl.LOCK_EX)
    commit.revert(world.host, "firewall")
    os.close(straggler)
    assert (world.rules, world.state()) == ("old", State.REVERTED)


def test_after_a_boot_it_is_taken_back_at_once(world):
    world.begin(3600)
    world.kill_guard()
    world.edit(boot="another")
    with pytest.raises(commit.TooLate):
        commit.confirm(world.host, "firewall")
    commit.watch(world.host)
    world.wait(State.REVERTED)
    assert world.rules == "old"
    assert commit.look(world.host, "firewall").reason == guard.BOOTED


def test_a_clock_that_began_anew_is_another_boot(world):
    world.begin(60)
    world.kill_guard()
    world.edit(deadline=clock.now() + 100_000)
    assert not commit.look(world.host, "firewall").is_of_this_boot


@pytest.mark.parametrize("jump", [-86400 * 400, 86400 * 400])
def test_setting_the_clock_moves_no_deadline(world, jump, monkeypatch):
    world.begin(60)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    assert 0 < commit.look(world.host, "firewall").remaining <= 60
    commit.confirm(world.host, "firewall")


# Steps that fail, and steps that were begun.


def test_a_step_back_that_fails_is_tried_again(world):
    broken = world.folder / "rules.fail"
    world.begin(60)
    broken.touch()
    with pytest.raises(CommandFailed):
        commit.revert(world.host, "firewall")
    assert world.state() == State.UNDOING
    assert "no device" in commit.look(world.host, "firewall").problem
    with pytest.raises(commit.Busy, match="still being taken back"):
        commit.begin(world.host, "firewall", [], 60)
    broken.unlink()
    world.wait(State.REVERTED)
    assert world.rules == "old"
    assert not commit.look(world.host, "firewall").problem


@pytest.mark.parametrize(
    ("state", "rules", "ended"),
    [(State.UNDOING, "old", State.REVERTED), (State.KEEPING, "new", State.CONFIRMED)],
)
def test_what_was_decided_is_finished_whoever_was_killed(world, state, rules, ended):
    draft, target = world.folder / "rules.new", world.folder / "rules.conf"
    world.begin(3600, keep=[commit.Move("/rules.new", "/rules.conf")])
    draft.write_text("new")
    world.kill_guard()
    world.edit(state=state)
    commit.watch(world.host)
    world.wait(ended)
    assert world.rules == rules
    assert target.exists() == (ended == State.CONFIRMED)


def test_a_move_may_be_repeated_and_fails_when_nothing_is_there(world):
    (world.folder / "a").write_text("new")
    step = commit.Move("/a", "/b")
    step.run(world.host)
    step.run(world.host)
    assert (world.folder / "b").read_text() == "new"
    with pytest.raises(FileNotFoundError):
        commit.Move("/a", "/c").run(world.host)


def test_what_lasts_is_done_after_the_confirmation_only(world):
    (world.folder / "rules.new").write_text("new")
    world.begin(keep=[commit.Move("/rules.new", "/rules.conf")])
    world.expire()
    world.wait(State.REVERTED)
    assert not (world.folder / "rules.conf").exists()
    world.begin(keep=[commit.Move("/rules.new", "/rules.conf")])
    commit.confirm(world.host, "firewall")
    assert (world.folder / "rules.conf").read_text() == "new"


def test_confirmation_and_deadline_exclude_each_other(world):
    """Many confirm at the moment of the deadline: all are told the same, and it is so."""
    world.begin()
    world.expire(1)
    told: list[str] = []

    def confirm() -> None:
        while clock.now() < change.deadline - 0.01:
            time.sleep(0.001)
        for _ in range(20):
            try:
                told.append(commit.confirm(world.host, "firewall").state)
            except commit.TooLate:
                told.append(State.REVERTED)

    change = commit.look(world.host, "firewall")
    threads = [threading.Thread(target=confirm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: world.state() in State.ENDED)
    assert set(told) == {world.state()}
    assert world.rules == ("new" if world.state() == State.CONFIRMED else "old")


# Bad input.


@pytest.mark.parametrize("name", ["", "../x", "A", "a b", "-a", "a/b", "a" * 64])
def test_a_name_that_is_none_is_refused(world, name):
    with pytest.raises(ValueError, match="no name"):
        commit.begin(world.host, name, [], 60)


@pytest.mark.parametrize("seconds", [0, -1, 3601])
def test_a_time_without_sense_is_refused(world, seconds):
    with pytest.raises(ValueError, match="seconds"):
        commit.begin(world.host, "firewall", [], seconds)


def test_a_step_with_input_is_refused_as_it_may_hold_secrets(world):
    with pytest.raises(ValueError, match="input"):
        commit.begin(world.host, "firewall", [Command(("/sbin/set",), stdin=b"x")], 60)
    assert commit.look(world.host, "firewall") is None


def test_a_file_that_is_not_understood_counts_as_none(world):
    world.begin()
    file = world.folder / "var/db/bhype/commit/firewall.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    file.write_text('{"name": 3')
    assert commit.look(world.host, "firewall") is None
    until(lambda: not world.guards())
    with pytest.raises(commit.NoChange):
        commit.confirm(world.host, "firewall")


def test_nothing_is_begun_where_no_guard_can_be_started(world, monkeypatch):
    broken = Command(("/nowhere/python",), native=True)
    monkeypatch.setattr("bhype.commit.changes._guard", lambda *_words: broken)
    with pytest.raises(CommandFailed):
        world.begin()
    assert (world.rules, commit.look(world.host, "firewall")) == ("old", None)


def test_the_console_of_the_host_lists_and_decides(world, capsys):
    world.begin()
    root = ["--root", str(world.folder)]
    assert program.main([*root, "list"]) == 0
    assert "firewall\twaiting\t" in capsys.readouterr().out
    assert program.main([*root, "revert", "firewall"]) == 0
    assert world.rules == "old"
    assert program.main([*root, "confirm", "firewall"]) == 1
    assert "It was taken back." in capsys.readouterr().err


def test_more_guards_than_one_do_no_harm(world):
    world.begin()
    for _ in range(2):
        world.host.run(changes._guard(world.host, "firewall"))
    world.expire()
    world.wait(State.REVERTED)
    assert world.rules == "old"
    until(lambda: not world.guards())
