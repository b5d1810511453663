"""Switches: the networks that VMs and jails are plugged into."""

from __future__ import annotations

import uuid

from django.db import models

from bhype.hosts.models import Host
from network.switches.wanted import Wanted


class SwitchQuerySet(models.QuerySet["Switch"]):
    def by_use(self) -> SwitchQuerySet:
        """The likeliest choice of a new guest first: NAT-ed, then private, then bridged; what waits for its uplink and
        what is not bHype's own last."""
        waits = models.Q(kind="bridged", uplink="", vxlan=None)
        order = models.Case(
            models.When(~models.Q(adopted=""), then=8),
            models.When(waits, then=9),
            models.When(kind="nat", then=0),
            models.When(kind="private", then=1),
            default=2,
        )
        return self.filter(is_deleting=False).order_by(order, "name")


class Switch(models.Model):
    class Kind(models.TextChoices):
        BRIDGED = "bridged", "Bridged (public)"
        NAT = "nat", "NAT-ed"
        PRIVATE = "private", "Private"

    class Technology(models.TextChoices):
        """What of FreeBSD it is made of."""

        BRIDGE = "bridge", "if_bridge"
        NETGRAPH = "netgraph", "netgraph (ng_bridge)"
        VALE = "vale", "VALE (netmap)"

    class Ipv6(models.TextChoices):
        """How guests come to IPv6 addresses: nothing is announced, they make their own, or DHCPv6 gives them."""

        OFF = "off", "Off"
        SLAAC = "slaac", "Router advertisements (SLAAC)"
        DHCP = "dhcp", "DHCPv6"

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="switches")
    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    # Wanted.
    name = models.CharField(max_length=12)
    kind = models.CharField(max_length=8, choices=Kind)
    technology = models.CharField(max_length=8, choices=Technology, default=Technology.BRIDGE)
    note = models.CharField(max_length=200, blank=True)
    # The interface of a bridge that somebody else made; bHype plugs guests into it and changes nothing else of it.
    adopted = models.CharField(max_length=15, blank=True)
    # The host's own addresses on the switch with their prefix lengths, such as 10.77.0.1/24; empty for none.
    address = models.CharField(max_length=49, blank=True)
    address6 = models.CharField(max_length=49, blank=True)
    # The interface of the host that is plugged into the switch, physical or lagg, and the VLAN of it that is meant.
    uplink = models.CharField(max_length=15, blank=True)
    vlan = models.PositiveSmallIntegerField(null=True, blank=True)
    # The tunnel to the same switch of other hosts: its number, this host's address, and the other's or a group's.
    vxlan = models.PositiveIntegerField(null=True, blank=True)
    vxlan_local = models.CharField(max_length=45, blank=True)
    vxlan_remote = models.CharField(max_length=45, blank=True)
    mtu = models.PositiveIntegerField(default=1500, help_text="bytes")
    # Of a bridge of FreeBSD 15.0 and later: each port is in the VLANs that it is given.
    has_vlans = models.BooleanField(default=False)
    # The host's own addresses, which were its uplink's until they were moved: with prefix lengths; and the router that
    # was the default route through them.
    host_addresses = models.JSONField(default=list, blank=True)
    host_router = models.CharField(max_length=45, blank=True)
    # While a move of them waits for its confirmation: {"note", "addresses", "router"}, as they were before.
    host_before = models.JSONField(null=True, blank=True)
    is_isolated = models.BooleanField(
        default=False, help_text="its guests reach the host and the uplink, not each other"
    )
    # A port sends with the MAC and IP addresses of its guest only.
    is_guarded = models.BooleanField(default=True, help_text="guests cannot send in another's name")
    # Of a NAT-ed switch: the interface through which its guests leave; empty for that of the default route.
    nat_interface = models.CharField(max_length=15, blank=True)
    # The service of dnsmasq(8) on the switch.
    has_dhcp = models.BooleanField(default=False)
    lease_seconds = models.PositiveIntegerField(default=12 * 3600)
    ipv6 = models.CharField(max_length=5, choices=Ipv6, default=Ipv6.OFF)
    has_dns = models.BooleanField(default=False)
    # Guests are VM.DOMAIN; empty for NAME.internal.
    domain = models.CharField(max_length=100, blank=True)
    # The router that guests are told of; empty for this host on NAT-ed switches, and for none on others.
    gateway = models.GenericIPAddressField(null=True, blank=True, protocol="IPv4")
    # Servers that are asked for other names; [] for those of the host.
    upstreams = models.JSONField(default=list, blank=True)
    # What happens to packets that no rule tells of: to its guests and from them.
    passes_in = models.BooleanField(default=True)
    passes_out = models.BooleanField(default=True)
    # Raised by every change of a wanted column; a form that carries an older one is stale (409).
    revision = models.PositiveIntegerField(default=1)
    is_deleting = models.BooleanField(default=False)
    # Observed.
    is_up = models.BooleanField(default=False)
    members = models.JSONField(default=list)
    # "off", "running" or "failed", and the sentence that says why.
    dhcp_state = models.CharField(max_length=8, default="off")
    dhcp_reason = models.CharField(max_length=500, blank=True)
    # What is not as wanted, as sentences.
    problems = models.JSONField(default=list, blank=True)
    seen_at = models.DateTimeField(null=True)

    objects = SwitchQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="switch_once_per_host")]

    def __str__(self) -> str:
        return self.name

    @property
    def subject(self) -> str:
        """The switch as a live topic and as the subject of tasks."""
        return f"switch:{self.pk}"

    @property
    def interface(self) -> str:
        """The interface on the host: of guests' packets to it, and of dnsmasq(8) and pf(4). A VALE switch has none."""
        return self.adopted or f"sw-{self.name}"

    @property
    def vale(self) -> str:
        """What a VALE switch is called; a port of it is VALE:NUMBER."""
        return f"vale{self.pk}"

    @property
    def is_waiting(self) -> bool:
        """Whether it is not set up because nobody has chosen its uplink yet."""
        return self.wanted.is_waiting

    @property
    def addresses(self) -> list[str]:
        """All addresses of the host on it, with prefix lengths."""
        return list(self.wanted.addresses)

    @property
    def guest_domain(self) -> str:
        """The domain below which its guests have their names."""
        return self.domain or f"{self.name}.internal"

    @property
    def router(self) -> str:
        """The IPv4 address that guests send to what is elsewhere; empty for none."""
        if self.gateway:
            return str(self.gateway)
        return self.address.partition("/")[0] if self.kind == self.Kind.NAT else ""

    @property
    def wanted(self) -> Wanted:
        return Wanted(
            name=self.name, interface=self.interface, technology=self.technology, is_adopted=bool(self.adopted),
            is_bridged=self.kind == self.Kind.BRIDGED,
            addresses=tuple(filter(None, (self.address, self.address6, *self.host_addresses))),
            uplink=self.uplink, vlan=self.vlan, vni=self.vxlan, vxlan_local=self.vxlan_local,
            vxlan_remote=self.vxlan_remote, mtu=self.mtu, is_isolated=self.is_isolated, has_vlans=self.has_vlans,
            vale=self.vale, is_deleting=self.is_deleting,
        )  # fmt: skip


class Predefined(models.Model):
    """A switch of the first start that this host has had: it does not come back when somebody has deleted it."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="predefined_switches")
    name = models.CharField(max_length=12)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="predefined_once_per_host")]

    def __str__(self) -> str:
        return self.name


class Aggregation(models.Model):
    """Several interfaces of the host as one, lagg(4), made here; an uplink of switches like a physical one."""

    class Protocol(models.TextChoices):
        LACP = "lacp", "LACP"
        FAILOVER = "failover", "Failover"
        LOADBALANCE = "loadbalance", "Load balancing"

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="aggregations")
    name = models.CharField(max_length=8, help_text="its interface, such as lagg0")
    protocol = models.CharField(max_length=12, choices=Protocol, default=Protocol.LACP)
    members = models.JSONField(default=list)
    is_deleting = models.BooleanField(default=False)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="aggregation_once_per_host")]

    def __str__(self) -> str:
        return self.name
