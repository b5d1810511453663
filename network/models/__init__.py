"""Switches and what makes networks of them: addresses, names, rules, traffic, tunnels."""

from __future__ import annotations

from .addresses import AddressPool, Allocation, DnsRecord, Lease, Neighbour
from .changes import HostChange, PfConf
from .firewall import Alias, BlockedPacket, Firewall, Forward, Rule, Ruleset
from .interfaces import HostInterface
from .switches import Aggregation, Predefined, Switch
from .traffic import TrafficPort, TrafficSample
from .wireguard import Mesh, MeshPeer

__all__ = [
    "AddressPool",
    "Aggregation",
    "Alias",
    "Allocation",
    "BlockedPacket",
    "DnsRecord",
    "Firewall",
    "Forward",
    "HostChange",
    "HostInterface",
    "Lease",
    "Mesh",
    "MeshPeer",
    "Neighbour",
    "PfConf",
    "Predefined",
    "Rule",
    "Ruleset",
    "Switch",
    "TrafficPort",
    "TrafficSample",
]
