"""What was measured before samples became counts is kept."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE, AFTER = ("network", "0003_networks"), ("network", "0004_traffic_counts")


def migrate(target):
    executor = MigrationExecutor(connection)
    executor.migrate([target])
    return executor.loader.project_state([target]).apps


@pytest.fixture
def before():
    yield migrate(BEFORE)
    migrate(AFTER)


def test_samples_of_rates_become_counts_of_their_ports(before):
    host = before.get_model("hosts", "Host").objects.create(name="old")
    at = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
    rates = {"octets_in": 1500.5, "octets_out": 0.001, "packets_in": 2.0, "packets_out": 0.0}
    for port in ("nic:1", "uplink:em0"):
        before.get_model("network", "TrafficSample").objects.create(
            host=host, port=port, at=at, seconds=300, drops=0.0, **rates
        )

    after = migrate(AFTER)

    rows = after.get_model("network", "TrafficSample").objects.order_by("port__name")
    assert [row.port.name for row in rows] == ["nic:1", "uplink:em0"]
    first = rows[0]
    assert (first.port.host_id, first.seconds, first.number) == (host.pk, 300, int(at.timestamp()) // 300)
    assert (first.octets_in, first.octets_out, first.packets_in, first.packets_out) == (450_150, 1, 600, 0)
