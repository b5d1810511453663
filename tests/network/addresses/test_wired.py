"""Machines on a switch of the lab are seen by the host, and so by the panel."""

from __future__ import annotations

import pytest

from network import guests
from network.addresses import known
from network.models import Neighbour, Switch
from tests.network.dhcp.clients import Machine
from vms.models import VM, Nic

WEB, STRANGER = "58:9c:fc:00:00:05", "58:9c:fc:00:00:06"

pytestmark = pytest.mark.root


@pytest.fixture
def plugged(wired, tmp_path):
    made = []

    def one(mac: str, *addresses: str) -> Machine:
        made.append(Machine(wired, "sw-nat", mac, tmp_path))
        for address in addresses:
            made[-1].run("ip", "addr", "add", address, "dev", "eth0", "nodad")
        return made[-1]

    yield one
    for machine in made:
        machine.end()


def test_who_answers_is_seen_with_his_address(wired, plugged):
    """One that belongs to a VM, one that claims what is the VM's."""
    switch = Switch.objects.get()
    wired.inside("ip", "addr", "add", "fd00:77::1/64", "dev", "sw-nat", "nodad")
    Switch.objects.update(address6="fd00:77::1/64")
    vm = VM.objects.create(
        host=switch.host, pool=switch.host.pools.get(), name="web1", memory=1, vnc_port=5999, vnc_password="x",
        cloud_init={"networks": [{"nic": 0, "addresses": ["10.77.0.50/24"]}]},
    )  # fmt: skip
    nic = Nic.objects.create(vm=vm, index=0, switch=switch, mac=WEB)
    web, stranger = plugged(WEB, "10.77.0.40/24", "fd00:77::40/64"), plugged(STRANGER, "10.77.0.50/24")
    for machine, target in ((web, "10.77.0.1"), (web, "fd00:77::1"), (stranger, "10.77.0.1")):
        pinged = machine.run("busybox", "ping", "-c", "1", "-W", "5", target)
        assert pinged.returncode == 0, pinged
    wired.sweep()
    seen = dict(Neighbour.objects.values_list("address", "mac"))
    assert seen == {"10.77.0.40": WEB, "fd00:77::40": WEB, "10.77.0.50": STRANGER}
    switch.refresh_from_db()
    found = guests.find(switches=[switch.pk])
    addresses = {one.address: one.source for one in known.of(switch, found)[f"nic:{nic.pk}"]}
    assert addresses == {"10.77.0.40": "neighbour", "fd00:77::40": "neighbour", "10.77.0.50": "static"}
    (conflict,) = known.Book([switch], found).conflicts()
    assert (conflict.address, conflict.mac, conflict.wanted) == ("10.77.0.50", STRANGER, f"nic:{nic.pk}")
