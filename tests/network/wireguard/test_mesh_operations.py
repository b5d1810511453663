from __future__ import annotations

import os
import stat

import pytest

from bhype.lab import wg_config
from bhype.tasks.models import Task, TaskLine
from network.models import Mesh, MeshPeer
from network.wireguard import plan
from tests.labhost import Lab, fresh_lab

from .two import Node, mesh_of

# Its waits and processes are many: make test-long runs it.
pytestmark = pytest.mark.long


@pytest.fixture
def a(lab: Lab) -> Node:
    return Node("a", lab)


@pytest.fixture
def b(db):
    lab = fresh_lab()
    yield Node("b", lab)
    lab.end()


def succeeded(tasks: list[Task]) -> bool:
    return bool(tasks) and all(task.status == "succeeded" for task in tasks)


def everything_told() -> str:
    """All that tasks have said, and all rows of meshes."""
    return repr([list(model.objects.values()) for model in (Task, TaskLine, Mesh, MeshPeer)])


def test_two_hosts_make_their_keys_and_find_each_other(a, b):
    mesh_of(a, b, a="192.0.2.1:51820", b="192.0.2.2:51820")
    assert succeeded(a.ensure())
    assert a.peer().public_key and a.peer().problems == ["b is not connected: its key is not known yet."]
    assert succeeded(b.sweep())
    assert succeeded(a.sweep())
    for one, other in ((a, b), (b, a)):
        assert one.peer().problems == [] and one.peer().is_up
        dump = one.wg("show", "wg-all", "dump").splitlines()
        assert dump[1].split("\t")[:4] == [
            other.peer().public_key, "(none)", other.peer().endpoint, f"{other.peer().address}/32",
        ]  # fmt: skip
        raw = wg_config.key_of(one.private_key)
        assert raw is not None and wg_config.text_of(wg_config.public_of(raw)) == one.peer().public_key
        assert one.private_key not in everything_told()
        for path in (plan.key_path("all"), f"{plan.FOLDER}/all.conf"):
            assert stat.S_IMODE(os.stat(one.lab.host.path(path)).st_mode) == 0o600
    # All is as it should be: nobody asks again.
    assert a.sweep() == [] == b.sweep()


def test_a_change_reaches_the_other_host_by_its_observer(a, b):
    mesh = mesh_of(a, b)
    for node in (a, b, a):
        node.ensure()
    MeshPeer.objects.filter(host=a.row).update(routes=["10.50.0.0/24"])
    Mesh.objects.update(revision=mesh.revision + 10, port=4000, mtu=1400)
    assert succeeded(b.sweep())
    assert "listening port: 4000" in b.wg("show", "wg-all")
    assert "10.50.0.0/24" in b.wg("show", "wg-all", "allowed-ips")
    assert "mtu 1400" in b.lab.commands("/sbin/ifconfig", "wg-all")
    assert "interface: wg-all" in b.lab.commands("/sbin/route", "-n", "get", "10.50.0.7")
    # The route goes again with what is behind the peer.
    MeshPeer.objects.update(routes=[])
    Mesh.objects.update(revision=mesh.revision + 11)
    b.ensure()
    assert "interface: wg-all" not in b.lab.commands("/sbin/route", "-n", "get", "10.50.0.7")


DRIFTS = [
    ("/sbin/ifconfig", "wg-all", "inet", "10.99.0.1", "-alias"),
    ("/usr/bin/wg", "set", "wg-all", "listen-port", "9"),
    ("/sbin/route", "-n", "delete", "-net", "10.50.0.0/24", "-interface", "wg-all"),
    ("/sbin/ifconfig", "wg-all", "down"),
    ("/sbin/ifconfig", "wg-all", "destroy"),
]


def test_drift_is_noticed_and_mended(a):
    mesh = mesh_of(a)
    MeshPeer.objects.create(
        mesh=mesh,
        name="x",
        address="10.99.0.9",
        public_key=wg_config.text_of(b"x" * 32),
        routes=["10.50.0.0/24"],
    )
    assert succeeded(a.ensure()) and a.sweep() == []
    key = a.private_key
    for drift in DRIFTS:
        a.lab.commands(*drift)
        Task.objects.all().delete()
        assert succeeded(a.sweep()), drift
    Task.objects.all().delete()
    assert a.sweep() == [] and a.private_key == key


KILLS = [
    ("wg pubkey", "before"), ("ifconfig create", "after"), ("wg syncconf", "before"), ("ifconfig inet", "before"),
    ("ifconfig mtu", "after"),
]  # fmt: skip


def test_killed_at_any_step_it_can_be_repeated(a):
    MeshPeer.objects.filter(mesh=mesh_of(a)).update(address="10.99.0.1")
    Mesh.objects.update(mtu=1400)
    for command, when in KILLS:
        a.lab.fault(command=command, do="kill", nth=1, when=when)
        (task,) = a.ensure()
        assert task.status == "failed", command
        a.lab.clear_faults()
        assert succeeded(a.ensure()), command
        assert a.lab.commands("/sbin/ifconfig", "-g", "wg").split() == ["wg-all"]
        assert a.peer().is_up and a.peer().problems == []
        a.lab.commands("/sbin/ifconfig", "wg-all", "destroy")


def test_an_interface_of_somebody_else_is_left_alone(a):
    mesh_of(a)
    a.lab.commands("/sbin/ifconfig", "wg", "create", "name", "wg-all", "descr", "mine")
    (task,) = a.ensure()
    assert task.status == "failed" and "was not made by bHype" in task.error
    assert "was not made by bHype" in a.peer().problems[0]
    MeshPeer.objects.update(is_leaving=True)
    a.ensure()
    assert "wg-all" in a.lab.commands("/sbin/ifconfig", "-l")


def test_a_port_that_is_taken_is_told(a):
    mesh_of(a)
    a.lab.fault(command="wg syncconf", do="fail", text="Unable to modify interface: Address already in use")
    (task,) = a.ensure()
    assert task.status == "failed" and "Address already in use" in task.error


def test_what_the_web_wrote_wrong_never_reaches_the_file(a):
    mesh = mesh_of(a)
    MeshPeer.objects.create(mesh=mesh, name="x\nPrivateKey = y", address="10.99.0.9", public_key="z")
    assert succeeded(a.ensure())
    text = a.lab.host.read_text(f"{plan.FOLDER}/all.conf")
    assert text.count("PrivateKey") == 1 and "[Peer]" not in text
    Mesh.objects.update(name="../x")
    (task,) = a.ensure()
    assert task.status == "failed"


def test_a_name_that_is_not_found_is_told_and_the_rest_goes_on(a):
    mesh = mesh_of(a)
    MeshPeer.objects.create(
        mesh=mesh, name="x", address="10.99.0.9", public_key=wg_config.text_of(b"x" * 32),
        endpoint="nobody.invalid:51820",
    )  # fmt: skip
    assert succeeded(a.ensure())
    assert "nobody.invalid was not found" in a.peer().problems[0]
    assert "(none)" in a.wg("show", "wg-all", "endpoints")


def test_a_host_leaves_with_its_key_and_the_others_forget_it(a, b):
    mesh_of(a, b)
    for node in (a, b, a):
        node.ensure()
    MeshPeer.objects.filter(host=b.row).update(is_leaving=True)
    Mesh.objects.update(revision=50)
    a.ensure()
    assert a.wg("show", "wg-all", "peers") == ""
    assert succeeded(b.sweep())
    assert "wg-all" not in b.lab.commands("/sbin/ifconfig", "-l") and b.lab.host.listdir(plan.FOLDER) == []
    assert [peer.name for peer in MeshPeer.objects.all()] == ["a"]


def test_a_mesh_is_gone_when_all_have_taken_it_down(a, b):
    mesh_of(a, b)
    for node in (a, b):
        node.ensure()
    Mesh.objects.update(is_deleting=True)
    a.ensure()
    assert Mesh.objects.exists()
    assert succeeded(b.sweep())
    assert not Mesh.objects.exists() and not MeshPeer.objects.exists()


def test_a_tunnel_that_no_row_knows_is_told_of_and_left(a):
    a.lab.commands("/sbin/ifconfig", "wg", "create", "name", "wg-old", "descr", "bhype/mesh/old")
    assert a.sweep() == []
    assert any("ifconfig wg-old destroy" in problem for problem in a.seen.problems)


def test_what_peers_say_is_noted(a):
    mesh = mesh_of(a)
    key = wg_config.text_of(b"x" * 32)
    MeshPeer.objects.create(mesh=mesh, name="x", address="10.99.0.9", public_key=key)
    a.ensure()
    a.sweep()
    assert a.peer().links == {key: {"handshake": 0, "received": 0, "sent": 0}}


def test_a_mesh_of_ipv6_is_set_up_too(a):
    mesh = mesh_of(a)
    Mesh.objects.filter(pk=mesh.pk).update(network="fd00:99::/64")
    MeshPeer.objects.update(address="fd00:99::1")
    assert succeeded(a.ensure()) and a.sweep() == []
    assert "inet6 fd00:99::1 prefixlen 64" in a.lab.commands("/sbin/ifconfig", "wg-all")
