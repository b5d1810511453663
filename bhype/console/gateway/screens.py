"""Who may dial a screen now. bhyve's VNC server serves one client: a viewer goes before whoever takes pictures.

A file per guest, locked (flock(2)) by the processes of the gateway: shared by viewers, exclusively while a
picture is taken. A viewer who finds it taken puts a mark beside it, and the picture is given up.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from bhype.freebsd.names import vm_name

# A picture is given up within this time whatever happens; a mark that is older was left by a process that died.
PATIENCE = 3.0


class Busy(Exception):
    """Somebody views the screen, or takes a picture of it."""


class Screens:
    """folder: private to the gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _open(self, name: str) -> int:
        return os.open(self.folder / vm_name(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def view(self, name: str) -> int:
        """Take the screen for a viewer, from whoever takes a picture of it. Close the descriptor to let it go."""
        lock = self._open(name)
        mark = self.folder / f"{name}.wanted"
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    break  # the viewer comes first, and waits for the VNC server then
                mark.touch(0o600)
                time.sleep(0.01)
            else:
                break
        mark.unlink(missing_ok=True)
        return lock

    def spare(self, name: str) -> int:
        """Take the screen for a picture. Close the descriptor to let it go. Raises Busy."""
        lock = self._open(name)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise Busy(name) from error
        return lock

    def is_wanted(self, name: str) -> bool:
        """Whether a viewer waits for the screen."""
        try:
            # Abs: the clock may have been set back since.
            return abs(time.time() - (self.folder / f"{name}.wanted").stat().st_mtime) < PATIENCE
        except FileNotFoundError:
            return False
