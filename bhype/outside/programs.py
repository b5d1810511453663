"""The programs by name. Each is imported alone: what a process does not need, it does not load."""

from __future__ import annotations

from bhype.outside.cage import Program


def find(name: str) -> Program:
    """Raises LookupError."""
    if name == "fetch":
        from bhype.outside.fetch import main as fetch

        return fetch
    if name == "unpack":
        from bhype.outside.unpack import main as unpack

        return unpack
    if name in {"examine", "write"}:
        from bhype.outside import disk

        return disk.examine if name == "examine" else disk.write
    if name == "signature":
        from bhype.outside.signature import main as signature

        return signature
    raise LookupError(name)
