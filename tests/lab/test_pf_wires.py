"""pf on the wires: what the model says of a packet is what Linux does with it, and counts, states and logs tell so."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bhype.lab.pf import kernel, nft, parser
from bhype.lab.pf.journey import Pfil, journey
from bhype.lab.pf.model import Filter, Packet
from tests.lab.conftest import drop_lab, make_lab, named
from tests.lab.frames import Cables
from tests.lab.test_pf_grammar import lines

GUESTS = {"tap1": "02:00:00:00:00:05", "tap2": "02:00:00:00:00:06", "tap3": "02:00:00:00:00:07"}
AT = {"10.77.0.5": "tap1", "fd00::5": "tap1", "10.77.0.6": "tap2", "fd00::6": "tap2", "10.88.0.7": "tap3"}
EVERYWHERE = Pfil(member=True, bridge=True, local=True)


def tcp(source, target, port, came_from=4000, flags="S"):
    return Packet("", "", "tcp", source, target, came_from, port, flags=flags)


def udp(source, target, port):
    return Packet("", "", "udp", source, target, 4000, port)


def ping(source, target):
    six = ":" in source
    return Packet(
        "", "", "ipv6-icmp" if six else "icmp", source, target, icmp=(128 if six else 8, 0), identifier=9
    )


def know(lab):
    """Tell the host the guests' addresses, as nobody answers it."""
    for address, tap in AT.items():
        switch = "sw-two" if tap == "tap3" else "sw-nat"
        lab.inside("ip", "neigh", "replace", address, "lladdr", GUESTS[tap], "dev", switch, check=True)


def forwarding(lab):
    """The ports of bridges that forward what comes."""
    links = json.loads(lab.inside("ip", "-j", "-d", "link", check=True).stdout)
    slaves = {link["ifname"]: link.get("linkinfo", {}).get("info_slave_data", {}) for link in links}
    return {name for name, slave in slaves.items() if slave.get("state") == "forwarding"}


@pytest.fixture(scope="module")
def net():
    """A wired lab with two switches, guests on three ports, and a pf that filters on all of them."""
    lab = make_lab()
    lab.wire()
    for module in ("if_bridge", "pf", "pflog"):
        lab.ok("kldload", module)
    for name, addresses, taps in (
        ("sw-nat", ("10.77.0.1/24", "fd00::1/64"), ("tap1", "tap2")),
        ("sw-two", ("10.88.0.1/24",), ("tap3",)),
    ):
        lab.ok("ifconfig", "bridge", "create", "name", name, "up")
        for address in addresses:
            lab.ok("ifconfig", name, "inet6" if ":" in address else "inet", address)
        for tap in taps:
            lab.ok("ifconfig", tap, "create", "up")
            lab.ok("ifconfig", name, "addm", tap)
    for name in (
        "net.link.bridge.pfil_member",
        "net.link.bridge.pfil_bridge",
        "net.link.bridge.pfil_local_phys",
    ):
        lab.ok("sysctl", f"{name}=1")
    lab.ok("sysctl", "net.inet.ip.forwarding=1")
    lab.path("/etc/pf.conf").write_text("pass\n")
    assert lab("pfctl", "-ef", "/etc/pf.conf").code == 0
    with named(lab):
        cables = Cables(GUESTS)
    know(lab)
    lab.inside("ip", "neigh", "replace", "192.0.2.1", "lladdr", cables.macs["em0"], "dev", "em0", check=True)
    deadline = time.monotonic() + 60
    while set(GUESTS) - forwarding(lab):  # ports need a moment for that
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield lab, cables
    cables.close()
    drop_lab(lab)


def load(lab, text, anchor=""):
    path = lab.path("/tmp/rules.conf")
    path.write_text(text)
    answer = lab("pfctl", *(["-a", anchor] if anchor else []), "-f", "/tmp/rules.conf")
    assert (answer.code, answer.err) == (0, "")


def model(lab):
    with named(lab):
        return kernel.filter_of(kernel.fresh(kernel.core.peek("pf")))


def compare(lab, cables, pf, packet, enters, sent=None):
    """Send the packet, and hold what happens against the model. sent: the same with a port that Linux has chosen."""
    expected = journey(pf, packet, enters, AT, pfil=EVERYWHERE)
    bridge = {"tap1": "sw-nat", "tap2": "sw-nat", "tap3": "sw-two"}.get(enters, "em0")
    stays = packet.target in AT and bridge == ("sw-two" if AT[packet.target] == "tap3" else "sw-nat")
    to = GUESTS[AT[packet.target]] if stays else cables.own[bridge]
    cables.send(enters, sent or packet, to)
    where = expected.leaves or AT.get(packet.target, "em0")
    came = cables.arrives(where, expected.packet, patience=30.0 if expected.passes else 0.12)
    assert bool(came) == expected.passes, (packet, expected, came)
    if came:
        assert came.source == expected.packet.source, (came, expected.packet)
    return expected, came


RULES = """
table <web> persist { 10.77.0.5, fd00::5 }
table <bad> { 10.77.0.0/24, !10.77.0.5 }
nat on em0 inet from 10.77.0.0/24 to ! 10.77.0.0/24 -> (em0:0)
rdr on em0 inet proto tcp from any to (em0) port 2222 -> 10.77.0.5 port 22
rdr pass on em0 inet proto tcp from any to (em0) port 2000:2003 -> 10.88.0.7 port 3000:*
block log all
pass out on em0
pass in on sw-two
pass on { tap1 tap2 tap3 } no state
pass in quick on sw-nat proto { tcp udp } from <web> to any port { 80, 1000:1010, > 60000 } label "web"
block in quick on sw-nat proto tcp from <web> to any port 81
pass in on sw-nat proto udp from ! <bad> to any port 53
pass in on sw-nat inet proto icmp from any to any icmp-type echoreq
pass in on sw-nat inet6 proto ipv6-icmp icmp6-type echoreq
pass out on sw-nat inet proto icmp
pass in on sw-nat proto tcp from any to 10.77.0.5 port 22 flags S/SA
pass out on sw-nat proto tcp to <web> port { 22, 80 }
pass out on sw-nat proto tcp to 10.77.0.6 port 1005 no state
pass in on em0 proto tcp to port 22 label "ssh"
anchor "sub" {
  pass out quick on sw-nat inet6 proto ipv6-icmp
  pass in quick on sw-nat proto tcp to port 7777
}
"""
PACKETS = [
    (tcp("10.77.0.5", "198.18.0.1", 80), "tap1"),
    (tcp("10.77.0.5", "198.18.0.1", 81), "tap1"),
    (tcp("10.77.0.6", "198.18.0.1", 80), "tap2"),
    (udp("10.77.0.5", "198.18.0.1", 1003), "tap1"),
    (udp("10.77.0.5", "198.18.0.1", 60000), "tap1"),
    (udp("10.77.0.5", "198.18.0.1", 60001), "tap1"),
    (udp("10.77.0.5", "198.18.0.1", 53), "tap1"),
    (udp("10.77.0.6", "198.18.0.1", 53), "tap2"),
    (tcp("10.77.0.5", "198.18.0.2", 80, 4001, "A"), "tap1"),
    (tcp("10.77.0.6", "10.77.0.5", 22), "tap2"),
    (tcp("10.77.0.6", "10.77.0.5", 23), "tap2"),
    (tcp("10.77.0.5", "10.77.0.6", 1005, 4002), "tap1"),
    (ping("10.77.0.5", "10.77.0.6"), "tap1"),
    (ping("fd00::5", "fd00::6"), "tap1"),
    (tcp("fd00::5", "fd00::6", 7777), "tap1"),
    (tcp("10.77.0.6", "198.18.0.1", 7777), "tap2"),
    (tcp("203.0.113.5", "192.0.2.10", 2222), "em0"),
    (tcp("203.0.113.5", "192.0.2.10", 2002), "em0"),
    (tcp("203.0.113.5", "10.77.0.5", 80), "em0"),
    (tcp("10.88.0.7", "10.77.0.5", 80), "tap3"),
    (tcp("10.88.0.7", "10.77.0.6", 80), "tap3"),
]


def test_linux_lets_pass_what_the_model_does_and_nothing_else(net):
    lab, cables = net
    load(lab, RULES)
    pf = model(lab)
    passed = 0
    for packet, enters in PACKETS:
        expected, came = compare(lab, cables, pf, packet, enters)
        if came and expected.leaves:
            passed += 1
            compare(lab, cables, pf, expected.packet.answer(), expected.leaves, came.answer())
    assert passed >= 9


TRANSLATIONS = [
    "nat on em0 inet from 10.77.0.0/24 to any -> (em0:0)",
    "nat pass on em0 inet proto udp from any -> { 192.0.2.10, 192.0.2.11 } static-port",
    "rdr pass on { em0 sw-nat } inet proto { tcp udp } to (em0) port 100:110 -> 10.77.0.5 port 300:*",
    "rdr on em0 inet6 proto tcp to any -> fd00::5",
    "binat on em0 from 10.77.0.9 to any -> 192.0.2.99",
    "no nat on em0 from <guests>",
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(TRANSLATIONS), max_size=3), st.lists(lines(), min_size=1, max_size=4))
def test_linux_takes_whatever_can_be_loaded(net, translations, filters):
    lab, _ = net
    text = (
        "\n".join(["table <guests> { 10.0.0.0/8, !10.1.0.0/16, fd00::/64 }", *translations, *filters]) + "\n"
    )
    with named(lab):
        pf = Filter(world=kernel.world())
    try:
        pf.load("", parser.parse(text, world=pf.world))
    except parser.Errors:
        return
    ids = {("", each): list(range(1, 1 + len(getattr(pf.main, each)))) for each in kernel.SECTIONS}
    script, _ = nft.compile_all(pf, ids, EVERYWHERE, 1)
    done = lab.inside("nft", "-c", "-f", "-", input=script)
    assert (done.returncode, done.stderr) == (0, "")


def test_rules_count_and_states_are_shown_and_killed(net):
    lab, cables = net
    load(
        lab,
        'block\npass in on sw-nat proto tcp label "vm:web"\npass out on em0 label "out"\npass on tap1 no state\n',
    )
    pf = model(lab)
    for port in (81, 82):
        _, came = compare(lab, cables, pf, tcp("10.77.0.5", "198.18.0.9", port, 4100), "tap1")
        compare(lab, cables, pf, came.answer(), "em0")
    lines = dict(line.split(" ", 1) for line in lab.ok("pfctl", "-sl").splitlines())
    _, packets, octets, *_, states = lines["vm:web"].split()
    assert (packets, int(octets), states) == ("4", 160, "2")
    assert "Packets: 4         Bytes: 160         States: 2     ]" in lab("pfctl", "-vsr").out
    shown = lab.ok("pfctl", "-ss")
    assert "all tcp 198.18.0.9:81 <- 10.77.0.5:4100       ESTABLISHED:ESTABLISHED" in shown
    load(lab, "block\npass on tap1 no state\n")
    compare(lab, cables, pf, tcp("10.77.0.5", "198.18.0.9", 81, 4100, "A"), "tap1")  # states outlive a load
    killed = lab("pfctl", "-k", "10.77.0.5").err
    assert killed.startswith("killed ") and not killed.startswith("killed 0")
    pf = model(lab)
    expected, came = compare(lab, cables, pf, tcp("10.77.0.5", "198.18.0.9", 81, 4100, "A"), "tap1")
    assert (expected.passes, came) == (False, None)


def test_states_are_killed_by_the_label_of_their_rule(net):
    lab, cables = net
    load(lab, 'block\npass in on { sw-nat tap1 } proto udp label "a"\npass out label "b"\n')
    packets = [(udp("10.77.0.5", "198.18.0.5", 5), "em0"), (udp("10.77.0.5", "10.77.0.6", 6), "tap2")]
    pf = model(lab)
    for packet, _ in packets:
        assert compare(lab, cables, pf, packet, "tap1")[0].passes
    load(lab, 'block\npass in on { sw-nat tap1 } proto udp label "a"\nblock out label "b"\n')
    for packet, leaves in packets:  # their states outlive the rule
        cables.send("tap1", packet, cables.own["sw-nat"] if leaves == "em0" else GUESTS["tap2"])
        assert cables.arrives(leaves, packet, patience=30)
    assert lab("pfctl", "-k", "label", "-k", "b").err == "killed 1 states\n"
    assert not compare(lab, cables, model(lab), packets[0][0], "tap1")[0].passes
    assert lab("pfctl", "-k", "10.77.0.5").err.startswith("killed ")
    for packet, _ in packets:
        assert not compare(lab, cables, model(lab), packet, "tap1")[0].passes
    assert lab("pfctl", "-F", "states").err.endswith(" states cleared\n")


def test_a_table_is_changed_without_a_load(net):
    lab, cables = net
    load(lab, 'anchor "bhype/*"\n')
    load(lab, "table <vm1> persist\nblock in quick on sw-nat from <vm1>\n", "bhype/rules")
    packet = udp("10.77.0.6", "198.18.0.3", 99)
    assert compare(lab, cables, model(lab), packet, "tap2")[0].passes
    lab("pfctl", "-a", "bhype/rules", "-t", "vm1", "-T", "replace", "10.77.0.6")
    assert not compare(lab, cables, model(lab), packet, "tap2")[0].passes
    load(lab, "table <vm1> persist\nblock in quick on sw-nat from <vm1> to any\n", "bhype/rules")
    assert not compare(lab, cables, model(lab), packet, "tap2")[0].passes
    lab("pfctl", "-a", "bhype/rules", "-F", "all")
    assert compare(lab, cables, model(lab), packet, "tap2")[0].passes


def test_a_translation_is_for_packets_too_that_passed_without_a_state(net):
    lab, cables = net
    load(lab, "pass no state\n")
    packet = udp("10.77.0.6", "198.18.0.8", 98)
    assert compare(lab, cables, model(lab), packet, "tap2")[1].source == "10.77.0.6"
    load(lab, "nat on em0 inet from 10.77.0.0/24 -> (em0:0)\npass no state\n")
    assert compare(lab, cables, model(lab), packet, "tap2")[1].source == "192.0.2.10"


TAGS = """
nat on em0 inet from 10.77.0.0/24 to ! 10.77.0.0/24 tag NATTED -> (em0:0)
rdr on em0 inet proto tcp from any to (em0) port 2222 tag FORWARDED -> 10.77.0.5 port 22
block out
pass in quick on tap1 no state tag GUEST
pass quick on { tap1 tap2 tap3 } no state
pass out quick on em0 tagged NATTED keep state (if-bound)
block out quick on sw-nat tagged ASKED
pass out quick on sw-nat tagged FORWARDED keep state (if-bound)
pass in quick on em0 inet to 10.77.0.0/24 tag ASKED ! tagged FORWARDED keep state (if-bound)
pass out quick on sw-nat tagged GUEST keep state (if-bound)
pass out quick on sw-two
"""


def test_tags_go_from_hook_to_hook_and_with_states(net):
    lab, cables = net
    load(lab, TAGS)
    pf = model(lab)
    for packet, enters, passes in (
        (tcp("10.77.0.5", "198.18.0.1", 80, 4401), "tap1", True),
        (tcp("203.0.113.5", "192.0.2.10", 2222, 4402), "em0", True),
        (tcp("203.0.113.5", "10.77.0.6", 22, 4403), "em0", False),
        (tcp("203.0.113.5", "10.77.0.6", 22, 4403), "em0", False),
        (tcp("10.77.0.5", "10.77.0.6", 22, 4404), "tap1", True),
        (tcp("10.88.0.7", "10.77.0.5", 22, 4405), "tap3", False),
    ):
        expected, came = compare(lab, cables, pf, packet, enters)
        assert expected.passes is passes
        if came:
            compare(lab, cables, pf, expected.packet.answer(), expected.leaves, came.answer())


def test_addresses_of_an_interface_are_followed(net):
    lab, cables = net
    load(lab, "block in on sw-nat to (sw-two)\n")
    packet = udp("10.77.0.5", "10.99.0.9", 99)
    lab.inside("ip", "neigh", "replace", "10.99.0.9", "lladdr", GUESTS["tap3"], "dev", "sw-two")
    assert compare(lab, cables, model(lab), packet, "tap1")[0].passes
    lab.ok("ifconfig", "sw-two", "inet", "10.99.0.9/24", "alias")
    try:
        assert not compare(lab, cables, model(lab), packet, "tap1")[0].passes
    finally:
        lab.ok("ifconfig", "sw-two", "inet", "10.99.0.9", "-alias")
        know(lab)


def test_bridged_frames_are_filtered_only_where_sysctls_say_so(net):
    lab, cables = net
    load(lab, "block\n")
    packet = tcp("10.77.0.5", "10.77.0.6", 80, 4200)
    to = GUESTS["tap2"]
    cables.send("tap1", packet, to)
    assert cables.arrives("tap2", packet, patience=0.12) is None
    for name in ("pfil_member", "pfil_bridge"):
        lab.ok("sysctl", f"net.link.bridge.{name}=0")
    try:
        cables.send("tap1", packet, to)
        assert cables.arrives("tap2", packet, patience=30)
    finally:
        for name in ("pfil_member", "pfil_bridge"):
            lab.ok("sysctl", f"net.link.bridge.{name}=1")


def test_pf_that_is_off_lets_all_pass(net):
    lab, cables = net
    load(lab, "block\n")
    packet = udp("10.77.0.5", "198.18.0.4", 99)
    assert compare(lab, cables, model(lab), packet, "tap1")[0].why == "blocked"
    assert lab("pfctl", "-d").err == "pf disabled\n"
    try:
        assert compare(lab, cables, model(lab), packet, "tap1")[0].passes
    finally:
        assert lab("pfctl", "-e").err == "pf enabled\n"


def test_tcpdump_tells_of_packets_that_rules_log(net):
    lab, cables = net
    load(lab, 'pass\nanchor "bhype/*"\nblock in log on sw-two\n')
    load(lab, "block in log quick on { sw-nat tap1 } proto { tcp udp icmp }\n", "bhype/rules")
    reader = subprocess.Popen(
        lab.argv("tcpdump", "-n", "-e", "-ttt", "-l", "-i", "pflog0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TZ": "UTC"},
    )
    try:
        reader.stderr.readline()
        assert reader.stderr.readline().startswith("listening on pflog0, link-type PFLOG")
        cables.send("tap1", tcp("10.77.0.5", "10.77.0.6", 22, 4300), GUESTS["tap2"])
        cables.send("tap2", ping("10.77.0.6", "198.18.0.1"), cables.own["sw-nat"])
        cables.send("tap3", udp("10.88.0.7", "198.18.0.1", 53), cables.own["sw-two"])
        lines = [reader.stdout.readline().rstrip("\n") for _ in range(3)]
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()
        reader.stderr.close()
    assert [line[line.index("rule") :] for line in lines] == [
        "rule 1.rules.3/0(match): block in on tap1: 10.77.0.5.4300 > 10.77.0.6.22: Flags [S], seq 1000, win 65535,"
        " length 0",
        "rule 1.rules.2/0(match): block in on sw-nat: 10.77.0.6 > 198.18.0.1: ICMP echo request, id 9, seq 1, length 8",
        "rule 2/0(match): block in on sw-two: 10.88.0.7.4000 > 198.18.0.1.53: UDP, length 0",
    ]
    assert lines[0].startswith(" 00:00:00.000000 rule ")
