"""The folder of a lab, made quickly: in this process, and with the firmware of all labs on the disk once."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

from bhype.lab import tree

GIB = 2**30


def make(
    folder: str | os.PathLike[str],
    *,
    cpus: int = 8,
    memory: int = 32 * GIB,
    size: int = 100 * GIB,
    **more: object,
) -> None:
    """As ``python -m bhype.lab create`` does; what is in the folder is kept. more: nics, release."""
    target = Path(folder, "root", tree.FIRMWARE)
    target.mkdir(parents=True, exist_ok=True)
    for source in _firmware().iterdir():
        if not (target / source.name).exists():
            os.link(source, target / source.name)
    try:
        tree.create(str(folder), cpus=cpus, memory=memory, pool="tank", size=size, **more)
    finally:
        del os.environ["BHYPE_LAB"]


@functools.cache
def _firmware() -> Path:
    """Nobody writes to these files."""
    folder = tempfile.mkdtemp(prefix="bhf-", dir="/tmp")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tree.create(folder, cpus=1, memory=GIB, pool="tank", size=GIB)
    return Path(folder, "root", tree.FIRMWARE)
