"""With real packets: a guest comes out after one step of mending, a forward leads in, a rule by name drops."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from bhype import commit
from bhype.lab import wires
from bhype.tasks import ask
from network.blocked import observe as blocked
from network.guests import Guest, Port
from network.models import BlockedPacket, Forward, Rule, Switch
from tests.network.dhcp.clients import Machine

WEB, OTHER = (f"vm:{digit * 8}-0000-4000-8000-000000000000" for digit in "12")
# Its waits and processes are many: make test-long runs it.
pytestmark = pytest.mark.long
MACS = {WEB: "58:9c:fc:00:00:05", OTHER: "58:9c:fc:00:00:06"}
ADDRESSES = {WEB: "10.77.0.5", OTHER: "10.77.0.6"}
OUTSIDE, HOST = "192.0.2.1", "192.0.2.10"
# Says once who has asked.
SERVE = """
import socket
with socket.create_server(("", int({port}))) as server:
    print("ready", flush=True)
    while True:
        client, (address, *_) = server.accept()
        client.sendall(address.encode())
        client.close()
"""
ASK = """
import socket
with socket.create_connection(({address!r}, {port}), timeout={patience}) as found:
    print(found.recv(99).decode())
"""


def python(text: str, **words) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", text.format(**words)]


@pytest.fixture
def net(wired, guest, tmp_path):
    """A wired lab with two guests on the NAT-ed switch."""
    switch = Switch.objects.get()
    machines = {}
    for number, (word, address) in enumerate(ADDRESSES.items()):
        machine = machines[word] = Machine(wired, "sw-nat", MACS[word], tmp_path)
        for argv in (("addr", "add", f"{address}/24"), ("route", "add", "default", "via", "10.77.0.1")):
            done = machine.run("ip", *argv, "dev", "eth0")
            assert done.returncode == 0, done.stderr
        port = Port(f"nic:{number}", 0, switch.pk, MACS[word], "", False, (address,))
        guest.append(Guest("vm", word, f"g{number}", "", switch.host_id, (), True, None, (port,)))
    with wired._named():
        outside = ["nsenter", f"--net=/proc/{wires.outside_namespace()}/ns/net", "--"]
    servers = [
        subprocess.Popen(machines[WEB]._inside(*python(SERVE, port=80)), stdout=subprocess.PIPE),
        subprocess.Popen([*outside, *python(SERVE, port=7000)], stdout=subprocess.PIPE),
    ]
    for server in servers:
        assert server.stdout.readline() == b"ready\n"
    yield wired, machines
    blocked.end(wired.look().memory(blocked.Memory))
    for server in servers:
        server.kill()
        server.wait()
        server.stdout.close()
    for machine in machines.values():
        machine.end()
    for change in commit.pending(wired.host):
        commit.revert(wired.host, change.name)


def do(lab, operation: str, **params) -> None:
    task = ask(operation, params, None)
    lab.run_tasks()
    task.refresh_from_db()
    assert task.status == "succeeded", task.error


def asked(run, address: str, port: int, patience: float = 20) -> str:
    """Whom the server has seen; empty where nobody answers."""
    return run(*python(ASK, address=address, port=port, patience=patience)).stdout.strip()


def test_nat_forwards_and_rules_do_with_packets_what_they_say(net):
    lab, machines = net
    web, other = machines[WEB], machines[OTHER]
    assert asked(web.run, OUTSIDE, 7000, 0.5) == ""
    do(lab, "network.mend")
    assert asked(web.run, OUTSIDE, 7000) == HOST
    # Nobody comes in unasked, also who knows the way.
    lab.outside("ip", "route", "replace", "10.77.0.0/24", "via", HOST, check=True)
    assert asked(lab.outside, ADDRESSES[WEB], 80, 0.5) == ""
    Forward.objects.create(host=Switch.objects.get().host, subject=WEB, port=8081, target_port=80)
    host = Switch.objects.get().host
    values = {"subject": OTHER, "direction": "out", "action": "block", "peer": "internet", "protocol": "tcp"}
    rule = Rule.objects.create(host=host, is_logged=True, **values)
    assert asked(other.run, OUTSIDE, 7000) == HOST
    do(lab, "network.apply_rules", seconds=300)
    assert asked(lab.outside, HOST, 8081) == OUTSIDE
    assert asked(other.run, OUTSIDE, 7000, 0.5) == ""
    assert asked(web.run, OUTSIDE, 7000) == HOST
    assert asked(other.run, ADDRESSES[WEB], 80) == ADDRESSES[OTHER]
    lab.sweep()
    rule.refresh_from_db()
    assert rule.packets > 0
    assert Forward.objects.get().packets > 0
    # The rule logs: the log was switched on meanwhile, and tells whom it has stopped.
    lab.run_tasks()
    deadline = time.monotonic() + 120
    while not BlockedPacket.objects.exists():
        assert time.monotonic() < deadline, "no packet that was stopped is told of"
        lab.sweep()
        asked(other.run, OUTSIDE, 7000, 0.3)
    packet = BlockedPacket.objects.first()
    assert (packet.source, packet.target, packet.target_port) == (ADDRESSES[OTHER], OUTSIDE, 7000)
    assert packet.label == f"bhype:rule:{rule.pk}"
    do(lab, "network.revert_rules")
    assert asked(other.run, OUTSIDE, 7000) == HOST
    assert asked(lab.outside, HOST, 8081, 0.5) == ""
