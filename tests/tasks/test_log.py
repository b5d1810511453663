"""What is kept of what commands say: lines without escapes, secrets and NULs, and not without bound."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.tasks import log as log_module
from bhype.tasks.log import LONGEST_LINE, Log, clean, secrets_of
from bhype.tasks.models import Task, TaskLine
from bhype.tasks.process import identity, is_gone, parse_ps, ps_command
from bhype.tasks.wake import Bell, knock


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("plain\ttext", "plain\ttext"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("10%\r50%\r100%", "100%"),
        ("end\r\n", "end"),
        ("a\0b", "ab"),
        ("\u202etxt.exe", "txt.exe"),
        ("\ud800", ""),
        ("x" * 5000, "x" * (LONGEST_LINE - 1) + "…"),
    ],
)
def test_a_line_is_cleaned(said, kept):
    assert clean(said) == kept


@given(st.text(alphabet=st.characters(codec=None), max_size=200))
def test_whatever_is_said_one_storable_line_is_kept(text):
    kept = clean(text)
    assert len(kept) <= LONGEST_LINE
    assert kept.isprintable() or all(letter == "\t" or letter >= " " for letter in kept)
    kept.encode()
    assert "\n" not in kept
    assert "\x1b" not in kept


@pytest.fixture
def task(alice):
    return Task.objects.create(
        host="lab", operation="x", title="T", user=alice, status="running",
        params={"password": "geheim1", "auth": {"api_token": "abcdef"}, "name": "visible"},
    )  # fmt: skip


def texts(task):
    return list(task.lines.values_list("text", flat=True))


def test_secret_parameters_are_found_at_any_depth(task):
    assert set(secrets_of(task.params)) == {"geheim1", "abcdef"}
    assert [*secrets_of(["password"]), *secrets_of(None)] == []


def test_secrets_are_hidden_also_over_several_lines(task):
    log = Log(task, ["task:1"])
    log.hide("two\nlines", "abc")
    log.add("log", "geheim1 abcdef visible two\nlines abc")
    log.flush()
    assert texts(task) == ["******** ******** visible ******** abc"]


def test_lines_are_written_in_batches(task, django_assert_num_queries):
    log = Log(task, ["task:1"])
    for number in range(40):
        log.add("output", f"line {number}")
    assert not TaskLine.objects.exists()
    log.stage("Copying", 130)
    log.flush()
    assert len(texts(task)) == 40
    task.refresh_from_db()
    assert (task.stage, task.percent) == ("Copying", 100)
    with django_assert_num_queries(0):
        log.flush()


def test_a_log_is_full_at_some_point(task, monkeypatch):
    monkeypatch.setattr(log_module, "MOST_LINES", 10)
    log = Log(task, ["task:1"])
    log.add("log", "\n".join(["x"] * 50))
    log.add("log", "y")
    log.flush()
    assert texts(task) == ["x"] * 10 + ["The log is full; what follows is not kept."]


def test_lines_are_kept_when_the_database_is_away_for_a_moment(task, monkeypatch):
    from django.db import OperationalError

    log = Log(task, ["task:1"])
    log.add("log", "x")
    log.stage("Working", 5)
    with monkeypatch.context() as patched:
        patched.setattr(
            TaskLine.objects, "bulk_create", lambda *_, **__: (_ for _ in ()).throw(OperationalError())
        )
        with pytest.raises(OperationalError):
            log.flush()
    log.flush()
    assert texts(task) == ["x"]
    task.refresh_from_db()
    assert task.stage == "Working"


def test_a_process_is_known_by_number_and_start():
    process = subprocess.Popen(["/bin/sleep", "60"])
    name = identity(process.pid)
    assert name.startswith(f"{process.pid}:")
    assert not is_gone(name)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    # A zombie has ended, too.
    assert is_gone(name)
    process.wait()
    assert is_gone(name)
    assert all(is_gone(word) for word in ("", "x", "claim:1", "1:0"))
    assert not is_gone(identity())


@pytest.mark.parametrize(
    ("said", "start"),
    [
        ("Sat Nov 21 02:24:28 2026 Ss+\n", "Sat-Nov-21-02:24:28-2026"),
        ("Sat Nov  1 02:24:28 2026     I\n", "Sat-Nov-1-02:24:28-2026"),
        ("Sat Nov 21 02:24:28 2026 Z\n", ""),
        ("", ""),
    ],
)
def test_ps_is_understood(said, start):
    assert parse_ps(said) == start
    assert len(f"99999:{start}") <= Task._meta.get_field("worker").max_length


def test_a_process_that_cannot_be_asked_about_is_not_taken_for_gone(monkeypatch):
    from bhype.host import CommandFailed, Result
    from bhype.tasks import process

    def fail(pid):
        raise CommandFailed(ps_command(pid), Result(127, "", "", 0))

    monkeypatch.setattr(process, "started_at", fail)
    assert not is_gone("12:34")


def test_a_knock_wakes_and_never_fails(settings, tmp_path):
    settings.RUN_DIR = tmp_path
    knock()
    bell = Bell(tmp_path)
    try:
        assert not bell.wait(0)
        for _ in range(2000):
            knock()
        assert bell.wait(0)
        assert not bell.wait(0)
    finally:
        bell.close()
    knock()
    # What a killed worker left behind is no obstacle.
    Bell(tmp_path)._socket.close()
    Bell(tmp_path).close()
