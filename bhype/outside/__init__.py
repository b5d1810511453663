"""Programs that touch what strangers send: they fetch, unpack and check signatures, as nobody and within limits.

Each is ``python bhype/outside PROGRAM``, gets its request as one JSON object on standard input, opens the files named
there, and then gives up being root (`cage`) before it reads a byte from outside. It tells its progress as JSON objects
that begin with a carriage return, and its answer as the last line; an answer with "error" is a sentence for people,
with "is_host" where this host and not the outside is to blame. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from bhype.freebsd.command import Command

FAILED = 3


def command(program: str, request: Mapping[str, Any], *, timeout: float) -> Command:
    """The command that runs ``program``, one of `programs`. Its paths are this process's, not the host's. It ends with
    FAILED and an answer with "error" where it refuses."""
    folder = os.path.dirname(os.path.abspath(__file__))
    return Command(
        (sys.executable, "-S", "-E", folder, program),
        stdin=json.dumps(request).encode(),
        ok_codes=frozenset({0, FAILED}),
        timeout=timeout,
        native=True,
    )


class Ear:
    """Puts the pieces of what a program writes together: the progress as it comes, and at last the answer."""

    def __init__(self) -> None:
        self._text = ""

    def hear(self, piece: str) -> list[dict[str, Any]]:
        """All that is complete in what has come until now."""
        *whole, self._text = (self._text + piece).replace("\n", "\r").split("\r")
        return [found for part in whole if (found := _object(part))]


def answer(stdout: str) -> dict[str, Any]:
    """What a program has answered; {} when it died before."""
    last = stdout.rstrip("\n").replace("\r", "\n").rpartition("\n")[2]
    return _object(last) or {}


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
