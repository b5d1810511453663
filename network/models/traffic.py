"""How much went through the ports of switches."""

from __future__ import annotations

from django.db import models

from bhype.hosts.models import Host


class TrafficSample(models.Model):
    """Rates of one interface over a span. In and out are the host's view: what a tap receives, its guest has sent."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="traffic")
    # As `network.guests` names it ("nic:12"), or "switch:UUID", "uplink:em0" or "mesh:NAME".
    port = models.CharField(max_length=48)
    at = models.DateTimeField(help_text="the span's begin")
    seconds = models.PositiveIntegerField(help_text="its length")
    octets_in = models.FloatField(help_text="bytes per second")
    octets_out = models.FloatField(help_text="bytes per second")
    packets_in = models.FloatField(help_text="per second")
    packets_out = models.FloatField(help_text="per second")
    drops = models.FloatField(default=0, help_text="errors and dropped packets per second")

    class Meta:
        ordering = ["at"]
        constraints = [
            models.UniqueConstraint(fields=["host", "port", "seconds", "at"], name="traffic_once_per_span"),
        ]
        # What is too old is found by this.
        indexes = [models.Index(fields=["host", "seconds", "at"], name="traffic_by_age")]

    def __str__(self) -> str:
        return f"{self.port} at {self.at}"
