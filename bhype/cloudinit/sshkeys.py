"""Public keys as authorized_keys has them, one a line (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

# The key types of OpenSSH 9; ssh-dss is not accepted by it any more.
TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
LINE_MAX = 8192
RSA_BITS_MIN = 2048


class BadKey(ValueError):
    """The text is no public key that a guest should get. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """kind: such as "ssh-ed25519"; blob: the key in base 64; comment: what stands behind it."""

    kind: str
    blob: str
    comment: str = ""

    @property
    def line(self) -> str:
        """As one line of authorized_keys."""
        return " ".join(filter(None, (self.kind, self.blob, self.comment)))

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def public_key(text: str) -> PublicKey:
    """The key in ``text``. Raises BadKey, above all for a private key, and for options before the key: a guest would
    run their commands."""
    if "PRIVATE KEY" in text:
        raise BadKey("This is a private key. Keep it to yourself and paste the one from the .pub file.")
    line = text.strip()
    if not line:
        raise BadKey("Paste a public key: one line that begins with ssh-ed25519 or ssh-rsa.")
    if len(line) > LINE_MAX or not line.isprintable():
        raise BadKey("A public key is one line of printable characters.")
    kind, _, rest = line.partition(" ")
    blob, _, comment = rest.strip().partition(" ")
    if kind == "ssh-dss":
        raise BadKey("DSA keys are not accepted by OpenSSH any more. Make a new one: ssh-keygen -t ed25519")
    if kind not in TYPES:
        raise BadKey(f"A public key begins with its type, such as ssh-ed25519; {kind[:40]!r} is none.")
    _check(kind, blob)
    return PublicKey(kind, blob, comment.strip())


def _check(kind: str, blob: str) -> None:
    """The blob repeats the type; each part has its length before it (RFC 4253, 6.6)."""
    try:
        parts = _parts(base64.b64decode(blob, validate=True))
    except (binascii.Error, ValueError) as error:
        raise BadKey("The key is not complete. Copy the whole line of the .pub file.") from error
    if not parts:
        raise BadKey("The key is not complete. Copy the whole line of the .pub file.")
    if parts[0] != kind.encode():
        raise BadKey(f"What stands behind {kind} is not a key of this type.")
    if kind == "ssh-rsa" and (len(parts) != 3 or int.from_bytes(parts[2]).bit_length() < RSA_BITS_MIN):
        raise BadKey(f"RSA keys have at least {RSA_BITS_MIN} bits. Make a new one: ssh-keygen -t ed25519")
    if kind == "ssh-ed25519" and (len(parts) != 2 or len(parts[1]) != 32):
        raise BadKey("The key is not complete. Copy the whole line of the .pub file.")


def _parts(raw: bytes) -> list[bytes]:
    found = []
    while raw:
        length = int.from_bytes(raw[:4])
        if len(raw) < 4 + length:
            raise ValueError("cut off")
        found.append(raw[4 : 4 + length])
        raw = raw[4 + length :]
    return found
