from __future__ import annotations

import time

import pytest
from django.utils import timezone

from bhype.accounts.models import AuditEntry
from bhype.freebsd import wg
from bhype.hosts.models import Host
from bhype.lab import wg_config
from bhype.live.models import Event
from bhype.tasks.models import Task
from network.models import Forward, HostInterface, Mesh, MeshPeer, Switch
from network.wireguard import changes
from network.wireguard.forms import seen

from .conftest import key

NEW = {"name": "office", "network": "10.98.0.0/24", "port": 51821, "mtu": 1420, "keepalive": 25}


def test_a_mesh_is_made_in_one_form(as_user, admin, host):
    answer = as_user(admin).post("/network/wireguard/_new/", NEW)
    assert answer["Location"] == "/network/wireguard/office/"
    mesh = Mesh.objects.get()
    assert (mesh.network, mesh.port, mesh.interface) == ("10.98.0.0/24", 51821, "wg-office")
    assert AuditEntry.objects.filter(action="wireguard.create", object="mesh office").exists()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": "all"}, "already"),
        ({"name": "x/y"}, "starts with a letter"),
        ({"network": "10.99.0.128/25"}, "the mesh all"),
        ({"network": "10.77.0.0/16"}, "the switch nat of lab"),
        ({"network": "10.98.0.7/24"}, "Did you mean"),
        ({"port": 51820}, "The mesh all has this port"),
        ({"port": 53}, "name service"),
        ({"port": 4000}, "port forward"),
        ({"mtu": 500}, "1280"),
        ({"keepalive": -1}, "greater than or equal to 0"),
    ],
)  # fmt: skip
def test_what_a_mesh_cannot_be_is_refused_with_the_reason(as_user, admin, host, switch, mesh, values, reason):
    Forward.objects.create(host=host, subject="vm:1", protocol="udp", port=3999, target_port=1, count=2)
    answer = as_user(admin).post("/network/wireguard/_new/", NEW | values)
    assert answer.status_code == 422 and reason in answer.content.decode()
    assert Mesh.objects.count() == 1


def test_a_host_is_added_with_the_next_free_address(as_user, admin, mesh):
    other = Host.objects.create(name="b")
    answer = as_user(admin).post("/network/wireguard/all/peers/", {"host": other.pk, "endpoint": "192.0.2.9"})
    assert answer.status_code == 302
    peer = MeshPeer.objects.get(host=other)
    assert (peer.name, peer.address, peer.endpoint, peer.public_key) == (
        "b",
        "10.99.0.3",
        "192.0.2.9:51820",
        "",
    )
    mesh.refresh_from_db()
    assert mesh.revision == 2
    assert Task.objects.get().operation == "network.ensure_mesh"
    assert Event.objects.filter(topic=mesh.subject).exists()


def test_the_form_of_a_host_suggests_its_usual_address(as_user, admin, mesh):
    other = Host.objects.create(name="b")
    HostInterface.objects.create(
        host=other, name="em0", is_default=True, addresses=["fe80::1%em0/64", "192.0.2.9/24"]
    )
    client = as_user(admin)
    assert (
        'value="192.0.2.9"' in client.get(f"/network/wireguard/all/peers/?host={other.pk}").content.decode()
    )
    assert client.get("/network/wireguard/all/peers/?host=x").status_code == 200


def test_another_machine_needs_a_name_and_a_key_of_its_own(as_user, admin, mesh):
    client = as_user(admin)
    url = "/network/wireguard/all/peers/"
    assert "starts with a letter or digit" in client.post(url, {"host": ""}).content.decode()
    answer = client.post(url, {"host": "", "name": "phone", "public_key": key(2)})
    assert "Another peer has this key" in answer.content.decode()
    assert (
        "44 characters" in client.post(url, {"host": "", "name": "phone", "public_key": "x"}).content.decode()
    )
    assert client.post(url, {"host": "", "name": "phone", "public_key": key(3)}).status_code == 302


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": "laptop"}, "There is a peer called laptop already"),
        ({"address": "10.99.0.1"}, "lab has 10.99.0.1"),
        ({"address": "10.98.0.1"}, "is not in 10.99.0.0/24"),
        ({"endpoint": "10.99.0.7"}, "through the mesh itself"),
        ({"routes": "10.77.0.0/24"}, "the switch nat of lab"),
        ({"routes": "10.99.0.0/16"}, "this mesh"),
        ({"routes": "10.50.0.0/24 10.50.0.0/25"}, "this list"),
        ({"routes": "0.0.0.0/0"}, "whole internet"),
        ({"routes": "192.0.2.0/24"}, "through the mesh itself"),
        ({"routes": "10.60.0.0/24"}, "overlaps 10.60.0.0/24 of lab"),
    ],
)  # fmt: skip
def test_what_a_peer_cannot_have_is_refused_with_the_reason(as_user, admin, switch, mesh, values, reason):
    MeshPeer.objects.filter(name="lab").update(routes=["10.60.0.0/24"])
    answer = as_user(admin).post("/network/wireguard/all/peers/", {"host": "", "name": "phone"} | values)
    assert answer.status_code == 422 and reason in answer.content.decode()
    assert MeshPeer.objects.count() == 2


def test_the_network_of_a_hosts_own_switch_may_be_behind_it(as_user, admin, switch, mesh):
    peer = mesh.peers.get(name="lab")
    page = as_user(admin).get(f"/network/wireguard/_peers/{peer.pk}/").content.decode()
    assert "10.77.0.0/24 (nat)" in page
    values = {"endpoint": "192.0.2.1", "address": "10.99.0.1", "routes": "10.77.0.0/24"}
    assert as_user(admin).post(f"/network/wireguard/_peers/{peer.pk}/", values).status_code == 302
    peer.refresh_from_db()
    assert peer.routes == ["10.77.0.0/24"] and peer.public_key == key(1)


def test_a_stale_form_is_refused(as_user, admin, mesh):
    client = as_user(admin)
    values = {"port": 4000, "mtu": 1400, "keepalive": 0}
    answer = client.post("/network/wireguard/all/edit/", values | {"seen": "x"})
    assert answer.status_code == 409 and "Somebody has changed" in answer.content.decode()
    assert client.post("/network/wireguard/all/edit/", values | {"seen": seen(mesh)}).status_code == 302
    mesh.refresh_from_db()
    assert (mesh.port, mesh.mtu, mesh.keepalive) == (4000, 1400, 0)


def test_the_page_shows_connections_and_no_private_key(as_user, viewer, stranger, mesh):
    now = int(time.time())
    Host.objects.update(seen_at=timezone.now())
    MeshPeer.objects.filter(name="lab").update(
        is_up=True, applied=1, links={key(2): {"handshake": now - 20, "received": 2048, "sent": 5 * 2**20}}
    )
    text = as_user(viewer).get("/network/wireguard/all/").content.decode()
    assert "1 of 1 connected" in text and "2 KiB" in text and "5 MiB" in text and text.count("Connected") == 2
    assert "PrivateKey stays on lab" in text and "(the private key of this machine)" in text
    assert "File with a new key" not in text and "Add a peer" not in text
    part = as_user(viewer, HTTP_HX_TARGET="mesh").get("/network/wireguard/all/").content.decode()
    assert "laptop" in part and "<html" not in part
    assert as_user(stranger).get("/network/wireguard/all/").status_code == 404


def test_the_list_has_a_next_step_when_it_is_empty(as_user, admin, viewer, host):
    assert "New mesh" in as_user(admin).get("/network/wireguard/").content.decode()
    assert "An administrator can make one" in as_user(viewer).get("/network/wireguard/").content.decode()


def test_two_that_cannot_be_called_are_told_of(as_user, admin, mesh):
    MeshPeer.objects.update(endpoint="")
    assert "Nobody can call lab, laptop" in as_user(admin).get("/network/wireguard/all/").content.decode()


def test_a_file_with_a_new_key_is_given_once_and_kept_nowhere(as_user, admin, viewer, mesh):
    peer = mesh.peers.get(name="laptop")
    url = f"/network/wireguard/_peers/{peer.pk}/file/"
    assert as_user(viewer).post(url).status_code == 404
    answer = as_user(admin).post(url)
    assert answer["Cache-Control"] == "no-store" and "wg-all.conf" in answer["Content-Disposition"]
    text = answer.content.decode()
    private = text.split("PrivateKey = ")[1].split("\n")[0]
    peer.refresh_from_db()
    raw = wg_config.key_of(private)
    assert raw is not None and wg_config.text_of(wg_config.public_of(raw)) == peer.public_key != key(2)
    assert "Endpoint = 192.0.2.1:51820" in text and key(1) in text
    kept = repr([list(model.objects.values()) for model in (AuditEntry, Task, MeshPeer, Mesh, Event)])
    assert private not in kept
    assert (
        as_user(admin).post(f"/network/wireguard/_peers/{mesh.peers.get(name='lab').pk}/file/").status_code
        == 404
    )


def test_public_keys_are_those_of_wg(mesh):
    private = wg.new_private_key(bytes(range(32)))
    raw = wg_config.key_of(private)
    assert raw is not None and changes.public_key(private) == wg_config.text_of(wg_config.public_of(raw))


def test_another_machine_leaves_at_once_and_a_host_when_it_has_answered(as_user, admin, mesh):
    lab, laptop = mesh.peers.get(name="lab"), mesh.peers.get(name="laptop")
    client = as_user(admin)
    client.post(f"/network/wireguard/_peers/{laptop.pk}/remove/")
    assert not MeshPeer.objects.filter(pk=laptop.pk).exists()
    client.post(f"/network/wireguard/_peers/{lab.pk}/remove/")
    lab.refresh_from_db()
    assert lab.is_leaving
    # It does not answer, and is asked to be forgotten.
    client.post(f"/network/wireguard/_peers/{lab.pk}/remove/")
    assert not MeshPeer.objects.exists() and Mesh.objects.exists()


def test_a_mesh_goes_with_its_last_host(as_user, admin, mesh):
    client = as_user(admin)
    client.post("/network/wireguard/all/delete/")
    mesh.refresh_from_db()
    assert mesh.is_deleting and [peer.name for peer in mesh.peers.all()] == ["lab"]
    assert client.post("/network/wireguard/all/peers/", {"host": "", "name": "x"}).status_code == 404
    client.post("/network/wireguard/all/delete/")
    assert not Mesh.objects.exists()


def test_only_admins_change_meshes(as_user, operator, mesh):
    client = as_user(operator)
    for url in ("_new", "all/edit", "all/delete", "all/peers", f"_peers/{mesh.peers.first().pk}/remove"):
        assert client.post(f"/network/wireguard/{url}/", NEW).status_code == 404
    assert Mesh.objects.get().is_deleting is False


def test_the_api_does_what_the_pages_do(as_user, admin, viewer, stranger, host, switch):
    client, json = as_user(admin), {"content_type": "application/json"}
    made = client.post("/api/v1/meshes", {"name": "all", "network": "10.99.0.0/24"}, **json)
    assert made.status_code == 201, made.content
    bad = client.post("/api/v1/meshes", {"name": "b", "network": "10.77.0.0/24", "port": 4000}, **json)
    assert (bad.status_code, bad.json()["field"]) == (422, "network")
    added = client.post("/api/v1/meshes/all/peers", {"host": "lab", "endpoint": "192.0.2.1"}, **json)
    assert added.status_code == 201, added.content
    assert client.post("/api/v1/meshes/all/peers", {"host": "nobody"}, **json).json()["field"] == "host"
    found = client.post(
        "/api/v1/meshes/all/peers", {"name": "phone", "routes": ["10.50.0.0/24"]}, **json
    ).json()
    by_name = {peer["name"]: peer for peer in found["peers"]}
    assert by_name["lab"]["host"] == "lab" and by_name["phone"]["routes"] == ["10.50.0.0/24"]
    number = by_name["phone"]["id"]
    changed = client.patch(f"/api/v1/meshes/all/peers/{number}", {"address": "10.99.0.9"}, **json).json()
    phone = next(peer for peer in changed["peers"] if peer["name"] == "phone")
    assert (phone["address"], phone["routes"]) == ("10.99.0.9", ["10.50.0.0/24"])
    assert "PrivateKey = " in client.post(f"/api/v1/meshes/all/peers/{number}/file").json()["file"]
    assert client.post(f"/api/v1/meshes/all/peers/{by_name['lab']['id']}/file").status_code == 409
    assert client.patch("/api/v1/meshes/all", {"port": 4000}, **json).json()["port"] == 4000
    assert as_user(viewer).get("/api/v1/meshes/all").status_code == 200
    assert as_user(viewer).delete("/api/v1/meshes/all").status_code == 404
    assert as_user(stranger).get("/api/v1/meshes").status_code == 404
    assert client.delete(f"/api/v1/meshes/all/peers/{number}").status_code == 204
    assert client.delete("/api/v1/meshes/all").json()["is_deleting"] is True
    assert Switch.objects.count() == 1
