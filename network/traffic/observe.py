"""How much goes through ports, switches, uplinks and meshes: measured every ten seconds by one command."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Exists, OuterRef

from bhype.freebsd import netstat
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep
from bhype.live import publish
from bhype.vmrun.nics import tap_of
from network import guests
from network.models import MeshPeer, Switch, TrafficPort, TrafficSample

from .spans import SPANS, Meter, Rates, number_of

# In looks, of which there are six a minute: what is too old goes every ten minutes.
FORGET_EVERY = 60
# Ports come and go seldom; to ask for those of hundreds of guests takes longer than to measure them.
KNOWN_FOR = 3
BATCH = 500


@dataclass(slots=True)
class Memory:
    """looks: how many there were; ports: the interfaces that are counted, by their ports."""

    meter: Meter = field(default_factory=Meter)
    looks: int = 0
    ports: dict[str, str] = field(default_factory=dict)


def observe(sweep: Sweep) -> bool:
    """Write the samples of the spans that are over. False when it was not the time."""
    host = sweep.row
    memory = sweep.memory(Memory)
    if not memory.meter.is_due(sweep.now) or not sweep.host.exists(netstat.PROGRAM):
        return False
    counters = {one.name: one for one in sweep.ask(netstat.interfaces())}
    if memory.looks % KNOWN_FOR == 0:
        memory.ports = ports(host)
    there = {port: counters[name] for port, name in memory.ports.items() if name in counters}
    write(host, memory.meter.look(sweep.now, there))
    if memory.looks % FORGET_EVERY == 0:
        forget(sweep)
    memory.looks += 1
    return True


def ports(host: Host) -> dict[str, str]:
    """The interfaces that are counted, by their ports as TrafficPort names them."""
    # Behind a tap with a rate stands another interface; the guest sends and receives by the tap.
    found = {
        port.key: tap_of(port.interface)
        for guest in guests.find(host_id=host.pk)
        for port in guest.ports
        if port.interface
    }
    for switch in Switch.objects.filter(host=host):
        found[f"switch:{switch.uuid}"] = switch.interface
        if switch.uplink:
            found[f"uplink:{switch.uplink}"] = switch.uplink
    for peer in MeshPeer.objects.filter(host=host).select_related("mesh"):
        found[f"mesh:{peer.mesh.name}"] = peer.mesh.interface
    return found


def write(host: Host, rates: list[Rates]) -> None:
    """Add samples. Those of a span that is there already, from before a restart, are left as they are."""
    if not rates:
        return
    with transaction.atomic():
        keys = _keys(host, {one.port for one in rates})
        TrafficSample.objects.bulk_create(
            [_sample(keys[one.port], one) for one in rates], ignore_conflicts=True, batch_size=BATCH
        )
        publish("traffic")


def _keys(host: Host, names: set[str]) -> dict[str, int]:
    """The rows of ports by their names; what has none gets one."""
    found = dict(TrafficPort.objects.filter(host=host).values_list("name", "pk"))
    made = TrafficPort.objects.bulk_create(
        [TrafficPort(host=host, name=name) for name in sorted(names - found.keys())], batch_size=BATCH
    )
    return found | {one.name: one.pk for one in made}


def _sample(port: int, one: Rates) -> TrafficSample:
    def count(rate: float) -> int:
        """How many in the span; little is not nothing."""
        return max(1, round(rate * one.seconds)) if rate else 0

    return TrafficSample(
        port_id=port, seconds=one.seconds, number=number_of(one.at, one.seconds),
        octets_in=count(one.octets_in), octets_out=count(one.octets_out), packets_in=count(one.packets_in),
        packets_out=count(one.packets_out), drops=count(one.drops),
    )  # fmt: skip


def forget(sweep: Sweep) -> None:
    """Drop the samples of this host that are too old, and the ports of which none is left."""
    mine = TrafficPort.objects.filter(host=sweep.row)
    for span in SPANS:
        oldest = number_of(sweep.now - span.kept, span.seconds)
        TrafficSample.objects.filter(port__in=mine, seconds=span.seconds, number__lt=oldest).delete()
    mine.filter(~Exists(TrafficSample.objects.filter(port=OuterRef("pk")))).delete()
