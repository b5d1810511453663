"""The file of leases and the commands of dnsmasq(8)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import dnsmasq
from bhype.freebsd.command import ParseError
from bhype.freebsd.dnsmasq import Lease
from bhype.freebsd.ps import Process

# As dnsmasq 2.90 has written it for udhcpc and dhclient.
REAL = """\
1767229200 58:9c:fc:00:00:05 10.77.0.138 web1 01:58:9c:fc:00:00:05
0 58:9c:fc:00:00:06 10.77.0.8 * *
1767229200 06-58:9c:fc:00:00:07 10.77.0.9 printer ff:00:00:00:01:00:03:00:01:58:9c:fc:00:00:07
duid 00:01:00:01:30:7a:6b:1c:58:9c:fc:10:51:31
1767229200 16777216 fd77::156 web1 00:03:00:01:58:9c:fc:00:00:05
1767229200 T83886080 fd77::157 * 00:03:00:01:58:9c:fc:00:00:05
"""
MOMENT = datetime.fromtimestamp(1767229200, UTC)


def test_leases_of_both_families_are_read():
    found = dnsmasq.parse_leases(REAL)
    assert found[0] == Lease("10.77.0.138", "58:9c:fc:00:00:05", "web1", "01:58:9c:fc:00:00:05", MOMENT)
    assert found[1] == Lease("10.77.0.8", "58:9c:fc:00:00:06")
    # The kind of hardware stands before the address where it is not Ethernet.
    assert found[2].mac == "58:9c:fc:00:00:07"
    assert found[3] == Lease("fd77::156", "", "web1", "00:03:00:01:58:9c:fc:00:00:05", MOMENT)
    assert found[4].is_temporary and not found[3].is_temporary
    assert len(found) == 5
    assert dnsmasq.parse_leases("") == []


@pytest.mark.parametrize(
    "line", ["x", "1 2 3", "a 58:9c:fc:00:00:06 10.0.0.1 * *", "1 m nowhere * *", f"{10**30} m ::1 * *"]
)
def test_what_is_no_lease_is_told_with_its_line(line):
    with pytest.raises(ParseError, match="line 2"):
        dnsmasq.parse_leases(f"duid 00:01\n{line}\n")


@given(st.text())
def test_no_text_breaks_the_reader(text):
    try:
        dnsmasq.parse_leases(text)
    except ParseError:
        return


def test_one_lease_is_taken_out_and_the_rest_stays_as_it_is():
    without = dnsmasq.without(REAL, "FD77:0::156")
    assert without == REAL.replace("1767229200 16777216 fd77::156 web1 00:03:00:01:58:9c:fc:00:00:05\n", "")
    assert dnsmasq.without(REAL, "10.77.0.99") == REAL


def test_a_process_is_known_by_its_configuration():
    def process(command: str) -> Process:
        return Process(7, 0.0, 0, 0, command)

    path = "/usr/local/etc/bhype/dnsmasq/nat.conf"
    started = " ".join(dnsmasq.start(path, "/var/run/x.pid").argv)
    assert dnsmasq.serves(process(started), path)
    for other in (
        "", "dnsmasq", f"/usr/local/sbin/dnsmasq --conf-file={path}2", f"vi --conf-file={path}",
        "/usr/local/sbin/dnsmasq --conf-file=/usr/local/etc/dnsmasq.conf", f"dnsmasq --test --conf-file={path}",
    ):  # fmt: skip
        assert not dnsmasq.serves(process(other), path)
    assert dnsmasq.check(path).argv[1:] == ("--test", f"--conf-file={path}")
