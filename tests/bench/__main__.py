"""``make bench``: speed and size as ratios and counts, side by side, with the budget beside each figure.

Nothing here fails a build; the figures are for people. Each part can be run alone: ``-m tests.bench.pages`` and so on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from tests.run import postgresql

PARTS = ["pages", "observer", "panel", "console"]


def main() -> int:
    code = 0
    with tempfile.TemporaryDirectory(prefix="bht-", dir="/tmp") as state:
        environment = os.environ | {
            "BHYPE_STATE": state,
            "BHYPE_HOST": "lab",
            "DJANGO_SETTINGS_MODULE": "bhype.settings",
        }
        for part in PARTS:
            print(f"\n## {part}", flush=True)
            code |= subprocess.run(
                [sys.executable, "-m", f"tests.bench.{part}"], env=environment, check=False
            ).returncode
        print("\n## tasks on SQLite", flush=True)
        code |= subprocess.run(
            [sys.executable, "-m", "tests.bench.tasks"], env=environment, check=False
        ).returncode
        with postgresql() as url:
            print("\n## tasks on PostgreSQL", flush=True)
            environment["DATABASE_URL"] = url
            code |= subprocess.run(
                [sys.executable, "-m", "tests.bench.tasks"], env=environment, check=False
            ).returncode
    return code


if __name__ == "__main__":
    sys.exit(main())
