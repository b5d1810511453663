"""How much went through the ports of switches."""

from __future__ import annotations

from django.db import models

from bhype.hosts.models import Host


class TrafficPort(models.Model):
    """What is counted of a host: a port of a guest, a switch, an uplink or a mesh."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="traffic", db_index=False)
    # As `network.guests` names it ("nic:12"), or "switch:UUID", "uplink:em0" or "mesh:NAME".
    name = models.CharField(max_length=48)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="traffic_port_once")]

    def __str__(self) -> str:
        return self.name


class TrafficSample(models.Model):
    """What went through in one span. In and out are the host's view: what a tap receives, its guest has sent.

    There are millions of these: each is a few small integers, found by its key alone.
    """

    pk = models.CompositePrimaryKey("port", "seconds", "number")
    port = models.ForeignKey(TrafficPort, on_delete=models.CASCADE, related_name="samples", db_index=False)
    seconds = models.PositiveSmallIntegerField(help_text="the span's length")
    number = models.PositiveIntegerField(help_text="of spans of this length since 1970")
    octets_in = models.PositiveBigIntegerField(help_text="bytes in the span")
    octets_out = models.PositiveBigIntegerField(help_text="bytes in the span")
    packets_in = models.PositiveBigIntegerField(help_text="in the span")
    packets_out = models.PositiveBigIntegerField(help_text="in the span")
    drops = models.PositiveBigIntegerField(default=0, help_text="errors and dropped packets in the span")

    def __str__(self) -> str:
        return f"{self.port_id}: {self.seconds} s, number {self.number}"
