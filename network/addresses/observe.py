"""Who was seen on switches: the host's ARP and ND tables as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from ipaddress import ip_address

from django.db import transaction

from bhype.freebsd import arp, ndp
from bhype.freebsd.arp import Neighbour as Entry
from bhype.hosts.observer import Sweep
from bhype.live import publish
from network.models import Neighbour, Switch

from .known import host_addresses

# In sweeps: the tables keep what they have for minutes.
EVERY = 5
# A neighbour that is silent is remembered for so long; that he still answers is noted not more often than so.
KEPT = timedelta(days=1)
NOTED = timedelta(minutes=10)
# Who has more addresses than that, or of how many machines there is word on one switch, is flooding: what is known goes
# into tables of pf(4), which have an end.
MOST, MOST_OF_ALL = 64, 4096
_COLUMNS = ("mac", "seen_at")
# An interface, and an address there.
Place = tuple[str, str]


def observe(sweep: Sweep) -> bool:
    """Write who was seen on the interfaces of this host's switches."""
    if not sweep.every(EVERY):
        return False
    switches = {
        switch.interface: switch for switch in Switch.objects.filter(host=sweep.row, is_deleting=False)
    }
    if switches:
        store(switches, [*sweep.ask(arp.table()), *sweep.ask(ndp.table())], sweep.now)
    return True


def store(switches: dict[str, Switch], entries: Iterable[Entry], now: datetime) -> None:
    """Bring the rows of a host to what its tables say. switches: of one host, by their interfaces."""
    host = next(iter(switches.values())).host_id
    own = {interface: host_addresses(switch) for interface, switch in switches.items()}
    new = {
        (entry.interface, entry.address): entry.mac
        for entry in entries
        if entry.interface in switches and not entry.is_permanent and _is_told(entry, own[entry.interface])
    }
    had = {(row.interface, row.address): row for row in Neighbour.objects.filter(host=host)}
    new = _bounded(new, {key: row.mac for key, row in had.items()})
    changed = {key for key, mac in new.items() if key not in had or had[key].mac != mac}
    still = {key for key in new if key in had and now - had[key].seen_at > NOTED}
    gone = [
        row.pk
        for key, row in had.items()
        if key not in new and (row.interface not in switches or now - row.seen_at > KEPT)
    ]
    if not (changed or still or gone):
        return
    rows = [
        Neighbour(
            host_id=host, interface=interface, address=address, mac=new[interface, address], seen_at=now
        )
        for interface, address in changed | still
    ]
    with transaction.atomic():
        Neighbour.objects.filter(pk__in=gone).delete()
        Neighbour.objects.bulk_create(
            rows, batch_size=500, update_conflicts=True,
            unique_fields=["host", "interface", "address"], update_fields=_COLUMNS,
        )  # fmt: skip
        if changed or gone:
            publish(*{switches[interface].subject for interface, _ in changed}, "addresses")


def _is_told(entry: Entry, own: set[str]) -> bool:
    """Every interface has a link-local address of its own making; it tells nobody anything."""
    return entry.address not in own and not ip_address(entry.address).is_link_local


def _bounded(new: dict[Place, str], had: dict[Place, str]) -> dict[Place, str]:
    """Those of ``new`` that there is room for, beside what is known already."""
    merged = had | {key: mac for key, mac in new.items() if key in had}
    one = Counter((interface, mac) for (interface, _), mac in merged.items())
    every = Counter(interface for interface, _ in merged)
    found = {key: mac for key, mac in new.items() if key in had}
    for (interface, address), mac in new.items():
        if (interface, address) in had or one[interface, mac] >= MOST or every[interface] >= MOST_OF_ALL:
            continue
        found[interface, address] = mac
        one[interface, mac] += 1
        every[interface] += 1
    return found
