"""The self-test names what is missing, and only that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bhype.freebsd.ifconfig import Interface
from network.firewall.keeping import PFIL
from network.nat import checks
from network.nat.facts import FORWARDING, FORWARDING6, LEARNING6, UPSTREAM6, Facts, learner
from tests.network.firewall.worlds import dark, lan, nat, world

RIGHT = Facts(
    {FORWARDING: "1", FORWARDING6: "1", **dict.fromkeys(PFIL, "1")},
    {"gateway_enable": "YES", "ipv6_gateway_enable": "yes", "pf_enable": "YES"},
    has_pf=True, is_on=True, gateway="192.0.2.1", way_out=True, names={1: True},
    world={1: True},
)  # fmt: skip
BOOTS = ["forwarding4_boot", "forwarding6_boot", "pf_boot"]
RUNNING = {1: ("running", "")}


def found(facts: Facts = RIGHT, services=None, **changes):
    return checks.checks(replace(world, **changes), facts, RUNNING if services is None else services)


def wrong(*more, **changes) -> list[str]:
    return [one.name for one in found(*more, **changes) if one.is_ok is False]


def test_where_nothing_is_missing_nothing_is_named():
    assert wrong() == []
    assert all(one.is_ok and not one.sentence and not one.fix for one in found())


@pytest.mark.parametrize(
    ("facts", "names", "fixes"),
    [
        ({"sysctls": {**RIGHT.sysctls, FORWARDING: "0"}}, ["forwarding4"], ["forwarding4"]),
        ({"rc": {**RIGHT.rc, "ipv6_gateway_enable": "NO"}}, ["forwarding6_boot"], ["forwarding6_boot"]),
        ({"rc": {}}, BOOTS, BOOTS),
        ({"has_pf": False, "is_on": False}, ["pf", "anchors", "pf_on", "loaded"], ["pf", "anchors", "pf_on", "loaded"]),
        ({"missing": ("rdr-anchor",)}, ["anchors"], ["anchors"]),
        ({"lost": ("bhype/base",)}, ["loaded"], ["loaded"]),
        ({"sysctls": {**RIGHT.sysctls, PFIL[2]: "0"}}, ["bridges"], ["bridges"]),
        ({"way_out": False}, ["way_out"], [""]),
        ({"names": {1: False}}, ["names"], ["dhcp"]),
        ({"world": {1: False}}, ["upstream"], [""]),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_its_remedy(facts, names, fixes):
    bad = [one for one in found(replace(RIGHT, **facts)) if one.is_ok is False]
    assert [one.name for one in bad] == names
    assert [one.fix for one in bad] == fixes
    assert all(one.sentence for one in bad)


def test_what_nobody_could_tell_is_not_called_wrong():
    assert wrong(replace(RIGHT, way_out=None, names={}, world={})) == []


def test_a_host_without_a_way_out_is_told_of():
    assert wrong(replace(RIGHT, gateway=""), egress="", egress6="", egress6_address="") == [
        "route", "route6",
    ]  # fmt: skip
    assert wrong(egress6="", egress6_address="") == ["route6"]
    assert wrong(egress6_address="") == ["address6"]


def test_services_that_do_not_run_are_told_of_with_their_reason():
    bad = [one for one in found(services={1: ("failed", "No dnsmasq.")}) if one.is_ok is False]
    assert [(one.name, one.sentence) for one in bad] == [("dhcp", "No dnsmasq."), ("names", "No dnsmasq.")]


def test_only_what_concerns_its_switches_is_asked_of_a_host():
    assert not [one for one in found(nets=(lan, dark)) if one.name.startswith(("forwarding", "route", "way"))]
    blind = replace(nat, has_ports=False)
    assert "blind" in wrong(nets=(blind, lan))


def test_what_was_found_is_kept_by_switch():
    rows = checks.document(found())
    assert checks.stored(rows) == found()
    assert {one.name for one in checks.stored(rows, 3)} >= {"pf", "loaded"}
    assert "forwarding4" not in {one.name for one in checks.stored(rows, 3)}


@pytest.mark.parametrize(
    ("sysctls", "rc", "expected"),
    [
        ({}, {}, ["forwarding6", "forwarding6_boot"]),
        ({LEARNING6: "1"}, {UPSTREAM6: "em1"}, ["forwarding6_boot"]),
        ({LEARNING6: "1"}, {UPSTREAM6: "em0"}, []),
        ({LEARNING6: "1", FORWARDING6: "0"}, {UPSTREAM6: "em0"}, ["forwarding6"]),
    ],
)
def test_a_host_that_learns_its_ipv6_route_keeps_it_as_a_router(sysctls, rc, expected):
    learns = replace(RIGHT, learns6="em0", sysctls={**RIGHT.sysctls, **sysctls}, rc={**RIGHT.rc, **rc})
    assert wrong(learns) == expected


def test_by_which_interface_a_host_learns_its_ipv6_route():
    flags, up = frozenset({"ACCEPT_RTADV"}), frozenset({"UP"})
    em0, em1 = Interface("em0", up, nd6=flags), Interface("em1", up, nd6=flags)
    bridge = Interface("sw-lan", up, nd6=flags, groups=("bridge", "bhype"))
    assert learner([Interface("em0", up), Interface("em1", nd6=flags)]) == ""
    assert learner([bridge, em0, em1]) == "em0"
    assert learner([bridge, em0, em1], "em1") == "em1"
    assert learner([bridge, em0], "sw-lan") == "sw-lan"
