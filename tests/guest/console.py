"""Talks with the test guest over its serial ports: what ``init.sh`` reports, and the commands that it takes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 120  # seconds until a guest must have said something, on a busy machine

Item = dict[str, Any]


class Line:
    """A serial port, read in lines. ``alive`` says why nothing can come any more, or nothing."""

    def __init__(self, handle: int, alive: Callable[[], str] = lambda: "") -> None:
        self.handle = handle
        self.alive = alive
        self.heard = b""
        os.set_blocking(handle, False)

    @classmethod
    def open(cls, path: Path, alive: Callable[[], str] = lambda: "") -> Line:
        """The side of a nmdm(4) pair that bhyve does not have, as soon as it is there."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(FileNotFoundError):
                return cls(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK), alive)
            assert not alive(), alive()
            assert time.monotonic() < deadline, path
            time.sleep(0.01)

    @classmethod
    def socket(cls, connection: socket.socket) -> Line:
        return cls(connection.detach())

    def read(self) -> str:
        """The next line, without its end."""
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self.heard:
            assert time.monotonic() < deadline, self.heard
            if not select.select([self.handle], [], [], 0.2)[0]:
                assert not self.alive(), (self.alive(), self.heard)
                continue
            with contextlib.suppress(BlockingIOError):
                data = os.read(self.handle, 65536)
                assert data, (self.alive(), self.heard)
                self.heard += data
        line, _, self.heard = self.heard.partition(b"\n")
        return line.decode(errors="replace").strip("\r")

    def write(self, line: str) -> None:
        data = line.encode() + b"\n"
        while data:
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self.handle, data) :]

    def ask(self, line: str) -> str:
        """What a port that echoes answers."""
        self.write(line)
        return self.read()

    def close(self) -> None:
        os.close(self.handle)


class Console(Line):
    """com1 of the guest."""

    def item(self) -> Item:
        """The next object that the guest says; firmware and boot loader say other things before."""
        while True:
            line = self.read()
            at = line.find('{"kind"')
            if at >= 0:
                return json.loads(line[at:])

    def report(self) -> dict[str, list[Item]]:
        """All that the guest has found, by kind."""
        found: dict[str, list[Item]] = {}
        while (item := self.item())["kind"] != "ready":
            found.setdefault(item["kind"], []).append(item)
        assert "trouble" not in found, found["trouble"]
        return found

    def run(self, words: str) -> str:
        """The output of a shell's command in the guest."""
        self.write(f"sh {words}")
        answer = self.item()
        assert (answer["kind"], answer["code"]) == ("ran", 0), answer
        return answer["out"]
