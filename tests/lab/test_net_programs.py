"""arp, ndp, netstat, route, ping, drill, sysrc and valectl of the lab."""

from __future__ import annotations

import json
import subprocess

from bhype.freebsd import arp, ndp, netstat, ping, route, sysrc


def read(lab, query):
    """The answer to a query, as the host's code reads it."""
    command = query.command
    argv = [f"{lab.root}{command.argv[0]}", *command.argv[1:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in command.ok_codes, done
    return query.parse(done.stdout)


def test_the_hosts_own_addresses_are_in_its_tables(lab):
    assert lab.ok("arp", "-an") == "? (192.0.2.10) at 00:0c:29:5a:4d:01 on em0 permanent [ethernet]\n"
    lab.ok("arp", "-s", "192.0.2.77", "58:9c:fc:0:0:7")
    assert [(one.address, one.mac, one.interface, one.is_permanent) for one in read(lab, arp.table())] == [
        ("192.0.2.10", "00:0c:29:5a:4d:01", "em0", True), ("192.0.2.77", "58:9c:fc:00:00:07", "em0", True),
    ]  # fmt: skip
    assert lab.ok("arp", "-d", "192.0.2.77") == "192.0.2.77 (192.0.2.77) deleted\n"
    answer = lab("arp", "-n", "192.0.2.77")
    assert (answer.code, answer.out) == (1, "192.0.2.77 (192.0.2.77) -- no entry\n")
    lab.ok("ifconfig", "em0", "inet6", "2001:db8:2::10", "prefixlen", "64")
    assert {one.address for one in read(lab, ndp.table())} == {"2001:db8:2::10", "fe80::20c:29ff:fe5a:4d01"}
    assert lab.ok("ndp", "-an").splitlines()[1] == (
        "2001:db8:2::10                       00:0c:29:5a:4d:01    em0 permanent R "
    )


def test_counters_and_flags_are_told_for_each_interface(lab):
    lab.ok("ifconfig", "tap0", "create")
    assert [(one.name, one.is_up, one.octets_in) for one in read(lab, netstat.interfaces())] == [
        ("em0", True, 0), ("lo0", True, 0), ("tap0", False, 0),
    ]  # fmt: skip
    text = lab.ok("netstat", "-I", "em0", "-bn")
    assert text.splitlines()[0].split()[:3] == ["Name", "Mtu", "Network"]
    assert text.splitlines()[1].split()[:4] == ["em0", "1500", "<Link#1>", "00:0c:29:5a:4d:01"]
    assert lab.fails("netstat", "-I", "em7") == "netstat: em7: unknown interface\n"


def test_routes_come_with_addresses_and_go_with_them(lab):
    assert read(lab, route.default()) == route.Route("em0", "192.0.2.1")
    assert read(lab, route.default("inet6")) is None
    assert lab.fails("route", "-n", "get", "-inet6", "default") == "route: route has not been found\n"
    rows = [(one.destination, one.gateway, one.flags, one.interface) for one in read(lab, netstat.routes())]
    assert rows == [
        ("default", "192.0.2.1", "UGS", "em0"), ("127.0.0.1", "link#2", "UH", "lo0"),
        ("192.0.2.0/24", "link#1", "U", "em0"), ("192.0.2.10", "link#1", "UHS", "lo0"), ("::1", "link#2", "UH", "lo0"),
    ]  # fmt: skip
    lab.ok("ifconfig", "wg", "create", "name", "wg0", "up")
    argv = route.add("10.9.0.0/24", "wg0").argv
    assert lab.ok("route", *argv[1:]) == "add net 10.9.0.0/24: gateway wg0\n"
    answer = lab("route", *argv[1:])
    assert (answer.code, answer.out) == (
        1,
        "add net 10.9.0.0/24: gateway wg0 fib 0: route already in table\n",
    )
    assert "  interface: wg0\n" in lab.ok("route", "-n", "get", "10.9.0.7")
    lab.ok("ifconfig", "wg0", "destroy")
    assert "10.9.0.0/24" not in lab.ok("netstat", "-rn")
    # The default route goes with the address by which its gateway was reached.
    lab.ok("ifconfig", "em0", "inet", "192.0.2.10", "-alias")
    assert "default" not in lab.ok("netstat", "-rn")
    answer = lab("route", "add", "default", "192.0.2.1")
    assert (answer.code, answer.out) == (
        1,
        "add net default: gateway 192.0.2.1 fib 0: Network is unreachable\n",
    )
    lab.ok("ifconfig", "em0", "inet", "192.0.2.10/24")
    assert lab.ok("route", "add", "default", "192.0.2.1") == "add net default: gateway 192.0.2.1\n"


def test_rc_conf_is_read_and_written(lab):
    path = lab.path("/etc/rc.conf")
    path.write_text('# mine\nhostname="lab"\ngateway_enable=NO # not yet\nlast="1"\n')
    assert read(lab, sysrc.read("gateway_enable", "pf_enable", "nothing")) == {
        "gateway_enable": "NO", "pf_enable": "NO",
    }  # fmt: skip
    assert lab.ok("sysrc", "gateway_enable=YES") == "gateway_enable: NO -> YES\n"
    assert lab.ok("sysrc", "cloned_interfaces+=bridge0") == "cloned_interfaces:  -> bridge0\n"
    assert lab.ok("sysrc", "cloned_interfaces+=lagg0") == "cloned_interfaces: bridge0 -> bridge0 lagg0\n"
    assert lab.ok("sysrc", "-n", "cloned_interfaces") == "bridge0 lagg0\n"
    lab.ok("sysrc", "-x", "last")
    assert path.read_text() == (
        '# mine\nhostname="lab"\ngateway_enable="YES"\ncloned_interfaces="bridge0 lagg0"\n'
    )
    assert lab.fails("sysrc", "last") == "sysrc: unknown variable 'last'\n"


def test_without_wires_only_the_host_and_its_router_answer(lab):
    assert read(lab, ping.answers("192.0.2.1")) is True
    assert read(lab, ping.answers("192.0.2.10")) is True
    answer = lab("ping", "-n", "-c", "1", "-t", "1", "192.0.2.99")
    assert (answer.code, answer.out.splitlines()[-1]) == (
        2, "1 packets transmitted, 0 packets received, 100.0% packet loss"
    )  # fmt: skip
    assert read(lab, ping.names_answer("192.0.2.10", "bhype.internal")) is False
    assert lab.ok("sysctl", "-n", "lab.wires") == "0\n"


def test_vale_switches_live_as_long_as_their_ports(lab):
    assert lab("valectl").code == 1
    lab.ok("valectl", "-h", "vale3:em0")
    assert lab("valectl").out == "vale3:em0 bridge_idx 0 port_idx 0\nvale3:em0^ bridge_idx 0 port_idx 1\n"
    assert lab.fails("valectl", "-a", "vale4:em0") == "failed to attach vale4:em0: Device busy\n"
    assert lab.fails("valectl", "-h", "vale4:em9") == "failed to attach vale4:em9: Device not configured\n"
    lab.ok("valectl", "-d", "vale3:em0")
    assert lab("valectl").out == ""


def test_wired_programs_tell_what_is_so(wired):
    answer = wired("drill", "example.org", "@192.0.2.1")
    assert "rcode: NOERROR" in answer.out
    assert "example.org.\t0\tIN\tA\t93.184.216.34\n" in answer.out
    assert read(wired, ping.names_answer("192.0.2.1", "example.org")) is True
    assert wired("ping", "-c", "1", "-t", "30", "93.184.216.34").code == 0
    answer = wired("ping", "-n", "-c", "2", "-i", "0.1", "192.0.2.1")
    assert answer.code == 0
    assert "64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=" in answer.out
    assert "2 packets transmitted, 2 packets received, 0.0% packet loss\n" in answer.out
    assert wired("ping", "-c", "1", "-t", "1", "192.0.2.99").code == 2
    wired.ok("ifconfig", "em0", "inet6", "2001:db8:2::10", "prefixlen", "64")
    assert wired("ping", "-6", "-c", "1", "-t", "30", "2001:db8:2::1").code == 0
    [router] = [one for one in read(wired, arp.table()) if one.address == "192.0.2.1"]
    assert (router.interface, router.is_permanent) == ("em0", False)
    assert "2001:db8:2::1" in [one.address for one in read(wired, ndp.table())]
    [nic] = [one for one in read(wired, netstat.interfaces()) if one.name == "em0"]
    assert nic.packets_in > 5 and nic.octets_out > 300
    assert wired.ok("sysctl", "-n", "lab.wires") == "1\n"


def test_a_wired_bridge_tells_whom_it_has_heard(wired):
    wired.ok("ifconfig", "em0", "inet", "192.0.2.10", "-alias")
    wired.ok("ifconfig", "bridge0", "create", "addm", "em0", "up")
    wired.ok("ifconfig", "bridge0", "inet", "192.0.2.10/24")
    assert wired.ok("route", "add", "default", "192.0.2.1") == "add net default: gateway 192.0.2.1\n"
    assert wired("ping", "-c", "1", "-t", "30", "192.0.2.1").code == 0
    router = json.loads(wired.outside("ip", "-j", "link", "show", "dev", "out0").stdout)[0]["address"]
    [line] = [each for each in wired.ok("ifconfig", "bridge0", "addr").splitlines() if router in each]
    _, vlan, member, seconds, flags = line.split()
    assert (vlan, member, flags) == ("Vlan0", "em0", "flags=0<>")
    assert 1100 < int(seconds) <= 1200
    assert wired("ping", "-c", "1", "-t", "30", "192.0.2.1").code == 0
