"""Files of the host, named by FreeBSD's absolute paths and found below the host's root."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable


class Files:
    """The file doors of a host. Every ``path`` is absolute as FreeBSD has it; all methods raise OSError."""

    root: str

    def path(self, path: str) -> str:
        """Where FreeBSD's absolute ``path`` lies for this process."""
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            raise ValueError(f"{path!r} is not an absolute path of the host")
        return path if self.root == "/" else self.root + path

    def read_text(self, path: str) -> str:
        with open(self.path(path), encoding="utf-8", errors="replace") as file:
            return file.read()

    def write_text(self, path: str, text: str, mode: int = 0o600) -> None:
        """Replace the file as a whole: after a crash it has the old text or the new one, never half."""
        self._replace(self.path(path), mode, [text.encode()])

    def write_bytes(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """As `write_text`."""
        self._replace(self.path(path), mode, [data])

    def copy(self, source: str, target: str, mode: int = 0o600) -> None:
        """Copy a file; ``target`` appears complete or not at all."""
        with open(self.path(source), "rb") as file:
            self._replace(self.path(target), mode, iter(lambda: file.read(1 << 20), b""))

    def exists(self, path: str) -> bool:
        return os.path.exists(self.path(path))

    def size(self, path: str) -> int:
        """Bytes in the file."""
        return os.stat(self.path(path)).st_size

    def listdir(self, path: str) -> list[str]:
        """The sorted names in a folder; none when there is no such folder."""
        try:
            return sorted(os.listdir(self.path(path)))
        except FileNotFoundError:
            return []

    def makedirs(self, path: str, mode: int = 0o755) -> None:
        os.makedirs(self.path(path), mode, exist_ok=True)

    def unlink(self, path: str) -> None:
        """Remove a file; it is no error when it is already gone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(path))

    def _replace(self, target: str, mode: int, blocks: Iterable[bytes]) -> None:
        # A fixed temporary name per process: a crash leaves one file that the next writing replaces.
        temporary = f"{target}.{os.getpid()}.new"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                for block in blocks:
                    file.write(block)
                file.flush()
                os.fsync(descriptor)
            os.rename(temporary, target)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            # A full disk names no file by itself.
            if error.filename in (None, temporary):
                error.filename = target
            raise
        folder = os.open(os.path.dirname(target) or "/", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
