"""Addresses and names on switches: what may be given, what is given, and what was seen."""

from __future__ import annotations

from django.db import models

from bhype.hosts.models import Host

from .switches import Switch


class AddressPool(models.Model):
    """A range of addresses of a switch, both ends included, of one family and inside one subnet of it."""

    class Purpose(models.TextChoices):
        DHCP = "dhcp", "Given by DHCP"
        STATIC = "static", "Given by bHype for good"

    switch = models.ForeignKey(Switch, on_delete=models.CASCADE, related_name="pools")
    purpose = models.CharField(max_length=6, choices=Purpose)
    first = models.GenericIPAddressField()
    last = models.GenericIPAddressField()
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["switch", "pk"]

    def __str__(self) -> str:
        return f"{self.first} - {self.last}"


class Allocation(models.Model):
    """One address that belongs to somebody. The constraint decides between those who ask at once."""

    class Kind(models.TextChoices):
        LEASE = "lease", "Static lease"
        STATIC = "static", "Set in the guest"
        RESERVED = "reserved", "Reserved"

    switch = models.ForeignKey(Switch, on_delete=models.CASCADE, related_name="allocations")
    address = models.GenericIPAddressField()
    kind = models.CharField(max_length=8, choices=Kind)
    # Of a guest: its port as `network.ports` names it ("nic:12"); of another machine: its MAC address.
    port = models.CharField(max_length=40, blank=True, db_index=True)
    mac = models.CharField(max_length=17, blank=True)
    # Of a static lease of IPv6: the DUID that the client was seen with; FreeBSD's dnsmasq knows it by no MAC there.
    client_id = models.CharField(max_length=255, blank=True)
    hostname = models.CharField(max_length=63, blank=True)
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["switch", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["switch", "address"], name="address_once_per_switch"),
        ]

    def __str__(self) -> str:
        return str(self.address)


class DnsRecord(models.Model):
    """A name of a switch's own. name: without the switch's domain, or with a dot at its end a whole one."""

    class Kind(models.TextChoices):
        A = "A"
        AAAA = "AAAA"
        CNAME = "CNAME"
        MX = "MX"
        SRV = "SRV"
        TXT = "TXT"

    switch = models.ForeignKey(Switch, on_delete=models.CASCADE, related_name="records")
    name = models.CharField(max_length=253)
    kind = models.CharField(max_length=5, choices=Kind)
    value = models.CharField(max_length=500)

    class Meta:
        ordering = ["switch", "name", "kind", "value"]
        constraints = [
            models.UniqueConstraint(fields=["switch", "name", "kind", "value"], name="dns_record_once"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.kind} {self.value}"


class Lease(models.Model):
    """What dnsmasq(8) has given, as observed in its lease file."""

    switch = models.ForeignKey(Switch, on_delete=models.CASCADE, related_name="leases")
    address = models.GenericIPAddressField()
    # Of IPv6 as known from neighbours; empty where nobody knows.
    mac = models.CharField(max_length=17, blank=True, db_index=True)
    hostname = models.CharField(max_length=255, blank=True)
    client_id = models.CharField(max_length=255, blank=True)
    # None: for ever.
    expires_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["switch", "pk"]
        constraints = [models.UniqueConstraint(fields=["switch", "address"], name="lease_once_per_switch")]

    def __str__(self) -> str:
        return str(self.address)


class Neighbour(models.Model):
    """Who answers at an address, as the host's ARP and ND tables have it."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="neighbours")
    interface = models.CharField(max_length=15)
    address = models.GenericIPAddressField()
    mac = models.CharField(max_length=17, db_index=True)
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["host", "interface", "address"], name="neighbour_once_per_interface"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.address} at {self.mac}"
