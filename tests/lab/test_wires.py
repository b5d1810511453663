"""A lab with wires: its interfaces are real ones in network namespaces, and guests reach each other through them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bhype.lab import bhyve_state, wires
from tests.guest import build
from tests.guest.console import Console
from tests.lab import efi
from tests.lab.conftest import drop_lab, make_lab, named
from tests.lab.guests import guest


def links(lab):
    found = json.loads(lab.inside("ip", "-j", "-d", "addr", "show").stdout)
    return {each["ifname"]: each for each in found}


def addresses(lab, name):
    return [f"{each['local']}/{each['prefixlen']}" for each in links(lab)[name]["addr_info"]]


def test_the_host_reaches_its_router_outside(wired):
    assert addresses(wired, "em0") == ["192.0.2.10/24"]
    assert "default via 192.0.2.1 dev em0" in wired.inside("ip", "route").stdout
    assert wired.inside("busybox", "ping", "-c", "1", "-W", "30", "192.0.2.1").returncode == 0
    assert wired.admin("wires", wired.folder, "status").out.startswith("on\n")


def test_what_ifconfig_says_is_what_the_namespace_has(wired):
    wired.ok("kldload", "if_bridge")
    wired.ok("ifconfig", "bridge", "create", "name", "sw-lan", "group", "bhype", "up")
    wired.ok("ifconfig", "sw-lan", "inet", "10.7.0.1/24")
    wired.ok("ifconfig", "sw-lan", "inet6", "fd00:7::1", "prefixlen", "64")
    wired.ok("ifconfig", "tap7", "create", "up")
    wired.ok("ifconfig", "sw-lan", "addm", "tap7", "private", "tap7", "mtu", "9000")
    wired.ok("ifconfig", "sw-lan", "ether", "58:9c:fc:10:00:01")
    found = links(wired)
    assert addresses(wired, "sw-lan") == ["10.7.0.1/24", "fd00:7::1/64"]
    assert found["sw-lan"]["address"] == "58:9c:fc:10:00:01"
    assert (found["tap7"]["master"], found["tap7"]["mtu"]) == ("sw-lan", 9000)
    assert found["tap7"]["linkinfo"]["info_slave_data"]["isolated"] is True
    wired.ok("ifconfig", "sw-lan", "-private", "tap7")
    wired.ok("ifconfig", "sw-lan", "inet", "10.7.0.1", "-alias")
    wired.ok("ifconfig", "sw-lan", "name", "sw-new")
    wired.ok("ifconfig", "tap7", "down")
    found = links(wired)
    assert addresses(wired, "sw-new") == ["fd00:7::1/64"]
    assert found["tap7"]["linkinfo"]["info_slave_data"]["isolated"] is False
    assert "UP" not in found["tap7"]["flags"]
    wired.ok("ifconfig", "sw-new", "destroy")
    wired.ok("ifconfig", "tap7", "destroy")
    assert set(links(wired)) == {"lo0", "em0"}


def test_routes_of_ipv6_are_there_too(wired):
    wired.ok("ifconfig", "em0", "inet6", "2001:db8:2::10/64")
    wired.ok("route", "-6", "add", "default", "2001:db8:2::1")
    wired.ok("route", "-6", "add", "fd01::/16", "2001:db8:2::7")
    routes = wired.inside("ip", "-6", "route").stdout
    assert "default via 2001:db8:2::1 dev em0" in routes and "fd01::/16 via 2001:db8:2::7 dev em0" in routes
    assert wired.inside("busybox", "ping", "-6", "-c", "1", "-W", "30", wires.EXAMPLE6).returncode == 0
    wired.ok("route", "-6", "delete", "fd01::/16")
    wired.ok("route", "-6", "delete", "default")
    wired.ok("ifconfig", "em0", "inet6", "2001:db8:2::10", "-alias")
    assert "via" not in wired.inside("ip", "-6", "route").stdout


def test_an_address_at_a_member_is_reached_through_the_bridge(wired):
    wired.ok("ifconfig", "bridge", "create", "name", "sw-public", "addm", "em0", "up")
    assert wired.outside("busybox", "ping", "-c", "1", "-W", "30", "192.0.2.10").returncode == 0
    assert "default via 192.0.2.1 dev sw-public" in wired.inside("ip", "route").stdout
    wired.ok("ifconfig", "sw-public", "deletem", "em0")
    assert wired.outside("busybox", "ping", "-c", "1", "-W", "30", "192.0.2.10").returncode == 0


def test_nothing_is_forwarded_until_the_host_is_a_router(wired):
    forwarding = ("cat", "/proc/sys/net/ipv4/ip_forward")
    assert wired.inside(*forwarding).stdout == "0\n"
    wired.ok("sysctl", "net.inet.ip.forwarding=1")
    assert wired.inside(*forwarding).stdout == "1\n"


def test_a_rate_is_a_pair_behind_the_tap(wired):
    wired.ok("kldload", "ng_ether", "ng_pipe", "ng_eiface")
    wired.ok("ifconfig", "tap5", "create", "up")
    for words in (
        "mkpeer tap5: pipe lower lower", "name tap5:lower tap5_pipe", "mkpeer tap5_pipe: eiface upper ether",
    ):  # fmt: skip
        wired.ok("ngctl", *words.split())
    cfg = "{ downstream={ bandwidth=20000000 } upstream={ bandwidth=1000000 } }"
    wired.ok("ngctl", "msg", "tap5_pipe:", "setcfg", cfg)
    wired.ok("ifconfig", "ngeth0", "name", "rtap5", "up")
    wired.ok("ifconfig", "bridge0", "create", "addm", "rtap5", "up")
    found = links(wired)
    assert found["rtap5"]["master"] == "bridge0"
    middle = found["tap5"]["master"]
    peer = next(each for each, link in found.items() if each != "tap5" and link.get("master") == middle)
    rates = {
        each["dev"]: each["options"]["rate"] * 8
        for each in json.loads(wired.inside("tc", "-j", "qdisc", "show").stdout)
        if each["kind"] == "tbf"
    }
    assert rates == {"tap5": 20_000_000, peer: 1_000_000}
    wired.ok("ngctl", "shutdown", "tap5_pipe:")
    wired.ok("ngctl", "shutdown", "ngeth0:")
    assert set(links(wired)) == {"lo0", "em0", "tap5", "bridge0"}


def test_a_change_that_was_broken_off_is_made_up_for(wired):
    wired.ok("ifconfig", "bridge0", "create", "inet", "10.7.0.1/24", "up")
    path = f"{wired.folder}/state/wired.json"
    with open(path) as file:
        state = json.load(file)
    with open(path, "w") as file:
        json.dump(state | {"dirty": True}, file)
    wired.inside("ip", "link", "del", "dev", "bridge0")
    wired.inside("ip", "link", "add", "name", "leftover", "type", "bridge")
    wired.ok("ifconfig", "tap0", "create")
    assert set(links(wired)) == {"lo0", "em0", "bridge0", "tap0"}
    assert addresses(wired, "bridge0") == ["10.7.0.1/24"]


def reached_from_outside(lab, address, seconds=30):
    return lab.outside("busybox", "ping", "-c", "1", "-W", str(seconds), address).returncode == 0


def test_a_netgraph_switch_leads_from_the_uplink_to_its_interface(wired):
    """As the panel makes it: the uplink by its lower and upper hooks, the host's own end an eiface."""
    wired.ok("kldload", "ng_ether", "ng_bridge", "ng_eiface")
    for words in (
        "mkpeer em0: bridge lower link1", "name em0:lower sw-n", "msg sw-n: setpersistent",
        "connect sw-n: em0: link2 upper", "mkpeer sw-n: eiface link0 ether",
    ):  # fmt: skip
        wired.ok("ngctl", *words.split())
    wired.ok("ifconfig", "ngeth0", "name", "sw-n")
    wired.ok("ifconfig", "sw-n", "inet", "192.0.2.50/24")
    wired.ok("ifconfig", "em0", "inet", "192.0.2.10", "-alias")
    assert reached_from_outside(wired, "192.0.2.50")
    # Without its upper hook the host hears nothing by the uplink itself, and the switch goes on.
    wired.ok("ifconfig", "em0", "inet", "192.0.2.10/24")
    wired.ok("ifconfig", "sw-n", "inet", "192.0.2.50", "-alias")
    assert reached_from_outside(wired, "192.0.2.10")
    wired.ok("ngctl", "rmhook", "sw-n:", "link2")
    assert not reached_from_outside(wired, "192.0.2.10", 1)


def test_each_vlan_of_an_uplink_is_a_network_of_its_own(wired):
    for tag in ("100", "200"):
        wired.ok("ifconfig", f"em0.{tag}", "create", "up")
        wired.outside("ip", "addr", "add", f"10.{tag}.0.2/24", "dev", f"vlan{tag}", check=True)
    wired.ok("ifconfig", "bridge0", "create", "addm", "em0.100", "up")
    wired.ok("ifconfig", "bridge0", "inet", "10.100.0.1/24")
    assert reached_from_outside(wired, "10.100.0.1")
    wired.ok("ifconfig", "bridge0", "deletem", "em0.100", "addm", "em0.200")
    assert not reached_from_outside(wired, "10.100.0.1", 1)


def test_a_tunnel_reaches_its_other_end(wired):
    words = ("vxlanid", "42", "vxlanlocal", "192.0.2.10", "vxlanremote", "192.0.2.1", "up")
    wired.ok("ifconfig", "vxlan42", "create", *words)
    wired.ok("ifconfig", "vxlan42", "inet", "10.42.0.1/24")
    other = "ip link add vx type vxlan id 42 local 192.0.2.1 remote 192.0.2.10 dstport 4789"
    for line in (other, "ip addr add 10.42.0.2/24 dev vx", "ip link set vx up"):
        wired.outside(*line.split(), check=True)
    assert reached_from_outside(wired, "10.42.0.1")


@contextlib.contextmanager
def wired_lab(**options):
    lab = make_lab(**options)
    try:
        lab.wire()
        yield lab
    finally:
        drop_lab(lab)


def test_ports_are_in_their_vlans_on_15():
    with wired_lab(nics=2, release="15.0") as lab:
        for pair, address in (("epair0", "10.10.0.1/24"), ("epair1", "10.20.0.1/24")):
            lab.ok("ifconfig", f"{pair}a", "create", "up")
            lab.ok("ifconfig", f"{pair}b", "inet", address)
        lab.ok("ifconfig", "em1", "up")
        members = ("addm", "epair0a", "untagged", "10", "addm", "epair1a", "untagged", "20")
        words = ("vlanfilter", "defuntagged", "1", *members, "addm", "em1", "tagged", "10,20", "up")
        lab.ok("ifconfig", "bridge0", "create", *words)
        for tag in ("10", "20"):
            lab.outside("ip", "addr", "add", f"10.{tag}.0.2/24", "dev", f"vlan{tag}", check=True)
            assert reached_from_outside(lab, f"10.{tag}.0.1")
        lab.ok("ifconfig", "bridge0", "ifuntagged", "epair1a", "10")
        assert not reached_from_outside(lab, "10.20.0.1", 1)


def test_an_aggregation_goes_on_while_one_port_is_up():
    with wired_lab(nics=3) as lab:
        lab.ok("ifconfig", "em1", "up")
        lab.ok(
            "ifconfig", "lagg0", "create", "laggproto", "failover", "laggport", "em1", "laggport", "em2", "up"
        )
        lab.ok("ifconfig", "lagg0", "inet", "198.51.100.10/24")
        assert reached_from_outside(lab, "198.51.100.10")
        lab.ok("ifconfig", "em1", "down")
        assert not reached_from_outside(lab, "198.51.100.10", 1)


NAMES = ("tap0", "tap1", "bridge0", "bridge1", "em0.5", "epair0a", "vxlan9", "lagg0")
STEPS = st.one_of(
    st.tuples(st.sampled_from(NAMES), st.sampled_from((("create", "up"), ("destroy",), ("up",), ("down",)))),
    st.tuples(
        st.sampled_from(("bridge0", "bridge1")),
        st.sampled_from(("addm", "deletem", "private", "-private")),
        st.sampled_from(("tap0", "tap1", "em0", "em0.5", "epair0a", "vxlan9", "new")),
    ),
    st.tuples(
        st.sampled_from(("lagg0",)),
        st.sampled_from(("laggport", "-laggport")),
        st.sampled_from(("em0", "em1")),
    ),
    st.tuples(
        st.sampled_from((*NAMES, "em0")), st.just("inet"), st.sampled_from(("10.5.0.1/24", "10.6.0.1/16"))
    ),
    st.tuples(
        st.sampled_from((*NAMES, "em0")), st.just("inet6"), st.sampled_from(("fd00:5::1/64", "fd00:6::1/64"))
    ),
    st.tuples(st.sampled_from((*NAMES, "em0")), st.just("name"), st.sampled_from(("new", "other"))),
    st.tuples(st.sampled_from(NAMES), st.just("mtu"), st.sampled_from(("1400", "9000"))),
    st.tuples(
        st.just("vxlan9"), st.just("vxlanid"), st.just("9"), st.just("vxlanremote"), st.just("192.0.2.1")
    ),
)


@pytest.fixture(scope="module")
def changing():
    with wired_lab(nics=2) as lab:
        yield lab


def network(lab):
    """What is in the namespace, without what Linux counts."""
    found = {}
    for name, link in links(lab).items():
        data = link.get("linkinfo", {})
        found[name] = (
            sorted(f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]),
            link["mtu"], link.get("master"), "UP" in link["flags"], data.get("info_kind"),
            data.get("info_slave_data", {}).get("isolated"), data.get("info_data", {}).get("id"),
        )  # fmt: skip
    routes = [lab.inside("ip", family, "route", "show").stdout.splitlines() for family in ("-4", "-6")]
    return found, *(sorted(each) for each in routes)


# Making a failure smaller would take minutes.
@settings(max_examples=2, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=8, max_size=20))
def test_change_by_change_comes_to_the_same_as_all_at_once(changing, steps):
    lab = changing
    for step in [*((name, "create") for name in NAMES), *steps]:
        words = [word for part in step for word in ((part,) if isinstance(part, str) else part)]
        lab("ifconfig", *words)
    step_by_step = network(lab)
    os.unlink(f"{lab.folder}/state/wired.json")
    with named(lab):
        wires.carry()
    assert network(lab) == step_by_step
    for name in lab.ok("ifconfig", "-l").split():
        lab("ifconfig", name, "destroy")  # what is no clone stays


def gone(pid):
    deadline = time.monotonic() + 60
    while bhyve_state.ticks(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return bhyve_state.ticks(pid) is None


def test_nothing_is_left_when_the_folder_is_gone():
    lab = make_lab()
    lab.wire()
    with open(f"{lab.folder}/state/wires.json") as file:
        holders = json.load(file)
    sleeper = subprocess.Popen(
        ["nsenter", f"--net=/proc/{holders['outside']}/ns/net", "sleep", "600"], start_new_session=True
    )
    there = os.readlink(f"/proc/{holders['outside']}/ns/net")
    while os.readlink(f"/proc/{sleeper.pid}/ns/net") != there:
        time.sleep(0.01)
    os.rename(lab.folder, lab.folder + ".gone")
    assert gone(holders["pid"]) and gone(holders["outside"])
    assert sleeper.wait(60) != 0
    os.rename(lab.folder + ".gone", lab.folder)
    assert lab.admin("wires", lab.folder, "status").code == 1
    drop_lab(lab)


def test_a_copy_of_a_lab_has_no_wires(wired):
    copied = make_lab()
    with (
        open(f"{wired.folder}/state/wires.json") as source,
        open(f"{copied.folder}/state/wires.json", "w") as copy,
    ):
        copy.write(source.read())
    answer = copied.admin("wires", copied.folder, "status")
    assert answer.code == 1 and answer.out.startswith("off\nNo frame leaves a guest")
    drop_lab(copied)
    assert wired.admin("wires", wired.folder, "status").code == 0


@pytest.mark.guest
@pytest.mark.xdist_group("wired-guests")
def test_a_guest_holds_its_end_at_switches_of_netgraph_and_vale(wired):
    wired.ok("kldload", "vmm", "nmdm", "ng_ether", "ng_bridge", "ng_eiface")
    wired.ok("ngctl", "mkpeer", "em0:", "bridge", "lower", "link1")
    wired.ok("ngctl", "name", "em0:lower", "sw-n")
    wired.ok("ngctl", "msg", "sw-n:", "setpersistent")
    nics = (
        "-s", "5,virtio-net,netgraph,path=sw-n:,peerhook=link1001,socket=vm-0,mac=58:9c:fc:00:00:01",
        "-s", "6,virtio-net,vale3:12,mac=58:9c:fc:00:00:02",
    )  # fmt: skip
    with guest(wired, "vm", efi.hang(), *nics) as started:
        started.ready()
        assert wired("valectl").out == "vale3:12 bridge_idx 0 port_idx 0\n"
        held = {
            name: link
            for name, link in links(wired).items()
            if link.get("linkinfo", {}).get("info_kind") == "tun"
        }
        assert len(held) == 2
        assert all({"UP", "LOWER_UP"} <= set(link["flags"]) for link in held.values()), "with a cable in"
        assert len({link["master"] for link in held.values()}) == 2
        argv = wired.argv("bhyve", *started.argv[1:-1], "other")
        second = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert second.returncode == 4, "the names of the first are taken"
    assert wired("valectl").out == ""
    wired.ok("ngctl", "list")
    assert set(links(wired)) & set(held) == set()


class Guest:
    """The small Linux guest with one NIC at a tap, as bhyve starts it."""

    def __init__(self, lab, number, *nic):
        name, nic = f"g{number}", nic or (f"tap{number}",)
        lab.path("/vm/device.map").write_text("(hd0) /vm/boot\n")
        commands = f"linux (hd0,msdos1)/vmlinuz {build.CMDLINE}\ninitrd (hd0,msdos1)/initrd.gz\nboot\n"
        subprocess.run(
            lab.argv("grub-bhyve", "-n", "-m", "/vm/device.map", "-M", "512M", "-r", "hd0", name),
            input=commands, text=True, check=True, capture_output=True,
        )  # fmt: skip
        self.process = subprocess.Popen(
            lab.argv(
                "bhyve", "-AHPu", "-c", "1", "-m", "512M", "-s", "0,hostbridge", "-s", "31,lpc",
                "-l", f"com1,/dev/nmdm-{name}.1A", "-s", "4,virtio-blk,/vm/boot,ro",
                "-s", f"5,virtio-net,{','.join(nic)},mac=58:9c:fc:00:00:0{number}", name,
            ),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        # What nobody listens to is lost.
        self.console = Console.open(lab.path(f"/dev/nmdm-{name}.1B"), self.ended)

    def ready(self):
        self.console.report()
        return self

    def ended(self):
        return "" if self.process.poll() is None else self.process.communicate()[0] or "bhyve has ended"

    def close(self):
        self.process.kill()
        self.process.communicate()
        self.console.close()


SCRIPT = "[ $1 = bound ] && ip addr add $ip/$mask dev $interface && echo $ip $router $dns > /tmp/lease"
DNSMASQ = """port=53
domain=lan
local=/lan/
no-resolv
no-hosts
interface=sw-lan
bind-interfaces
dhcp-authoritative
dhcp-range=10.7.0.100,10.7.0.100,255.255.255.0,12h
dhcp-host=58:9c:fc:00:00:01,web1,10.7.0.50
"""


@pytest.fixture(scope="module")
def guests():
    """Two guests at taps of one switch, which serves addresses and names, and the lab."""
    with contextlib.ExitStack() as stack:
        lab = make_lab()
        stack.callback(drop_lab, lab)
        lab.wire()
        lab.ok("kldload", "vmm", "nmdm", "if_bridge")
        lab.path("/vm").mkdir()
        lab.path("/vm/boot").symlink_to(build.image())
        lab.ok("ifconfig", "bridge", "create", "name", "sw-lan", "up")
        lab.ok("ifconfig", "sw-lan", "inet", "10.7.0.1/24")
        for tap in ("tap1", "tap2"):
            lab.ok("ifconfig", tap, "create", "up")
            lab.ok("ifconfig", "sw-lan", "addm", tap)
        config = lab.path("/vm/dnsmasq.conf")
        config.write_text(DNSMASQ + f"dhcp-leasefile={lab.path('/vm/leases')}\n")
        with named(lab):
            words = ["dnsmasq", "--keep-in-foreground", "--user=root", f"--conf-file={config}"]
            argv = wires.inside(words)
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        started = []
        for number in (1, 2):
            started.append(Guest(lab, number))
            stack.callback(started[-1].close)
        yield lab, [each.ready() for each in started]


def lease(guest):
    guest.console.run(
        f"(echo '#!/bin/sh'; echo '{SCRIPT}') > /tmp/script; chmod +x /tmp/script; ip link set eth0 up"
    )
    guest.console.run("udhcpc -i eth0 -n -q -f -t 20 -T 2 -s /tmp/script > /tmp/udhcpc 2>&1")
    return guest.console.run("cat /tmp/lease").split()


def reaches(guest, address, tries=8):
    """Each try is a second; the first ones may find a neighbour that had been given up."""
    once = f"ping -c 1 -W 1 {address} > /dev/null 2>&1"
    loop = f"n=0; until {once} || [ $n = {tries} ]; do n=$((n + 1)); done; echo $n"
    return int(guest.console.run(loop)) < tries


@pytest.mark.guest
@pytest.mark.xdist_group("wired-guests")
def test_guests_of_a_switch_get_addresses_and_reach_each_other(guests):
    lab, (one, two) = guests
    assert lease(one) == ["10.7.0.50", "10.7.0.1", "10.7.0.1"]
    assert lease(two) == ["10.7.0.100", "10.7.0.1", "10.7.0.1"]
    assert "10.7.0.50" in one.console.run("nslookup web1.lan 10.7.0.1; true")
    assert reaches(one, "10.7.0.1")
    assert reaches(one, "10.7.0.100")
    assert lab.inside("busybox", "ping", "-c", "1", "-W", "30", "10.7.0.50").returncode == 0
    # Private ports reach the host, and not each other.
    lab.ok("ifconfig", "sw-lan", "private", "tap1", "private", "tap2")
    one.console.run("ip neigh flush dev eth0")
    assert not reaches(one, "10.7.0.100", 2)
    assert reaches(one, "10.7.0.1")
    lab.ok("ifconfig", "sw-lan", "-private", "tap1")
    assert reaches(one, "10.7.0.100")
    # Another switch is another network.
    lab.ok("ifconfig", "bridge", "create", "name", "sw-b", "up")
    lab.ok("ifconfig", "sw-lan", "deletem", "tap2")
    lab.ok("ifconfig", "sw-b", "addm", "tap2")
    assert not reaches(one, "10.7.0.100", 2)
