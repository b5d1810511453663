from __future__ import annotations

import re

import pytest

from network import guests
from network.guests import Guest, Port
from network.models import HostInterface, Lease, Mesh, MeshPeer, Switch
from network.topology import pages


@pytest.fixture
def many(switch):
    """Thirty guests of a kind of their own on the switch."""

    def resolve(wanted):
        for number in range(30):
            port = Port(f"test:{number}", 0, switch.pk, f"58:9c:fc:00:01:{number:02x}", f"tap9{number}")
            is_on = number % 2 == 0
            yield Guest(
                "test", f"test:{number}", f"g{number:02}", "/x/", switch.host_id, is_on=is_on, ports=(port,)
            )

    guests.register("test", resolve, label="Test")
    yield switch
    del guests._kinds["test"]


def test_the_picture_has_host_uplinks_switches_and_guests(host, switch, vm):
    lan = Switch.objects.create(host=host, name="lan", kind="bridged", uplink="em0", vlan=10, is_up=True)
    HostInterface.objects.create(
        host=host,
        name="em0",
        kind="physical",
        is_up=True,
        status="active",
        is_default=True,
        addresses=["192.0.2.10/24"],
    )
    Lease.objects.create(switch=switch, address="10.77.0.5", mac=vm.nics.get().mac)
    graph = pages.graph(pages.world(host))
    assert [node.name for node in graph.outer] == ["Outside"]
    assert [(node.name, node.detail) for node in graph.middle] == [
        ("lab", "em0 192.0.2.10"),
        ("em0", "active"),
    ]
    by_name = {group.switch.name: group for group in graph.groups}
    assert by_name["nat"].to == (("host", "NAT"),) and by_name["lan"].to == (("uplink:em0", "VLAN 10"),)
    (guest,) = by_name["nat"].guests
    assert (guest.name, guest.detail, guest.state, guest.href) == ("web1", "10.77.0.5", "off", "/vms/web1/")
    assert guest.said == "web1, off, 10.77.0.5"
    assert by_name["lan"].switch.href == f"/network/switches/{lan.name}/"


def test_many_guests_are_folded_and_those_that_are_on_come_first(host, many, django_assert_max_num_queries):
    with django_assert_max_num_queries(12):
        graph = pages.graph(pages.world(host))
    (group,) = graph.groups
    assert len(group.guests) == 13 and group.guests[-1].name == "and 18 more"
    assert {node.state for node in group.guests[:12]} == {"on"}
    (opened,) = pages.graph(pages.world(host, "nat")).groups
    assert len(opened.guests) == 30


def test_long_names_are_cut_and_said_whole(host, switch, vm):
    vm.name = "a" * 40
    vm.save()
    (group,) = pages.graph(pages.world(host)).groups
    assert group.guests[0].name == "a" * 20 + "…" and "a" * 40 in group.guests[0].said


def test_tunnels_and_meshes_are_in_the_picture(host, switch):
    Switch.objects.filter(pk=switch.pk).update(vxlan=42, vxlan_remote="192.0.2.2")
    mesh = Mesh.objects.create(name="all", network="10.99.0.0/24")
    MeshPeer.objects.create(mesh=mesh, host=host, name="lab", address="10.99.0.1")
    MeshPeer.objects.create(mesh=mesh, name="b", address="10.99.0.2")
    graph = pages.graph(pages.world(host))
    assert [(node.name, node.detail) for node in graph.outer] == [("wg-all", "1 other")]
    assert graph.middle[-1].name == "VXLAN 42" and graph.middle[-1].detail == "to 192.0.2.2"
    assert graph.joined == ((f"mesh:{mesh.pk}", "host"),)


def test_the_page_says_it_as_picture_and_as_list(as_user, viewer, stranger, host, switch, vm):
    text = as_user(viewer).get("/network/topology/").content.decode()
    picture = text[text.index('<svg class="topo"') : text.index("As a list")]
    assert picture.count("<a ") == 3 and 'aria-label="web1, off"' in picture
    assert not re.search(r'style="|<script', picture)
    tree = text[text.index("As a list") :]
    assert (
        "NAT by the host at 10.77.0.1/24" in tree and "1 guest, 0 on" in tree and 'href="/vms/web1/"' in tree
    )
    part = as_user(viewer, HTTP_HX_TARGET="topology").get("/network/topology/").content.decode()
    assert "<html" not in part and "web1" in part
    assert as_user(stranger).get("/network/topology/").status_code == 404


def test_without_switches_the_page_says_what_comes(as_user, viewer, host):
    assert "No switches yet" in as_user(viewer).get("/network/topology/").content.decode()


def test_the_api_gives_the_same(as_user, viewer, stranger, host, switch, vm):
    found = as_user(viewer).get("/api/v1/topology/lab").json()
    assert found["switches"][0]["ports"][0]["guest"] == "web1" and found["switches"][0]["more"] == 0
    assert as_user(stranger).get("/api/v1/topology/lab").status_code == 404
