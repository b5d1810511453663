"""What a switch's dnsmasq(8) is to do, and where its files lie."""

from __future__ import annotations

import re
from dataclasses import dataclass

FOLDER = "/usr/local/etc/bhype/dnsmasq"
LEASES = "/var/db/bhype/dnsmasq"
RUN = "/var/run/bhype/dnsmasq"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,11}")


class Unwritable(Exception):
    """There is no such configuration. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody who is known. mac, client_id (IPv6's DUID): how DHCP tells him, "" for not so; name: without the domain;
    addresses: that DHCP always gives him."""

    mac: str = ""
    client_id: str = ""
    name: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """Another switch. address: where its names are asked for, "" where this host does not route to it: then they are
    not found from here, and are told to nobody outside."""

    domain: str
    address: str
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """What the dnsmasq of a switch is to do.

    switch: its name; address, address6: the host's own with their prefix lengths, or ""; gateway: the router that
    guests are told of, "" for none; ipv6: "off", "slaac" or "dhcp"; pools: first and last addresses that DHCP gives;
    kept: addresses that it does not give; names: (name, address), names without the domain; records: (kind, name,
    value); upstreams: see `words.upstream`.
    """

    switch: str
    interface: str
    domain: str
    address: str = ""
    address6: str = ""
    gateway: str = ""
    mtu: int = 1500
    lease_seconds: int = 43200
    has_dhcp: bool = False
    ipv6: str = "off"
    has_dns: bool = False
    pools: tuple[tuple[str, str], ...] = ()
    kept: tuple[str, ...] = ()
    clients: tuple[Client, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    records: tuple[tuple[str, str, str], ...] = ()
    upstreams: tuple[str, ...] = ()
    peers: tuple[Peer, ...] = ()

    @property
    def conf_path(self) -> str:
        return f"{FOLDER}/{self.switch}.conf"

    @property
    def hosts_path(self) -> str:
        """Who is known; read again on SIGHUP."""
        return f"{FOLDER}/{self.switch}.hosts"

    @property
    def names_path(self) -> str:
        """Names of addresses that DHCP does not give, as hosts(5); read again on SIGHUP."""
        return f"{FOLDER}/{self.switch}.names"


@dataclass(frozen=True, slots=True)
class Files:
    """conf needs a restart when it changes, hosts and names a SIGHUP. problems: what was left out, as sentences."""

    conf: str
    hosts: str
    names: str
    problems: tuple[str, ...] = ()


def is_name(switch: str) -> bool:
    """Whether files can be called so: rows are written by a process that is not root."""
    return bool(_NAME.fullmatch(switch))


def leases_path(switch: str) -> str:
    return f"{LEASES}/{switch}.leases"


def pid_path(switch: str) -> str:
    return f"{RUN}/{switch}.pid"
