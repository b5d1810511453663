"""Checks an OpenPGP signature with gpgv(1), of the port security/gnupg: the program made for signed downloads, which
knows no keys but those it is given and asks nobody.

The request: path (of what is signed), signature (its bytes in base64, "" when the file is signed in clear), key (the
public keys, armored), seconds. The answer: key (fingerprint of the key that signed), is_expired (that key is, by now),
text (what is signed, of a file that is signed in clear).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from bhype.outside import cage
from bhype.outside.cage import Refused

PROGRAMS = ("/usr/local/bin/gpgv", "/usr/local/bin/gpgv2", "/usr/bin/gpgv")
TEXT_LIMIT = 4 << 20
_BLOCK = re.compile(
    r"^-----BEGIN PGP ([A-Z ]+)-----[ \t]*\r?\n(.*?)^-----END PGP \1-----", re.MULTILINE | re.DOTALL
)


def main(request: Mapping[str, Any]) -> dict[str, Any]:
    data = os.open(request["path"], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    program = next((place for place in PROGRAMS if os.access(place, os.X_OK)), "")
    cage.enter(seconds=int(request["seconds"]))
    if not program:
        raise Refused("gpgv is not on this host, so no signature can be checked: pkg install gnupg.")
    keys = dearmor(request["key"], "PUBLIC KEY BLOCK")
    if not keys:
        raise Refused("The key is no OpenPGP public key.")
    folder = tempfile.mkdtemp(prefix="bhype-")
    try:
        return _check(program, folder, data, keys, base64.b64decode(request["signature"]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def dearmor(text: str, kind: str) -> bytes:
    """The bytes of all armored blocks of this kind in a text (RFC 9580, 6.2); the checksum of an armor says nothing
    that a signature does not."""
    found = b""
    for label, block in _BLOCK.findall(text):
        if label != kind:
            continue
        lines = [line.strip() for line in block.split("\n")]
        body = lines[lines.index("") + 1 :] if "" in lines else lines
        letters = "".join(line for line in body if not line.startswith("="))
        try:
            found += base64.b64decode(letters, validate=True)
        except binascii.Error:
            return b""
    return found


def _check(program: str, folder: str, data: int, keys: bytes, signature: bytes) -> dict[str, Any]:
    _write(f"{folder}/keys.gpg", keys)
    words = [program, "--homedir", folder, "--keyring", f"{folder}/keys.gpg", "--weak-digest", "SHA1"]
    words += ["--status-fd", "1"]
    if signature:
        if signature.lstrip().startswith(b"-----"):
            signature = dearmor(signature.decode("ascii", "replace"), "SIGNATURE")
        _write(f"{folder}/signature", signature)
        words += [f"{folder}/signature", "-"]
    else:
        words += ["--output", f"{folder}/text", "-"]
    code, status = _run(words, data, folder)
    valid = re.search(r"^\[GNUPG:\] VALIDSIG ([0-9A-F]{32,64}) ", status, re.MULTILINE)
    is_expired = "[GNUPG:] EXPKEYSIG " in status
    if code != 0 or not valid or not ("[GNUPG:] GOODSIG " in status or is_expired):
        raise Refused(_why(status))
    text = ""
    if not signature:
        with open(f"{folder}/text", "rb") as file:
            text = file.read(TEXT_LIMIT).decode("utf-8", "replace")
    return {"key": valid[1], "is_expired": is_expired, "text": text}


def _write(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)


def _run(words: list[str], data: int, folder: str) -> tuple[int, str]:
    """The exit status of gpgv, which reads ``data``, and what it says of the signature."""
    out = os.open(f"{folder}/status", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    null = os.open(os.devnull, os.O_WRONLY)
    actions = [
        (os.POSIX_SPAWN_DUP2, data, 0),
        (os.POSIX_SPAWN_DUP2, out, 1),
        (os.POSIX_SPAWN_DUP2, null, 2),
    ]
    child = os.posix_spawn(words[0], words, {"LC_ALL": "C", "HOME": folder}, file_actions=actions)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), os.pread(out, 1 << 16, 0).decode("utf-8", "replace")


def _why(status: str) -> str:
    if "[GNUPG:] BADSIG " in status:
        return "The signature is wrong: what was fetched is not what was signed."
    if "[GNUPG:] NO_PUBKEY " in status:
        return "It is signed with another key than the one that is known."
    if "[GNUPG:] REVKEYSIG " in status:
        return "It is signed with a key that was revoked."
    return "It has no valid signature."
