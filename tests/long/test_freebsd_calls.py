"""Calls that FreeBSD's Python has not, or has otherwise, as the types of its standard library know them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BASE = Path(__file__).resolve().parents[2]
ROOMS = (
    "bhype/host",
    "bhype/vmrun",
    "bhype/commit",
    "bhype/outside",
    "bhype/accounts",
    "bhype/tasks",
    "bhype/console",
)
# FreeBSD has them (lseek(2)), typeshed does not say so.
KNOWN = ("SEEK_DATA", "SEEK_HOLE")


def test_what_runs_on_freebsd_calls_nothing_that_only_linux_has(tmp_path):
    argv = [sys.executable, "-m", "mypy", "--platform", "freebsd14", "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [*argv, *ROOMS, "bhype/appliance.py", "bhype/bootstrap.py"],
        cwd=BASE, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [line for line in found if not any(name in line for name in KNOWN)] == []
    assert found or "Success: no issues found" in done.stdout
