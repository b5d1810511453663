"""QMP, the language of QEMU's monitor."""

from __future__ import annotations

import json
import socket
from typing import Any

# Where the operating system of a guest keeps ACPI's power management registers once the firmware has run on a q35.
PM1_STATUS, PM1_ENABLE = 0x600, 0x602


class Monitor:
    """A QMP connection over a socket: commands with callbacks, events, no thread.

    The owner calls `receive` when the socket is readable, and gets events through ``on_event(name, data)``.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = b""
        self.ready = False
        self.waiting: list[Any] = []
        self.on_event: Any = lambda name, data: None

    def send(self, verb: str, answer: Any = None, **arguments: Any) -> None:
        """Ask QEMU; ``answer(reply)`` gets the reply's dict later. Nothing happens when QEMU is gone."""
        self.waiting.append(answer)
        text = json.dumps({"execute": verb, "arguments": arguments}) + "\n"
        try:
            self.connection.sendall(text.encode())
        except OSError:
            self.waiting.pop()

    def receive(self) -> bool:
        """Read what is there and hand it on; False when QEMU closed the connection."""
        try:
            data = self.connection.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.buffer += data
        *lines, self.buffer = self.buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "QMP" in message:
                self.send("qmp_capabilities", self._greeted)
            elif "event" in message:
                self.on_event(message["event"], message.get("data", {}))
            elif self.waiting:
                answer = self.waiting.pop(0)
                if answer:
                    answer(message)
        return bool(data)

    def _greeted(self, reply: dict[str, Any]) -> None:
        self.ready = True

    def register(self, port: int, answer: Any) -> None:
        """Read 16 bits of an I/O port of the guest; ``answer(value)``, 0xffff when there is no answer."""

        def read(reply: dict[str, Any]) -> None:
            text = str(reply.get("return", ""))  # "portw[0x0602] = 0x0100"; in HMP /h is two bytes
            try:
                answer(int(text.rpartition("=")[2], 16))
            except ValueError:
                answer(0xFFFF)

        self.send("human-monitor-command", read, **{"command-line": f"i /h {port:#x}"})
