"""kldload, kldstat and sysctl of the lab (system.md sections 1 to 4)."""

from __future__ import annotations

import time

import pytest

from tests.lab.conftest import GIB, drop_lab, make_lab


def test_modules_are_loaded_once(lab):
    assert lab("kldstat", "-q", "-m", "vmm").code == 1
    lab.ok("kldload", "-n", "vmm", "nmdm")
    lab.ok("kldload", "-n", "vmm")
    assert lab.fails("kldload", "vmm") == ("kldload: can't load vmm: module already loaded or in kernel\n")
    assert lab.fails("kldload", "foo") == "kldload: can't load foo: No such file or directory\n"
    assert lab("kldstat", "-q", "-m", "vmm").code == 0
    assert lab("kldstat", "-q", "-n", "nmdm.ko").code == 0
    assert lab.fails("kldstat", "-m", "foo") == "kldstat: can't find module foo: No such file or directory\n"
    assert [line.split()[-1] for line in lab.ok("kldstat").splitlines()] == [
        "Name",
        "kernel",
        "vmm.ko",
        "nmdm.ko",
    ]
    assert lab("kldstat", "-q", "-m", "if_tap").code == 0, "in the GENERIC kernel"
    assert lab("kldload").err == "usage: kldload [-nqv] file ...\n"


def test_oids_are_read(lab):
    assert lab.ok("sysctl", "hw.ncpu") == "hw.ncpu: 8\n"
    assert lab.ok("sysctl", "-n", "hw.ncpu", "hw.physmem", "hw.pagesize") == f"8\n{32 * GIB}\n4096\n"
    assert lab.ok("sysctl", "-e", "kern.ostype") == "kern.ostype=FreeBSD\n"
    assert lab.ok("sysctl", "vm.loadavg").startswith("vm.loadavg: { ")
    assert lab.ok("sysctl", "-n", "kern.boottime").startswith("{ sec = 1")
    pages = {
        line.partition(": ")[0].rpartition(".")[2]: int(line.partition(": ")[2])
        for line in lab.ok("sysctl", "vm.stats.vm").splitlines()
    }
    assert pages["v_page_count"] == 32 * GIB // 4096
    assert 0 < pages["v_free_count"] < pages["v_page_count"]
    assert int(lab.ok("sysctl", "-n", "kstat.zfs.misc.arcstats.size")) > 0


def test_an_unknown_oid_fails_and_the_others_are_told(lab):
    answer = lab("sysctl", "foo.bar", "hw.ncpu")
    assert (answer.code, answer.out, answer.err) == (1, "hw.ncpu: 8\n", "sysctl: unknown oid 'foo.bar'\n")
    assert lab.ok("sysctl", "-i", "foo.bar") == ""
    answer = lab("sysctl", "-q", "foo.bar")
    assert (answer.code, answer.err) == (1, "")


def test_oids_of_a_module_come_with_it(lab):
    assert lab.fails("sysctl", "-n", "hw.vmm.maxcpu") == "sysctl: unknown oid 'hw.vmm.maxcpu'\n"
    lab.ok("kldload", "vmm")
    assert lab.ok("sysctl", "-n", "hw.vmm.maxcpu", "hw.vmm.vmx.initialized") == "8\n1\n"


def test_oids_are_set_or_refused(lab):
    assert lab.ok("sysctl", "net.inet.ip.forwarding=1") == "net.inet.ip.forwarding: 0 -> 1\n"
    assert lab.ok("sysctl", "-n", "net.inet.ip.forwarding") == "1\n"
    assert lab.fails("sysctl", "kern.racct.enable=1") == (
        "sysctl: oid 'kern.racct.enable' is a read only tunable\n"
        "sysctl: Tunable values are set in /boot/loader.conf\n"
    )
    assert lab.fails("sysctl", "hw.ncpu=4") == "sysctl: oid 'hw.ncpu' is read only\n"
    assert lab.fails("sysctl", "net.inet.ip.forwarding=x") == "sysctl: invalid integer 'x'\n"


def test_the_clock_of_the_processors_advances(lab):
    def ticks():
        return [int(word) for word in lab.ok("sysctl", "-n", "kern.cp_time").split()]

    before = ticks()
    assert len(before) == 5
    deadline = time.monotonic() + 60
    while sum(ticks()) <= sum(before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sum(ticks()) > sum(before)
    assert len(lab.ok("sysctl", "-n", "kern.cp_times").split()) == 40


def test_the_release_is_told(lab):
    assert lab.ok("sysctl", "-n", "kern.osrelease") == "14.3-RELEASE\n"


@pytest.mark.parametrize(("release", "value"), [("13.2", "1"), ("14.3", "0"), ("15.0", "0")])
def test_bridges_ask_the_packet_filter_by_themselves_until_13(release, value):
    lab = make_lab(release=release)
    try:
        lab.ok("kldload", "-n", "if_bridge")
        names = [f"net.link.bridge.{name}" for name in ("pfil_member", "pfil_bridge", "pfil_local_phys")]
        assert lab.ok("sysctl", "-n", *names).split() == [value, value, "0"]
        lab.ok("sysctl", f"{names[0]}=1")
        assert lab.ok("sysctl", "-n", names[0]) == "1\n"
    finally:
        drop_lab(lab)
