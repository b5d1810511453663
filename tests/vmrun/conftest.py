"""A lab whose guests are quick fakes, and one whose guests are real."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bhype.freebsd import ifconfig
from bhype.host import LocalHost, connect_unix
from bhype.vmrun import client
from tests import labfolder

PROJECT = Path(__file__).resolve().parents[2]
FAKES = Path(__file__).with_name("fakes.py")
FAKED = (
    "bin/ps", "sbin/sysctl", "usr/bin/protect", "usr/bin/rctl", "usr/local/bin/swtpm", "usr/local/sbin/grub-bhyve",
    "usr/sbin/bhyve", "usr/sbin/bhyveload", "usr/sbin/bhyvectl", "usr/sbin/ngctl",
)  # fmt: skip
UUID = "7d8c1c2e-3c48-4a27-9b0f-2a1d5f0e3a11"


def until(check: Callable[[], object], seconds: float = 60.0, what: str = "") -> object:
    """Wait for ``check`` to give something true."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or check}"
        time.sleep(0.02)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Lab:
    """A lab host; ``name`` is the VM of these tests."""

    name = "web1"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        labfolder.make(folder, cpus=4, memory=8 << 30)
        self.host = LocalHost(str(self.root))
        self.host.makedirs("/vms")
        self.host.run(ifconfig.create_bridge("sw-nat", description="bhype/switch/1"))
        (self.root / "vms/disk0.img").write_bytes(b"")
        self.port = free_port()

    def document(self, **more: object) -> dict:
        return {
            "name": self.name, "cpu": 2, "mem": "128M", "uuid": UUID, "com1": f"/dev/nmdm-{self.name}.1A",
            "bootrom": "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd", "varfile": "/vms/vars.fd",
            "power_off_destroy_vm": True,
            "emulations": [
                {"device": "virtio-blk", "path": "/vms/disk0.img"},
                {"device": "virtio-net", "name": "tap1001", "fix": True, "bridge": "sw-nat",
                 "description": f"bhype/vm/{UUID}/0", "mac": "58:9c:fc:00:00:01"},
            ],
            "graphic": {"host": "127.0.0.1", "port": self.port, "password": "pw123456"},
        } | more  # fmt: skip

    def write(self, document: dict) -> str:
        """Put vm.json beside the disk; FreeBSD's path of it."""
        self.host.write_text("/vms/vm.json", json.dumps(document))
        return "/vms/vm.json"

    def start(self, document: dict | None = None, **options: object) -> None:
        path = self.write(document or self.document())
        self.host.run(client.start_command(self.host, path, timeout=60, **options))

    def state(self) -> dict:
        return client.read_state(self.host, self.name) or {}

    def ask(self, verb: str, **options: object) -> dict:
        return client.request(self.host, self.name, verb, timeout=60, **options)

    def until(self, word: str, seconds: float = 60.0) -> dict:
        """Wait for a state."""
        until(lambda: self.state().get("state") == word, seconds, f"{word}, but {self.state()}")
        return self.state()

    def taps(self) -> list[str]:
        return [one.name for one in self.host.query(ifconfig.list_interfaces()) if one.name.startswith("tap")]

    def serial(self) -> socket.socket:
        return connect_unix(self.host.path(client.serial_socket(self.name)), 60)

    def log(self, name: str) -> str:
        path = self.root / "var/run/bhype/vms" / self.name / name
        return path.read_text() if path.exists() else ""

    def close(self) -> None:
        """End what the test has left, by pid."""
        state = self.state()
        for pid in (state.get("supervisor"), state.get("pid"), *state.get("helpers", {}).values()):
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue


class FakeLab(Lab):
    """Its bhyve does what ``plan`` says."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (self.root / "fake/pids").mkdir(parents=True)
        self.plan()
        (self.root / "sbin/sysctl").rename(self.root / "sbin/sysctl.lab")
        for path in FAKED:
            program = self.root / path
            program.parent.mkdir(parents=True, exist_ok=True)
            words = f'"{sys.executable}" -S -E "{FAKES}" "{self.root}" {program.name}'
            program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            program.chmod(0o755)

    def plan(self, *runs: dict) -> None:
        (self.root / "fake/plan.json").write_text(json.dumps(runs))

    def tell(self, program: str, **todo: object) -> None:
        """What a program other than bhyve does, see fakes.py."""
        (self.root / f"fake/{program}.json").write_text(json.dumps(todo))

    def calls(self, *programs: str) -> list[list[str]]:
        """How these have been called."""
        path = self.root / "fake/calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if call[0] in programs]

    def reboot(self) -> None:
        """The guest reboots by itself."""
        with self.serial() as line:
            while b"ready" not in line.recv(100):
                pass
            line.sendall(b"\x12")

    def helper(self, name: str) -> int:
        """The process of "loader" or "swtpm", as the state has it."""
        return int(until(lambda: self.state().get("helpers", {}).get(name)))

    @property
    def starts(self) -> list[list[str]]:
        path = self.root / "fake/starts"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def short_path():
    """A folder with a short path: those of pytest are long."""
    with tempfile.TemporaryDirectory(prefix="vmr-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def lab(short_path):
    lab = FakeLab(short_path)
    yield lab
    lab.close()


@pytest.fixture
def real_lab(short_path):
    lab = Lab(short_path)
    yield lab
    lab.close()
