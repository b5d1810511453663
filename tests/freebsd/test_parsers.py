# ruff: noqa: E101
"""The parsers, over outputs as FreeBSD 13 to 15 write them, and over anything else."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import ifconfig, kld, ps, sysctl, zfs
from bhype.freebsd.command import ParseError

DATASETS = (
    "zroot\tfilesystem\t4831838208\t98784247808\t98304\t-\t/zroot\t-\t-\n"
    "zroot/bhype\tfilesystem\t98304\t98784247808\t98304\t-\tnone\t-\t0d5c\n"
    "zroot/vms/web1/disk0\tvolume\t21474836480\t1024\t56623104\t21474836480\t-\tzroot/images/deb12@base\t1\t2\n"
    "zroot/bhype/%recv\tvolume\t0\t0\t0\t0\t-\t-\t-\n"
)


INTERFACES = """\
bridge0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500
	description: bhype/switch/lan
	options=0
	ether 58:9c:fc:10:d6:22
	inet 10.10.0.1 netmask 0xffffff00 broadcast 10.10.0.255
	inet6 fe80::5a9c:fcff:fe10:d622%bridge0 prefixlen 64 scopeid 0x5
	id 00:00:00:00:00:00 priority 32768 hellotime 2 fwddelay 15
	maxage 20 holdcnt 6 proto rstp maxaddr 2000 timeout 1200
	root id 00:00:00:00:00:00 priority 32768 ifcost 0 port 0
	member: tap0 flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>
	        ifmaxaddr 0 port 6 priority 128 path cost 2000000
	member: em0 flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>
	        ifmaxaddr 0 port 2 priority 128 path cost 20000
	groups: bridge bhype
	nd6 options=9<PERFORMNUD,IFDISABLED>
tap0: flags=8943<UP,BROADCAST,RUNNING,PROMISC,SIMPLEX,MULTICAST> metric 0 mtu 9000
	description: bhype/vm/web1/0
	options=80000<LINKSTATE>
	ether 58:9c:fc:10:ff:d8
	groups: tap vm-port
	media: Ethernet 1000baseT <full-duplex>
	status: active
	nd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>
	Opened by PID 4711
lo0: flags=1008049<UP,LOOPBACK,RUNNING,MULTICAST,LOWER_UP> metric 0 mtu 16384
	inet6 ::1 prefixlen 128
	inet 127.0.0.1/8
	inet 192.0.2.1 --> 192.0.2.2 netmask 0xffffffff
"""

PROCESSES = json.dumps(
    {
        "process-information": {
            "process": [
                {
                    "pid": "1",
                    "percent-cpu": "0.0",
                    "rss": " 1180",
                    "elapsed-times": "   86400",
                    "command": "/sbin/init",
                },
                {
                    "pid": 4711,
                    "percent-cpu": 12.5,
                    "rss": 2048,
                    "elapsed-times": 60,
                    "command": "bhyve: web1 (bhyve)",
                },
                {
                    "pid": "12",
                    "percent-cpu": "0.0",
                    "rss": "1",
                    "elapsed-times": "0",
                    "command": "bhyve: web2",
                },
                {
                    "pid": "13",
                    "percent-cpu": "0.0",
                    "rss": "1",
                    "elapsed-times": "0",
                    "command": "vi bhyve: web3",
                },
            ]
        }
    }
)


def test_datasets_are_read_with_their_last_column_free():
    root, home, disk = zfs.list_datasets("zroot").parse(DATASETS)
    assert (root.kind, root.used, root.available, root.mountpoint, root.bhype_id) == (
        "filesystem", 4831838208, 98784247808, "/zroot", None,
    )  # fmt: skip
    assert (home.mountpoint, home.bhype_id) == (None, "0d5c")
    assert (disk.volsize, disk.mountpoint, disk.origin) == (21474836480, None, "zroot/images/deb12@base")
    assert disk.bhype_id == "1\t2"


def test_no_datasets_are_none():
    assert zfs.list_datasets("zroot").parse("") == []


def test_snapshots_have_times():
    (snapshot,) = zfs.list_snapshots("zroot").parse(
        "zroot/a@auto-2026-01-01_00.00\t1767225600\t0\t56623104\t-\n"
    )
    assert snapshot.created == datetime(2026, 1, 1, tzinfo=UTC)
    assert snapshot.referenced == 56623104


def test_a_property_tells_its_source():
    query = zfs.get_property("zroot/a", zfs.ID_PROPERTY)
    assert query.parse("local\tx y\n").is_local
    inherited = query.parse("inherited from zroot\tid\n")
    assert (inherited.value, inherited.is_local) == ("id", False)
    assert query.parse("-\t-\n").value is None
    assert query.parse("local\tone\ttwo\nthree\n").value == "one\ttwo\nthree"


def test_interfaces_are_read_in_both_flag_widths():
    bridge, tap, loopback = ifconfig.list_interfaces().parse(INTERFACES)
    assert (bridge.name, bridge.mtu, bridge.is_up, bridge.description) == (
        "bridge0",
        1500,
        True,
        "bhype/switch/lan",
    )
    assert bridge.members == ("tap0", "em0")
    assert bridge.groups == ("bridge", "bhype")
    assert bridge.addresses == ("10.10.0.1/24", "fe80::5a9c:fcff:fe10:d622%bridge0/64")
    assert (tap.mtu, tap.opened_by, tap.ether, tap.status) == (9000, 4711, "58:9c:fc:10:ff:d8", "active")
    assert loopback.addresses == ("::1/128", "127.0.0.1/8", "192.0.2.1/32")
    assert loopback.opened_by is None


def test_a_module_is_loaded_when_it_has_a_row():
    query = kld.is_loaded("vmm")
    assert query.parse("Id  Refs Name\n528    1 vmm\n")
    assert not query.parse("")


def test_sysctls_are_read_by_name():
    text = "hw.ncpu: 8\nkern.version: FreeBSD 14.3\n    root@builder:/usr\nvm.loadavg: { 0.12 0.20 0.18 }\n"
    assert sysctl.read("hw.ncpu", "kern.version", "vm.loadavg", "hw.vmm.maxcpu").parse(text) == {
        "hw.ncpu": "8",
        "kern.version": "FreeBSD 14.3\n    root@builder:/usr",
        "vm.loadavg": "{ 0.12 0.20 0.18 }",
    }


def test_processes_are_read_and_vms_recognised():
    found = ps.processes().parse(PROCESSES)
    assert [process.vm for process in found] == [None, "web1", "web2", None]
    assert (found[1].pid, found[1].cpu_percent, found[1].rss, found[1].elapsed) == (4711, 12.5, 2 << 20, 60)


PARSERS = {
    "datasets": zfs.list_datasets("a").parse,
    "snapshots": zfs.list_snapshots("a").parse,
    "property": zfs.get_property("a", "used").parse,
    "interfaces": ifconfig.list_interfaces().parse,
    "sysctl": sysctl.read("hw.ncpu").parse,
    "processes": ps.processes().parse,
}
GOOD = {
    "datasets": DATASETS,
    "snapshots": "a@b\t1767225600\t0\t1\t-\n",
    "property": "local\tx\n",
    "interfaces": INTERFACES,
    "sysctl": "hw.ncpu: 8\n",
    "processes": PROCESSES,
}


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("datasets", "a\tb\n"),
        ("datasets", DATASETS.replace("4831838208", "4.5G")),
        ("datasets", DATASETS.replace("4831838208", "9" * 5000)),
        ("snapshots", "a\t1\t0\t1\t-\n"),
        ("snapshots", "a@b\t99999999999999999\t0\t1\t-\n"),
        ("property", "nothing\n"),
        ("interfaces", "\tether 58:9c:fc:10:d6:22\n"),
        ("interfaces", "em0 flags=1<UP>\n"),
        ("interfaces", "em0: flags=1<UP> metric 0 mtu\n"),
        ("interfaces", "em0: flags=1<UP> metric 0 mtu 1500\n\tinet host.example\n"),
        ("interfaces", "em0: flags=1<UP> metric 0 mtu 1500\n\tether x\n"),
        ("interfaces", "em0: flags=1<UP> metric 0 mtu 1500\n\tinet\n"),
        ("interfaces", "tap0: flags=1<UP> metric 0 mtu 1500\n\tOpened by Bob\n"),
        ("sysctl", "what\n"),
        ("processes", ""),
        ("processes", "[]"),
        ("processes", '{"process-information": {"process": [{"pid": "x"}]}}'),
        ("processes", '{"process-information": {"process": [3]}}'),
    ],
)
def test_what_is_not_understood_is_refused(parser, text):
    with pytest.raises(ParseError):
        PARSERS[parser](text)


@pytest.mark.parametrize("parser", PARSERS)
@given(st.data())
def test_no_text_breaks_a_parser(parser, data):
    """Anything at all, and good output with a piece cut out and another put in."""
    good = GOOD[parser]
    text = data.draw(st.text(max_size=80))
    if data.draw(st.booleans()):
        start = data.draw(st.integers(0, len(good)))
        end = data.draw(st.integers(start, len(good)))
        text = good[:start] + text + good[end:]
    try:
        PARSERS[parser](text)
    except ParseError as error:
        assert str(error)


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(
    lambda t: t != "-"
)


@given(st.lists(st.tuples(TEXT, st.integers(0, 2**64 - 1), TEXT)))
def test_datasets_come_back_as_they_were_written(written):
    rows = [(name.replace("%", "_"), size, value) for name, size, value in written]
    text = "".join(f"{name}\tvolume\t{size}\t0\t0\t{size}\t-\t-\t{value}\n" for name, size, value in rows)
    found = zfs.list_datasets("a").parse(text)
    assert [(d.name, d.volsize, d.bhype_id) for d in found] == rows
