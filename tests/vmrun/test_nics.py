"""Taps with rates and links, with the lab's netgraph."""

from __future__ import annotations

import subprocess

from bhype.freebsd import ifconfig, kld, ngctl
from bhype.vmrun import config, nics


def look(lab) -> dict:
    return {one.name: one for one in lab.host.query(ifconfig.list_interfaces())}


def parsed(**more):
    nic = {
        "device": "virtio-net", "name": "tap1001", "fix": True, "bridge": "sw-nat", "description": "bhype/vm/x/0"
    }  # fmt: skip
    return config.parse({"name": "web1", "cpu": 1, "mem": "128M", "emulations": [nic | more]})


def bandwidths(lab) -> str:
    return lab.host.run(ngctl.message("tap1001_pipe:", "getcfg")).stdout


def make(lab, **more):
    return nics.make(lab.host, parsed(**more), lab.host.query(ifconfig.list_interfaces()))


def test_a_rate_is_a_pipe_and_an_interface_that_come_and_go_with_the_tap(real_lab):
    before = set(look(real_lab))
    assert make(real_lab, rate_in="10M", rate_out="2M") == []
    found = look(real_lab)
    assert found["sw-nat"].members == ("rtap1001",)
    assert (found["rtap1001"].description, found["rtap1001"].is_up) == ("bhype/vm/x/0", True)
    assert ifconfig.GROUP in found["rtap1001"].groups
    assert "downstream={ bandwidth=10000000 }" in bandwidths(real_lab)
    assert "upstream={ bandwidth=2000000 }" in bandwidths(real_lab)
    # Once more, as at a guest's reboot: what is there stays.
    assert make(real_lab, rate_in="20M") == []
    assert "bandwidth=20000000" in bandwidths(real_lab)
    assert "upstream" not in bandwidths(real_lab)
    assert nics.set_link(real_lab.host, parsed(rate_in="20M", link="down").devices[0]) == []
    assert look(real_lab)["sw-nat"].members == ()
    assert make(real_lab, rate_in="20M") == []
    assert nics.destroy(real_lab.host, ["tap1001"]) == []
    assert set(look(real_lab)) == before
    assert not {"tap1001_pipe", "rtap1001"}.intersection(real_lab.host.query(ngctl.nodes()))


def test_a_running_tap_gets_its_first_rate_and_then_none(real_lab):
    make(real_lab)
    assert look(real_lab)["sw-nat"].members == ("tap1001",)
    assert nics.reshape(real_lab.host, parsed(rate_out="5M").devices[0]) == []
    assert look(real_lab)["sw-nat"].members == ("rtap1001",)
    assert nics.reshape(real_lab.host, parsed().devices[0]) == []
    assert look(real_lab)["sw-nat"].members == ("rtap1001",)
    assert "bandwidth" not in bandwidths(real_lab)


def test_what_an_interrupted_attempt_left_is_made_anew(real_lab):
    make(real_lab)
    for module in nics.MODULES:
        real_lab.host.run(kld.load(module))
    program = str(real_lab.root / "usr/sbin/ngctl")
    for words in (("mkpeer", "tap1001:", "pipe", "lower", "lower"),
                  ("mkpeer", "tap1001:lower", "eiface", "upper", "ether")):  # fmt: skip
        subprocess.run([program, *words], check=True)
    assert make(real_lab, rate_in="1M") == []
    assert {name for name in look(real_lab) if name.startswith("ngeth")} == set()
    assert look(real_lab)["sw-nat"].members == ("rtap1001",)
