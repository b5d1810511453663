"""A whole panel as ``make run`` starts it, with a state folder, a lab and a port of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent.parent
# How much slower than it is by itself a machine may be that has other tests to run.
BUSY = 3
_SIGN_IN = """
import json
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from bhype.accounts.models import User
keys = {}
for name, role in %s.items():
    user, _ = User.objects.get_or_create(username=name, defaults={"role": role, "source": "panel"})
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "bhype.accounts.backends.PanelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    keys[name] = session.session_key
print(json.dumps(keys))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> object:
    """Poll ``condition`` until it is true; fails with ``what`` after ``seconds``, on a busy machine later."""
    end = time.monotonic() + seconds * BUSY
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds * BUSY:.0f} s for {what}")


def reachable_checkout(folder: Path) -> Path:
    """The checkout, or a copy of it below ``folder`` when other users may not enter the checkout.

    The web process drops root, and a CI's checkout may lie in a folder of root's own.
    """
    for target in (BASE_DIR, Path(sys.executable).parent):
        if any(not parent.stat().st_mode & stat.S_IXOTH for parent in [target, *target.parents]):
            break
    else:
        return BASE_DIR
    copy = folder / "checkout"
    skip = shutil.ignore_patterns(".git", ".state", ".mypy_cache", ".hypothesis", "__pycache__", "artifacts")
    shutil.copytree(BASE_DIR, copy, symlinks=True, ignore=skip)
    for path in [folder, copy, copy / ".venv"]:
        path.chmod(0o755)
    return copy


class Panel:
    """Starts ``bhype.appliance``; ``stop()`` ends it and the lab's guests."""

    def __init__(self, **environment: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bhe-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.checkout = reachable_checkout(self.folder)
        self.state = self.folder / "s"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("BHYPE_", "DJANGO_", "DATABASE_"))
        }
        self.environment |= {
            "BHYPE_STATE": str(self.state), "BHYPE_PORT": str(self.port), "BHYPE_HOST": "lab",
            # Beside the guests that the test process itself starts.
            "BHYPE_VNC_PORT": str(int(os.environ.get("BHYPE_VNC_PORT", "5900")) + 100), **environment,
        }  # fmt: skip
        self.log_path = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.python = str(self.checkout / ".venv" / "bin" / "python")
        if not Path(self.python).exists():
            self.python = sys.executable
        self.run("-m", "bhype.lab", "create", str(self.state / "lab"))
        self.manage("migrate", "--verbosity", "0")

    def run(self, *words: str) -> str:
        result = subprocess.run(
            [self.python, *words],
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{words}: {result.stdout}{result.stderr}"
        return result.stdout

    def manage(self, *words: str) -> str:
        return self.run("manage.py", *words)

    @property
    def root(self) -> Path:
        return self.state / "lab" / "root"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def start(self) -> Panel:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", "bhype.appliance"],
                cwd=self.checkout, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        before = self.log.count("The panel answers at")
        wait_until(
            lambda: self.log.count("The panel answers at") > before or self.process.poll() is not None,
            60,
            "the panel",
        )
        assert self.process.poll() is None, self.log
        return self

    def setup_link(self) -> str:
        found = re.findall(rf"{re.escape(self.url)}/setup/\S+", self.log)
        assert found, self.log
        return str(found[-1])

    def pid(self, service: str) -> int:
        return int((self.state / "run" / f"{service}.pid").read_text())

    def kill(self, service: str) -> int:
        """SIGKILL the whole process group of a service; returns its pid."""
        pid = self.pid(service)
        os.killpg(pid, signal.SIGKILL)
        return pid

    def sign_in(self, **roles: str) -> dict[str, str]:
        """The session of each of these people, who are made when they are not there. roles: by name."""
        answer = self.manage("shell", "-v", "0", "-c", _SIGN_IN % roles).splitlines()[-1]
        return dict(json.loads(answer))

    def api(self, method: str, path: str, token: str, body: object = None) -> tuple[int, dict]:
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def finish(self, task: int, token: str, seconds: float = 60) -> dict:
        """Wait for a task to end and return it."""

        def ended() -> dict | None:
            _, row = self.api("GET", f"/tasks/{task}", token)
            return row if row["status"] not in {"queued", "running", "cancelling"} else None

        return wait_until(ended, seconds, f"task {task}\n{self.log}")  # type: ignore[return-value]

    def do(self, path: str, token: str, body: object = None) -> None:
        """Ask for a task, and wait until it has succeeded."""
        status, task = self.api("POST", path, token, body)
        assert status == 202, task
        assert self.finish(task["id"], token)["status"] == "succeeded", self.log

    def make_vm(self, token: str, name: str, **more: object) -> None:
        """A small VM that does not run, as soon as the host has a pool and a switch for it."""

        def is_ready() -> bool:
            pools, switches = (self.api("GET", path, token)[1] for path in ("/pools", "/switches"))
            return any(row["is_adopted"] for row in pools) and any(row["name"] == "nat" for row in switches)

        wait_until(is_ready, 60, f"the pool and the switch\n{self.log}")
        small = {"cpus": 1, "memory": "128M", "disks": [{"size": "4M"}], "switch": "nat", "start": False}
        self.do("/vms", token, {**small, "name": name, **more})

    def stop_panel(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def stop(self) -> None:
        self.stop_panel()
        with contextlib.suppress(AssertionError):
            self.run("-m", "bhype.lab", "stop", str(self.state / "lab"))
        shutil.rmtree(self.folder, ignore_errors=True)
