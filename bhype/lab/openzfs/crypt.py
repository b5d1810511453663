"""Native encryption: which dataset needs which key, and whether that is loaded (zfs-load-key(8)).

The lab's bytes are not encrypted: a dataset whose key is not loaded just shows nowhere. An encrypted dataset has a
"suite"; one that is an encryption root has a "key"::

    {"format": "passphrase", "iters": 350000, "salt": hex, "check": hex, "loaded": True}

others have in "key_root" the guid of theirs. check is a digest: the key itself is kept nowhere.
"""

from __future__ import annotations

import hashlib
import os
import sys

from bhype.lab import core
from bhype.lab.openzfs.database import head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bhype.lab.openzfs.store import Dataset, Store

    Key = dict[str, Any]

DEFAULT_SUITE = "aes-256-gcm"
ITERATIONS = 350000
KEY_BYTES = 32


class BadKey(Exception):
    """Key material that is missing or malformed; the message is libzfs's reason."""


def chosen(store: Store, parent: str, props: dict[str, str], prefix: str) -> dict[str, Any]:
    """What the properties of a new dataset below ``parent`` say about encryption, taken out of them.

    Returns what goes into its row. Fails as zfs_crypto_create() does.
    """
    asked = props.pop("encryption", "")
    form = props.pop("keyformat", "none")
    iters = props.pop("pbkdf2iters", "")
    place = props.get("keylocation", "")
    above = store.key_root(parent) if parent else ""
    given = form != "none" or bool(place and place != "none") or bool(iters)
    suite = asked or (store.datasets[parent]["suite"] if above else "off")
    if suite == "on":
        suite = DEFAULT_SUITE
    if suite == "off":
        if given:
            core.fail(prefix + "Encryption must be turned on to set encryption properties.")
        props.pop("keylocation", None)
        return {}
    if form == "none":
        if place or iters or not above:
            core.fail(prefix + "Keyformat required for new encryption root.")
        if store.locked(parent):
            core.fail(prefix + "encryption root's key is not loaded or provided")
        return {"suite": suite, "key_root": str(store.datasets[above]["guid"])}
    place = props.setdefault("keylocation", "prompt")
    try:
        material = read(form, place)
    except BadKey as error:
        core.fail(prefix + (str(error) or "encryption failure"))
    return {"suite": suite, "key": wrapped(form, material, int(iters or ITERATIONS))}


def wrapped(form: str, material: bytes, iters: int) -> Key:
    """A loaded key of an encryption root."""
    salt = os.urandom(8).hex()
    count = iters if form == "passphrase" else 0
    return {"format": form, "iters": count, "salt": salt, "check": _digest(salt, material), "loaded": True}


def _digest(salt: str, material: bytes) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + material).hexdigest()


def fits(key: Key, material: bytes) -> bool:
    return bool(key["check"] == _digest(key["salt"], material))


def of_clone(store: Store, snapshot: str) -> dict[str, Any]:
    """What a clone of the snapshot has: it needs the key of its origin."""
    origin: Dataset = store.datasets[head(snapshot)]
    root = store.key_root(snapshot)
    return {"suite": origin["suite"], "key_root": str(store.datasets[root]["guid"])} if root else {}


def read(form: str, place: str) -> bytes:
    """The key material at a keylocation ("prompt" is standard input). Raises BadKey (libzfs_crypto.c)."""
    if place == "prompt":
        data = sys.stdin.buffer.read()
    elif place.startswith("file://"):
        try:
            with open(_here(place.removeprefix("file://")), "rb") as file:
                data = file.read()
        except OSError as error:
            raise BadKey(f"Failed to open key material file: {error.strerror}") from None
    else:
        raise BadKey("Failed to open key material file: No such file or directory")
    if form == "raw":
        return _right_length(data, "Raw key", KEY_BYTES)
    line = data.partition(b"\n")[0]
    if form == "hex":
        _right_length(line, "Hex key", 2 * KEY_BYTES)
        try:
            return bytes.fromhex(line.decode())
        except ValueError:
            raise BadKey("Invalid hex key.") from None
    if not data and place == "prompt":
        raise BadKey("")
    if len(line) < 8:
        raise BadKey("Passphrase too short (min 8).")
    if len(line) > 512:
        raise BadKey("Passphrase too long (max 512).")
    return line


def _right_length(data: bytes, what: str, length: int) -> bytes:
    if len(data) != length:
        raise BadKey(f"{what} too {'short' if len(data) < length else 'long'} (expected {length}).")
    return data


def _here(path: str) -> str:
    """Where FreeBSD's path lies; a path of this machine that is in the lab already stays."""
    return path if path.startswith(core.folder() + "/") else core.root(path)
