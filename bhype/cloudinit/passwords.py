"""SHA-512 crypt, the password hash that Linux and FreeBSD both know (crypt(3), crypt(5)).

Python's own crypt module is gone from 3.13 on. Source: Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512".
"""

from __future__ import annotations

import hashlib
import re
import secrets

ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ROUNDS = 5000
# $5$ and $6$ are SHA-256 and SHA-512, $2b$ is bcrypt, $y$ yescrypt, which FreeBSD does not know.
_HASH = re.compile(
    r"\$6\$(rounds=[0-9]{4,9}\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{86}"
    r"|\$5\$(rounds=[0-9]{4,9}\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{43}"
    r"|\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}"
    r"|\$y\$[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}"
)


def is_hash(text: str) -> bool:
    """Whether ``text`` is the hash of a password, as crypt(5) writes them."""
    return _HASH.fullmatch(text) is not None


def hash_password(password: str, salt: str | None = None) -> str:
    """``password`` as "$6$SALT$...", with a random salt unless one is given (of at most 16 characters)."""
    salt = salt or "".join(secrets.choice(ALPHABET) for _ in range(16))
    digest = _digest(password.encode(), salt.encode())
    return f"$6${salt}${_encoded(digest)}"


def _digest(password: bytes, salt: bytes) -> bytes:
    other = hashlib.sha512(password + salt + password).digest()
    first = hashlib.sha512(password + salt + _stretched(other, len(password)))
    bits = len(password)
    while bits:
        first.update(other if bits & 1 else password)
        bits >>= 1
    digest = first.digest()
    long_password = _stretched(hashlib.sha512(password * len(password)).digest(), len(password))
    long_salt = _stretched(hashlib.sha512(salt * (16 + digest[0])).digest(), len(salt))
    for number in range(ROUNDS):
        odd = number % 2
        parts = [long_password if odd else digest]
        if number % 3:
            parts.append(long_salt)
        if number % 7:
            parts.append(long_password)
        parts.append(digest if odd else long_password)
        digest = hashlib.sha512(b"".join(parts)).digest()
    return digest


def _stretched(block: bytes, length: int) -> bytes:
    return (block * (length // len(block) + 1))[:length]


def _encoded(digest: bytes) -> str:
    """Base 64 of crypt's own kind: three bytes at a time, in an order of their own."""
    found = []
    triple = (0, 21, 42)
    for _ in range(21):
        high, middle, low = (digest[place] for place in triple)
        found.append(_group(high, middle, low, 4))
        triple = ((triple[0] + 22) % 63, (triple[1] + 22) % 63, (triple[2] + 22) % 63)
    return "".join(found) + _group(0, 0, digest[63], 2)


def _group(high: int, middle: int, low: int, count: int) -> str:
    value = high << 16 | middle << 8 | low
    return "".join(ALPHABET[value >> 6 * place & 63] for place in range(count))
