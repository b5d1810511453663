"""Switches of every kind on a lab host: made, changed, mended, taken away."""

from __future__ import annotations

import json

import pytest

from bhype.freebsd import ifconfig, ngctl, valectl
from bhype.hosts.models import Host
from bhype.tasks.models import Task
from network import guests
from network.guests import Guest, Port
from network.models import Aggregation, Predefined, Switch
from network.switches import operations


def interfaces(lab) -> dict[str, ifconfig.Interface]:
    return {one.name: one for one in lab.host.query(ifconfig.list_interfaces())}


def ensure(lab) -> str:
    """Let the worker set the switches up; why it failed, or ""."""
    operations.ensure.ask({}, None)
    task = lab.run_tasks()[-1]
    return task.error if task.status == "failed" else ""


def make(**columns) -> Switch:
    return Switch.objects.create(host=Host.objects.this(), **({"name": "lan", "kind": "bridged"} | columns))


@pytest.fixture
def em1(ready):
    """A second network card without an address; this host's first is em0."""
    state = ready.folder / "state" / "ifconfig.json"
    data = json.loads(state.read_text())
    data["index"] += 1
    data["interfaces"]["em1"] = json.loads(json.dumps(data["interfaces"]["em0"])) | {
        "device": "em1", "index": data["index"], "inet": [], "inet6": [], "ether": "00:0c:29:5a:4d:02", "up": False,
    }  # fmt: skip
    state.write_text(json.dumps(data))
    return ready


@pytest.fixture
def fifteen(em1):
    """The lab is FreeBSD 15.0, whose bridges know VLANs."""
    state = em1.folder / "state" / "host.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"release": "15.0-RELEASE"}))
    Host.objects.update(features={"bridge_vlans": True})
    return em1


@pytest.fixture
def guest(ready):
    """A guest that runs, with the port tap1007 on the switch that the test plugs it into."""
    ports = {}

    def resolve(wanted):
        for name, port in ports.items():
            yield Guest(
                "test", f"test:{name}", name, f"/{name}/", Host.objects.this().pk, is_on=True, ports=(port,)
            )

    def plug(switch: Switch, name: str = "g1", tap: str = "tap1007", **more) -> None:
        ports[name] = Port(f"test:{tap[3:]}", 0, switch.pk, "58:9c:fc:00:00:07", tap, **more)

    guests.register("test", resolve, label="Test")
    yield plug
    guests.unregister("test")


def test_a_bridged_switch_waits_for_its_uplink(em1):
    row = make()
    assert ensure(em1) == "" and "sw-lan" not in interfaces(em1)
    Switch.objects.filter(pk=row.pk).update(uplink="em1")
    assert ensure(em1) == ""
    found = interfaces(em1)
    assert found["sw-lan"].members == ("em1",) and found["em1"].is_up
    row.refresh_from_db()
    assert row.is_up


def test_another_uplink_takes_the_place_of_the_first(em1):
    row = make(uplink="em1")
    ensure(em1)
    Switch.objects.filter(pk=row.pk).update(uplink="em0")
    assert ensure(em1) == ""
    assert interfaces(em1)["sw-lan"].members == ("em0",)


def test_two_switches_exchange_their_uplinks(em1):
    one, two = make(name="one", uplink="em0"), make(name="two", uplink="em1")
    assert ensure(em1) == ""
    Switch.objects.filter(pk=one.pk).update(uplink="em1")
    Switch.objects.filter(pk=two.pk).update(uplink="em0")
    assert ensure(em1) == ""
    found = interfaces(em1)
    assert (found["sw-one"].members, found["sw-two"].members) == (("em1",), ("em0",))


def test_a_vlan_of_the_uplink_is_made_changed_and_taken_away(em1):
    row = make(uplink="em1", vlan=10)
    assert ensure(em1) == ""
    found = interfaces(em1)
    assert (found["v-lan"].vlan, found["v-lan"].parent) == (10, "em1")
    assert found["sw-lan"].members == ("v-lan",)
    Switch.objects.filter(pk=row.pk).update(vlan=20)
    assert ensure(em1) == "" and interfaces(em1)["v-lan"].vlan == 20
    Switch.objects.filter(pk=row.pk).update(vlan=None)
    assert ensure(em1) == ""
    assert "v-lan" not in interfaces(em1) and interfaces(em1)["sw-lan"].members == ("em1",)


def test_a_tunnel_joins_a_switch_to_that_of_another_host(ready):
    row = make(kind="private", vxlan=42, vxlan_local="192.0.2.10", vxlan_remote="192.0.2.11", mtu=1450)
    assert ensure(ready) == ""
    found = interfaces(ready)
    assert (found["x-lan"].vni, found["x-lan"].tunnel) == (42, ("192.0.2.10", "192.0.2.11"))
    assert found["sw-lan"].members == ("x-lan",) and found["sw-lan"].mtu == found["x-lan"].mtu == 1450
    Switch.objects.filter(pk=row.pk).update(vxlan_remote="239.0.0.42")
    assert ensure(ready) == "" and interfaces(ready)["x-lan"].tunnel[1] == "239.0.0.42"


def test_the_host_has_addresses_of_both_families(ready):
    row = make(kind="nat", address="10.9.0.1/24", address6="fd77::1/64")
    assert ensure(ready) == ""
    found = interfaces(ready)["sw-lan"]
    assert {"10.9.0.1/24", "fd77::1/64"} <= set(found.addresses) and "IFDISABLED" not in found.nd6
    Switch.objects.filter(pk=row.pk).update(address="10.8.0.1/16", address6="")
    assert ensure(ready) == ""
    assert [one for one in interfaces(ready)["sw-lan"].addresses if "%" not in one] == ["10.8.0.1/16"]


def test_ports_of_15_are_in_vlans(fifteen, guest):
    row = make(uplink="em1", has_vlans=True)
    for tap in ("tap1007", "tap1008"):
        fifteen.commands("/sbin/ifconfig", tap, "create")
    guest(row, vlan=10)
    guest(row, "g2", "tap1008", tagged="20-30")
    assert ensure(fifteen) == ""
    bridge = interfaces(fifteen)["sw-lan"]
    assert bridge.filters_vlans
    assert (bridge.member("tap1007").untagged, bridge.member("tap1007").tagged) == (10, "")
    assert (bridge.member("tap1008").untagged, bridge.member("tap1008").tagged) == (1, "20-30")
    assert (bridge.member("em1").untagged, bridge.member("em1").tagged) == (1, "1-4094")
    guest(row, vlan=11)
    assert ensure(fifteen) == "" and interfaces(fifteen)["sw-lan"].member("tap1007").untagged == 11


def test_bridges_of_14_are_told_to_know_no_vlans(em1):
    make(uplink="em1", has_vlans=True)
    assert "a switch of its own for each VLAN" in ensure(em1)
    assert "sw-lan" not in interfaces(em1)


def test_15_takes_no_uplink_with_an_address(fifteen):
    make(uplink="em0")
    assert "Move them to the switch lan" in ensure(fifteen)
    found = interfaces(fifteen)
    assert found["sw-lan"].members == () and found["em0"].addresses


def test_guests_of_an_isolated_switch_are_private_members(ready, guest):
    row = make(kind="private", is_isolated=True)
    ready.commands("/sbin/ifconfig", "tap1007", "create")
    guest(row)
    assert ensure(ready) == "" and interfaces(ready)["sw-lan"].member("tap1007").is_private
    Switch.objects.filter(pk=row.pk).update(is_isolated=False)
    assert ensure(ready) == "" and not interfaces(ready)["sw-lan"].member("tap1007").is_private


def test_a_bridge_that_was_destroyed_comes_back_with_its_guests(ready, guest):
    row = make(kind="private")
    ready.commands("/sbin/ifconfig", "tap1007", "create")
    guest(row)
    ensure(ready)
    ready.commands("/sbin/ifconfig", "sw-lan", "destroy")
    Task.objects.all().delete()
    ready.sweep()
    row.refresh_from_db()
    assert not row.is_up and row.problems
    assert ready.run_tasks()
    assert interfaces(ready)["sw-lan"].members == ("tap1007",)
    ready.sweep()
    row.refresh_from_db()
    assert row.is_up and row.problems == [] and row.members == ["tap1007"]


def test_a_guest_whose_cable_is_unplugged_stays_unplugged(ready, guest):
    row = make(kind="private")
    ready.commands("/sbin/ifconfig", "tap1007", "create")
    guest(row, is_linked=False)
    assert ensure(ready) == "" and interfaces(ready)["sw-lan"].members == ()


def test_it_tells_of_a_guest_that_has_lost_its_interface(ready, guest):
    row = make(kind="private")
    guest(row)
    ensure(ready)
    for told in (False, False, True):
        # A guest that starts or stops has none for a moment.
        ready.sweep()
        row.refresh_from_db()
        assert any("its interface tap1007 is gone" in one for one in row.problems) == told


def test_an_adopted_bridge_keeps_all_that_it_has(em1, guest):
    em1.commands("/sbin/ifconfig", "bridge", "create", "name", "mine", "descr", "mine")
    em1.commands("/sbin/ifconfig", "mine", "inet", "10.1.0.1/24", "addm", "em1")
    em1.commands("/sbin/ifconfig", "em1", "mtu", "1400")
    em1.commands("/sbin/ifconfig", "mine", "mtu", "1400")
    em1.commands("/sbin/ifconfig", "tap1007", "create")
    before = interfaces(em1)["mine"]
    row = make(adopted="mine")
    guest(row)
    assert ensure(em1) == ""
    assert interfaces(em1)["tap1007"].mtu == 1400  # the bridge's, whatever the row says
    after = interfaces(em1)["mine"]
    assert after.members == ("em1", "tap1007")
    assert (after.addresses, after.description, after.is_up) == (
        before.addresses,
        before.description,
        before.is_up,
    )
    row.is_deleting = True
    row.save()
    assert ensure(em1) == "" and not Switch.objects.filter(name="lan").exists()
    assert interfaces(em1)["mine"].members == ("em1", "tap1007")


def test_a_netgraph_switch_has_an_interface_and_an_uplink(em1):
    row = make(technology="netgraph", uplink="em1", address="10.9.0.1/24")
    assert ensure(em1) == ""
    assert em1.host.query(ngctl.nodes())["sw-lan"] == "bridge"
    hooks = {hook.name: (hook.peer, hook.peer_hook) for hook in em1.host.query(ngctl.hooks("sw-lan:"))}
    assert hooks == {"link0": ("e-lan", "ether"), "link1": ("em1", "lower"), "link2": ("em1", "upper")}
    assert interfaces(em1)["sw-lan"].addresses == ("10.9.0.1/24",)
    em1.sweep()
    row.refresh_from_db()
    assert row.is_up and row.problems == []
    Switch.objects.filter(pk=row.pk).update(uplink="")
    assert ensure(em1) == "" and len(em1.host.query(ngctl.hooks("sw-lan:"))) == 1
    Switch.objects.filter(pk=row.pk).update(is_deleting=True)
    assert ensure(em1) == ""
    assert "sw-lan" not in em1.host.query(ngctl.nodes()) and "sw-lan" not in interfaces(em1)


def test_a_netgraph_switch_whose_node_was_ended_comes_back(ready):
    make(kind="private", technology="netgraph")
    ensure(ready)
    ready.commands("/usr/sbin/ngctl", "shutdown", "sw-lan:")
    assert ensure(ready) == ""
    assert [hook.peer for hook in ready.host.query(ngctl.hooks("sw-lan:"))] == ["e-lan"]


def test_a_vale_switch_has_its_uplink_and_lets_it_go(em1):
    row = make(technology="vale", uplink="em1")
    assert ensure(em1) == ""
    # With the host's end of it.
    assert em1.host.query(valectl.ports()) == (f"vale{row.pk}:em1", f"vale{row.pk}:em1^")
    Switch.objects.filter(pk=row.pk).update(is_deleting=True)
    assert ensure(em1) == "" and em1.host.query(valectl.ports()) == ()


def test_what_is_deleted_leaves_nothing(em1):
    Switch.objects.update(is_deleting=True)
    make(uplink="em1", vlan=10, vxlan=42, vxlan_local="192.0.2.10", vxlan_remote="192.0.2.11")
    assert ensure(em1) == ""
    Switch.objects.update(is_deleting=True)
    assert ensure(em1) == ""
    assert set(interfaces(em1)) == {"em0", "em1", "lo0"} and not Switch.objects.exists()


def test_an_aggregation_is_made_before_the_switch_that_leads_through_it(em1):
    Aggregation.objects.create(host=Host.objects.this(), name="lagg0", protocol="failover", members=["em1"])
    make(uplink="lagg0")
    assert ensure(em1) == ""
    found = interfaces(em1)
    assert (found["lagg0"].members, found["lagg0"].protocol) == (("em1",), "failover")
    assert found["sw-lan"].members == ("lagg0",)
    Aggregation.objects.update(protocol="lacp")
    assert ensure(em1) == "" and interfaces(em1)["lagg0"].protocol == "lacp"


def test_a_fresh_host_gets_three_switches_once(lab):
    lab.sweep()
    rows = {row.name: row for row in Switch.objects.all()}
    assert set(rows) == {"public", "nat", "private"}
    assert rows["public"].is_waiting and rows["nat"].address == "10.77.0.1/24"
    assert rows["nat"].has_dhcp and rows["nat"].has_dns
    assert [pool.purpose for pool in rows["nat"].pools.all()] == ["static", "dhcp"]
    rows["private"].delete()
    lab.sweep()
    assert not Switch.objects.filter(name="private").exists()


def test_a_host_of_an_earlier_release_gets_what_it_never_had(lab):
    make(name="nat", kind="nat", address="10.5.0.1/24")
    lab.sweep()
    assert {row.name for row in Switch.objects.all()} == {"nat", "public"}
    assert Predefined.objects.count() == 3
