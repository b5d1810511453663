"""Files that a VM needs on its host: where this process finds them, and whether they are there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from bhype.host import Host
from bhype.vmrun.problems import Problem


def local(host: Host, path: str) -> str:
    """Where this process finds a file that bhyve is told of: relative ones are the caller's."""
    return host.path(path) if path.startswith("/") else path


def missing(host: Host, where: str, path: str, mend: str = "Give another path.") -> Iterator[Problem]:
    """Whether nothing is at ``path``."""
    if not os.path.exists(local(host, path)):
        yield Problem(where, f"{path} is missing.", mend)


def folder(host: Host, where: str, path: str) -> Iterator[Problem]:
    """Whether there is no folder in which ``path`` can be made."""
    if not os.path.isdir(os.path.dirname(local(host, path)) or "."):
        yield Problem(where, f"The folder of {path} is missing.", "Make it.")


def disk(host: Host, where: str, path: str) -> Iterator[Problem]:
    """Whether ``path`` is no disk or image."""
    try:
        mode = os.stat(local(host, path)).st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        mend = "Give another path, or take the device out."
        yield Problem(where, f"{path} cannot be opened: {reason}.", mend)
        return
    # Volumes are devices, images are files; a folder or a socket is a mistake.
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode) or stat.S_ISCHR(mode)):
        yield Problem(where, f"{path} is neither a file nor a disk.", "Give another path.")


def shared(host: Host, where: str, path: str) -> Iterator[Problem]:
    """Whether ``path`` is no folder that a guest can be given."""
    if not os.path.isdir(local(host, path)):
        yield Problem(where, f"The folder {path} is missing.", "Make it, or give another path.")


def write_pid(path: str, pid: int) -> None:
    """Write the number of a process for those who want to signal it. Raises OSError."""
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{pid}\n")
