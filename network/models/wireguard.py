"""WireGuard between the hosts: each with each."""

from __future__ import annotations

from django.db import models

from bhype.hosts.models import Host


class Mesh(models.Model):
    """A private network of hosts. name: also the interface on each, below wg-."""

    name = models.CharField(max_length=12, unique=True)
    network = models.CharField(max_length=49, help_text="such as 10.99.0.0/24")
    port = models.PositiveIntegerField(default=51820, help_text="UDP, on each host")
    mtu = models.PositiveIntegerField(default=1420, help_text="bytes")
    keepalive = models.PositiveIntegerField(default=25, help_text="seconds; 0 for none")
    revision = models.PositiveIntegerField(default=1)
    is_deleting = models.BooleanField(default=False)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "meshes"

    def __str__(self) -> str:
        return self.name

    @property
    def subject(self) -> str:
        """The mesh as a live topic and as the subject of tasks."""
        return f"mesh:{self.pk}"

    @property
    def interface(self) -> str:
        return f"wg-{self.name}"


class MeshPeer(models.Model):
    """One host's place in a mesh, or that of a machine that bHype does not run on (host None).

    The private key never leaves its host; public_key is written by that host's worker.
    """

    mesh = models.ForeignKey(Mesh, on_delete=models.CASCADE, related_name="peers")
    host = models.ForeignKey(Host, null=True, blank=True, on_delete=models.CASCADE, related_name="meshes")
    name = models.CharField(max_length=64)
    address = models.GenericIPAddressField(help_text="inside the mesh")
    # Where the others find it, ADDRESS:PORT or NAME:PORT; empty for one that only calls.
    endpoint = models.CharField(max_length=260, blank=True)
    public_key = models.CharField(max_length=44, blank=True)
    # Further networks that are behind it.
    routes = models.JSONField(default=list, blank=True)
    # Its host is to leave: the row goes when the host has taken the interface down.
    is_leaving = models.BooleanField(default=False)
    # The revision of the mesh that its host has applied.
    applied = models.PositiveIntegerField(default=0)
    # What is not as wanted on its host, as sentences.
    problems = models.JSONField(default=list, blank=True)
    # Observed, on this peer's host, by the public keys of the others: {"handshake": seconds since 1970, "received":
    # bytes, "sent": bytes}.
    is_up = models.BooleanField(default=False)
    links = models.JSONField(default=dict, blank=True)
    seen_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["mesh", "name"], name="peer_once_per_mesh"),
            models.UniqueConstraint(fields=["mesh", "address"], name="peer_address_once_per_mesh"),
        ]

    def __str__(self) -> str:
        return self.name
