"""Encryption of datasets: making them, and loading, unloading and changing their keys. Facts: zfs-load-key(8),
lib/libzfs/libzfs_crypto.c of OpenZFS.

A passphrase is never a word of a command: it goes to standard input, which no log shows and no process list has.
With keylocation=prompt and an input that is no terminal, zfs(8) reads one line there and asks for no second one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bhype.freebsd import names, zfs
from bhype.freebsd.command import Command, Query
from bhype.freebsd.rows import present, rows
from bhype.freebsd.zfs import CHANGE_TIMEOUT, LIST_TIMEOUT, PROGRAM

# zfs(8) counts bytes (MIN_PASSPHRASE_LEN and MAX_PASSPHRASE_LEN).
SHORTEST, LONGEST = 8, 512
CIPHER = "aes-256-gcm"
_KEY = ("-o", "keyformat=passphrase", "-o", "keylocation=prompt")
AVAILABLE, UNAVAILABLE = "available", "unavailable"


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """The encryption of a dataset. cipher: "off", or as in aes-256-gcm; root: the dataset whose key it has, "" of one
    that is not encrypted; is_loaded: its data can be reached; location: "prompt", "file://..." or ""; is_mounted: of a
    filesystem; mountpoint: its folder, "" without one; origin: the snapshot of which it is a clone."""

    name: str
    kind: str
    cipher: str
    root: str
    is_loaded: bool
    location: str
    is_mounted: bool
    mountpoint: str


def line(passphrase: str) -> bytes:
    """The passphrase as zfs(8) reads it. Raises BadName for one that it would refuse, or take for another."""
    raw = passphrase.encode("utf-8", "surrogatepass")
    if not SHORTEST <= len(raw) <= LONGEST:
        raise names.BadName(f"A passphrase has {SHORTEST} to {LONGEST} bytes.")
    if not passphrase.isprintable():
        raise names.BadName("A passphrase is one line, without control characters.")
    return raw + b"\n"


def create_filesystem(name: str, passphrase: str, properties: Mapping[str, str] = {}) -> Command:
    """An encrypted filesystem with a key of its own; what is made below it has the same key."""
    return _encrypted(zfs.create_filesystem(name, properties), passphrase)


def create_volume(name: str, size: int, passphrase: str, properties: Mapping[str, str] = {}) -> Command:
    """An encrypted sparse volume of ``size`` bytes, with a key of its own."""
    return _encrypted(zfs.create_volume(name, size, properties), passphrase)


def _encrypted(command: Command, passphrase: str) -> Command:
    program, verb, *rest = command.argv
    argv = (program, verb, "-o", f"encryption={CIPHER}", *_KEY, *rest)
    return replace(command, argv=argv, stdin=line(passphrase))


def load(name: str, passphrase: str | None) -> Command:
    """Unlock an encryption root. passphrase: None where the key lies in a file of the host (keylocation)."""
    return _change(passphrase, "load-key", names.dataset(name))


def check(name: str, passphrase: str) -> Command:
    """Whether the passphrase is right, also of what is unlocked; nothing changes (-n)."""
    return _change(passphrase, "load-key", "-n", names.dataset(name))


def unload(name: str) -> Command:
    """Lock an encryption root, of which nothing is mounted or open."""
    return _change(None, "unload-key", names.dataset(name))


def change(name: str, passphrase: str) -> Command:
    """Give what is unlocked another passphrase. Its data stays as it is: only the key is wrapped anew."""
    return _change(passphrase, "change-key", *_KEY, names.dataset(name))


def unmount(name: str) -> Command:
    """Take a filesystem away from its folder; refused while a file in it is open."""
    return _change(None, "unmount", names.dataset(name))


def _change(passphrase: str | None, *words: str) -> Command:
    stdin = b"" if passphrase is None else line(passphrase)
    return Command((PROGRAM, *words), stdin=stdin, timeout=CHANGE_TIMEOUT)


def status(name: str, *, recursive: bool = True) -> Query[list[KeyInfo]]:
    """The encryption of a dataset, and of all below it."""
    reach = ["-r"] if recursive else ["-d", "0"]
    columns = "name,type,encryption,encryptionroot,keystatus,keylocation,mounted,mountpoint"
    argv = (PROGRAM, "list", "-Hp", *reach, "-t", "filesystem,volume", "-o", columns, names.dataset(name))
    return Query(Command(argv, timeout=LIST_TIMEOUT), _status)


def _status(text: str) -> list[KeyInfo]:
    found = []
    for name, kind, cipher, root, key, location, mounted, mountpoint in rows(text, 8):
        if "%" in name:  # the hidden clone of a running zfs receive
            continue
        found.append(
            KeyInfo(
                name,
                kind,
                present(cipher) or "off",
                present(root) or "",
                key != UNAVAILABLE,
                location if location not in {"-", "none"} else "",
                mounted == "yes",
                mountpoint if mountpoint.startswith("/") else "",
            )
        )
    return found


_REASONS = (
    ("Incorrect key provided", "The passphrase is wrong."),
    ("is busy", "Something on the host still uses it."),
    ("does not exist", "It is not there any more."),
)
_LOADED = re.compile(r"Key already (un)?loaded")


def is_done_already(text: str) -> bool:
    """Whether zfs(8) complains that the key is loaded, or unloaded, as it was to be."""
    return _LOADED.search(text) is not None


def reason(text: str) -> str:
    """What zfs(8) said about a key, as a sentence; "" when it is none of what is known."""
    return next((said for word, said in _REASONS if word in text), "")
