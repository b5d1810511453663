"""The note by which the web process tells the gateway what to dial. Standard library only.

A note is ``payload.signature`` in URL-safe base64: JSON of its claims, and HMAC-SHA256 by a key that only the
web process and the gateway can read. It lives for seconds and the gateway takes each note once.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

LIFETIME = 10.0
# Names of recordings: of serial lines in asciicast format, of screens as the server's bytes with times.
RECORD = re.compile(r"[0-9a-f]{32}\.(cast|rfb)")
# However the clocks and the signer behave, nothing lives longer than this.
LIFETIME_MAX = 30.0
CONSOLES = frozenset({"vnc", "serial", "serial2", "serial3", "serial4"})
# Besides consoles: "picture" of the screen, and "log" of a serial line, "log3" of the third.
KINDS = CONSOLES | {"picture", "log", "log2", "log3", "log4"}


class BadNote(ValueError):
    """A note that must not be followed. The message never holds the note itself."""


@dataclass(frozen=True, slots=True)
class Note:
    """Dial the console ``kind`` of the guest whose run directory is ``name``; ``jti`` makes it single-use.

    watch: let nothing through that writes. record: name of the file to record to, "" for none.
    size: columns and rows of the terminal, for the recording.
    """

    name: str
    kind: str
    jti: str
    expires: float
    watch: bool = False
    record: str = ""
    size: tuple[int, int] = (80, 24)


def ensure_key(path: Path) -> None:
    """Make the key file (0640: web and gateway share it by group) unless it is there. Safe in a race."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_urlsafe(48).encode())
    # link() fails if another process was first, and nobody ever sees a file half written.
    with contextlib.suppress(FileExistsError):
        os.link(partial, path)
    partial.unlink()


def read_key(path: Path) -> bytes:
    """The shared key, made on first use. Raises OSError if it may not be read or made."""
    ensure_key(path)
    key = path.read_bytes().strip()
    if len(key) < 32:
        raise BadNote(f"the key in {path} is too short to be one: remove it and start the panel again")
    return key


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _signature(key: bytes, payload: str) -> str:
    return _encode(hmac.digest(key, payload.encode(), hashlib.sha256))


def sign(
    key: bytes,
    name: str,
    kind: str,
    *,
    lifetime: float = LIFETIME,
    watch: bool = False,
    record: str = "",
    size: tuple[int, int] = (80, 24),
) -> str:
    """A note for one connection within ``lifetime`` seconds. For the rest see ``Note``."""
    claims = {
        "name": name, "kind": kind, "jti": secrets.token_hex(16), "exp": time.time() + lifetime,
        "watch": watch, "record": record, "size": size,
    }  # fmt: skip
    payload = _encode(json.dumps(claims, separators=(",", ":")).encode())
    return f"{payload}.{_signature(key, payload)}"


def verify(key: bytes, text: str) -> Note:
    """What a note says, if the key signed it and it is still fresh. Raises BadNote."""
    payload, _, signature = text.partition(".")
    if not text.isascii() or not hmac.compare_digest(signature, _signature(key, payload)):
        raise BadNote("not signed by this installation")
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        columns, rows = claims["size"]
        note = Note(
            str(claims["name"]), str(claims["kind"]), str(claims["jti"]), float(claims["exp"]),
            watch=claims["watch"] is not False, record=str(claims["record"]), size=(int(columns), int(rows)),
        )  # fmt: skip
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise BadNote("not a note") from error
    if not 0 < note.expires - time.time() <= LIFETIME_MAX:
        raise BadNote("expired")
    if note.record and not RECORD.fullmatch(note.record):
        raise BadNote("not a note")
    if note.kind not in KINDS or not note.jti.isalnum() or len(note.jti) > 64:
        raise BadNote("not a note")
    return note
