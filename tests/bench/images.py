"""How long an image takes into a volume: read in the cage, as bHype does, beside qemu-img alone."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bhype import outside
from bhype.host import LocalHost
from tests.bench.report import show

MIB = 2**20
DATA, SIZE, ROUNDS = 400 * MIB, 4096 * MIB, 3


def make(folder: Path, *options: str) -> Path:
    """A qcow2 image whose data is compressible and has gaps, large ones and small ones."""
    chance = random.Random(1)
    words = [chance.randbytes(5) for _ in range(3000)]
    blocks = [b"".join(chance.choices(words, k=13_000)) + bytes(4096 * n) for n in range(16)]
    raw, image = folder / "raw", folder / "image"
    with raw.open("wb") as file:
        for number in range(DATA // len(blocks[0])):
            file.seek(number * (SIZE // (DATA // len(blocks[0])) // 65536) * 65536)
            file.write(chance.choice(blocks))
        file.truncate(SIZE)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", *options, raw, image], check=True)
    raw.unlink()
    return image


def seconds(work: Callable[[Path], object], target: Path) -> float:
    """The shortest of some runs, each to a target of zeros, until all of it is on the disk."""
    took = []
    for _ in range(ROUNDS):
        target.unlink(missing_ok=True)
        with target.open("wb") as file:
            file.truncate(SIZE)
            began = time.monotonic()
            work(target)
            os.fsync(file.fileno())
            took.append(time.monotonic() - began)
    return min(took)


def main() -> None:
    for title, options in (("qcow2", ()), ("qcow2, compressed", ("-c",))):
        with tempfile.TemporaryDirectory(prefix="bht-", dir="/tmp") as name:
            folder = Path(name)
            image = make(folder, *options)

            def alone(target: Path, image: Path = image) -> object:
                words = ("convert", "-n", "--target-is-zero", "-f", "qcow2", "-O", "raw")
                return subprocess.run(["qemu-img", *words, image, target], check=True)

            def caged(target: Path, image: Path = image) -> object:
                request = {"path": str(image), "kind": "qcow2", "size": SIZE, "target": str(target)}
                command = outside.command("write", {**request, "is_zero": True, "seconds": 600}, timeout=600)
                return outside.answer(LocalHost().run(command).stdout)

            direct, ours = seconds(alone, folder / "target"), seconds(caged, folder / "target")
            show(f"{title}: qemu-img alone", f"{direct:.1f} s")
            show(f"{title}: in the cage", f"{ours:.1f} s")


if __name__ == "__main__":
    main()
