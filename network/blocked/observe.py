"""Keeps the newest packets that rules with "log" have met."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from bhype.freebsd import ifconfig, pfctl, pflog
from bhype.freebsd.pflog import Packet
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep, ask_once
from bhype.live import publish
from network.firewall import loaded
from network.firewall.loaded import BASE, RULES
from network.models import BlockedPacket, Firewall

from .listening import Listener

# Rows of a host; a few more until they are thinned.
MOST, SLACK = 2000, 200
# In sweeps: whether anything is to be logged.
LOOK_EVERY = 5
_LABEL = re.compile(r'label "([^"]{1,63})"')


@dataclass(slots=True)
class Memory:
    """listener: while a rule logs; quiet: by anchor, what was loaded when it was seen last that nothing logs."""

    listener: Listener | None = None
    quiet: dict[str, str] | None = None


def observe(sweep: Sweep) -> bool | None:
    """Listen while a loaded rule logs; nothing runs otherwise."""
    memory = sweep.memory(Memory)
    now = {anchor: one.printed for anchor, one in loaded.read(sweep.host).items()}
    if memory.listener is None and memory.quiet == now and not sweep.every(LOOK_EVERY):
        return False
    row = Firewall.objects.filter(host=sweep.row).first()
    rules = {anchor: sweep.ask(pfctl.rules(anchor)) for anchor in (BASE, RULES)} if row and row.has_pf else {}
    if not any(" log " in line for lines in rules.values() for line in lines):
        end(memory)
        memory.quiet = now
        return None
    if not _is_up(sweep):
        ask_once("network.start_log")
        return None
    listener = memory.listener = memory.listener or Listener(sweep.host.root)
    packets = [packet for line in listener.lines() if (packet := pflog.parse(line)) is not None]
    if listener.problem:
        sweep.problem(listener.problem)
    keep(sweep.row, packets, rules, sweep.now)
    return None


def _is_up(sweep: Sweep) -> bool:
    return any(one.name == pflog.INTERFACE and one.is_up for one in sweep.ask(ifconfig.list_interfaces()))


def end(memory: Memory) -> None:
    """Listen no more."""
    if memory.listener is not None:
        memory.listener.close()
        memory.listener = None


def keep(host: Host, packets: list[Packet], rules: dict[str, list[str]], now: datetime) -> None:
    """Add rows for packets, and forget the oldest. rules: the lines of each anchor, by which rules are known."""
    if not packets:
        return
    rows = [_row(host, packet, rules, now) for packet in packets]
    with transaction.atomic():
        BlockedPacket.objects.bulk_create(rows)
        mine = BlockedPacket.objects.filter(host=host)
        if mine.count() > MOST + SLACK:
            oldest = mine.values_list("pk", flat=True)[MOST - 1]
            mine.filter(pk__lt=oldest).delete()
        publish("blocked")


def _row(host: Host, packet: Packet, rules: dict[str, list[str]], now: datetime) -> BlockedPacket:
    # Only the last part of an anchor's name is logged, 15 characters of it: S:sys/netpfil/pf/if_pflog.c.
    last = packet.anchor.rpartition("/")[2]
    lines = next((each for anchor, each in rules.items() if anchor.rpartition("/")[2][:15] == last), [])
    found = _LABEL.search(lines[packet.number]) if packet.number < len(lines) else None
    columns: dict[str, Any] = {
        "action": packet.action[:6], "direction": packet.direction, "interface": packet.interface,
        "protocol": packet.protocol, "source": packet.source, "source_port": packet.source_port,
        "target": packet.target, "target_port": packet.target_port, "label": found[1] if found else "",
    }  # fmt: skip
    # A clock that is wrong must not put packets into another year.
    at = datetime.fromtimestamp(packet.at, UTC) if packet.at else now
    return BlockedPacket(
        host=host, at=min(at, now) if abs((now - at).total_seconds()) < 3600 else now, **columns
    )
