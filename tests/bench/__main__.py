"""``make bench``: speed and size as ratios and counts, side by side, with the budget beside each figure.

Nothing here fails a build; the figures are for people. Some parts alone: ``python -m tests.bench panel console``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from tests.run import postgresql

PARTS = ["pages", "snapshots", "observer", "panel", "console", "tasks", "many", "deploy", "traffic", "images"]


def run(part: str, title: str = "", **environment: str) -> int:
    """One part in a process and a state folder of its own. Returns its exit status."""
    print(f"\n## {title or part}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bht-", dir="/tmp") as state:
        environment = {
            "BHYPE_STATE": state,
            "BHYPE_HOST": "lab",
            "DJANGO_SETTINGS_MODULE": "bhype.settings",
        } | environment
        argv = [sys.executable, "-m", f"tests.bench.{part}"]
        code = subprocess.run(argv, env=os.environ | environment, check=False).returncode
    print(f"({part}: {time.monotonic() - began:.0f} s{f', status {code}' * bool(code)})", flush=True)
    return code


def main(parts: list[str]) -> int:
    """Runs ``parts``, or all. Returns 1 when one could not be measured."""
    codes = [run(part, "tasks on SQLite" * (part == "tasks")) for part in parts or PARTS]
    if "tasks" in (parts or PARTS):
        with postgresql() as url:
            codes.append(run("tasks", "tasks on PostgreSQL", DATABASE_URL=url))
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
