"""SHA-512 crypt, the password hash that Linux and FreeBSD both know (crypt(3), crypt(5))."""

from __future__ import annotations

import re

from passlib.hash import sha512_crypt

# What crypt(3) takes where a hash does not say it; more would cost a guest seconds at each sign-in.
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
    return str(sha512_crypt.using(rounds=ROUNDS, salt=salt).hash(password))
