"""Where the programs of this package run: no right but that of nobody, no more memory and time than they may need."""

from __future__ import annotations

import contextlib
import ctypes  # noqa: F401 - before this process becomes nobody, who may not read it
import json
import os
import pwd
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from bhype.host import leash

USER = "nobody"
MEMORY = 1 << 30
TOLD = 0.4

Program = Callable[[Mapping[str, Any]], dict[str, Any]]


class Refused(Exception):
    """What came from outside is not taken. A sentence for people."""


class Unable(Refused):
    """This host could not do it; what came from outside is not to blame."""


def main(words: list[str]) -> int:
    """Run the program with this name; its exit status."""
    from bhype.outside import FAILED, programs

    program = programs.find(words[0])
    request = json.loads(sys.stdin.buffer.read())
    try:
        answer, status = program(request), 0
    except Refused as refused:
        answer, status = {"error": str(refused), "is_host": isinstance(refused, Unable)}, FAILED
    except MemoryError:
        answer, status = {"error": "It takes more memory than it may have."}, FAILED
    sys.stdout.write("\r" + json.dumps(answer) + "\n")
    return status


def enter(*, seconds: int, memory: int = MEMORY, size: int | None = None) -> None:
    """Give up being root, for good, and bound what this process may use. size: bytes of the largest file it may
    write. Whoever is not root stays who they are. Raises OSError."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, seconds)
    _limit(resource.RLIMIT_AS, memory)
    if size is not None:
        _limit(resource.RLIMIT_FSIZE, size)
    if os.geteuid() == 0:
        parent, nobody = os.getppid(), pwd.getpwnam(USER)
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        # The kernel forgets it with the identity (Linux: PR_SET_PDEATHSIG(2const)).
        leash.hold()
        if os.getppid() != parent:
            raise ProcessLookupError("Whoever asked has ended.")
    with contextlib.suppress(OSError):
        os.chdir("/")


def _limit(which: int, value: int) -> None:
    _, most = resource.getrlimit(which)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(which, (value, value))


class Progress:
    """Tells how far it is, a few times a second."""

    def __init__(self) -> None:
        self._told_at = 0.0

    def tell(self, *, now: bool = False, **values: Any) -> None:
        moment = time.monotonic()
        if now or moment - self._told_at >= TOLD:
            self._told_at = moment
            sys.stdout.write("\r" + json.dumps(values) + "\r")
            sys.stdout.flush()
