"""What tells that a guest does its work: a TCP port that answers, or a text on its serial console.

"tcp:ADDRESS:PORT" with a numeric address ("tcp:10.0.0.7:22", "tcp:[fd00::7]:80"), or "serial:TEXT".
"""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from dataclasses import dataclass

from bhype.host import LocalHost
from bhype.tasks import Run
from bhype.vmrun import client
from vms.models import VM

from . import power

TEXT_MAX = 100
CONNECT_SECONDS = 2.0
POLL = 0.5
# What is kept of a line's end, in case the text comes in two pieces.
BLOCK = 1 << 16


class BadHealth(ValueError):
    """Not a check that there is. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Check:
    """kind: "tcp" with address and port, or "serial" with text."""

    kind: str
    address: str = ""
    port: int = 0
    text: str = ""


def parse(written: str) -> Check | None:
    """The check that ``written`` stands for; None for "". Raises BadHealth."""
    if not written:
        return None
    kind, _, rest = written.partition(":")
    if kind == "serial":
        if not rest.strip() or len(rest) > TEXT_MAX or not rest.isprintable():
            raise BadHealth(f"After serial: stands a text of at most {TEXT_MAX} printable characters.")
        return Check("serial", text=rest)
    if kind != "tcp":
        raise BadHealth('A check is "tcp:ADDRESS:PORT" or "serial:TEXT".')
    host, _, number = rest.rpartition(":")
    if not (number.isascii() and number.isdigit() and 1 <= int(number[:6]) <= 65535):
        raise BadHealth("The port is a number from 1 to 65535.")
    return Check("tcp", address=_address(host), port=int(number))


def _address(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ipaddress.ip_address(bare)
    except ValueError as error:
        raise BadHealth(f"{text[:64]!r} is not an IP address.") from error
    # The worker connects: a check must not become a way to look at the host itself.
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped.is_loopback or mapped.is_unspecified or mapped.is_multicast or mapped.is_link_local:
        raise BadHealth(f"{address} is not the address of a guest.")
    return str(address)


class Watch:
    """Made before a VM starts, it tells whether the guest has become healthy since."""

    def __init__(self, host: LocalHost, vm: VM) -> None:
        self._host, self._name = host, vm.name
        self.check = parse(vm.health)
        self._log = client.serial_logs(vm.name)[0]
        self._offset = self._size()
        self._tail = b""

    def is_healthy(self) -> bool:
        """One look; at most CONNECT_SECONDS."""
        if self.check is None:
            return True
        return self._answers() if self.check.kind == "tcp" else self._has_said()

    def wait(self, run: Run, vm: VM, seconds: float) -> bool:
        """Look until it is healthy; False after ``seconds``, or when the VM goes off. Raises Cancelled."""
        deadline = time.monotonic() + seconds
        while not self.is_healthy():
            if time.monotonic() > deadline or not power.is_on(run.host, vm.name):
                return False
            run.check_cancelled()
            time.sleep(POLL)
        return True

    def _answers(self) -> bool:
        if self.check is None:
            return True
        try:
            with socket.create_connection((self.check.address, self.check.port), CONNECT_SECONDS):
                return True
        except OSError:
            return False

    def _size(self) -> int:
        try:
            return self._host.size(self._log)
        except OSError:
            return 0

    def _has_said(self) -> bool:
        """Whether the text has come; of a log that was put aside meanwhile, the new one is read from its start."""
        wanted = (self.check.text if self.check else "").encode()
        if self._size() < self._offset:
            self._offset, self._tail = 0, b""
        try:
            with open(self._host.path(self._log), "rb") as file:  # noqa: PTH123  (a path of the host)
                file.seek(self._offset, os.SEEK_SET)
                while block := file.read(BLOCK):
                    self._offset += len(block)
                    seen = self._tail + block
                    if wanted in seen:
                        return True
                    self._tail = seen[-len(wanted) :]
        except OSError:
            return False
        return False
