"""New rules of the firewall wait for their confirmation while a process of the panel is killed: without one the old
rules are back in time, with one they stay. Tried on a whole panel, with each process in turn."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bhype import commit
from bhype.host import LocalHost
from tests.e2e.panel import Panel, wait_until
from tests.e2e.test_firewall import mend

pytestmark = [pytest.mark.guest, pytest.mark.xdist_group("commit")]

VICTIMS = ["web", "worker", "observer", "guard", "appliance"]
SECONDS = 10
ADMIN = """
from bhype.accounts.models import User
User.objects.create(username="root9", role="admin", source="panel")
"""
SWITCH = "from network.models import Switch; print(Switch.objects.get(name='nat').uuid)"


class House:
    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.secret = panel.manage("token", "root9").strip()
        self.host = LocalHost(str(panel.root))
        self.port = 2200

    def ask(self, method: str, path: str, body: object = None) -> object:
        status, answer = self.panel.api(method, path, self.secret, body)
        assert status < 300, (path, answer)
        return answer

    def finish(self, task: object) -> None:
        row = self.panel.finish(task["id"], self.secret)  # type: ignore[index]
        assert row["status"] == "succeeded", row

    def rules(self) -> str:
        argv = [str(self.panel.root / "sbin/pfctl"), "-a", "bhype/rules", "-s", "rules"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def change(self) -> None:
        """Another draft, applied: it waits."""
        self.port += 1
        switch = self.panel.manage("shell", "-v", "0", "-c", SWITCH).split()[-1]
        body = {
            "action": "block", "direction": "out", "subject": f"switch:{switch}", "protocol": "tcp",
            "ports": str(self.port),
        }  # fmt: skip
        self.ask("POST", "/rules", body)
        self.finish(self.ask("POST", "/firewall/apply", {"seconds": SECONDS}))
        assert self.is_in_force() and self.state() == "waiting"

    def is_in_force(self) -> bool:
        return f"port = {self.port}" in self.rules()

    def state(self) -> str:
        found = commit.look(self.host, "firewall")
        return found.state if found else ""

    def kill(self, victim: str) -> None:
        if victim == "guard":
            for pid in guards(self.panel.root):
                os.kill(pid, signal.SIGKILL)
        elif victim == "appliance":
            assert self.panel.process is not None
            os.kill(self.panel.process.pid, signal.SIGKILL)
            self.panel.process.wait()
        else:
            self.panel.kill(victim)

    def mend(self, victim: str) -> None:
        """All processes run again."""
        if victim == "appliance":
            self.panel.start()
        wait_until(self.answers, 60, "the panel")

    def answers(self) -> bool:
        # What is being killed may still take the connection.
        with contextlib.suppress(OSError):
            return self.panel.api("GET", "/hosts", self.secret)[0] == 200
        return False


def guards(root: Path) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"guard" in words and str(root).encode() in words:
                found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    panel = Panel()
    try:
        panel.start()
        panel.manage("shell", "-v", "0", "-c", ADMIN)
        made = House(panel)
        wait_until(lambda: any(one["is_up"] for one in made.ask("GET", "/switches")), 60, "the switches")  # type: ignore[attr-defined]
        mend(panel, made.secret)
        yield made
    finally:
        panel.stop()


@pytest.mark.parametrize("victim", VICTIMS)
def test_without_a_confirmation_the_old_rules_are_back_in_time(house, victim):
    before = house.rules()
    house.change()
    began = time.monotonic()
    house.kill(victim)
    assert house.is_in_force()
    wait_until(lambda: not house.is_in_force(), SECONDS + 20, "the old rules")
    assert time.monotonic() - began < SECONDS + 15
    assert house.rules() == before
    house.mend(victim)
    wait_until(
        lambda: house.ask("GET", "/firewall/rulesets")[0]["state"] == "reverted", 60, "the panel to know"
    )
    assert house.rules() == before
    house.ask("POST", "/firewall/discard")


def test_what_was_confirmed_stays_whoever_is_killed(house):
    house.change()
    house.finish(house.ask("POST", "/firewall/confirm"))
    ends = time.monotonic() + SECONDS
    for victim in VICTIMS:
        house.kill(victim)
        house.mend(victim)
        assert house.is_in_force() and house.state() == "confirmed", victim
    time.sleep(max(2.0, ends - time.monotonic()))
    assert house.is_in_force()
    assert house.ask("GET", "/firewall/rulesets")[0]["state"] == "confirmed"
