"""What stands in dnsmasq's files: whatever rows say, the real dnsmasq accepts it, and nothing in it is theirs."""

from __future__ import annotations

import shutil
import string
import subprocess
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.dhcp import config, words
from network.dhcp.config import build, gaps
from network.dhcp.parts import Client, Files, Peer, Service, Unwritable

PROGRAM = shutil.which("dnsmasq", path="/usr/local/sbin:/usr/sbin")
PLAIN = Service("nat", "sw-nat", "nat.internal", "10.77.0.1/24", has_dhcp=True, has_dns=True)
# What could end a line, a word or a comment, or begin an option.
HOSTILE = st.text(alphabet="a1.-_/#,:;=\"'\\\n\r\t $(){}[]*@%ä\0", max_size=12)
OPTIONS = {
    "interface", "except-interface", "bind-interfaces", "no-hosts", "domain", "local", "addn-hosts", "domain-needed",
    "bogus-priv", "stop-dns-rebind", "rebind-domain-ok", "no-resolv", "resolv-file", "server", "rev-server", "cname",
    "mx-host", "srv-host", "txt-record", "dhcp-leasefile", "dhcp-hostsfile", "dhcp-lease-max", "dhcp-ignore-names",
    "dhcp-authoritative", "no-ping", "dhcp-range", "dhcp-option", "enable-ra", "quiet-ra", "ra-param", "port",
}  # fmt: skip

addresses = st.one_of(
    st.integers(0, 255).map(lambda number: f"10.77.0.{number}"),
    st.integers(0, 2**64 - 1).map(lambda number: str(ip_address(int(ip_address("fd77::")) + number))),
    st.sampled_from(["10.78.0.9", "192.0.2.1", "2001:db8::1", "127.0.0.1", "::", "224.0.0.1", "fe80::1"]),
)
labels = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=20)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
macs = st.integers(0, 2**40 - 1).map(lambda number: "58:" + number.to_bytes(5, "big").hex(":"))
texts = st.text(string.printable + "äß€", max_size=300)
values = st.one_of(addresses, domains, domains.map(lambda name: f"10 {name}"), texts, HOSTILE)
records = st.tuples(
    st.sampled_from([*words.KINDS, "PTR", "x\ny"]),
    st.one_of(domains, st.just("@"), domains.map(lambda name: name + "."), HOSTILE),
    st.one_of(values, domains.map(lambda name: f"0 5 389 {name}")),
)
clients = st.builds(
    Client,
    mac=st.one_of(macs, st.just(""), HOSTILE),
    client_id=st.one_of(st.just(""), st.just("00:03:00:01:58:9c:fc:00:00:05"), HOSTILE),
    name=st.one_of(labels, st.just(""), HOSTILE),
    addresses=st.lists(st.one_of(addresses, HOSTILE), max_size=3).map(tuple),
)
upstreams = st.one_of(
    addresses,
    addresses.map(lambda one: f"{one}#5353"),
    st.tuples(domains, st.one_of(addresses, st.just("#"))).map(" ".join),
    HOSTILE,
)
NETWORKS = st.sampled_from(["10.78.0.1/24", "10.79.3.1/21", "fd78::1/64", "x"])
services = st.builds(
    Service,
    switch=st.sampled_from(["nat", "lan", "a1"]),
    interface=st.sampled_from(["sw-nat", "bridge0", "lagg0.12"]),
    domain=st.sampled_from(["nat.internal", "a.b-c.example", "x"]),
    address=st.sampled_from(["10.77.0.1/24", "10.77.0.1/16", "172.16.9.9/30", "203.0.113.5/25"]),
    address6=st.sampled_from(["fd77::1/64", "2001:db8:7::1/64", "fd77::1/112"]),
    gateway=st.one_of(st.just(""), addresses, HOSTILE),
    mtu=st.sampled_from([1500, 9000, 1280]),
    lease_seconds=st.sampled_from([120, 43200, 366 * 86400]),
    has_dhcp=st.booleans(),
    ipv6=st.sampled_from(["off", "slaac", "dhcp"]),
    has_dns=st.booleans(),
    pools=st.lists(st.tuples(addresses, addresses), max_size=3).map(tuple),
    kept=st.lists(st.one_of(addresses, HOSTILE), max_size=4).map(tuple),
    clients=st.lists(clients, max_size=4).map(tuple),
    names=st.lists(st.tuples(st.one_of(labels, HOSTILE), st.one_of(addresses, HOSTILE)), max_size=3).map(
        tuple
    ),
    records=st.lists(records, max_size=6).map(tuple),
    upstreams=st.lists(upstreams, max_size=4).map(tuple),
    peers=st.lists(
        st.builds(
            Peer,
            domain=st.one_of(domains, HOSTILE),
            address=st.one_of(st.just(""), addresses, HOSTILE),
            networks=st.lists(
                st.sampled_from(["10.78.0.1/24", "10.79.3.1/21", "fd78::1/64", "x"]), max_size=2
            ).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
)


def accepted(folder: Path, files: Files) -> str:
    """What the real dnsmasq has against the files; "" for nothing. Its options for known clients are read as those of
    the configuration, because --test leaves their file alone."""
    path = folder / "conf"
    hosts = "".join(f"dhcp-host={line}\n" for line in files.hosts.splitlines())
    path.write_text(files.conf + hosts)
    done = subprocess.run(
        [PROGRAM, "--test", f"--conf-file={path}"], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stderr + path.read_text()


@settings(max_examples=80)
@given(service=services)
def test_the_real_dnsmasq_accepts_whatever_is_written(service, tmp_path_factory):
    try:
        files = build(service)
    except Unwritable as error:
        assert "/64 only" in str(error)
        return
    assert accepted(tmp_path_factory.getbasetemp(), files) == ""
    for line in files.conf.splitlines():
        assert line.startswith("# The switch ") or line.partition("=")[0] in OPTIONS, line
        assert len(line) < 1000
    for line in files.names.splitlines():
        address, name = line.split(" ")
        assert ip_address(address) and name == name.lower()
    assert build(service) == files


@given(text=st.one_of(HOSTILE, texts))
def test_no_word_smuggles_anything_into_a_file(text):
    for check in (
        words.label,
        words.domain,
        words.upstream,
        lambda word: words.name(word, "nat.internal"),
        config.duid,
    ):
        try:
            made = str(check(text))
        except words.BadWord:
            continue
        assert made.isascii() and made.isprintable() and not set(made) & set(" ,\"'\\=;{}$")
    for kind in words.KINDS:
        try:
            record = words.record(kind, "www", text, "nat.internal")
        except words.BadWord:
            continue
        assert all(word.isascii() and word.isprintable() and '"' not in word for word in record.words)


@pytest.mark.parametrize(
    "name", ["a\nb", "a b", "-a", "a/b", "a=b", "a,b", "a#b", "ä", "a" * 64, "{a}", "$a", ""]
)
def test_a_guest_with_a_hostile_name_keeps_its_address_and_has_no_name(name):
    clients = (Client("58:9c:fc:00:00:05", "", name, ("10.77.0.9",)), Client("58:9c:fc:00:00:06", "", "good"))
    files = build(replace(PLAIN, clients=clients))
    assert "good" in files.hosts and (not name or name not in files.hosts)
    assert (not name) or files.problems


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"interface": "sw-nat\ndhcp-script=/bin/sh"}, "not an interface"),
        ({"switch": "../x"}, "not an interface"),
        ({"domain": "a b"}, "not a domain"),
        ({"domain": "nat\nport=0"}, "not a domain"),
        ({"ipv6": "x\ny"}, "only where the host has one"),
        ({"domain": "local"}, "something else to resolvers"),
        ({"domain": "10.0.0.1"}, "not a number"),
        ({"address": "", "has_dhcp": False}, "need an address"),
        ({"address": "", "address6": "fd77::1/64"}, "DHCP needs an IPv4 address"),
        ({"address": "10.77.0.1/24\nport=0"}, "10.77.0.1"),
        ({"ipv6": "slaac"}, "only where the host has one"),
        ({"ipv6": "slaac", "address6": "fd77::1/80"}, "/64 only"),
        ({"ipv6": "dhcp", "address6": "fd77::1/48"}, "/64 or smaller"),
        ({"lease_seconds": 60}, "A lease lasts"),
        ({"mtu": 100}, "An MTU"),
    ],
)
def test_what_makes_no_sense_as_a_whole_is_refused(changes, said):
    with pytest.raises(Unwritable, match=said):
        build(replace(PLAIN, **changes))


def conf(**changes: object) -> list[str]:
    return build(replace(PLAIN, **changes)).conf.splitlines()


def test_a_nat_switch_gives_addresses_its_router_and_itself_as_name_server():
    lines = conf(gateway="10.77.0.1", pools=(("10.77.0.100", "10.77.0.199"),))
    assert "dhcp-range=10.77.0.100,10.77.0.199,255.255.255.0,43200" in lines
    assert "dhcp-option=option:router,10.77.0.1" in lines
    assert "dhcp-option=option:dns-server,10.77.0.1" in lines
    assert "bind-interfaces" in lines and "interface=sw-nat" in lines


def test_a_private_switch_tells_of_no_router():
    lines = conf(address6="fd77::1/64", ipv6="slaac")
    assert "dhcp-option=option:router" in lines
    assert "ra-param=sw-nat,mtu:1500,200,0" in lines


def test_addresses_that_belong_to_somebody_are_not_given():
    lines = conf(pools=(("10.77.0.1", "10.77.0.9"),), kept=("10.77.0.5", "fd77::5"))
    ranges = [line for line in lines if line.startswith("dhcp-range") and "static" not in line]
    assert [line.split(",")[:2] for line in ranges] == [
        ["dhcp-range=10.77.0.2", "10.77.0.4"],
        ["dhcp-range=10.77.0.6", "10.77.0.9"],
    ]


def test_without_names_of_its_own_guests_ask_the_servers_themselves():
    lines = conf(has_dns=False, upstreams=("9.9.9.9", "/corp.example/10.0.0.53", "2620:fe::fe"))
    assert "port=0" in lines and "dhcp-option=option:dns-server,9.9.9.9" in lines
    assert not any("corp" in line for line in lines)


def test_only_named_domains_may_lead_into_private_networks():
    lines = conf(upstreams=("corp.example 10.0.0.53", "lan #"))
    assert "stop-dns-rebind" in lines and "local=/nat.internal/" in lines
    assert {"rebind-domain-ok=/corp.example/", "server=/corp.example/10.0.0.53"} < set(lines)
    assert {"rebind-domain-ok=/lan/", "server=/lan/#", "resolv-file=/etc/resolv.conf"} < set(lines)
    assert "no-resolv" in conf(upstreams=("9.9.9.9",))


def test_names_of_a_private_switch_are_told_to_nobody_outside():
    lines = conf(peers=(Peer("two.internal", "10.78.0.1", ("10.78.0.1/24",)), Peer("three.internal", "")))
    assert {"server=/two.internal/10.78.0.1", "rev-server=10.78.0.0/24,10.78.0.1"} < set(lines)
    assert "server=/three.internal/" in lines and "rebind-domain-ok=/three.internal/" not in lines


def test_a_wrong_line_takes_nobody_elses_address_away():
    clients = (
        Client("58:9c:fc:00:00:05", "", "web1", ("10.77.0.9",)),
        Client("58:9c:fc:00:00:06", "", "web2", ("10.77.0.9",)),
        Client("58:9c:fc:00:00:07", "", "web3", ("10.99.0.9",)),
        Client("not a mac", "", "web4", ("10.77.0.8",)),
    )
    files = build(replace(PLAIN, clients=clients))
    assert files.hosts.splitlines() == [
        "58:9c:fc:00:00:05,10.77.0.9,web1",
        "58:9c:fc:00:00:06,web2",
        "58:9c:fc:00:00:07,web3",
    ]
    assert len(files.problems) == 3


def test_a_new_guest_needs_no_restart():
    client = Client("58:9c:fc:00:00:05", "", "web1", ("10.77.0.9",))
    assert build(replace(PLAIN, clients=(client,))).conf == build(PLAIN).conf


def test_aliases_that_go_in_a_circle_are_left_out():
    records = (("CNAME", "a", "b"), ("CNAME", "b", "c"), ("CNAME", "c", "a"), ("CNAME", "a", "d"))
    files = build(replace(PLAIN, records=records))
    assert files.conf.count("cname=") == 2 and len(files.problems) == 2


numbers = st.integers(0, 300).map(lambda number: ip_address(int(ip_address("10.0.0.0")) + number))


@given(numbers, numbers, st.lists(numbers))
def test_gaps_have_all_of_a_range_but_what_is_kept(first, last, kept):
    found = [number for start, end in gaps(first, last, kept) for number in range(int(start), int(end) + 1)]
    assert found == sorted(set(range(int(first), int(last) + 1)) - set(map(int, kept)))
