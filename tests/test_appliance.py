"""The folders of an installation: what root makes there, the service user can not turn against root (T20, T7)."""

from __future__ import annotations

import os
import pwd
import sqlite3
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from bhype import bootstrap
from bhype.appliance import Layout, prepare, share, write_number
from bhype.host import LocalHost
from bhype.tasks.wake import Bell
from bhype.vmrun.rundir import RunDir, new_state

# The checkout, and the virtual environment in it, may lie in a folder of root's own.
EVERYBODYS_PYTHON = bootstrap.python()
NOBODY = pwd.getpwnam("nobody")
# Only root can be somebody else; everybody else is root and service user at once.
ACCOUNT = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}


@pytest.fixture
def layout():
    """In a folder that everybody may enter; pytest's own are their user's."""
    with tempfile.TemporaryDirectory(prefix="bht-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield laid_out(Path(folder) / "state")


def laid_out(state: Path) -> Layout:
    return Layout(
        state=state, root=str(state / "lab/root"), bind="127.0.0.1", port=8080, user="nobody",
        privileged=os.geteuid() == 0,
    )  # fmt: skip


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def as_nobody(script: str, *words: str) -> str:
    """The output of a Python script that runs as the service user."""
    result = subprocess.run(
        [EVERYBODYS_PYTHON, "-c", script, *words],
        capture_output=True, text=True, check=False, cwd="/", umask=0o007, **ACCOUNT,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_folders_and_keys_are_for_root_and_the_service_user_only(layout):
    (layout.state / "db").mkdir(parents=True)
    for name in ("secret.key", "gateway.key", "db/bhype.sqlite3"):
        (layout.state / name).write_text("x")
    prepare(layout)
    assert mode(layout.state) == 0o750
    assert mode(layout.run) == mode(layout.state / "db") == 0o3770
    assert mode(Path(layout.root) / "var/run/bhype/vms") == 0o2750
    if layout.privileged:
        assert mode(layout.state / "secret.key") == mode(layout.state / "gateway.key") == 0o640
        database = (layout.state / "db/bhype.sqlite3").stat()
        assert (database.st_uid, database.st_gid, stat.S_IMODE(database.st_mode)) == (0, NOBODY.pw_gid, 0o660)
        assert (layout.state / "db").stat().st_uid == 0


def test_the_console_of_a_guest_that_was_started_before_the_panel_is_reached(layout):
    guests = Path(layout.root) / "var/run/bhype/vms"
    guests.mkdir(parents=True)
    run = RunDir(LocalHost(layout.root), "early")
    run.take()
    run.write(new_state("early", None, None))
    prepare(layout)
    assert "early" in as_nobody(
        "import sys; print(open(sys.argv[1]).read())", str(guests / "early/state.json")
    )
    assert mode(guests / "early/state.json") == 0o640


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_in_place_of_the_database_is_refused_and_its_target_left_alone(layout, tmp_path, link):
    """Given away at the next start, it would be /etc/shadow."""
    target = tmp_path / "shadow"
    target.write_text("root:x")
    target.chmod(0o600)
    place = tmp_path / "bhype.sqlite3-wal"
    link(target, place)
    with pytest.raises(SystemExit):
        share(place, NOBODY.pw_gid, 0o660)
    assert mode(target) == 0o600 and target.stat().st_gid == os.getegid()


def test_a_pipe_in_place_of_the_database_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "bhype.sqlite3")
    with pytest.raises(SystemExit):
        share(tmp_path / "bhype.sqlite3", os.getegid(), 0o660)


def test_the_number_of_a_process_is_written_through_no_link(tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    place = tmp_path / "web.pid"
    place.symlink_to(target)
    write_number(place, 42)
    assert target.read_text() == "precious"
    assert place.read_text() == "42\n" and not place.is_symlink()


def test_the_wake_socket_has_its_mode_from_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "chmod", None)
    bell = Bell(tmp_path)
    assert mode(tmp_path / "worker.sock") == 0o660
    bell.close()


AS_SERVICE_USER = """
import os, sqlite3, sys
folder = sys.argv[1]
os.stat(folder + "/bhype.sqlite3-wal")
ours = os.stat(folder).st_uid == os.geteuid()
changes = [
    lambda: os.rename(folder + "/bhype.sqlite3", folder + "/x"),
    lambda: os.unlink(folder + "/bhype.sqlite3"),
    lambda: os.unlink(folder + "/bhype.sqlite3-wal"),
]
for change in [] if ours else changes:
    try:
        change()
    except PermissionError:
        continue
    sys.exit("it was allowed")
rows = sqlite3.connect(folder + "/bhype.sqlite3")
rows.execute("PRAGMA journal_mode=WAL")
rows.execute("INSERT INTO words VALUES ('web')")
rows.commit()
rows.close()
"""


ALONE = """
import sqlite3, sys
rows = sqlite3.connect(sys.argv[1])
print(rows.execute("SELECT count(*) FROM words").fetchone()[0])
rows.execute("INSERT INTO words VALUES ('again')")
rows.commit()
"""


def test_root_and_the_service_user_share_a_database_that_only_root_can_replace(layout):
    folder = layout.state / "db"
    folder.mkdir(parents=True)
    path = folder / "bhype.sqlite3"
    rows = sqlite3.connect(path)
    rows.execute("PRAGMA journal_mode=WAL")
    rows.execute("CREATE TABLE words (word TEXT)")
    rows.commit()
    prepare(layout)
    as_nobody(AS_SERVICE_USER, str(folder))
    assert rows.execute("SELECT word FROM words").fetchall() == [("web",)]
    rows.execute("INSERT INTO words VALUES ('worker')")
    rows.commit()
    rows.close()
    # The other way round: the service user is alone at first and at last.
    assert as_nobody(ALONE, str(path)) == "2"
    again = sqlite3.connect(path)
    assert again.execute("SELECT count(*) FROM words").fetchone() == (3,)
    again.close()
    prepare(layout)  # at the next start
