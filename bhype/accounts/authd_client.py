"""Ask authd whether a system user's password is right."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Longer than authd gives PAM.
TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """reason: "" when ok, else "refused", "throttled", "expired" or "unavailable"; retry_after: seconds."""

    ok: bool
    reason: str
    retry_after: int = 0


UNAVAILABLE = Answer(ok=False, reason="unavailable")


def check(path: Path, user: str, password: str, address: str) -> Answer:
    """Ask whether ``password`` is that of the system user. An authd that is away is "unavailable"."""
    return _ask(path, {"user": user, "password": password, "address": address})


def unlock(path: Path, user: str) -> Answer:
    """Forget the failures of a user; authd grants it to root only."""
    return _ask(path, {"user": user, "unlock": True})


def is_up(path: Path) -> bool:
    """Whether authd takes connections."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
        except OSError:
            return False
        return True


def _ask(path: Path, request: dict[str, Any]) -> Answer:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline(4096))
        return Answer(answer["ok"] is True, str(answer["reason"]), int(answer["retry_after"]))
    except (OSError, ValueError, KeyError, TypeError):
        return UNAVAILABLE
