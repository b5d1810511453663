"""ifconfig(8) of the lab: VLANs, tunnels, aggregations, pairs, and all words of bridges (net.md 3, 5, 6 and 13)."""

from __future__ import annotations

import re

import pytest

from tests.lab.conftest import drop_lab, make_lab


@pytest.fixture(scope="module")
def fifteen():
    lab = make_lab(nics=2, release="15.0")
    yield lab
    drop_lab(lab)


def shown(lab, name):
    return lab.ok("ifconfig", name)


def test_a_vlan_is_made_with_its_parent_and_shown(lab):
    assert (
        lab.ok("ifconfig", "vlan", "create", "vlandev", "em0", "vlan", "100", "group", "bhype", "up")
        == "vlan0\n"
    )
    text = shown(lab, "vlan0")
    assert "\tether 00:0c:29:5a:4d:01\n" in text
    assert "\tgroups: vlan bhype\n\tvlan: 100 vlanproto: 802.1q vlanpcp: 0 parent interface: em0\n" in text
    assert "\tstatus: active\n" in text
    words = (
        "vlan",
        "create",
        "vlandev",
        "em0",
        "vlan",
        "7",
        "descr",
        "bhype/vlan/lan",
        "name",
        "em0.7",
        "up",
    )
    assert lab.ok("ifconfig", *words) == ""
    assert lab.ok("ifconfig", "em0.8", "create") == ""
    assert "vlan: 8 vlanproto: 802.1q vlanpcp: 0 parent interface: em0" in shown(lab, "em0.8")
    assert lab.ok("ifconfig", "-g", "vlan") == "vlan0\nem0.7\nem0.8\n"
    lab.ok("ifconfig", "em0.7", "destroy")
    lab.ok("ifconfig", "vlan5", "create")
    assert "vlan: 0 vlanproto: 802.1q vlanpcp: 0 parent interface: <none>\n" in shown(lab, "vlan5")
    lab.ok("ifconfig", "vlan5", "vlan", "7", "vlandev", "em0")
    assert "vlan: 7 " in shown(lab, "vlan5")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["vlan", "create", "vlan", "5"], "must specify a parent device for vlan create"),
        (["vlan", "create", "vlandev", "em0"], "must specify a tag for vlan create"),
        (["vlan", "create", "vlandev", "em9", "vlan", "5"], "SIOCIFCREATE2 (vlan): Device not configured"),
        (["vlan", "create", "vlandev", "em0", "vlan", "4095"], "SIOCIFCREATE2 (vlan): Invalid argument"),
        (["vlan", "create", "vlandev", "em0", "vlan", "x"], "invalid value for vlan"),
        (["vxlan0", "create", "vxlanid", "16777216"], "invalid network identifier: 16777216"),
        (["vxlan0", "create", "vxlanlocal", "239.0.0.1"], "local address cannot be multicast"),
        (["vxlan0", "create", "vxlangroup", "10.0.0.1"], "group address must be multicast"),
        (["vxlan0", "create", "vxlandev", "em9"], "VXLAN_CMD_SET_MULTICAST_IF: Device not configured"),
        (["lagg0", "create", "laggproto", "magic"], "Invalid aggregation protocol: magic"),
        (["em0", "vnet", "web"], 'jail "web" not found'),
        (["em0", "auto_linklocal"], "not allowed for the AF"),
    ],
)
def test_what_is_wrong_is_refused_in_freebsds_words(still_lab, words, text):
    answer = still_lab("ifconfig", *words)
    assert (answer.code, answer.out, answer.err) == (1, "", f"ifconfig: {text}\n")
    if words[1] == "create" and words[0] != "vlan":
        still_lab.ok("ifconfig", words[0], "destroy")


def test_the_second_vlan_of_a_tag_is_refused(lab):
    lab.ok("ifconfig", "em0.5", "create")
    assert lab.fails("ifconfig", "vlan", "create", "vlandev", "em0", "vlan", "5").endswith(": File exists\n")
    lab.ok("ifconfig", "vlan9", "create")
    answer = lab.fails("ifconfig", "vlan9", "vlan", "5", "vlandev", "em0")
    assert answer == "ifconfig: SIOCSETVLAN: File exists\n"


def test_a_vxlan_tells_of_its_ends(lab):
    words = (
        "vxlan",
        "create",
        "vxlanid",
        "42",
        "vxlanlocal",
        "192.0.2.10",
        "vxlanremote",
        "192.0.2.20",
        "up",
    )
    assert lab.ok("ifconfig", *words) == "vxlan0\n"
    assert "\tvxlan vni 42 local 192.0.2.10:4789 remote 192.0.2.20:4789\n" in shown(lab, "vxlan0")
    assert "mtu 1450\n" in shown(lab, "vxlan0")
    words = ("vxlanlocal", "fd00::1", "vxlangroup", "ff15::42", "vxlandev", "em0")
    lab.ok("ifconfig", "vxlan7", "create", "vxlanid", "7", *words)
    assert "\tvxlan vni 7 local [fd00::1]:4789 group [ff15::42]:4789\n" in shown(lab, "vxlan7")
    assert lab.fails("ifconfig", "vxlan0", "vxlanid", "43") == "ifconfig: VXLAN_CMD_SET_VNI: Device busy\n"


def test_an_aggregation_tells_of_its_ports():
    lab = make_lab(nics=3)
    words = (
        "lagg0",
        "create",
        "laggproto",
        "lacp",
        "laggport",
        "em1",
        "laggport",
        "em9",
        "laggport",
        "em2",
        "up",
    )
    answer = lab("ifconfig", *words)
    assert (answer.code, answer.err) == (1, "ifconfig: lagg0 em9: SIOCSLAGGPORT: Device not configured\n")
    lab.ok("ifconfig", "em1", "up")
    text = shown(lab, "lagg0")
    assert "\tether 00:0c:29:5a:4d:02\n\thwaddr 00:00:00:00:00:00\n" in text
    assert (
        "\tlaggproto lacp lagghash l2,l3,l4\n"
        "\tlaggport: em1 flags=1c<ACTIVE,COLLECTING,DISTRIBUTING>\n"
        "\tlaggport: em2 flags=0<>\n"
        "\tgroups: lagg\n\tmedia: Ethernet autoselect\n\tstatus: active\n"
    ) in text
    lab.ok("ifconfig", "lagg0", "laggproto", "failover", "-laggport", "em2")
    assert "\tlaggport: em1 flags=5<MASTER,ACTIVE>\n" in shown(lab, "lagg0")
    drop_lab(lab)


def test_a_pair_comes_and_goes_as_one(lab):
    assert lab.ok("ifconfig", "epair", "create") == "epair0a\n"
    macs = re.findall(r"ether (\S+)", lab.ok("ifconfig", "-a", "ether"))[1:]
    assert macs[0][:-1] == macs[1][:-1] and (macs[0][-2:], macs[1][-2:]) == ("0a", "0b")
    lab.ok("ifconfig", "epair0b", "name", "e0b_web1")
    assert lab.ok("ifconfig", "-l") == "em0 lo0 epair0a e0b_web1\n"
    lab.ok("ifconfig", "e0b_web1", "destroy")
    assert lab.ok("ifconfig", "-l") == "em0 lo0\n"


def test_a_tunnel_of_wireguard_is_no_ethernet(lab):
    lab.ok("ifconfig", "wg", "create", "descr", "bhype/mesh/1", "group", "bhype", "name", "wg-mesh")
    lab.ok("ifconfig", "wg-mesh", "inet", "10.9.0.1/24", "up")
    assert shown(lab, "wg-mesh") == (
        "wg-mesh: flags=10080c1<UP,RUNNING,NOARP,MULTICAST,LOWER_UP> metric 0 mtu 1420\n"
        "\tdescription: bhype/mesh/1\n"
        "\toptions=80000<LINKSTATE>\n"
        "\tinet 10.9.0.1 netmask 0xffffff00\n"
        "\tgroups: wg bhype\n"
        "\tnd6 options=109<PERFORMNUD,IFDISABLED,NO_DAD>\n"
    )
    assert "if_wg" in lab.ok("kldstat")


def test_the_log_of_pf_comes_with_its_module(lab):
    assert "Invalid argument" in lab.fails("ifconfig", "pflog0", "create")
    lab.ok("kldload", "pflog")
    lab.ok("ifconfig", "pflog0", "up")
    assert shown(lab, "pflog0") == (
        "pflog0: flags=1000041<UP,RUNNING,LOWER_UP> metric 0 mtu 33152\n\toptions=0\n\tgroups: pflog\n"
    )
    lab.ok("ifconfig", "pflog0", "destroy")
    lab.ok("ifconfig", "pflog0", "create")
    assert shown(lab, "pflog0").startswith("pflog0: flags=0<>")


def test_members_have_flags_and_numbers(lab):
    for name in ("tap0", "tap1"):
        lab.ok("ifconfig", name, "create", "up")
    lab.ok("ifconfig", "bridge0", "create", "addm", "tap0", "span", "tap1", "up")
    words = (
        "stp",
        "tap0",
        "sticky",
        "tap0",
        "-learn",
        "tap0",
        "ifmaxaddr",
        "tap0",
        "16",
        "ifpriority",
        "tap0",
        "64",
    )
    lab.ok(
        "ifconfig",
        "bridge0",
        *words,
        "ifpathcost",
        "tap0",
        "55",
        "timeout",
        "60",
        "maxaddr",
        "9",
        "proto",
        "stp",
    )
    lab.ok("ifconfig", "bridge0", "ether", "58:9c:fc:10:d6:22")
    assert (
        "\tid 58:9c:fc:10:d6:22 priority 32768 hellotime 2 fwddelay 15\n"
        "\tmaxage 20 holdcnt 6 proto stp maxaddr 9 timeout 60\n"
        "\troot id 58:9c:fc:10:d6:22 priority 32768 ifcost 0 port 0\n"
        "\tmember: tap0 flags=156<DISCOVER,STP,STICKY,AUTOEDGE,AUTOPTP>\n"
        "\t        ifmaxaddr 16 port 3 priority 64 path cost 55 proto stp\n"
        "\t        role designated state forwarding\n"
        "\tmember: tap1 flags=8<SPAN>\n"
    ) in shown(lab, "bridge0")
    lab.ok("ifconfig", "bridge0", "static", "tap0", "58:9c:fc:0:0:1")
    assert lab.ok("ifconfig", "bridge0", "addr") == "58:9c:fc:00:00:01 Vlan0 tap0 0 flags=1<STATIC>\n"
    lab.ok("ifconfig", "bridge0", "deladdr", "58:9c:fc:00:00:01")
    assert lab.ok("ifconfig", "bridge0", "addr") == ""
    assert lab.fails("ifconfig", "bridge0", "span", "tap0") == "ifconfig: BRDGADDS tap0: File exists\n"
    lab.ok("ifconfig", "bridge0", "-span", "tap1", "deletem", "tap0")
    assert "member" not in shown(lab, "bridge0")


def test_ipv6_is_switched_on_by_the_first_address_or_by_hand(lab):
    lab.ok("ifconfig", "bridge0", "create", "up")
    lab.ok("ifconfig", "bridge0", "ether", "58:9c:fc:10:d6:22")
    assert "nd6 options=9<PERFORMNUD,IFDISABLED>" in shown(lab, "bridge0")
    lab.ok("ifconfig", "bridge0", "inet6", "fd00::1", "prefixlen", "64")
    text = shown(lab, "bridge0")
    assert "nd6 options=1<PERFORMNUD>" in text and "fe80" not in text
    lab.ok("ifconfig", "bridge0", "inet6", "-ifdisabled", "auto_linklocal")
    text = shown(lab, "bridge0")
    assert "\tinet6 fe80::5a9c:fcff:fe10:d622%bridge0 prefixlen 64 scopeid 0x3\n" in text
    assert "nd6 options=21<PERFORMNUD,AUTO_LINKLOCAL>" in text
    lab.ok("ifconfig", "em0", "inet6", "2001:db8:2::10", "prefixlen", "64")
    assert "fe80::20c:29ff:fe5a:4d01%em0" in shown(lab, "em0")


def test_13_has_shorter_flags(lab):
    assert lab.admin("create", "--release", "13.2", lab.folder).code == 0
    assert shown(lab, "em0").startswith("em0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> ")
    assert lab.ok("sysctl", "-n", "kern.osrelease", "kern.osreldate") == "13.2-RELEASE\n1302001\n"


def test_15_takes_no_member_with_addresses(fifteen):
    fifteen.ok("ifconfig", "bridge0", "create", "up")
    assert fifteen.fails("ifconfig", "bridge0", "addm", "em0") == "ifconfig: BRDGADD em0: Invalid argument\n"
    fifteen.ok("ifconfig", "bridge0", "addm", "em1")
    answer = fifteen.fails("ifconfig", "em1", "inet", "10.0.0.1/24")
    assert answer == "ifconfig: ioctl (SIOCAIFADDR): Invalid argument\n"
    assert fifteen.ok("sysctl", "net.link.bridge.member_ifaddrs=1").startswith(
        "net.link.bridge.member_ifaddrs: 0"
    )
    fifteen.ok("ifconfig", "bridge0", "addm", "em0")
    fifteen.ok("ifconfig", "bridge0", "destroy")


def test_15_tells_vlans_of_ports_apart(fifteen):
    for name in ("tap1", "tap2"):
        fifteen.ok("ifconfig", name, "create")
    refused = fifteen.fails("ifconfig", "bridge1", "create", "addm", "tap1", "untagged", "10")
    assert refused == "ifconfig: BRDGSIFPVID 10: Invalid argument\n"
    fifteen.ok("ifconfig", "bridge1", "deletem", "tap1", "vlanfilter", "defuntagged", "1", "addm", "tap1")
    fifteen.ok("ifconfig", "bridge1", "addm", "tap2", "untagged", "10", "tagged", "20-22,30")
    text = shown(fifteen, "bridge1")
    assert "\tbridge flags=1<VLANFILTER> defuntagged=1\n" in text
    details = re.findall(r"\t        (port .*)\n", text)
    assert [line.partition("2000000")[2] for line in details] == [
        " untagged 1",
        " untagged 10 tagged 20-22,30",
    ]
    fifteen.ok(
        "ifconfig", "bridge1", "+iftagged", "tap2", "23", "-iftagged", "tap2", "30", "ifuntagged", "tap2", "7"
    )
    assert " untagged 7 tagged 20-23\n" in shown(fifteen, "bridge1")
    fifteen.ok("ifconfig", "bridge1", "iftagged", "tap2", "all")
    assert " untagged 7 tagged 1-4094\n" in shown(fifteen, "bridge1")
    refused = fifteen.fails("ifconfig", "bridge1", "iftagged", "tap2", "9,4095")
    assert refused == "ifconfig: invalid vlan set: 9,4095\n"
    fifteen.ok("ifconfig", "bridge1", "destroy")


def test_before_15_a_bridge_knows_no_vlans(still_lab):
    still_lab.ok("ifconfig", "bridge9", "create")
    assert still_lab.fails("ifconfig", "bridge9", "vlanfilter") == "ifconfig: vlanfilter: bad value\n"
    still_lab.ok("ifconfig", "bridge9", "destroy")
