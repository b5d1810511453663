# ruff: noqa: PLW0108
"""What reaches an argv, and what never does."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import bhyvectl, ifconfig, kld, names, sysctl, zfs
from bhype.freebsd.command import Command, Query


def words(command: Command | Query) -> str:
    return shlex.join((command.command if isinstance(command, Query) else command).argv)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            zfs.create_filesystem("tank/a", {"org.bhype:id": "1", "mountpoint": "/a b"}, parents=True),
            "/sbin/zfs create -p -o org.bhype:id=1 -o 'mountpoint=/a b' tank/a",
        ),
        (zfs.create_volume("tank/a", 1024), "/sbin/zfs create -s -o volmode=dev -V 1024 tank/a"),
        (
            zfs.list_datasets("tank"),
            "/sbin/zfs list -Hp -r -t filesystem,volume -o "
            "name,type,used,available,referenced,volsize,mountpoint,origin,org.bhype:id tank",
        ),
        (zfs.list_datasets("tank", ["volume"], depth=1), "-d 1 -t volume"),
        (zfs.list_snapshots("tank", recursive=False), "-d 1 -t snapshot -o name,creation,used,referenced,"),
        (zfs.get_property("tank/a@s", "used"), "/sbin/zfs get -Hp -o source,value used tank/a@s"),
        (zfs.set_property("tank/a", "volsize", "2G"), "/sbin/zfs set volsize=2G tank/a"),
        (zfs.destroy("tank/a"), "/sbin/zfs destroy tank/a"),
        (zfs.destroy("tank/a@s", recursive=True), "/sbin/zfs destroy -r tank/a@s"),
        (zfs.snapshot("tank/a@s", {"org.bhype:id": "1"}), "/sbin/zfs snapshot -o org.bhype:id=1 tank/a@s"),
        (zfs.rollback("tank/a@s", destroy_newer=True), "/sbin/zfs rollback -r tank/a@s"),
        (zfs.clone("tank/a@s", "tank/b", {"a:b": "c"}), "/sbin/zfs clone -o a:b=c tank/a@s tank/b"),
        (zfs.rename("tank/a", "tank/b"), "/sbin/zfs rename tank/a tank/b"),
        (bhyvectl.destroy("web1"), "/usr/sbin/bhyvectl --vm=web1 --destroy"),
        (bhyvectl.force_poweroff("web1"), "/usr/sbin/bhyvectl --vm=web1 --force-poweroff"),
        (bhyvectl.force_reset("web1"), "/usr/sbin/bhyvectl --vm=web1 --force-reset"),
        (
            ifconfig.create("tap1001", description="bhype/vm/x/0", mtu=1500, group="bhype", up=True),
            "/sbin/ifconfig tap1001 create descr bhype/vm/x/0 group bhype mtu 1500 up",
        ),
        (
            ifconfig.create_bridge("sw-nat", description="bhype/switch/1"),
            "/sbin/ifconfig bridge create descr bhype/switch/1 group bhype name sw-nat up",
        ),
        (ifconfig.destroy("tap1"), "/sbin/ifconfig tap1 destroy"),
        (ifconfig.add_member("sw-nat", "tap1"), "/sbin/ifconfig sw-nat addm tap1"),
        (ifconfig.remove_member("sw-nat", "tap1"), "/sbin/ifconfig sw-nat deletem tap1"),
        (ifconfig.set_private("sw-nat", "tap1"), "/sbin/ifconfig sw-nat private tap1"),
        (ifconfig.set_private("sw-nat", "tap1", private=False), "/sbin/ifconfig sw-nat -private tap1"),
        (ifconfig.set_description("tap1", "a b"), "/sbin/ifconfig tap1 descr 'a b'"),
        (ifconfig.set_mtu("tap1", 9000), "/sbin/ifconfig tap1 mtu 9000"),
        (ifconfig.set_address("sw-nat", "10.77.0.1/24"), "/sbin/ifconfig sw-nat inet 10.77.0.1/24"),
        (ifconfig.set_address("sw-nat", "fd00::1/64"), "/sbin/ifconfig sw-nat inet6 fd00::1 prefixlen 64"),
        (ifconfig.remove_address("sw-nat", "10.77.0.1/24"), "/sbin/ifconfig sw-nat inet 10.77.0.1 -alias"),
        (ifconfig.up("em0"), "/sbin/ifconfig em0 up"),
        (ifconfig.down("em0"), "/sbin/ifconfig em0 down"),
        (kld.is_loaded("vmm"), "/sbin/kldstat -m vmm"),
        (kld.load("nmdm"), "/sbin/kldload -n nmdm"),
        (sysctl.read("hw.ncpu", "hw.physmem"), "/sbin/sysctl hw.ncpu hw.physmem"),
        (sysctl.write("net.inet.ip.forwarding", "1"), "/sbin/sysctl net.inet.ip.forwarding=1"),
    ],
)  # fmt: skip
def test_commands_are_built(command, expected):
    assert expected in words(command)
    assert expected == words(command) or not expected.startswith("/")


# Every builder that takes text, as a function of that text alone.
TAKERS = [
    lambda text: zfs.create_filesystem(text),
    lambda text: zfs.create_filesystem("tank/a", {text: "x"}),
    lambda text: zfs.create_volume(text, 1),
    lambda text: zfs.list_datasets(text),
    lambda text: zfs.set_property("tank/a", text, "x"),
    lambda text: zfs.get_property(text, "used"),
    lambda text: zfs.destroy(text),
    lambda text: zfs.snapshot(text),
    lambda text: zfs.clone(text, text),
    lambda text: zfs.rename("tank/a", text),
    lambda text: bhyvectl.destroy(text),
    lambda text: ifconfig.create(text),
    lambda text: ifconfig.add_member("bridge0", text),
    lambda text: ifconfig.set_address("em0", text),
    lambda text: ifconfig.create_bridge(text),
    lambda text: kld.load(text),
    lambda text: sysctl.read(text),
]
BAD = [
    "",
    "-r",
    "--",
    "a\nb",
    "a\0b",
    "a b c",
    "../x",
    "a;b",
    "a,b",
    "%s",
    "a*",
    "\u0430",
    "x" * 300,
    "/etc",
    "a//b",
]


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("text", BAD)
def test_bad_names_never_reach_an_argv(taker, text):
    with pytest.raises(names.BadName):
        taker(text)


@given(st.text(max_size=40), st.sampled_from(TAKERS))
def test_no_text_becomes_an_option_or_more_than_a_word(text, taker):
    try:
        command = taker(text)
    except names.BadName:
        return
    argv = (command.command if isinstance(command, Query) else command).argv
    assert not text.startswith("-")
    assert text.isprintable()
    assert len(shlex.split(shlex.join(argv))) == len(argv)


def test_a_whole_pool_is_never_destroyed():
    with pytest.raises(names.BadName, match="is a pool"):
        zfs.destroy("tank", recursive=True)


@pytest.mark.parametrize("value", ["a\nb", "x" * 9000])
def test_a_propertys_value_is_one_line(value):
    with pytest.raises(names.BadName):
        zfs.set_property("tank/a", "org.bhype:note", value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: zfs.create_volume("tank/a", 0),
        lambda: ifconfig.set_mtu("em0", 10),
        lambda: ifconfig.set_description("em0", ""),
        lambda: ifconfig.set_address("em0", "10.0.0.1"),
        lambda: sysctl.write("hw.ncpu", ""),
        lambda: sysctl.write("hw.ncpu", "1\n2"),
    ],
)
def test_bad_values_are_refused(wrong):
    with pytest.raises(names.BadName):
        wrong()


def test_a_command_is_an_absolute_program_without_nul():
    for argv in ((), ("zfs",), ("/sbin/zfs", "a\0")):
        with pytest.raises(ValueError):
            Command(argv)
    assert Command(("/sbin/zfs",)).with_timeout(5).timeout == 5
