"""Packets that rules with "log" have met: kept within bounds, shown by name, made rules of."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from django.http import QueryDict

from bhype.freebsd import pflog
from network.blocked import observe
from network.blocked.listening import MOST_LINES, Listener
from network.models import Allocation, BlockedPacket, Firewall, Rule
from tests.commit.conftest import until
from vms.models import VM, Nic

LINE = (
    "1763712000.250000 rule 2.rules.1/0(match): block in on sw-nat: {source} > {target}: Flags [S], length 0"
)
RULES = {
    "bhype/rules": [
        'pass out quick on sw-nat from any to <t> label "bhype:rule:9" keep state',
        'block drop in log quick on sw-nat all label "bhype:rule:{pk}"',
    ]
}
NOW = datetime(2025, 11, 21, 8, 0, 30, tzinfo=UTC)


@pytest.fixture
def web1(vm, host, switch):
    Firewall.objects.create(host=host, seen={"own": ["10.77.0.1"], "egress": "em0"}, has_pf=True)
    port = f"nic:{vm.nics.get().pk}"
    Allocation.objects.create(switch=switch, address="10.77.0.10", kind="lease", port=port)
    return f"vm:{vm.uuid}"


def keep(host, source: str, target: str, pk: int = 9) -> None:
    packet = pflog.parse(LINE.format(source=source, target=target))
    assert packet is not None
    loaded = {name: [line.replace("{pk}", str(pk)) for line in lines] for name, lines in RULES.items()}
    observe.keep(host, [packet], loaded, NOW)


def test_a_packet_is_kept_with_its_rule_and_its_time(host, web1):
    keep(host, "10.77.0.10.5000", "192.0.2.9.25", 12)
    row = BlockedPacket.objects.get()
    assert (row.label, row.source, row.target_port) == ("bhype:rule:12", "10.77.0.10", 25)
    assert row.at == datetime.fromtimestamp(1763712000.25, UTC)


def test_a_clock_that_is_wrong_dates_nothing(host, web1):
    packet = pflog.parse(
        LINE.format(source="10.0.0.1.1", target="10.0.0.2.2").replace("1763712000", "1000000000")
    )
    observe.keep(host, [packet], {}, NOW)
    assert BlockedPacket.objects.get().at == NOW


def test_only_the_newest_stay(host, web1, monkeypatch):
    monkeypatch.setattr(observe, "MOST", 20)
    monkeypatch.setattr(observe, "SLACK", 5)
    for number in range(60):
        keep(host, f"10.77.0.10.{number + 1}", "192.0.2.9.25")
    ports = set(BlockedPacket.objects.values_list("source_port", flat=True))
    assert 20 <= len(ports) <= 25 and max(ports) == 60 and min(ports) > 30


def test_the_page_tells_names_and_offers_a_rule(host, web1, as_user, admin, viewer):
    rule = Rule.objects.create(host=host, subject=web1, direction="out", action="block", is_logged=True)
    keep(host, "10.77.0.10.5000", "192.0.2.9.25", rule.pk)
    keep(host, "192.0.2.9.7", "10.77.0.10.22", 4711)
    keep(host, "192.0.2.9.7", "192.0.2.10.22", 4711)
    answer = as_user(admin).get("/network/firewall/blocked/")
    neither, into, out = answer.context["lines"]
    assert (out.source, out.target) == ("web1 (10.77.0.10) port 5000", "192.0.2.9 port 25")
    assert out.rule == "rule 1" and into.rule == "a rule that is gone"
    assert neither.allow == ""
    known = QueryDict(out.allow.partition("?")[2])
    assert (known["subject"], known["direction"], known["ports"]) == (web1, "out", "25")
    # The rule that is offered is one that can be stored as it is.
    client = as_user(admin)
    assert client.get(out.allow).status_code == 200
    assert client.post(out.allow, {**known.dict(), "family": "", "note": ""}).status_code == 302
    made = Rule.objects.get(action="pass")
    assert (made.peer, made.ports, made.protocol) == ("192.0.2.9", "25", "tcp")
    # Behind the rule that drops such packets it would never be met.
    assert list(Rule.objects.all()) == [made, rule]
    assert "Allow this" not in as_user(viewer).get("/network/firewall/blocked/").content.decode()


def test_of_a_packet_between_guests_the_side_is_allowed_that_dropped_it(host, web1, switch, as_user, admin):
    other = VM.objects.create(
        host=host, pool=VM.objects.get().pool, name="db1", cpus=1, memory=2**30, vnc_port=5999
    )
    nic = Nic.objects.create(vm=other, index=0, switch=switch, mac="58:9c:fc:00:00:55")
    Allocation.objects.create(switch=switch, address="10.77.0.20", kind="lease", port=f"nic:{nic.pk}")
    keep(host, "10.77.0.10.5000", "10.77.0.20.25")
    BlockedPacket.objects.create(
        host=host, at=NOW, action="block", direction="out", interface="sw-nat", protocol="tcp",
        source="10.77.0.10", target="10.77.0.20", target_port=25,
    )  # fmt: skip
    into, sent = as_user(admin).get("/network/firewall/blocked/").context["lines"]
    for line, direction, subject, peer in (
        (sent, "out", web1, f"vm:{other.uuid}"),
        (into, "in", f"vm:{other.uuid}", web1),
    ):
        known = QueryDict(line.allow.partition("?")[2])
        assert (known["direction"], known["subject"], known["peer"]) == (direction, subject, peer)


@pytest.mark.parametrize(
    ("query", "count"),
    [("q=web1", 2), ("q=192.0.2.9", 1), ("q=25", 1), ("q=udp", 0), ("action=pass", 0), ("", 2)],
)
def test_packets_are_filtered(host, web1, as_user, admin, query, count):
    keep(host, "10.77.0.10.5000", "192.0.2.9.25")
    keep(host, "10.77.0.10.5000", "192.0.2.77.80")
    answer = as_user(admin).get(f"/network/firewall/blocked/?{query}")
    assert len(answer.context["lines"]) == count


def test_a_paused_page_stands_still(host, web1, as_user, admin):
    assert 'data-live="blocked"' in as_user(admin).get("/network/firewall/blocked/").content.decode()
    assert (
        'data-live="blocked"' not in as_user(admin).get("/network/firewall/blocked/?pause=1").content.decode()
    )


# The process that listens.


@pytest.fixture
def listener(tmp_path):
    made = Listener(str(tmp_path))

    def tcpdump(script: str) -> Listener:
        program = tmp_path / "usr/sbin/tcpdump"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return made

    yield tcpdump
    made.close()


def gather(listener: Listener, count: int) -> list[str]:
    found: list[str] = []

    def enough() -> bool:
        found.extend(listener.lines())
        return len(found) >= count

    until(enough)
    return found


def test_lines_are_taken_as_they_come_and_never_in_halves(listener):
    made = listener("printf 'one\\ntw'; sleep 0.3; printf 'o\\nthree\\n'; exec sleep 60")
    assert gather(made, 3) == ["one", "two", "three"]


def test_asking_never_waits(listener):
    made = listener("exec sleep 60")
    made.lines()
    began = time.monotonic()
    assert made.lines() == []
    assert time.monotonic() - began < 30


def test_a_flood_costs_no_more_than_a_sweep_may_take(listener):
    made = listener("yes 'a line of a flood'")
    until(lambda: len(made.lines()) == MOST_LINES)
    assert len(made.lines()) <= MOST_LINES


def test_what_ends_is_told_and_started_again_after_a_while(listener):
    made = listener("echo 'tcpdump: pflog0: No such device exists' >&2; exit 1")
    until(lambda: bool(made.lines() or made.problem))
    assert "No such device" in made.problem
    assert made.lines() == [] and made._process is None


def test_without_a_program_nothing_breaks(tmp_path):
    made = Listener(str(tmp_path))
    assert made.lines() == [] and "not on this host" in made.problem
