"""The worker's wake socket: whoever asks knocks, so that a task starts at once, not at the next poll."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

from django.conf import settings

NAME = "worker.sock"


def knock() -> None:
    """Wake this host's worker. Never waits and never fails: a worker that does not hear this polls anyway."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)  # noqa: FBT003
            sender.sendto(b"!", str(settings.RUN_DIR / NAME))
    except OSError:
        # No worker runs, or it has been knocked at a thousand times already.
        return


class Bell:
    """The worker's end of the socket. Everybody in the group of RUN_DIR may knock."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)  # noqa: FBT003
        # The mode is right from the start and no link is followed: others may make files in this folder, too.
        umask = os.umask(0o117)
        try:
            self._socket.bind(str(self._path))
        finally:
            os.umask(umask)
        if os.geteuid() == 0:
            os.chown(self._path, -1, folder.stat().st_gid, follow_symlinks=False)

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody knocks, at most ``seconds``. Many knocks count as one."""
        if not select.select([self._socket], [], [], seconds)[0]:
            return False
        try:
            while True:
                self._socket.recv(16)
        except BlockingIOError:
            return True

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)
