from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("hosts", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="PciDevice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address", models.CharField(help_text="as pci0:1:0:0", max_length=32)),
                ("domain", models.PositiveIntegerField(default=0)),
                ("bus", models.PositiveIntegerField()),
                ("slot", models.PositiveIntegerField()),
                ("function", models.PositiveIntegerField()),
                ("class_code", models.PositiveIntegerField(default=0)),
                ("kind", models.CharField(blank=True, max_length=100)),
                ("vendor", models.CharField(blank=True, max_length=200)),
                ("name", models.CharField(blank=True, max_length=200)),
                ("identity", models.CharField(help_text="vendor and device, as 8086:1521", max_length=16)),
                ("driver", models.CharField(blank=True, max_length=40)),
                ("is_reserved", models.BooleanField(default=False)),
                ("kept", models.CharField(blank=True, max_length=200)),
                (
                    "host",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="pci_devices", to="hosts.host"
                    ),
                ),
            ],
            options={"ordering": ["domain", "bus", "slot", "function"]},
        ),
        migrations.AddConstraint(
            model_name="pcidevice",
            constraint=models.UniqueConstraint(fields=("host", "address"), name="one_pci_device_per_address"),
        ),
    ]
