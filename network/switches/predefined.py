"""The switches that every host has once: public, nat and private. One that somebody deletes does not come back.

The public one waits for its uplink. Which interface leads where is for a person to say: taking one into a bridge stops
its packets for a moment, and FreeBSD 15.0 takes none that has the host's address: the wrong one cuts people off.
"""

from __future__ import annotations

from django.db import transaction

from bhype.hosts.models import Host
from bhype.live import publish
from network.models import Predefined, Switch

from . import defaults, plan
from .wanted import Seen

KINDS = {"public": Switch.Kind.BRIDGED, "nat": Switch.Kind.NAT, "private": Switch.Kind.PRIVATE}
# A host of an earlier release of bHype has had these.
FORMERLY = ("nat", "private")


def make(host: Host, rows: list[Switch], seen: Seen) -> list[Switch]:
    """The missing rows of those that this host never had."""
    had = set(Predefined.objects.filter(host=host).values_list("name", flat=True))
    if rows and not had:
        had = {*FORMERLY, "(earlier)"}
    if had.issuperset(KINDS):
        return []
    made = []
    with transaction.atomic():
        for name, kind in KINDS.items():
            if name in had or any(row.name == name for row in rows):
                continue
            row = Switch(host=host, name=name, kind=kind)
            networks = [network for _, network in plan.networks(seen.interfaces)]
            defaults.fill(row, networks)
            row.save()
            defaults.make_pools(row)
            made.append(row)
        Predefined.objects.bulk_create(
            (Predefined(host=host, name=name) for name in KINDS), ignore_conflicts=True
        )
        publish("switches")
    return made
