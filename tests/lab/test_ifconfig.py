"""ifconfig(8) of the lab (net.md sections 1 to 4)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time

import pytest


def opened(lab, name, **more):
    """A running bhyve called ``name``, played by a sleeping process."""
    process = subprocess.Popen(["sleep", "600"])
    with open(f"/proc/{process.pid}/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    entry = {"pid": process.pid, "ticks": ticks, "files": [], "taps": [], "title": True, **more}
    with open(f"{lab.folder}/state/bhyve.json", "w") as file:
        json.dump({name: entry}, file)
    return process


@pytest.fixture
def guest(lab):
    started = []

    def start(name="vm1", **more):
        started.append(opened(lab, name, **more))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def wired_lab(still_lab):
    """Two taps and two bridges; tap1 is a member of bridge0."""
    still_lab.ok("ifconfig", "tap0", "create")
    still_lab.ok("ifconfig", "tap1", "create")
    still_lab.ok("ifconfig", "bridge0", "create", "addm", "tap1")
    still_lab.ok("ifconfig", "bridge1", "create")
    return still_lab


def test_create_prints_the_name_that_it_chose(lab):
    assert lab.ok("ifconfig", "tap", "create") == "tap0\n"
    assert lab.ok("ifconfig", "tap", "create") == "tap1\n"
    assert lab.ok("ifconfig", "tap5", "create") == ""
    assert lab.ok("ifconfig", "bridge", "create", "name", "br-lan", "group", "bhype", "up") == ""
    assert lab.ok("ifconfig", "-l") == "em0 lo0 tap0 tap1 tap5 br-lan\n"
    assert lab.ok("ifconfig", "-g", "bhype") == "br-lan\n"
    assert lab.path("/dev/tap5").exists()
    lab.ok("ifconfig", "tap0", "destroy")
    assert lab.ok("ifconfig", "tap", "create") == "tap0\n", "the lowest free unit"


def test_a_bridge_is_shown_as_freebsd_shows_it(lab):
    lab.ok("ifconfig", "bridge0", "create", "descr", "bhype/switch/lan", "group", "bhype")
    lab.ok("ifconfig", "bridge0", "inet", "10.10.0.1/24")
    lab.ok("ifconfig", "bridge0", "ether", "58:9c:fc:10:d6:22")
    lab.ok("ifconfig", "tap0", "create")
    lab.ok("ifconfig", "bridge0", "addm", "tap0", "addm", "em0", "private", "tap0")
    assert lab.ok("ifconfig", "bridge0") == (
        "bridge0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500\n"
        "\tdescription: bhype/switch/lan\n"
        "\toptions=0\n"
        "\tether 58:9c:fc:10:d6:22\n"
        "\tinet 10.10.0.1 netmask 0xffffff00 broadcast 10.10.0.255\n"
        "\tid 00:00:00:00:00:00 priority 32768 hellotime 2 fwddelay 15\n"
        "\tmaxage 20 holdcnt 6 proto rstp maxaddr 2000 timeout 1200\n"
        "\troot id 00:00:00:00:00:00 priority 32768 ifcost 0 port 0\n"
        "\tmember: tap0 flags=943<LEARNING,DISCOVER,PRIVATE,AUTOEDGE,AUTOPTP>\n"
        "\t        ifmaxaddr 0 port 4 priority 128 path cost 2000000\n"
        "\tmember: em0 flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>\n"
        "\t        ifmaxaddr 0 port 1 priority 128 path cost 20000\n"
        "\tgroups: bridge bhype\n"
        "\tnd6 options=9<PERFORMNUD,IFDISABLED>\n"
    )
    assert "\tinet 10.10.0.1/24 broadcast" in lab.ok("ifconfig", "-f", "inet:cidr", "bridge0")


def test_a_tap_shows_who_has_it_open(lab, guest):
    lab.ok("ifconfig", "tap0", "create", "descr", "bhype/vm/web1/0")
    lab.ok("ifconfig", "tap0", "ether", "58:9c:fc:10:ff:d8")
    closed = lab.ok("ifconfig", "tap0")
    assert closed.startswith("tap0: flags=8802<BROADCAST,SIMPLEX,MULTICAST> metric 0 mtu 1500\n")
    assert "\tstatus: no carrier\n" in closed
    lab.ok("ifconfig", "bridge0", "create", "addm", "tap0")
    pid = guest(taps=["tap0"]).pid
    assert lab.ok("ifconfig", "tap0") == (
        "tap0: flags=1008943<UP,BROADCAST,RUNNING,PROMISC,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500\n"
        "\tdescription: bhype/vm/web1/0\n"
        "\toptions=80000<LINKSTATE>\n"
        "\tether 58:9c:fc:10:ff:d8\n"
        "\tgroups: tap\n"
        "\tmedia: Ethernet 1000baseT <full-duplex>\n"
        "\tstatus: active\n"
        "\tnd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>\n"
        f"\tOpened by PID {pid}\n"
    )


def test_destroying_an_open_tap_waits_until_it_is_closed(lab, guest):
    lab.ok("ifconfig", "tap0", "create")
    process = guest(taps=["tap0"])
    destroying = subprocess.Popen(lab.argv("ifconfig", "tap0", "destroy"))
    time.sleep(0.3)
    assert destroying.poll() is None
    process.kill()
    process.wait()
    assert destroying.wait(60) == 0
    assert lab.ok("ifconfig", "-l") == "em0 lo0\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tap9"], "ifconfig: interface tap9 does not exist\n"),
        (["tap9", "up"], "ifconfig: interface tap9 does not exist\n"),
        (["tap0", "create"], "ifconfig: SIOCIFCREATE2 (tap0): File exists\n"),
        (["foo", "create"], "ifconfig: SIOCIFCREATE2 (foo): Invalid argument\n"),
        (["tap12345678901234", "create"], "ifconfig: tap12345678901234: cloning name too long\n"),
        (["em0", "destroy"], "ifconfig: SIOCIFDESTROY: Invalid argument\n"),
        (["tap0", "foo"], "ifconfig: foo: bad value\n"),
        (["tap0", "descr"], "ifconfig: 'descr' requires argument\n"),
        (["tap0", "group", "vm1"], "ifconfig: setifgroup: group names may not end in a digit\n"),
        (["bridge0", "addm", "tap9"], "ifconfig: BRDGADD tap9: No such file or directory\n"),
        (["bridge0", "addm", "tap1"], "ifconfig: BRDGADD tap1: File exists\n"),
        (["bridge1", "addm", "tap1"], "ifconfig: BRDGADD tap1: Device busy\n"),
        (["bridge0", "deletem", "tap0"], "ifconfig: BRDGDEL tap0: No such file or directory\n"),
        (["tap0", "addm", "tap1"], "ifconfig: BRDGADD tap1: Invalid argument\n"),
        (["bridge0", "private", "tap0"], "ifconfig: unable to get bridge flags: No such file or directory\n"),
        (["bridge0", "inet", "10.0.0.300/24"], "ifconfig: 10.0.0.300: bad value\n"),
        (["bridge0", "inet", "10.0.0.1/40"], "ifconfig: 10.0.0.1/40: bad value (width too large)\n"),
        (["bridge0", "up", "inet", "10.0.0.1/24"], "ifconfig: inet: bad value\n"),
        (
            ["bridge0", "inet", "10.0.0.1", "-alias"],
            "ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address\n",
        ),
        (["bridge0", "inet", "192.0.2.10/24"], "ifconfig: ioctl (SIOCAIFADDR): File exists\n"),
        (["tap0", "ether", "xx"], "ifconfig: malformed link-level address\n"),
    ],
)  # fmt: skip
def test_failures_have_freebsds_words(wired_lab, words, text):
    assert wired_lab.fails("ifconfig", *words) == text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["name", "lo0"], "ifconfig: ioctl (set name): File exists\n"),
        (["name", "a" * 16], "ifconfig: ioctl (set name): File name too long\n"),
        (["mtu", "5"], "ifconfig: ioctl (set mtu): Invalid argument\n"),
        (["descr", "x" * 1024], "ifconfig: ioctl (set descr): File name too long\n"),
    ],
)
def test_some_failures_only_warn(lab, words, text):
    lab.ok("ifconfig", "tap0", "create")
    answer = lab("ifconfig", "tap0", *words)
    assert (answer.code, answer.out, answer.err) == (0, "", text)
    shown = lab.ok("ifconfig", "tap0")
    assert "mtu 1500" in shown
    assert "description" not in shown


def test_words_before_a_failure_stay_done(lab):
    answer = lab("ifconfig", "tap", "create", "descr", "mine", "nonsense!")
    assert (answer.code, answer.out, answer.err) == (1, "tap0\n", "ifconfig: nonsense!: bad value\n")
    assert "\tdescription: mine\n" in lab.ok("ifconfig", "tap0")


def test_a_bridge_sets_the_mtu_of_its_members(lab):
    for name in ("tap0", "tap1", "bridge0"):
        lab.ok("ifconfig", name, "create")
    lab.ok("ifconfig", "tap0", "mtu", "9000")
    lab.ok("ifconfig", "bridge0", "addm", "tap0", "addm", "tap1")
    assert re.findall(r"(\w+): flags.* mtu (\d+)", lab.ok("ifconfig")) == [
        *(("em0", "1500"), ("lo0", "16384"), ("tap0", "9000"), ("tap1", "9000"), ("bridge0", "9000")),
    ]


def test_renaming_keeps_the_membership(lab):
    lab.ok("ifconfig", "tap0", "create")
    lab.ok("ifconfig", "bridge0", "create", "addm", "tap0")
    lab.ok("ifconfig", "tap0", "name", "vm-a")
    assert "\tmember: vm-a " in lab.ok("ifconfig", "bridge0")
    lab.ok("ifconfig", "vm-a", "destroy")
    assert "member" not in lab.ok("ifconfig", "bridge0")
    assert not lab.path("/dev/tap0").exists()


def test_addresses_come_and_go(lab):
    lab.ok("ifconfig", "bridge0", "create", "inet", "10.0.0.1", "netmask", "255.255.0.0")
    lab.ok("ifconfig", "bridge0", "inet", "10.1.0.1/24", "alias")
    lab.ok("ifconfig", "bridge0", "inet6", "fd00::1/64")
    shown = lab.ok("ifconfig", "bridge0")
    assert "\tinet 10.0.0.1 netmask 0xffff0000 broadcast 10.0.255.255\n" in shown
    assert "\tinet 10.1.0.1 netmask 0xffffff00 broadcast 10.1.0.255\n" in shown
    assert "\tinet6 fd00::1 prefixlen 64\n" in shown
    lab.ok("ifconfig", "bridge0", "inet", "10.0.0.1", "-alias")
    assert re.findall(r"inet (\S+)", lab.ok("ifconfig", "bridge0")) == ["10.1.0.1"]
    lab.ok("ifconfig", "bridge0", "10.2.0.1/16")
    assert re.findall(r"inet (\S+)", lab.ok("ifconfig", "bridge0")) == ["10.2.0.1"]


def test_no_interface_is_lost_when_many_are_made_at_once(lab):
    makers = [
        subprocess.Popen(lab.argv("ifconfig", "tap", "create"), stdout=subprocess.PIPE, text=True)
        for _ in range(20)
    ]
    names = sorted(maker.communicate(timeout=120)[0].strip() for maker in makers)
    assert names == sorted(f"tap{number}" for number in range(20))
    assert len(lab.ok("ifconfig", "-l").split()) == 22
    assert os.path.exists(f"{lab.folder}/state/ifconfig.json")


def test_bad_options_get_usage(lab):
    assert lab.fails("ifconfig", "-Z").startswith("ifconfig: illegal option -- Z\nusage: ifconfig ")
