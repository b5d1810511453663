"""What a switch is to be, and what the host was seen to have. Pure data, for `plan`."""

from __future__ import annotations

from dataclasses import dataclass, field

from bhype.freebsd.ifconfig import Interface
from bhype.freebsd.ngctl import Hook

DESCRIPTION = "bhype/switch/"
BRIDGE, NETGRAPH, VALE = "bridge", "netgraph", "vale"


class Conflict(Exception):
    """A switch cannot be made as it is wanted. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Port:
    """A guest's interface that belongs into a bridge now. untagged, tagged: its VLANs, of switches that have them."""

    interface: str
    is_private: bool = False
    untagged: int | None = None
    tagged: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A switch as it should be. interface: the host's own on it, and its name as a netgraph node; addresses: all of the
    host, with prefix lengths; uplink: an interface of the host; vlan: the one of the uplink that is meant; vni: the
    number of its tunnel; vale: its name as a VALE switch; ports: the guests' that are to be plugged in now."""

    name: str
    interface: str
    technology: str = BRIDGE
    is_adopted: bool = False
    is_bridged: bool = False
    addresses: tuple[str, ...] = ()
    uplink: str = ""
    vlan: int | None = None
    vni: int | None = None
    vxlan_local: str = ""
    vxlan_remote: str = ""
    mtu: int = 1500
    is_isolated: bool = False
    has_vlans: bool = False
    vale: str = ""
    is_deleting: bool = False
    ports: tuple[Port, ...] = ()

    @property
    def description(self) -> str:
        """By which its interface is known to be bHype's."""
        return DESCRIPTION + self.name

    @property
    def vlan_interface(self) -> str:
        """The interface of the uplink's VLAN, which bHype makes."""
        return f"v-{self.name}"

    @property
    def vxlan_interface(self) -> str:
        return f"x-{self.name}"

    @property
    def end(self) -> str:
        """The netgraph node of the host's own interface on it."""
        return f"e-{self.name}"

    @property
    def way_out(self) -> str:
        """What of the host is plugged in: the uplink, or the VLAN of it; "" for nothing."""
        return self.vlan_interface if self.vlan and self.uplink else self.uplink

    @property
    def outer_members(self) -> tuple[str, ...]:
        """What is plugged in and no guest's."""
        tunnel = self.vxlan_interface if self.vni else ""
        return tuple(filter(None, (self.way_out, tunnel)))

    @property
    def is_waiting(self) -> bool:
        """A bridged switch is nothing before somebody has chosen its uplink."""
        return self.is_bridged and not (self.uplink or self.vni or self.is_adopted)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the host has. nodes: the types of netgraph's nodes; hooks: those of switches; None: netgraph or VALE is not
    there; knows_vlans: its bridges know VLANs and take no member with an address (15.0)."""

    interfaces: tuple[Interface, ...] = ()
    nodes: dict[str, str] | None = field(default_factory=dict)
    hooks: dict[str, tuple[Hook, ...]] = field(default_factory=dict)
    vale_ports: tuple[str, ...] | None = ()
    knows_vlans: bool = False

    def get(self, name: str) -> Interface | None:
        return next((one for one in self.interfaces if one.name == name), None)
