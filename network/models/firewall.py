"""The firewall: rules by name, forwards, aliases, the rule sets that were made of them, and what was blocked.

An endpoint is a word: "any", "host" (this host itself), "internet" (whatever is on no switch), "vm:UUID", "jail:UUID",
"tag:NAME", "switch:UUID", "alias:NUMBER", or an address or network in numbers.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from bhype.hosts.models import Host

ENDPOINT = 80


class Alias(models.Model):
    """A name for several hosts, networks or ports. entries: words, endpoints among them where it names hosts."""

    class Kind(models.TextChoices):
        HOSTS = "hosts", "Hosts"
        NETWORKS = "networks", "Networks"
        PORTS = "ports", "Ports"

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=31)
    kind = models.CharField(max_length=8, choices=Kind)
    entries = models.JSONField(default=list)
    note = models.CharField(max_length=200, blank=True)
    revision = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="alias_once_per_host")]

    def __str__(self) -> str:
        return self.name


class Rule(models.Model):
    """What happens to packets to or from a subject. Of a host's rules the first that is met decides."""

    class Action(models.TextChoices):
        PASS = "pass", "Allow"
        BLOCK = "block", "Drop"
        REJECT = "reject", "Refuse"

    class Direction(models.TextChoices):
        IN = "in", "To"
        OUT = "out", "From"

    class Family(models.TextChoices):
        BOTH = "", "IPv4 and IPv6"
        IPV4 = "inet", "IPv4"
        IPV6 = "inet6", "IPv6"

    class Protocol(models.TextChoices):
        ANY = "", "Any"
        TCP = "tcp", "TCP"
        UDP = "udp", "UDP"
        BOTH = "tcp/udp", "TCP and UDP"
        ICMP = "icmp", "ICMP"

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="rules")
    position = models.PositiveIntegerField(default=0, db_index=True)
    is_enabled = models.BooleanField(default=True)
    # An endpoint that has ports on this host's switches: a switch, VM, jail or tag.
    subject = models.CharField(max_length=ENDPOINT, db_index=True)
    direction = models.CharField(max_length=3, choices=Direction)
    action = models.CharField(max_length=6, choices=Action)
    family = models.CharField(max_length=5, choices=Family, blank=True)
    protocol = models.CharField(max_length=7, choices=Protocol, blank=True)
    # Who is at the other side.
    peer = models.CharField(max_length=ENDPOINT, default="any")
    # The destination's ports, such as "22,8000-8010" or "alias:3"; empty for all.
    ports = models.CharField(max_length=200, blank=True)
    is_logged = models.BooleanField(default=False)
    note = models.CharField(max_length=200, blank=True)
    revision = models.PositiveIntegerField(default=1)
    # Observed, since the rules were loaded.
    packets = models.BigIntegerField(default=0)
    octets = models.BigIntegerField(default=0, help_text="bytes")

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return f"{self.action} {self.direction} {self.subject}"


class Forward(models.Model):
    """A port of the host that leads to a guest."""

    class Protocol(models.TextChoices):
        TCP = "tcp", "TCP"
        UDP = "udp", "UDP"
        BOTH = "tcp/udp", "TCP and UDP"

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="forwards")
    is_enabled = models.BooleanField(default=True)
    # A VM or a jail.
    subject = models.CharField(max_length=ENDPOINT, db_index=True)
    protocol = models.CharField(max_length=7, choices=Protocol, default=Protocol.TCP)
    # The first port outside and inside, and how many follow one another.
    port = models.PositiveIntegerField()
    target_port = models.PositiveIntegerField()
    count = models.PositiveIntegerField(default=1)
    # Where packets come in; empty for the interface of the default route.
    interface = models.CharField(max_length=15, blank=True)
    # Who may use it.
    source = models.CharField(max_length=ENDPOINT, default="any")
    is_logged = models.BooleanField(default=False)
    note = models.CharField(max_length=200, blank=True)
    revision = models.PositiveIntegerField(default=1)
    # Observed.
    packets = models.BigIntegerField(default=0)
    octets = models.BigIntegerField(default=0, help_text="bytes")

    class Meta:
        ordering = ["port", "pk"]

    def __str__(self) -> str:
        return f"{self.protocol} {self.port} to {self.subject} {self.target_port}"


class Ruleset(models.Model):
    """The rules as they were applied once. The newest that was confirmed is what the host has after a boot."""

    class State(models.TextChoices):
        CHECKING = "checking", "Being checked"
        REFUSED = "refused", "Refused"
        PENDING = "pending", "Waits for confirmation"
        CONFIRMED = "confirmed", "Confirmed"
        REVERTED = "reverted", "Taken back"

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="rulesets")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=9, choices=State, default=State.CHECKING)
    # Rules, forwards, aliases and the switches' own settings as they were, for the difference and to go back to.
    document = models.JSONField(default=dict)
    # As pf.conf(5) has it.
    text = models.TextField(blank=True)
    seconds = models.PositiveIntegerField(default=60, help_text="to confirm it in")
    deadline = models.DateTimeField(null=True)
    # Why it was refused or taken back.
    reason = models.TextField(blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["host", "number"], name="ruleset_once_per_host")]

    def __str__(self) -> str:
        return f"{self.number}"


class Firewall(models.Model):
    """What is known of a host's packet filter: all of it observed."""

    host = models.OneToOneField(Host, on_delete=models.CASCADE, related_name="firewall")
    has_pf = models.BooleanField(default=False, help_text="pf is in the kernel")
    # What the rules are made of and only the host can tell: see network.firewall.world.Seen.
    seen = models.JSONField(default=dict)
    # The self-test of NAT and the firewall: see network.nat.checks.Check.
    checks = models.JSONField(default=list)
    # What is not as wanted, as sentences.
    problems = models.JSONField(default=list)
    # What of the rules in force could not be written, {"rule:3": sentence}.
    notes = models.JSONField(default=dict)
    checked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"firewall of {self.host_id}"


class BlockedPacket(models.Model):
    """A packet that pflog(4) told of; the newest few thousand of a host."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="blocked")
    at = models.DateTimeField(db_index=True)
    action = models.CharField(max_length=6)
    direction = models.CharField(max_length=3)
    interface = models.CharField(max_length=15)
    protocol = models.CharField(max_length=16, blank=True)
    source = models.GenericIPAddressField()
    source_port = models.PositiveIntegerField(null=True)
    target = models.GenericIPAddressField()
    target_port = models.PositiveIntegerField(null=True)
    # The label of the rule, from which the page knows it.
    label = models.CharField(max_length=63, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.source} > {self.target}"
