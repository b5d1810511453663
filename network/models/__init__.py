"""Switches and what makes networks of them: addresses, names, rules, traffic, tunnels."""

from __future__ import annotations

from .addresses import AddressPool, Allocation, DnsRecord, Lease, Neighbour
from .firewall import Alias, BlockedPacket, Forward, Rule, Ruleset
from .switches import Aggregation, Predefined, Switch
from .traffic import TrafficSample
from .wireguard import Mesh, MeshPeer

__all__ = [
    "AddressPool",
    "Aggregation",
    "Alias",
    "Allocation",
    "BlockedPacket",
    "DnsRecord",
    "Forward",
    "Lease",
    "Mesh",
    "MeshPeer",
    "Neighbour",
    "Predefined",
    "Rule",
    "Ruleset",
    "Switch",
    "TrafficSample",
]
