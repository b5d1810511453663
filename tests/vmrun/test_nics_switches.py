"""Ports on switches of netgraph, in VLANs, and kept apart; and ports that are moved while their guest runs."""

from __future__ import annotations

import json

import pytest

from bhype.freebsd import ifconfig, kld, ngctl
from bhype.freebsd.command import Command
from bhype.vmrun import changes, config, nics
from bhype.vmrun.problems import Unfit

from .test_nics import look, make, parsed


def node(lab, name: str = "sw-lan") -> None:
    """A switch of netgraph, as the panel makes it."""
    for module in ("ng_ether", "ng_bridge", "ng_eiface"):
        lab.host.run(kld.load(module))
    for command in (
        ngctl.make_named("bridge", "link0", name, "setpersistent"),
        ngctl.make_peer(f"{name}:", "eiface", "link0", "ether"),
    ):
        lab.host.run(command)
    (fresh,) = (hook.peer for hook in lab.host.query(ngctl.hooks(f"{name}:")))
    lab.host.run(ifconfig.dress(fresh, name, description="bhype/switch/lan"))


def links(lab, name: str = "sw-lan") -> set[str]:
    return {hook.name for hook in lab.host.query(ngctl.hooks(f"{name}:"))} - {"link0"}


@pytest.fixture
def fifteen(real_lab):
    state = real_lab.folder / "state" / "host.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"release": "15.0-RELEASE"}))
    real_lab.host.run(Command(("/sbin/ifconfig", "sw-nat", "vlanfilter", "defuntagged", "1")))
    return real_lab


def test_a_port_of_a_netgraph_switch_has_a_link_by_its_number(real_lab):
    node(real_lab)
    assert make(real_lab, bridge="sw-lan") == []
    assert links(real_lab) == {"link1001"}
    assert make(real_lab, bridge="sw-lan") == []
    assert nics.set_link(real_lab.host, parsed(bridge="sw-lan", link="down").devices[0]) == []
    assert links(real_lab) == set()
    assert nics.set_link(real_lab.host, parsed(bridge="sw-lan").devices[0]) == []
    assert nics.destroy(real_lab.host, ["tap1001"]) == []
    assert links(real_lab) == set() and "sw-lan" in real_lab.host.query(ngctl.nodes())


def test_a_port_moves_between_a_bridge_and_a_netgraph_switch(real_lab):
    node(real_lab)
    make(real_lab)
    assert nics.set_link(real_lab.host, parsed(bridge="sw-lan").devices[0]) == []
    assert links(real_lab) == {"link1001"} and look(real_lab)["sw-nat"].members == ()
    assert nics.set_link(real_lab.host, parsed().devices[0]) == []
    assert links(real_lab) == set() and look(real_lab)["sw-nat"].members == ("tap1001",)


def test_a_rate_on_a_netgraph_switch_is_said_to_be_none(real_lab):
    node(real_lab)
    assert "have no limits" in make(real_lab, bridge="sw-lan", rate_in="1M")[0]
    assert links(real_lab) == {"link1001"} and "sw-lan" in real_lab.host.query(ngctl.nodes())


def test_an_isolated_port_is_a_private_member(real_lab):
    make(real_lab, private=True)
    assert look(real_lab)["sw-nat"].member("tap1001").is_private
    make(real_lab, private=False)
    assert not look(real_lab)["sw-nat"].member("tap1001").is_private
    make(real_lab, private=True, rate_in="1M")
    assert look(real_lab)["sw-nat"].member("rtap1001").is_private


def test_a_port_is_in_its_vlans(fifteen):
    make(fifteen, vlan=10, tagged="20,30-31")
    member = look(fifteen)["sw-nat"].member("tap1001")
    assert (member.untagged, member.tagged) == (10, "20,30-31")
    make(fifteen)
    member = look(fifteen)["sw-nat"].member("tap1001")
    assert (member.untagged, member.tagged) == (1, "")


@pytest.mark.parametrize("keys", [{"vlan": 10}, {"tagged": "10"}])
def test_a_guest_of_a_vlan_never_gets_into_all_of_them(real_lab, keys):
    with pytest.raises(nics.Unmade, match="does not filter them"):
        make(real_lab, **keys)
    assert look(real_lab)["sw-nat"].members == ()


def test_a_running_guest_moves_to_another_switch(lab):
    lab.host.run(ifconfig.create_bridge("sw-two", description="bhype/switch/two"))
    lab.start()
    assert lab.ask("port", device="tap1001", port={"bridge": "sw-two"})["ok"]
    found = look(lab)
    assert (found["sw-nat"].members, found["sw-two"].members) == ((), ("tap1001",))
    running = json.loads((lab.root / "var/run/bhype/vms/web1/vm.json").read_text())
    assert running["emulations"][1]["bridge"] == "sw-two"
    assert "sw-none is missing" in lab.ask("port", device="tap1001", port={"bridge": "sw-none"})["error"]


@pytest.mark.parametrize("port", [None, {"name": "em0"}, {"vlan": 5000}, {"bridge": "-x"}, {"tagged": "a;b"}])
def test_nothing_else_of_a_port_is_changed(port):
    nic = {"device": "virtio-net", "name": "tap1", "fix": True}
    document = {"name": "a", "cpu": 1, "mem": "64M", "emulations": [nic]}
    with pytest.raises((ValueError, Unfit)):
        config.parse(changes.with_port(document, {"device": "tap1", "port": port}))
