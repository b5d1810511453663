from __future__ import annotations

from dataclasses import dataclass

import pytest

from bhype import commit
from bhype.hosts.models import Host
from bhype.tasks import ask
from bhype.tasks.models import Task
from network import guests
from network.guests import Guest, Port
from network.models import Switch

CALLS = 'nat-anchor "bhype/*"\nrdr-anchor "bhype/*"\nanchor "bhype/*"\n'
WEB = "vm:11111111-0000-4000-8000-000000000000"
MAC = "58:9c:fc:00:00:01"


@dataclass
class Filtered:
    """A lab whose pf is on and asks bHype's anchors, with one switch and one guest on it."""

    lab: object
    host: Host
    switch: Switch

    def pfctl(self, *words: str) -> str:
        return self.lab.commands("/sbin/pfctl", *words)

    def rules(self) -> str:
        return self.pfctl("-a", "bhype/rules", "-s", "rules")

    def table(self, anchor: str, name: str) -> list[str]:
        return self.pfctl("-a", anchor, "-t", name, "-T", "show").split()

    def do(self, operation: str, **params) -> Task:
        """Ask for it, and let the worker do it and whatever else waits."""
        task = ask(operation, params, None)
        self.lab.run_tasks()
        task.refresh_from_db()
        return task

    def read(self, name: str) -> str:
        return (self.lab.root / "var/db/bhype/pf" / name).read_text()


@pytest.fixture
def guest():
    """One guest of a kind that no room tells of: the rooms above network are none of its business."""
    found: list[Guest] = []
    rest = dict(guests._kinds)
    guests._kinds.clear()
    guests.register("vm", lambda _wanted: list(found), label="VM")
    yield found
    guests._kinds.clear()
    guests._kinds.update(rest)


@pytest.fixture
def filtered(ready, guest):
    ready.commands("/sbin/kldload", "-n", "pf")
    (ready.root / "etc/pf.conf").write_text(CALLS)
    ready.commands("/sbin/pfctl", "-f", "/etc/pf.conf")
    ready.commands("/sbin/pfctl", "-e")
    switch = Switch.objects.get()
    port = Port("nic:1", 0, switch.pk, MAC, "tap1001", False, ("10.77.0.5",))
    guest.append(Guest("vm", WEB, "web", "", switch.host_id, ("shop",), True, None, (port,)))
    yield Filtered(ready, switch.host, switch)
    change = commit.look(ready.host, "firewall")
    if change is not None and not change.has_ended:
        commit.revert(ready.host, "firewall")
