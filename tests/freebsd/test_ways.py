"""route(8), sysrc(8), ping(8) and drill(1): what the self-test asks."""

from __future__ import annotations

import pytest

from bhype.freebsd import ping, route, sysrc
from bhype.freebsd.command import ParseError
from bhype.freebsd.names import BadName

ROUTE = """   route to: default
destination: default
       mask: default
    gateway: 192.0.2.1
        fib: 0
  interface: em0
      flags: <UP,GATEWAY,DONE,STATIC>
 recvpipe  sendpipe  ssthresh  rtt,msec    mtu        weight    expire
       0         0         0         0      1500         1         0
"""


def test_the_default_route_is_read():
    assert route.default().parse(ROUTE) == route.Route("em0", "192.0.2.1")
    assert route.default("inet6").parse(ROUTE.replace("192.0.2.1", "fe80::1%em0")) == route.Route(
        "em0", "fe80::1"
    )
    assert route.default().parse("") is None
    assert route.default().command.argv == ("/sbin/route", "-n", "get", "-inet", "default")
    with pytest.raises(ParseError):
        route.default().parse("destination: default\n")


def test_rc_conf_is_read_and_written():
    query = sysrc.read("gateway_enable", "pf_enable")
    assert query.command.argv[1:] == ("-i", "gateway_enable", "pf_enable")
    values = query.parse("gateway_enable: YES\npf_enable: \n")
    assert values == {"gateway_enable": "YES", "pf_enable": ""}
    assert [sysrc.is_yes(word) for word in ("YES", "on", "1", "no", "")] == [True, True, True, False, False]
    assert sysrc.write("gateway_enable", "YES").argv[-1] == "gateway_enable=YES"
    for name, value in (("x y", "YES"), ("-f", "YES"), ("pf_enable", 'YES"\nx'), ("pf_enable", "$(x)")):
        with pytest.raises(BadName):
            sysrc.write(name, value)


def test_answers_are_told_from_silence():
    query = ping.answers("192.0.2.1")
    assert query.command.argv == ("/sbin/ping", "-n", "-c", "1", "-t", "2", "192.0.2.1")
    assert query.parse("1 packets transmitted, 1 packets received, 0.0% packet loss\n")
    assert not query.parse("1 packets transmitted, 0 packets received, 100.0% packet loss\n")
    names = ping.names_answer("10.77.0.1", "bhype.internal")
    assert names.parse(";; ->>HEADER<<- opcode: QUERY, rcode: NXDOMAIN, id: 1\n")
    assert not names.parse(";; ->>HEADER<<- opcode: QUERY, rcode: REFUSED, id: 1\n")
    assert not names.parse(
        "Error: error sending query: Could not send or receive, because of network error\n"
    )
    for call in (
        lambda: ping.answers("-f"),
        lambda: ping.names_answer("x", "a"),
        lambda: ping.names_answer("::1", "-f"),
    ):
        with pytest.raises(BadName):
            call()
