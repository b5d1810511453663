"""The OpenZFS guest, running: it is given shell commands and answers with their output and exit status."""

from __future__ import annotations

import base64
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass

from tests.openzfs import build

BOOT_SECONDS = 300
MEMORY = "1536"


@dataclass(frozen=True)
class Answer:
    """What a command has said."""

    code: int
    out: str
    err: str


class Guest:
    """A running guest; ``guest.run("zfs list")``. Its pools lie on files in its memory and go with it."""

    def __init__(self) -> None:
        files = build.guest_files()
        self.version = files.version
        self.folder = tempfile.mkdtemp(prefix="boz-", dir="/tmp")
        path = f"{self.folder}/port"
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(1)
        argv = [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-M", "q35", "-m", MEMORY),
            *("-display", "none", "-nodefaults", "-no-reboot", "-serial", f"file:{self.folder}/console"),
            *("-device", "virtio-serial-pci", "-chardev", f"socket,id=port,path={path}"),
            *("-device", "virtserialport,chardev=port,name=commands"),
            *("-kernel", str(files.kernel), "-initrd", str(files.initrd)),
            *("-append", "console=ttyS0 quiet mitigations=off random.trust_cpu=on"),
        ]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        server.settimeout(10)
        self.socket, _ = server.accept()
        server.close()
        self.socket.setblocking(False)
        self.buffer = b""
        if self._line(BOOT_SECONDS) != b"ready":
            raise RuntimeError(f"the guest did not start: {self.console()}")

    def console(self) -> str:
        with open(f"{self.folder}/console", errors="replace") as file:
            return file.read()[-2000:]

    def _line(self, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or self.process.poll() is not None:
                raise RuntimeError(f"the guest does not answer: {self.console()}")
            if select.select([self.socket], [], [], min(left, 1))[0]:
                part = self.socket.recv(1 << 16)
                if not part:
                    raise RuntimeError(f"the guest is gone: {self.console()}")
                self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def run(self, script: str, seconds: float = 120) -> Answer:
        """Give the guest's shell a script. Raises RuntimeError when there is no answer in ``seconds``."""
        self.socket.setblocking(True)
        self.socket.sendall(base64.b64encode(script.encode()) + b"\n")
        self.socket.setblocking(False)
        parts: list[list[bytes]] = [[]]
        while (line := self._line(seconds)) != b"begin":
            continue
        while not (line := self._line(seconds)).startswith(b"end "):
            if line == b"--":
                parts.append([])
            else:
                parts[-1].append(line)
        out, err = (base64.b64decode(b"".join(part)).decode(errors="replace") for part in parts)
        return Answer(int(line[4:]), out, err)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.socket.close()
        shutil.rmtree(self.folder, ignore_errors=True)


if __name__ == "__main__":  # a shell to try things in
    import sys

    guest = Guest()
    try:
        for typed in sys.stdin:
            answer = guest.run(typed)
            os.write(1, f"{answer.out}{answer.err}[{answer.code}]\n".encode())
    finally:
        guest.close()
