from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from bhype.freebsd import netstat
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep
from network.models import Mesh, MeshPeer, Switch, TrafficPort, TrafficSample
from network.traffic import observe, pages
from network.traffic.pages import Shown
from vms.guests import port_key


class FakeSweep(Sweep):
    """A look at a host whose netstat answers what is given."""

    def __init__(self, row: Host, counted: dict[str, int], now, memories=None) -> None:
        super().__init__(self, row, memories=memories)
        self.now, self.counted = now, counted

    def exists(self, path: str) -> bool:
        return path == netstat.PROGRAM

    def ask(self, query):
        entries = [
            {
                "name": name, "network": "<Link#1>", "received-bytes": count, "sent-bytes": 2 * count,
                "received-packets": count // 100, "sent-packets": count // 100,
            }
            for name, count in self.counted.items()
        ]  # fmt: skip
        return query.parse(json.dumps({"statistics": {"interface": entries}}))


@pytest.fixture
def nic(vm):
    return vm.nics.get()


def sample(
    host: Host, port: str, *, age: int = 10, seconds: int = 10, octets: float = 1000.0, drops: float = 0
) -> None:
    at = timezone.now() - timedelta(seconds=age)
    observe.write(host, [observe.Rates(port, at, seconds, octets, 2 * octets, 1, 2, drops)])


def test_what_is_counted_are_guests_switches_uplinks_and_meshes(host, switch, nic):
    Switch.objects.filter(pk=switch.pk).update(uplink="em0")
    mesh = Mesh.objects.create(name="all", network="10.99.0.0/24")
    MeshPeer.objects.create(mesh=mesh, host=host, name=host.name, address="10.99.0.1")
    assert observe.ports(host) == {
        port_key(nic): nic.tap,
        f"switch:{switch.uuid}": "sw-nat",
        "uplink:em0": "em0",
        "mesh:all": "wg-all",
    }


def test_behind_a_rate_the_tap_is_counted(host, nic):
    nic.options = {"rate_in": "10M"}
    nic.save()
    assert observe.ports(host)[port_key(nic)] == nic.tap


def test_two_looks_make_samples(host, nic, django_assert_max_num_queries):
    now, later, memories = timezone.now(), timezone.now() + timedelta(seconds=10), {}
    observe.observe(FakeSweep(host, {nic.tap: 5000, "sw-nat": 100, "lo0": 9}, now, memories))
    with django_assert_max_num_queries(14):
        assert observe.observe(FakeSweep(host, {nic.tap: 9000, "sw-nat": 600}, later, memories))
    found = pages.samples(host.pk, [port_key(nic), f"switch:{nic.switch.uuid}"], "hour")
    assert {port: [(one.octets_in, one.octets_out) for one in rows] for port, rows in found.items()} == {
        port_key(nic): [(400.0, 800.0)],
        f"switch:{nic.switch.uuid}": [(50.0, 100.0)],
    }
    assert observe.observe(FakeSweep(host, {}, later, memories)) is False


def test_a_span_that_is_there_already_stays(host, nic):
    rates = [observe.Rates("nic:1", timezone.now(), 10, 1, 2, 3, 4, 5)]
    observe.write(host, rates)
    observe.write(host, rates)
    assert TrafficSample.objects.count() == 1


def test_one_packet_lost_in_a_long_span_is_not_forgotten(host, nic):
    sample(host, "nic:1", drops=0.001)
    (found,) = pages.samples(host.pk, ["nic:1"], "hour")["nic:1"]
    assert found.drops > 0


def test_a_name_is_written_once_and_a_sample_has_no_index_but_its_key(host, nic):
    now = timezone.now()
    for step in range(3):
        rates = [
            observe.Rates(f"switch:{nic.switch.uuid}", now - timedelta(seconds=10 * step), 10, 1, 2, 3, 4, 5)
        ]
        observe.write(host, rates)
    assert (TrafficPort.objects.count(), TrafficSample.objects.count()) == (1, 3)
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, TrafficSample._meta.db_table)
    assert not any(one["index"] for one in found.values())
    assert [set(one["columns"]) for one in found.values() if one["primary_key"]] == [
        {"port_id", "seconds", "number"}
    ]


def test_samples_go_when_they_are_old(host, nic):
    for seconds, age in (
        (10, 4000),
        (10, 3000),
        (60, 90_000),
        (60, 80_000),
        (900, 31 * 86400),
        (900, 29 * 86400),
    ):
        sample(host, "nic:1", seconds=seconds, age=age)
    sample(host, "nic:2", age=4000)
    other = Host.objects.create(name="other")
    sample(other, "nic:1", age=4000)
    observe.forget(FakeSweep(host, {}, timezone.now()))
    assert TrafficSample.objects.filter(port__host=host).count() == 3
    assert list(TrafficPort.objects.values_list("host", "name")) == [(host.pk, "nic:1"), (other.pk, "nic:1")]


def test_a_host_without_netstat_measures_nothing(host, nic, monkeypatch):
    monkeypatch.setattr(FakeSweep, "exists", lambda *_: False)
    assert observe.observe(FakeSweep(host, {}, timezone.now())) is False


def test_a_guest_has_received_what_the_host_has_sent(host, nic, django_assert_num_queries):
    sample(host, port_key(nic), octets=1_000_000)
    sample(host, "uplink:em0", octets=1_000_000)
    with django_assert_num_queries(2):
        found = pages.now(host.pk, [port_key(nic), "uplink:em0", "nic:999"])
    assert set(found) == {port_key(nic), "uplink:em0"}
    assert (found[port_key(nic)].received, found[port_key(nic)].sent) == ("16.0 Mbit/s", "8.0 Mbit/s")
    assert (found["uplink:em0"].received, found["uplink:em0"].sent) == ("8.0 Mbit/s", "16.0 Mbit/s")


def test_an_old_sample_is_not_now(host, nic):
    sample(host, port_key(nic), age=600)
    assert pages.now(host.pk, [port_key(nic)]) == {}


def test_a_limit_is_drawn_where_the_lines_come_near_it(host, nic):
    sample(host, "nic:1", octets=1_000_000)
    shown = [
        Shown("nic:1", "Port 0", rates=(20_000_000, None)),
        Shown("nic:1", "Port 0", rates=(10**9, 10**9)),
    ]
    (_, near), (_, far) = pages.figures(host.pk, shown, "hour")
    (limit,) = near[0].limits
    assert (limit.label, limit.words) == ("Limit of received", "20.0 Mbit/s") and limit.y is not None
    assert [limit.y for limit in far[0].limits] == [None, None]


def test_lost_packets_have_a_chart_only_where_some_were_lost(host, nic):
    sample(host, "nic:1")
    sample(host, "nic:2", drops=3)
    (_, good), (_, bad) = pages.figures(host.pk, [Shown("nic:1", "a"), Shown("nic:2", "b")], "hour")
    assert len(good) == 2 and bad[2].title == "Lost packets"


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0 bit/s"), (999, "999 bit/s"), (1500, "1.5 kbit/s"), (10**6, "1.0 Mbit/s"), (250e9, "250 Gbit/s")],
)
def test_bits_are_written_as_network_people_do(value, words):
    assert pages.bits(value) == words


def test_the_page_of_a_switch_shows_its_busiest_ports(as_user, viewer, stranger, host, nic):
    sample(host, port_key(nic))
    answer = as_user(viewer).get("/network/switches/nat/traffic/?range=day")
    text = answer.content.decode()
    assert "web1" in text and "Bits" in text and 'href="?range=month"' in text
    part = as_user(viewer, HTTP_HX_TARGET="traffic").get("/network/switches/nat/traffic/").content.decode()
    assert "web1" in part and "<html" not in part
    assert as_user(stranger).get("/network/switches/nat/traffic/").status_code == 404


def test_the_page_of_a_netgraph_switch_says_why_ports_are_not_counted(as_user, viewer, host, nic):
    Switch.objects.update(technology="netgraph")
    assert (
        "netstat counts interfaces" in as_user(viewer).get("/network/switches/nat/traffic/").content.decode()
    )


def test_the_api_gives_the_samples_of_a_switch(as_user, viewer, stranger, host, nic, switch):
    sample(host, port_key(nic), seconds=60)
    answer = as_user(viewer).get("/api/v1/switches/nat/traffic?range=day")
    found = {one["port"]: one["samples"] for one in answer.json()}
    assert set(found) == {port_key(nic), f"switch:{switch.uuid}"}
    assert found[port_key(nic)][0]["octets_out"] == 2000.0
    assert as_user(viewer).get("/api/v1/switches/nat/traffic?range=year").status_code == 422
    assert as_user(stranger).get("/api/v1/switches/nat/traffic").status_code == 404
