"""A mesh of two hosts through which packets really pass: WireGuard between the namespaces of two labs."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from network.models import MeshPeer, TrafficSample
from network.traffic import observe as traffic
from tests.e2e.panel import wait_until
from tests.labhost import fresh_lab
from tests.network.wireguard.two import Node, mesh_of

pytestmark = [pytest.mark.root]


@pytest.fixture
def pair(db):
    """Two hosts with wires, at 192.0.2.10 and .20 of one network outside."""
    a, b = Node("a", fresh_lab()), Node("b", fresh_lab())
    try:
        b.lab.commands("/sbin/ifconfig", "em0", "ether", "58:9c:fc:00:00:20")
        b.lab.commands("/sbin/ifconfig", "em0", "inet", "192.0.2.20/24")
        for node in (a, b):
            node.lab.wire()
        far = json.loads((b.lab.folder / "state/wires.json").read_text())["outside"]
        outside(a, "ip", "link", "add", "x0", "type", "veth", "peer", "name", "x1", "netns", str(far))
        for node, end in ((a, "x0"), (b, "x1")):
            outside(node, "ip", "link", "set", "dev", end, "master", "out0", "up")
        yield a, b
    finally:
        for node in (a, b):
            node.lab.end()


def outside(node: Node, *words: str) -> None:
    result = node.lab.outside(*words)
    assert result.returncode == 0, result.stderr


def pings(node: Node, address: str, count: int = 1, seconds: int = 5) -> bool:
    words = ("busybox", "ping", "-c", str(count), "-i", "0.2", "-W", str(seconds), address)
    return node.lab.inside(*words).returncode == 0


def test_packets_pass_through_the_mesh_and_are_counted(pair):
    a, b = pair
    mesh_of(a, b, a="192.0.2.10:51820", b="192.0.2.20:51820")
    for node in (a, b, a):
        assert all(task.status == "succeeded" for task in node.ensure())
    assert pings(a, "192.0.2.20", 1, 5)
    count(a)
    # Handshakes that both begin at once fail; WireGuard tries again after 5 s, and 15 s after packets without answer.
    wait_until(lambda: pings(a, "10.99.0.2", 3, 2), 60, "the mesh")
    # An address that nobody in the mesh has is reached by nobody.
    assert not pings(a, "10.99.0.9", 1, 1)
    b.sweep()
    (link,) = b.peer().links.values()
    assert time.time() - link["handshake"] < 60 and link["received"] > 300 and link["sent"] > 300
    assert "latest handshake" in a.wg("show", "wg-all")
    count(a)
    sample = TrafficSample.objects.get(port__host=a.row, port__name="mesh:all", seconds=10)
    assert sample.packets_out > 0 and sample.octets_in > 0
    # The tunnel's end goes, and comes back.
    b.lab.commands("/sbin/ifconfig", "wg-all", "destroy")
    assert not pings(a, "10.99.0.2", 1, 1)
    assert all(task.status == "succeeded" for task in b.ensure())
    wait_until(lambda: pings(a, "10.99.0.2", 1, 2), 60, "the mesh")
    # Who leaves is heard no more.
    MeshPeer.objects.filter(host=b.row).update(is_leaving=True)
    b.ensure()
    assert not pings(a, "10.99.0.2", 1, 1)


def count(node: Node) -> None:
    """One look of the observer of traffic."""
    with node.here():
        sweep = node.lab.look()
    if sweep.memory(traffic.Memory).looks and not TrafficSample.objects.exists():
        sweep.now = timezone.now() + timedelta(seconds=11)
    assert traffic.observe(sweep)
