"""Real guests in a lab, for tests: the programs of `efi` under bhyve, in seconds."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Iterator

from tests.lab import efi
from tests.lab.conftest import Lab

ROM = "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"
PATIENCE = 60  # seconds until a guest must have done something, on a busy machine


class Guest:
    """One bhyve whose com1 is the nmdm(4) pair of its name; ``argv`` goes before the name."""

    def __init__(self, lab: Lab, name: str, image: bytes | None, *argv: str, acpi: str = "-A") -> None:
        self.lab = lab
        self.name = name
        self.serial = -1
        self.heard = b""
        if image is not None:
            lab.path("/vm").mkdir(exist_ok=True)
            lab.path(f"/vm/{name}.img").write_bytes(image)
        self.argv = lab.argv(
            "bhyve", acpi, "-HPu", "-c", "1", "-m", "128M", "-s", "0,hostbridge", "-s", "31,lpc",
            "-l", f"bootrom,{ROM}", "-l", f"com1,/dev/nmdm-{name}.1A",
            "-s", f"4,virtio-blk,/vm/{name}.img", *argv, name,
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start bhyve, and listen to com1 from the first byte on: what nobody reads is lost."""
        self.heard = b""
        self.process = subprocess.Popen(
            self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.listen()

    def listen(self) -> None:
        """Open com1's other side as soon as it is there; bhyve has all its devices then."""
        path = self.lab.path(f"/dev/nmdm-{self.name}.1B")
        deadline = time.monotonic() + PATIENCE
        while self.serial < 0:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            with contextlib.suppress(FileNotFoundError):
                self.serial = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            time.sleep(0.01)

    def until(self, text: bytes) -> bytes:
        """Listen to com1 until ``text`` has come; returns all that was heard since the last time."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.heard:
            assert time.monotonic() < deadline, self.heard
            assert self.process.poll() is None, (self.heard, self.process.communicate())
            if select.select([self.serial], [], [], 0.1)[0]:
                with contextlib.suppress(BlockingIOError):
                    self.heard += os.read(self.serial, 4096)
        before, _, self.heard = self.heard.partition(text)
        return before + text

    def ready(self) -> None:
        """Wait until the guest's program runs."""
        self.until(efi.READY.encode())

    def type(self, data: bytes) -> None:
        os.write(self.serial, data)

    def status(self) -> int:
        """How bhyve ended, negative for a signal."""
        return self.process.wait(PATIENCE)

    def hang_up(self) -> None:
        if self.serial >= 0:
            os.close(self.serial)
            self.serial = -1

    def close(self) -> None:
        self.hang_up()
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def guest(lab: Lab, name: str, image: bytes, *argv: str, acpi: str = "-A") -> Iterator[Guest]:
    """A started guest that is gone at the end."""
    found = Guest(lab, name, image, *argv, acpi=acpi)
    try:
        yield found
    finally:
        found.close()
