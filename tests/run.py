"""What ``make check``, ``test``, ``test-long``, ``explore`` and ``bench`` do, after the set-up.

The last line printed is pytest's own summary.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# A test process that dies ends the run: a successor would wait for its work for ever.
PYTEST = [sys.executable, "-m", "pytest", "-q", "--max-worker-restart", "0"]
CHECKS = [
    ["ruff", "format", "--check", "."],
    ["ruff", "check", "."],
    ["mypy", "."],
    ["lint-imports"],
]
# Where the tests with these marks lie; tests/conftest.py refuses one that lies elsewhere, for it would not be run.
FOLDERS = {
    "browser": ["tests/e2e", "tests/live"],
    "long": ["tests/openzfs", "tests/long", "tests/network"],
}
# What talks to the database in a way that could differ between SQLite and PostgreSQL. What commands of the host make
# of it is the same on both: tests that drive a lab are left out, all of the worker's own are in.
ON_POSTGRESQL = [
    "tests/tasks",
    "tests/live",
    "tests/accounts",
    "tests/console",
    "tests/vms",
    "tests/network/addresses",
    "tests/network/traffic",
    "tests/test_routes.py",
]


def run(argv: list[str], *, brief: bool = False, **environment: str) -> int:
    """The exit status of a program. brief: of what it prints only the end is shown, and more where it fails."""
    began = time.monotonic()
    print(f"\n== {' '.join(Path(word).name if word.startswith('/') else word for word in argv)}", flush=True)
    kept = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} if brief else {}
    done = subprocess.run(argv, cwd=BASE_DIR, env=os.environ | environment, check=False, **kept)
    if brief:
        print("\n".join(done.stdout.splitlines()[-200 if done.returncode else -1 :]))
    print(f"== status {done.returncode} after {time.monotonic() - began:.0f} s", flush=True)
    return int(done.returncode)


def tool(*words: str) -> list[str]:
    return [str(BIN / words[0]), *words[1:]]


def checks() -> int:
    with tempfile.TemporaryDirectory(prefix="bht-", dir="/tmp") as state:
        failed = [run(tool(*check), BHYPE_STATE=state) for check in CHECKS]
        failed.append(
            run([sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"], BHYPE_STATE=state)
        )
        failed.append(run([sys.executable, "manage.py", "check"], BHYPE_STATE=state))
    # Every test of every part is read: a stale import shows now, not in twenty minutes.
    failed.append(run([*PYTEST, "--collect-only"], brief=True))
    return int(any(failed))


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of its own on a unix socket, for as long as the block lasts. Yields its URL."""
    folder = Path(tempfile.mkdtemp(prefix="bhpg-", dir="/tmp"))
    binaries = (
        max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
        or Path(shutil.which("initdb") or "/").parent
    )
    as_user: list[str] = []
    if os.geteuid() == 0:  # initdb refuses to run as root
        account = pwd.getpwnam("nobody")
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    data = str(folder / "d")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    options = (
        f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c synchronous_commit=off"
    )
    control = [*as_user, str(binaries / "pg_ctl"), "-D", data, "-w"]
    try:
        initdb = [
            *as_user,
            str(binaries / "initdb"),
            "-D",
            data,
            "-A",
            "trust",
            "--no-sync",
            "-U",
            "bhype",
            "-E",
            "UTF8",
        ]
        subprocess.run(initdb, check=True, **quiet)
        subprocess.run([*control, "-o", options, "start"], check=True, **quiet)
        yield f"postgres://bhype@{str(folder).replace('/', '%2F')}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, **quiet)
        shutil.rmtree(folder, ignore_errors=True)


def pytest(*words: str, **environment: str) -> int:
    return run([*PYTEST, *words], **environment)


def test() -> int:
    failed = checks()
    # Playwright keeps an event loop in its thread, so browser tests have a process of their own. It often waits for
    # a page or a guest: the tests on PostgreSQL run meanwhile, and what they print is shown after it.
    with postgresql() as url, tempfile.TemporaryFile("w+") as said:
        chosen = "database and not lab and not guest and not browser and not long"
        beside = subprocess.Popen(
            [*PYTEST, *ON_POSTGRESQL, "-m", chosen],
            cwd=BASE_DIR,
            env=os.environ | {"DATABASE_URL": url},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        failed |= pytest("-m", "browser", *FOLDERS["browser"])
        failed |= beside.wait()
        said.seek(0)
        print(f"\n== on PostgreSQL, meanwhile\n{said.read()}== status {beside.returncode}", flush=True)
    # Last, so that its summary is the last line. One process more than there are cores in CI: many tests wait for a
    # guest or for a time.
    return pytest("-m", "not browser and not long", "-n", "3", "--dist", "loadgroup") | failed


def main(verb: str) -> int:
    if verb == "check":
        return checks()
    if verb == "test":
        return test()
    if verb == "test-long":
        # What takes minutes: real OpenZFS, a real cloud image, real packets; two files side by side.
        return pytest("-m", "long", "-n", "2", "--dist", "loadfile", *FOLDERS["long"])
    if verb == "explore":
        # The same tests with new random examples, and more lives of VMs.
        explore = ["tests/freebsd", "tests/lab", "tests/vmrun", "tests/tasks", "tests/live", "tests/vms"]
        explore += ["tests/cloudinit"]
        more = {"BHYPE_EXPLORE": "1", "BHYPE_LIFECYCLES": "25"}
        return pytest("-m", "not browser", "-n", "2", *explore, **more)
    return run([sys.executable, "-m", "tests.bench"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
