"""Samples of traffic become counts under integer keys; those that are there are taken along."""

from __future__ import annotations

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

BATCH = 1000
COUNTS = ("octets_in", "octets_out", "packets_in", "packets_out", "drops")


def take_along(apps: Any, _editor: Any) -> None:
    """Rates per second become counts of their span."""
    ports, samples = apps.get_model("network", "TrafficPort"), apps.get_model("network", "TrafficSample")
    before = apps.get_model("network", "TrafficRate")
    keys = {}
    for host, name in before.objects.order_by().values_list("host_id", "port").distinct():
        keys[host, name] = ports.objects.create(host_id=host, name=name).pk
    waiting = []
    for row in before.objects.order_by("pk").iterator(BATCH):
        rates = {key: getattr(row, key) for key in COUNTS}
        counts = {key: max(1, round(rate * row.seconds)) if rate else 0 for key, rate in rates.items()}
        number = int(row.at.timestamp()) // row.seconds
        port = keys[row.host_id, row.port]
        waiting.append(samples(port_id=port, seconds=row.seconds, number=number, **counts))
        if len(waiting) == BATCH:
            samples.objects.bulk_create(waiting, ignore_conflicts=True)
            waiting = []
    samples.objects.bulk_create(waiting, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("network", "0003_networks")]

    operations = [
        migrations.RemoveConstraint("trafficsample", "traffic_once_per_span"),
        migrations.RemoveIndex("trafficsample", "traffic_by_age"),
        migrations.RenameModel("TrafficSample", "TrafficRate"),
        migrations.CreateModel(
            name="TrafficPort",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=48)),
                (
                    "host",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="traffic",
                        to="hosts.host",
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
                "constraints": [models.UniqueConstraint(fields=("host", "name"), name="traffic_port_once")],
            },
        ),
        migrations.CreateModel(
            name="TrafficSample",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "port",
                        "seconds",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("seconds", models.PositiveSmallIntegerField(help_text="the span's length")),
                ("number", models.PositiveIntegerField(help_text="of spans of this length since 1970")),
                ("octets_in", models.PositiveBigIntegerField(help_text="bytes in the span")),
                ("octets_out", models.PositiveBigIntegerField(help_text="bytes in the span")),
                ("packets_in", models.PositiveBigIntegerField(help_text="in the span")),
                ("packets_out", models.PositiveBigIntegerField(help_text="in the span")),
                (
                    "drops",
                    models.PositiveBigIntegerField(
                        help_text="errors and dropped packets in the span", default=0
                    ),
                ),
                (
                    "port",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="samples",
                        to="network.trafficport",
                    ),
                ),
            ],
        ),
        migrations.RunPython(take_along, migrations.RunPython.noop),
        migrations.DeleteModel("TrafficRate"),
    ]
