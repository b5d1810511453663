from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tasks.own_database import own_database

BASE = Path(__file__).resolve().parents[2]


@pytest.mark.browser
def test_an_open_page_stays_current_and_says_when_it_does_not():
    with own_database() as environment:
        command = [sys.executable, "-m", "tests.live.open_page"]
        done = subprocess.run(
            command, check=False, cwd=BASE, env=environment, capture_output=True, text=True, timeout=400
        )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["banner"].startswith("Not live since ")
    assert seen["banner"].endswith(", refreshing every 5 seconds")
    # Each line once: the command, and what it said.
    assert seen["lines"] == 2
    assert seen["errors"] == []
