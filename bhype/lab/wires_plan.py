"""What Linux' network devices must be for a lab's state: pure, from the states of ifconfig, netgraph, VALE and routes.

A plan has one table for each namespace, "lab" and "outside", of links by a key that stays (an interface's index, or
what a hidden device is for)::

    {"name", "make": [words of ``ip link add``] or None for the other end of a pair, "up", "mtu", "ether",
     "master": name or "", "isolated", "inet": [ADDRESS/PREFIX], "rate": bits/s of what leaves by it or 0}

``make`` with "tuntap" first is ``ip tuntap add``. Hidden devices begin with "_". An uplink is a veth whose other end
is a port of a bridge outside: ``out0`` for em0, where the router has the address `wires.OUTSIDE`; ``vlan100`` for
tag 100 of any uplink, so that tags are told apart though this kernel may have no vlan devices.

FreeBSD lets an address stay at a member of a bridge; on Linux a port has none, so its addresses are the bridge's.
"""

from __future__ import annotations

import re

from bhype.lab import wires

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Link = dict[str, Any]
    Table = dict[str, Link]

# Networks outside by the number of the uplink: the router's address. From TEST-NET-1 to -3 (RFC 5737), and RFC 3849.
# By the first one the internet is reached as well.
OUT = {
    "0": ["192.0.2.1/24", "2001:db8:2::1/64", f"{wires.EXAMPLE}/32", f"{wires.EXAMPLE6}/128"],
    "1": ["198.51.100.1/24", "2001:db8:51::1/64"],
    "2": ["203.0.113.1/24", "2001:db8:113::1/64"],
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")


def plan(state: dict[str, Any], openers: dict[str, int]) -> dict[str, Any]:
    """state: {"ifconfig", "netgraph", "vale", "route"}; openers: the pid that has a tap open, by device."""
    return _Plan(state, openers).all()


class _Plan:
    def __init__(self, state: dict[str, Any], openers: dict[str, int]) -> None:
        found: dict[str, Any] = state["ifconfig"].get("interfaces", {})
        # Nothing goes by pflog0: what pf logs is read from its rules on the wires (`pf.live`).
        self.interfaces = {name: each for name, each in found.items() if each["kind"] != "pflog"}
        self.nodes: dict[str, Any] = state["netgraph"].get("nodes", {})
        self.vale: dict[str, Any] = state["vale"].get("switches", {})
        self.routes: dict[str, str] = state["route"].get("routes", {})
        self.openers = openers
        self.lab: Table = {}
        self.outside: Table = {}
        self.names = {name: _linux(name, each) for name, each in self.interfaces.items()}
        self.aggregated = {port for each in self.interfaces.values() for port in each.get("laggports", ())}

    def all(self) -> dict[str, Any]:
        for name, interface in self.interfaces.items():
            getattr(self, f"_{interface['kind']}", self._bridgelike)(name, interface)
        for name, interface in self.interfaces.items():
            if interface["kind"] == "bridge":
                self._members(name, interface)
        from bhype.lab import wires_graph

        wires_graph.add(self)
        self._addresses()
        return {"lab": self.lab, "outside": self.outside, "routes": dict(self.routes)}

    # -- kinds of interfaces ---------------------------------------------------------------------------

    def link(self, key: str, name: str, make: list[str] | None, **values: Any) -> Link:
        self.lab[key] = _link(name, make) | values
        return self.lab[key]

    def of(self, name: str) -> Link:
        """The link of the interface ``name``."""
        return self.lab[str(self.interfaces[name]["index"])]

    def _plain(self, name: str, interface: Any, make: list[str] | None) -> Link:
        up = interface["up"] or interface["device"] in self.openers
        values = {"up": up, "mtu": interface["mtu"], "ether": interface["ether"]}
        return self.link(str(interface["index"]), self.names[name], make, **values)

    def _bridgelike(self, name: str, interface: Any) -> None:
        """A bridge; or what has addresses and nothing behind it, as a second loopback."""
        self._plain(name, interface, ["type", "bridge"])

    def _lo(self, name: str, interface: Any) -> None:
        if interface["device"] != "lo0":
            self._bridgelike(name, interface)
            return
        self._plain(name, interface, None).update(mtu=65536)  # Linux' own; smaller ones make it drop frames

    def _tap(self, name: str, interface: Any) -> None:
        self._plain(name, interface, ["tuntap", "mode", "tap"])

    _vmnet = _tap

    def _wg(self, name: str, interface: Any) -> None:
        self._plain(name, interface, ["tuntap", "mode", "tun"]).update(ether="")

    def _epair(self, name: str, interface: Any) -> None:
        make = None
        if interface["device"].endswith("a"):
            twin = interface["device"][:-1] + "b"
            other = next((each for each, found in self.interfaces.items() if found["device"] == twin), "")
            make = ["type", "veth", "peer", self.names.get(other, f"_e{interface['index']}")]
        self._plain(name, interface, make)

    def _ngeth(self, name: str, interface: Any) -> None:
        peer = f"_x{interface['index']}"
        self._plain(name, interface, ["type", "veth", "peer", peer])
        self.link(f"x{interface['index']}", peer, None)

    def _vxlan(self, name: str, interface: Any) -> None:
        make = ["type", "vxlan", *_vxlan_words(interface, self.names)]
        self._plain(name, interface, make)

    def _em(self, name: str, interface: Any) -> None:
        link = self._uplink(name, interface, _segment(interface))
        link["up"] = link["up"] and name not in self.aggregated

    def _lagg(self, name: str, interface: Any) -> None:
        ports = [self.interfaces[port] for port in interface.get("laggports", ()) if port in self.interfaces]
        live = next((port for port in ports if port["kind"] == "em" and port["up"]), None)
        link = self._uplink(name, interface, _segment(live) if live else "nowhere")
        link["up"] = link["up"] and bool(live)

    def _vlan(self, name: str, interface: Any) -> None:
        parent = self.interfaces.get(interface.get("vlandev", ""))
        tag = interface.get("vlan", 0)
        link = self._uplink(name, interface, f"vlan{tag}" if parent else "nowhere")
        link["up"] = link["up"] and bool(parent and parent["up"])

    def _uplink(self, name: str, interface: Any, segment: str) -> Link:
        peer = f"_o{interface['index']}"
        link = self._plain(name, interface, ["type", "veth", "peer", peer, "outside"])
        self.out(f"o{interface['index']}", peer, segment, interface["mtu"])
        return link

    def out(self, key: str, peer: str, segment: str, mtu: int = 1500) -> None:
        """The far end of a cable, as a port of the network ``segment`` outside."""
        if segment not in self.outside:
            addresses = OUT.get(segment.removeprefix("out"), []) if segment.startswith("out") else []
            bridge = _link(segment, ["type", "bridge"]) | {"up": True, "inet": addresses}
            self.outside[segment] = bridge
        self.outside[key] = _link(peer, None) | {"up": True, "mtu": mtu, "master": segment}

    # -- members and addresses -------------------------------------------------------------------------

    def _members(self, name: str, bridge: Any) -> None:
        filtered = bridge.get("vlanfilter")
        for member in bridge["members"]:
            if member not in self.interfaces:
                continue
            link = self.of(member)
            link["isolated"] = member in bridge["private"]
            link["master"] = self.names[name]
            untagged = bridge.get("untagged", {}).get(member)
            if filtered:
                self._filtered(name, member, link, untagged, bridge.get("tagged", {}).get(member, []))

    def _filtered(self, name: str, member: str, link: Link, untagged: int | None, tagged: list[int]) -> None:
        """A member of a bridge that filters VLANs: a Linux bridge for each VLAN, and for an uplink a cable for each."""
        bridge = self.interfaces[name]
        link["master"] = self._vlan_bridge(bridge, untagged) if untagged else ""
        if self.interfaces[member]["kind"] not in ("em", "lagg") or len(tagged) > 64:
            return
        for tag in tagged:
            cable = f"_c{self.interfaces[member]['index']}v{tag}"
            key = f"c{self.interfaces[member]['index']}v{tag}"
            make = ["type", "veth", "peer", f"{cable}o"[:15], "outside"]
            self.link(key, cable, make, up=link["up"], master=self._vlan_bridge(bridge, tag))
            self.out(key, f"{cable}o"[:15], f"vlan{tag}")

    def _vlan_bridge(self, bridge: Any, tag: int) -> str:
        name = f"_b{bridge['index']}v{tag}"
        self.link(f"b{bridge['index']}v{tag}", name, ["type", "bridge"], up=bridge["up"], mtu=bridge["mtu"])
        return name

    def _addresses(self) -> None:
        at = {link["name"]: link for link in self.lab.values()}
        for name, interface in self.interfaces.items():
            link = self.of(name)
            if link.get("deaf"):
                continue
            link = at.get(link["master"], link)
            link["inet"] = link["inet"] + [*interface["inet"], *interface["inet6"]]


def _link(name: str, make: list[str] | None) -> Link:
    return {
        "name": name, "make": make, "up": True, "mtu": 1500, "ether": "", "master": "", "isolated": False,
        "inet": [], "rate": 0,
    }  # fmt: skip


def _segment(interface: Any) -> str:
    """The network that a NIC of the host is plugged into: out0 for em0."""
    return "out" + str(interface["device"]).removeprefix(interface["kind"])


def _linux(name: str, interface: Any) -> str:
    """The device's name: the interface's, unless it is none for Linux' tools."""
    return name if _NAME.fullmatch(name) else f"_i{interface['index']}"


def _vxlan_words(interface: Any, names: dict[str, str]) -> list[str]:
    found = ["id", str(interface.get("vxlanid", 0))]
    for key, word in (("vxlanlocal", "local"), ("vxlanremote", "remote"), ("vxlangroup", "group")):
        if interface.get(key):
            found += [word, interface[key]]
    found += ["dstport", str(interface.get("vxlanremoteport", 4789))]
    device = interface.get("vxlandev", "")
    if device:
        found += ["dev", names.get(device, device)]
    return found
