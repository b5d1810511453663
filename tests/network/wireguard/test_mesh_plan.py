from __future__ import annotations

import base64

import pytest

from bhype.freebsd import wg
from bhype.freebsd.ifconfig import Interface
from bhype.freebsd.netstat import Route
from bhype.lab import wg_config
from network.models import Mesh, MeshPeer
from network.wireguard import plan
from network.wireguard.plan import Conflict
from network.wireguard.rules import Bad

UP = frozenset({"UP", "RUNNING"})


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


MESH = Mesh(pk=1, name="all", network="10.99.0.0/24")


def peer(number: int, **values: object) -> MeshPeer:
    base = {
        "pk": number, "mesh": MESH, "name": f"h{number}", "address": f"10.99.0.{number}", "public_key": key(number),
        "endpoint": f"192.0.2.{number}:51820", "routes": [],
    }  # fmt: skip
    return MeshPeer(**(base | values))


def wanted(*peers: MeshPeer) -> plan.Wanted:
    return plan.wanted(MESH, peers[0], peers)


def interface(**values: object) -> Interface:
    base = {
        "name": "wg-all", "flags": UP, "mtu": 1420, "description": "bhype/mesh/all", "groups": ("wg", "bhype"),
        "addresses": ("10.99.0.1/24",),
    }  # fmt: skip
    return Interface(**(base | values))


def words(commands) -> list[str]:
    return [" ".join(command.argv[1:]) for command in commands]


def test_the_file_has_each_other_peer_and_wg_understands_it():
    made = wanted(peer(1), peer(2, routes=["10.77.0.0/24"]), peer(3, endpoint=""))
    text = plan.config(made, key(9), lambda end: end)
    change = wg_config.read(text.split("\n"))
    assert (change.private, change.port) == (key(9), 51820)
    assert [(one.public, one.endpoint, one.allowed, one.keepalive) for one in change.peers] == [
        (key(2), "192.0.2.2:51820", ["10.77.0.0/24", "10.99.0.2/32"], 25),
        (key(3), None, ["10.99.0.3/32"], 25),
    ]
    assert made.routes == ("10.77.0.0/24",)


def test_a_name_that_is_not_found_keeps_no_other_peer_away():
    made = wanted(peer(1), peer(2, endpoint="x.example.org:51820"), peer(3))
    text = plan.config(made, key(9), lambda end: "" if "example" in end else end)
    assert [one.endpoint for one in wg_config.read(text.split("\n")).peers] == [None, "192.0.2.3:51820"]


@pytest.mark.parametrize(
    "values",
    [
        {"name": "x\n[Peer]"}, {"name": "#"}, {"public_key": "x" * 44}, {"public_key": f"{key(2)}\nEndpoint = x"},
        {"endpoint": "a\nb:1"}, {"endpoint": "10.99.0.9:1"}, {"address": "10.99.0.1"}, {"address": "10.98.0.2"},
        {"routes": ["0.0.0.0/0"]}, {"routes": ["10.99.0.0/16"]}, {"routes": ["x"]},
        {"routes": ["10.77.0.0/24\nEndpoint = x"]},
    ],
)  # fmt: skip
def test_what_rows_of_the_web_say_wrong_is_left_out_and_told(values):
    made = wanted(peer(1), peer(2, **values), peer(3))
    assert [one.name for one in made.others] == ["h3"]
    assert len(made.problems) == 1 and "\n" not in made.problems[0]


def test_two_peers_cannot_send_from_one_network():
    made = wanted(peer(1), peer(2, routes=["10.77.0.0/24"]), peer(3, routes=["10.77.0.128/25"]))
    assert [one.name for one in made.others] == ["h2"] and "overlaps" in made.problems[0]


@pytest.mark.parametrize("values", [{"name": "../x"}, {"network": "0.0.0.0/0"}, {"port": 53}])
def test_a_mesh_that_makes_no_sense_is_refused_as_a_whole(values):
    mesh = Mesh(**({"pk": 1, "name": "all", "network": "10.99.0.0/24"} | values))
    with pytest.raises(Bad):
        plan.wanted(mesh, peer(1), [peer(1)])


def test_peers_without_a_key_are_waited_for():
    made = wanted(peer(1), peer(2, public_key=""))
    assert made.others == () and made.problems == ("h2 is not connected: its key is not known yet.",)


def test_a_missing_interface_is_made_and_dressed():
    made = wanted(peer(1), peer(2, routes=["10.77.0.0/24"]))
    assert words(plan.make(made, [])) == ["wg create descr bhype/mesh/all group bhype name wg-all"]
    bare = interface(addresses=(), mtu=1500, flags=frozenset())
    assert words(plan.dress(made, [bare], [])) == [
        "wg-all inet 10.99.0.1/24",
        "wg-all mtu 1420",
        "wg-all up",
        "-n add -net 10.77.0.0/24 -interface wg-all",
    ]


def test_what_is_right_is_left_alone():
    made = wanted(peer(1), peer(2, routes=["10.77.0.0/24"]))
    there = [Route("10.99.0.0/24", "link#7", "U", "wg-all"), Route("10.77.0.0/24", "link#7", "US", "wg-all")]
    there += [
        Route("10.99.0.1", "link#7", "UHS", "wg-all"),
        Route("fe80::%wg-all/64", "link#7", "U", "wg-all"),
    ]
    device = wg.Device("wg-all", key(1), 51820)
    device.links.append(wg.Link(key(2), "", ("10.77.0.0/24", "10.99.0.2/32"), 0, 0, 0, 25))
    assert plan.make(made, [interface()]) == [] and plan.dress(made, [interface()], there) == []
    assert plan.differences(made, [interface()], [device], there) == []


def test_what_is_there_no_more_goes():
    made = wanted(peer(1))
    old = [Route("10.77.0.0/24", "link#7", "US", "wg-all"), Route("10.78.0.0/24", "link#7", "US", "em0")]
    found = words(plan.dress(made, [interface(addresses=("10.99.0.1/24", "10.98.0.1/24"))], old))
    assert found == ["wg-all inet 10.98.0.1 -alias", "-n delete -net 10.77.0.0/24 -interface wg-all"]


def test_an_interface_of_somebody_else_is_never_touched():
    with pytest.raises(Conflict, match="not made by bHype"):
        plan.make(wanted(peer(1)), [interface(description="mine")])
    assert plan.strays(["all"], [interface(), interface(name="wg1", description="mine")]) == []


def test_one_that_lost_its_name_in_a_crash_is_replaced():
    assert words(plan.make(wanted(peer(1)), [interface(name="wg0")]))[0] == "wg0 destroy"


@pytest.mark.parametrize(
    "device",
    [
        None,
        wg.Device("wg-all", "", 51820),
        wg.Device("wg-all", key(1), 4000),
        wg.Device("wg-all", key(1), 51820, [wg.Link(key(5), "", (), 0, 0, 0, 0)]),
    ],
)
def test_drift_is_noticed(device):
    made = wanted(peer(1))
    assert plan.differences(made, [interface()], [device] if device else [], [])


def test_a_file_for_other_machines_has_address_and_peers():
    foreign = peer(4, endpoint="", host=None)
    text = plan.quick(plan.wanted(MESH, foreign, [peer(1), foreign]), "", "")
    assert "Address = 10.99.0.4/24" in text and "ListenPort" not in text and key(1) in text
    assert "(the private key of this machine)" in text
