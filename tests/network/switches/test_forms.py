"""What the form and the API of switches fill in, and what they refuse with which reason."""

from __future__ import annotations

import json

import pytest
from django.core.exceptions import ValidationError

from bhype.accounts.models import ApiToken
from bhype.tasks.models import Task
from network.models import Allocation, HostInterface, Switch
from network.switches.forms import SwitchForm


@pytest.fixture
def host(host):
    """With a card that has the host's address, a free one, an aggregation, and bridges of bHype and somebody else."""
    rows = {
        "em0": {"kind": "physical", "addresses": ["192.0.2.10/24", "fe80::1%em0/64"], "is_default": True},
        "em1": {"kind": "physical"}, "em2": {"kind": "physical", "mtu": 9000},
        "igb0": {"kind": "physical"}, "lagg0": {"kind": "lagg", "members": ["igb0"]},
        "wlan0": {"kind": "physical"}, "bridge0": {"kind": "bridge", "members": ["igb9"]},
        "igb9": {"kind": "physical"}, "sw-x": {"kind": "bridge", "is_own": True},
        "vlan7": {"kind": "vlan", "parent": "sw-x", "vlan": 7}, "tun0": {"kind": "other"},
    }  # fmt: skip
    for name, columns in rows.items():
        HostInterface.objects.create(host=host, name=name, **({"mtu": 1500, "is_up": True} | columns))
    return host


@pytest.fixture
def post(as_user, admin, host):
    """Send the form of a new switch, or of one that is there."""

    def send(path: str = "/network/switches/new/", **fields):
        return as_user(admin).post(path, {"name": "lan", "kind": "nat", "is_guarded": "on", **fields})

    return send


@pytest.fixture
def api(as_user, admin, host):
    _, secret = ApiToken.objects.issue(admin, "t", "full", None)

    def call(method: str, path: str, **body):
        return as_user(admin).generic(
            method, f"/api/v1{path}", json.dumps(body), content_type="application/json",
            HTTP_AUTHORIZATION=f"Bearer {secret}",
        )  # fmt: skip

    return call


def tunnel(local: str, remote: str = "") -> dict[str, str]:
    return {"kind": "private", "vxlan": "5", "vxlan_local": local, "vxlan_remote": remote}


def errors(answer) -> dict[str, str]:
    assert answer.status_code in {409, 422}, answer.status_code
    return {field: found[0] for field, found in answer.context["form"].errors.items()}


def test_a_name_makes_a_network_that_works(post):
    assert post().status_code == 302
    row = Switch.objects.get()
    assert (row.address, row.has_dhcp, row.has_dns, row.mtu) == ("10.77.0.1/24", True, True, 1500)
    assert {pool.purpose for pool in row.pools.all()} == {"static", "dhcp"}
    assert Task.objects.get().operation == "network.ensure"
    assert post(name="lan2").status_code == 302
    assert Switch.objects.get(name="lan2").address == "10.78.0.1/24"


def test_a_bridged_switch_has_the_packets_of_its_uplink(post):
    assert post(kind="bridged", uplink="em2").status_code == 302
    row = Switch.objects.get()
    assert (row.mtu, row.address, row.has_dhcp) == (9000, "", False)


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "1a", "a" * 13, "a.b", "a b", "new", "any", "a\nb", 'a"b', "ä", "{x}", "$x"]
)
def test_it_refuses_names_that_are_none(post, name):
    assert "name" in errors(post(name=name))


@pytest.mark.parametrize(
    ("fields", "field", "why"),
    [
        ({"address": "192.0.2.129/25"}, "address", "the network of the host's interface em0"),
        ({"address": "10.5.0.0/24"}, "address", "address of the network itself"),
        ({"address": "10.5.0.255/24"}, "address", "broadcast"),
        ({"address": "10.5.0.1"}, "address", "prefix length"),
        ({"address": "10.5.0.1/31"}, "address", "from 8 to 30"),
        ({"address": "127.0.0.1/8"}, "address", "not an address that a network of guests"),
        ({"address": "224.0.0.1/24"}, "address", "not an address that a network of guests"),
        ({"address": "10.5.0.1/24\nx"}, "address", "prefix length"),
        ({"address": "fd00::1/64"}, "address", "10.77.0.1/24"),
        ({"address6": "10.5.0.1/24"}, "address6", "fd77::1/64"),
        ({"address6": "fd00::/64"}, "address6", "anycast"),
        ({"address6": "fe80::1/64"}, "address6", "not an address that a network of guests"),
        ({"kind": "private", "uplink": "em1"}, "uplink", "Only a bridged switch"),
        ({"kind": "bridged", "uplink": "em9"}, "uplink", "em9"),
        ({"kind": "bridged", "uplink": "igb0"}, "uplink", "igb0"),
        ({"kind": "bridged", "uplink": "wlan0"}, "uplink", "wlan0"),
        ({"kind": "bridged", "uplink": "sw-x"}, "uplink", "sw-x"),
        ({"kind": "bridged", "vlan": "7"}, "vlan", "choose the uplink"),
        ({"kind": "bridged", "uplink": "em1", "vlan": "4095"}, "vlan", "4094"),
        ({"kind": "bridged", "uplink": "em1", "mtu": "9000"}, "mtu", "1500"),
        ({"kind": "private", "mtu": "60"}, "mtu", "576"),
        ({"kind": "private", "mtu": "1000", "address6": "fd00::1/64"}, "mtu", "IPv6"),
        ({"kind": "private", "vxlan": "0"}, "vxlan", "1"),
        ({"kind": "private", "vxlan": "5"}, "vxlan_local", "Say by which"),
        (tunnel("192.0.2.9"), "vxlan_remote", "Say the address"),
        (tunnel("192.0.2.9", "1.2.3.4"), "vxlan_local", "does not have"),
        (tunnel("192.0.2.10", "fd00::1"), "vxlan_remote", "Both"),
        (tunnel("192.0.2.10", "192.0.2.10"), "vxlan_remote", "no address of another"),
        ({"kind": "private", "vxlan_local": "192.0.2.10"}, "vxlan", "number"),
        ({"kind": "private", "technology": "netgraph", "is_isolated": "on"}, "is_isolated", "Only a bridge"),
        ({"technology": "vale"}, "technology", "no NAT"),
        ({"kind": "private", "has_vlans": "on"}, "has_vlans", "for each VLAN"),
        ({"kind": "bridged", "adopted": "sw-x"}, "adopted", "sw-x"),
        ({"kind": "bridged", "adopted": "bridge0", "uplink": "em1"}, "uplink", "nothing of a bridge"),
        ({"kind": "nat", "adopted": "bridge0"}, "kind", "NAT goes with addresses"),
    ],
)  # fmt: skip
def test_it_says_beside_the_field_what_is_wrong(post, fields, field, why):
    assert why in errors(post(**fields))[field]
    assert not Switch.objects.exists()


def test_an_uplink_is_in_one_switch_only(post):
    assert post(kind="bridged", uplink="em1").status_code == 302
    assert "is the uplink of the switch lan" in errors(post(name="b", kind="bridged", uplink="em1"))["uplink"]
    assert "has all of em1" in errors(post(name="b", kind="bridged", uplink="em1", vlan="5"))["uplink"]
    assert post("/network/switches/lan/edit/", kind="bridged", uplink="em1", vlan="4").status_code == 302
    assert post(name="b", kind="bridged", uplink="em1", vlan="5").status_code == 302
    assert "VLAN 5 of em1" in errors(post(name="c", kind="bridged", uplink="em1", vlan="5"))["uplink"]


def test_networks_of_switches_do_not_overlap(post):
    assert post(address="10.5.0.1/16", address6="fd00:1::1/64").status_code == 302
    found = errors(post(name="b", address="10.5.9.1/24", address6="fd00:1::9/64"))
    assert "which is the network of the switch lan" in found["address"]
    assert "which is the network of the switch lan" in found["address6"]


def test_of_two_saved_at_one_moment_none_has_the_network_of_the_other(host, admin):
    """Both were looked at before one of them was there."""

    def filled(name: str, address: str = "") -> SwitchForm:
        form = SwitchForm({"name": name, "kind": "nat", "address": address, "is_guarded": "on"}, host=host)
        assert form.is_valid(), form.errors
        return form

    chosen = [filled("a", "10.5.0.1/16"), filled("b", "10.5.9.1/24")]
    usual = [filled("c"), filled("d")]
    chosen[0].save(admin)
    with pytest.raises(ValidationError, match="which is the network of the switch a"):
        chosen[1].save(admin)
    assert [form.save(admin)[0].address for form in usual] == ["10.77.0.1/24", "10.78.0.1/24"]
    assert not Switch.objects.filter(name="b").exists()


def test_a_form_that_somebody_else_was_faster_than_is_stale(post, switch):
    Switch.objects.update(revision=5)
    answer = post("/network/switches/nat/edit/", address="10.77.0.1/24", revision="4")
    assert answer.status_code == 409 and "Somebody has changed" in answer.content.decode()


def test_its_name_stays(post, switch):
    post("/network/switches/nat/edit/", name="other", address="10.77.0.1/24", note="x", revision="1")
    row = Switch.objects.get()
    assert (row.name, row.note, row.revision) == ("nat", "x", 2)


def test_its_pools_move_with_its_network_but_given_addresses_hold_it(post, switch):
    assert post("/network/switches/nat/edit/", address="10.80.0.1/24", revision="1").status_code == 302
    assert {pool.first for pool in Switch.objects.get().pools.all()} == {"10.80.0.10", "10.80.0.100"}
    Allocation.objects.create(switch=switch, address="10.80.0.7", kind="lease", mac="58:9c:fc:00:00:09")
    found = errors(post("/network/switches/nat/edit/", address="10.81.0.1/24", revision="2"))
    assert "10.80.0.7" in found["address"]


def test_a_switch_with_ports_is_not_taken_away(as_user, admin, vm, switch):
    client = as_user(admin)
    page = client.post("/network/switches/nat/delete/", follow=True).content.decode()
    assert "nat has ports of web1" in page and not Switch.objects.get().is_deleting
    vm.nics.all().delete()
    client.post("/network/switches/nat/delete/")
    assert Switch.objects.get().is_deleting


def test_the_technology_stays_while_something_is_plugged_in(post, vm, switch):
    post("/network/switches/nat/edit/", technology="netgraph", address="10.77.0.1/24", revision="1")
    assert Switch.objects.get().technology == "bridge"


def test_only_those_who_may_change_networks_do(as_user, viewer, switch):
    client = as_user(viewer)
    page = client.get("/network/switches/nat/").content.decode()
    assert "Set up now" not in page and "New switch" not in client.get("/network/").content.decode()
    for path in (
        "switches/new/",
        "switches/nat/edit/",
        "switches/nat/delete/",
        "switches/ensure/",
        "aggregations/new/",
    ):
        assert client.post(f"/network/{path}").status_code == 404, path


def test_the_api_makes_changes_and_takes_away(api):
    made = api("POST", "/switches", name="lan").json()
    assert made["switch"]["address"] == "10.77.0.1/24" and made["task"]["operation"] == "network.ensure"
    changed = api("PATCH", "/switches/lan", note="x", revision=made["switch"]["revision"])
    assert changed.json()["switch"]["note"] == "x"
    assert api("PATCH", "/switches/lan", note="y", revision=1).json()["code"] == "stale"
    refused = api("PATCH", "/switches/lan", address="10.5.0.0/24").json()
    assert refused["field"] == "address" and "itself" in refused["message"]
    assert api("POST", "/switches", name="lan").json()["field"] == "name"
    assert api("POST", "/switches", name="b", surprise=1).status_code == 422
    assert api("DELETE", "/switches/lan").status_code == 202 and Switch.objects.get().is_deleting


def test_the_api_tells_of_interfaces_and_ports(api, vm):
    assert {row["name"] for row in api("GET", "/interfaces").json()} >= {"em0", "em1", "lagg0"}
    (port,) = api("GET", "/switches/nat/ports").json()
    assert (port["guest"], port["mac"], port["is_on"]) == ("web1", "58:9c:fc:00:00:01", False)


def test_aggregations_are_made_of_free_cards(api, host):
    assert api("POST", "/aggregations", members=["em0"]).status_code == 422
    assert api("POST", "/aggregations", members=["igb0"]).status_code == 422
    assert "MTU" in api("POST", "/aggregations", members=["em1", "em2"]).json()["message"]
    made = api("POST", "/aggregations", protocol="failover", members=["em1"]).json()
    assert made["aggregation"]["name"] == "lagg1"
    HostInterface.objects.create(host=host, name="lagg1", kind="lagg", members=["em1"], mtu=1500)
    assert api("POST", "/switches", name="lan", kind="bridged", uplink="lagg1").status_code == 202
    assert "lan" in api("DELETE", "/aggregations/lagg1").json()["message"]
