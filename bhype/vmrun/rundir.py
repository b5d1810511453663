"""The run directory of one VM: what its supervisor tells, and where it can be told something."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

from bhype.host import Host
from bhype.host.locks import COMMANDS_WITHIN, hold
from bhype.vmrun.outcome import STARTING

RUN_DIR = "/var/run/bhype/vms"
# What bhyve must know and ps(1) must not show.
SECRETS = "secret.conf"
# What is in an empty drive.
EMPTY = "empty.iso"
# The configuration that the running bhyve was started with, without its secrets.
DOCUMENT = "vm.json"
# What bhyve and its loader say.
LOG = "bhyve.log"
LOG_LIMIT = 1 << 20

State = dict[str, Any]


def new_state(name: str, uuid: str | None, target: str | None) -> State:
    """What is told of a VM that is about to start.

    phase: "loader" or "tpm" while these are waited for; helpers: their processes by name; next_start: when it is
    tried again, seconds since 1970; taps: what is destroyed at the end; warnings: what is not as its configuration
    says, as sentences; settled: the bhyve to which limits and links have been applied.
    """
    return {
        "name": name, "uuid": uuid, "state": STARTING, "phase": "", "reason": "", "pid": None, "supervisor": None,
        "helpers": {}, "started_at": time.time(), "exit_code": None, "restarts": 0, "next_start": None,
        "target": target, "taps": [], "warnings": [], "settled": None,
    }  # fmt: skip


class Busy(Exception):
    """The VM has a supervisor already."""


class RunDir:
    """The folder FOLDER/NAME of ``host``, and the lock that makes one supervisor the only one.

    Its group is that of FOLDER: the panel's gateway, which is not root, reaches the serial sockets by it.
    """

    def __init__(self, host: Host, name: str, folder: str = RUN_DIR) -> None:
        self.host = host
        self.name = name
        self.path = f"{folder}/{name}"
        self._lock = -1

    def file(self, name: str) -> str:
        """FreeBSD's path of a file in the folder."""
        return f"{self.path}/{name}"

    def local(self, name: str) -> str:
        """The same for this process."""
        return self.host.path(self.file(name))

    def take(self) -> None:
        """Make the folder and become its supervisor. Raises Busy, OSError. The lock dies with the process.

        A command that the last supervisor was killed over may still be at work, and make what nobody would remove:
        each holds a second lock, which is waited for.
        """
        self.host.makedirs(self.path, 0o750)
        folder = self.host.path(self.path)
        os.chmod(folder, 0o750)  # noqa: S103  (the group is the gateway's)
        _give(folder, os.stat(os.path.dirname(folder)).st_gid)
        self._lock = self._locked("lock")
        if self._lock < 0:
            raise Busy(f"{self.name} has a supervisor already{self._whose()}.")
        commands = self._locked("commands", COMMANDS_WITHIN)
        if commands < 0:
            os.close(self._lock)
            raise Busy(f"A command of the last supervisor of {self.name} is still at work. Try again later.")
        self.host.lend(commands)

    def _locked(self, name: str, within: float = 0.0) -> int:
        """A descriptor with the lock of that name, or -1 when another process has it. Raises OSError."""
        lock = os.open(self.local(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if hold(lock, within):
            return lock
        os.close(lock)
        return -1

    def _whose(self) -> str:
        supervisor = (self.read() or {}).get("supervisor")
        return f", process {supervisor}" if supervisor else ""

    def share(self, name: str) -> None:
        """Give a file of the folder to the folder's group."""
        _give(self.local(name), os.stat(self.host.path(self.path)).st_gid)

    def read(self) -> State | None:
        """The state file, or None when there is none that can be read."""
        try:
            state = json.loads(self.host.read_text(self.file("state.json")))
        except (OSError, ValueError):
            return None
        return state if isinstance(state, dict) else None

    def write(self, state: State) -> None:
        """Replace the state file as a whole."""
        self.host.write_text(self.file("state.json"), json.dumps(state) + "\n", 0o640)
        self.share("state.json")

    def read_document(self) -> dict[str, Any] | None:
        """The configuration of the running bhyve, or None when there is none that can be read."""
        try:
            document = json.loads(self.host.read_text(self.file(DOCUMENT)))
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    def write_document(self, document: dict[str, Any]) -> None:
        """Root's alone: whoever reads it there sees the whole VM. Raises OSError."""
        self.put(DOCUMENT, json.dumps(document) + "\n")

    def put(self, name: str, text: str) -> None:
        """Write a file of root's, unless it says just that: a guest that reboots needs no room on the disk. Raises
        OSError."""
        try:
            same = self.host.read_text(self.file(name)) == text
        except (OSError, ValueError):
            same = False
        if not same:
            self.host.write_text(self.file(name), text, 0o600)

    def tidy(self, *names: str) -> None:
        """Remove what has a meaning only while the VM runs: secrets, its configuration, sockets, and ``names``."""
        sockets = (name for name in self.host.listdir(self.path) if name.endswith(".sock"))
        for name in (SECRETS, DOCUMENT, *names, *sockets):
            self.host.unlink(self.file(name))

    def open_log(self, name: str) -> int:
        """A descriptor that appends to a log; what is too long becomes NAME.1 first."""
        self.rotate(name)
        descriptor = os.open(self.local(name), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
        self.share(name)
        return descriptor

    def rotate(self, name: str) -> bool:
        """Move a log that has passed its limit to NAME.1."""
        if self.log_size(name) <= LOG_LIMIT:
            return False
        os.replace(self.local(name), self.local(f"{name}.1"))
        return True

    def rotate_open(self, name: str) -> None:
        """The same for a log that another process has open for appending: the file stays, emptied. On a full disk its
        text is lost rather than the room."""
        if self.log_size(name) > LOG_LIMIT:
            with contextlib.suppress(OSError):
                self.host.copy(self.file(name), self.file(f"{name}.1"), 0o640)
            with contextlib.suppress(OSError):
                os.truncate(self.local(name), 0)

    def log_size(self, name: str) -> int:
        try:
            return os.stat(self.local(name)).st_size
        except FileNotFoundError:
            return 0

    def log_since(self, name: str, offset: int) -> str:
        """The text of a log from ``offset`` on, at most its last 64 KiB."""
        try:
            with open(self.local(name), "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 65536, offset if offset <= size else 0))
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""


def _give(path: str, group: int) -> None:
    """Change the group of a file. Who is not root has no gateway of another user to share it with."""
    if os.stat(path).st_gid != group and os.geteuid() == 0:
        os.chown(path, -1, group)
