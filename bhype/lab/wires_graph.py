"""netgraph(4) and VALE as Linux bridges: what `wires_plan` adds for their nodes.

A bridge node is a Linux bridge. At its links hang devices: an ether node's interface, the far end of an eiface's
pair, a tap for a guest that is joined by a socket, or a pair that leads to another bridge. A pipe between two ends
gives each a rate; between a device and a bridge it is a small bridge of its own with a pair behind it, so that both
directions leave by a device whose rate can be set.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bhype.lab.wires_plan import _Plan

_BRIDGES = ("bridge", "hub")


def add(plan: _Plan) -> None:
    _Graph(plan).add()
    for switch, ports in plan.vale.items():
        _vale(plan, switch, ports)


def _vale(plan: _Plan, switch: str, ports: dict[str, Any]) -> None:
    """A bridge; its ports are taps of guests, and interfaces, whose addresses it carries if the host goes on."""
    name = bridge_name("v", switch)
    plan.link(f"vale {switch}", name, ["type", "bridge"])
    for port, entry in ports.items():
        if "interface" not in entry:
            tap = bridge_name("p", f"{switch}:{port}")
            plan.link(f"vale {switch}:{port}", tap, ["tuntap", "mode", "tap"], master=name)
        elif entry["interface"] in plan.interfaces:
            link = plan.of(entry["interface"])
            link["master"] = name
            link["deaf"] = not entry["host"]


def bridge_name(prefix: str, text: str) -> str:
    """A hidden device's name that tells of ``text``, of at most 15 characters."""
    import zlib

    return f"_{prefix}{zlib.crc32(text.encode()):08x}"


def socket_tap(number: str) -> str:
    """The tap of the guest that is joined by the socket node with this ID."""
    return f"_s{int(number, 16)}"


class _Graph:
    def __init__(self, plan: _Plan) -> None:
        self.plan = plan
        self.nodes: dict[str, Any] = plan.nodes
        self.by_index = {each["index"]: name for name, each in plan.interfaces.items()}

    def add(self) -> None:
        for number, node in self.nodes.items():
            if node["type"] in _BRIDGES and node["hooks"]:
                more = ["ageing_time", "0"] if node["type"] == "hub" else []
                self.plan.link(f"g{number}", f"_g{int(number, 16)}", ["type", "bridge", *more])
        for number, node in self.nodes.items():
            if node["type"] == "pipe":
                continue
            for hook in node["hooks"]:
                self._edge(number, hook)

    def _edge(self, number: str, hook: str) -> None:
        """Join what hangs at this hook, through pipes, with what is at their other end; each pair once."""
        rates = [0, 0]  # towards the other end, towards this one
        there, there_hook = self.nodes[number]["hooks"][hook]
        for _ in self.nodes:
            node = self.nodes.get(there)
            if node is None or node["type"] != "pipe":
                break
            other = "lower" if there_hook == "upper" else "upper"
            # Downstream is from upper to lower (ng_pipe(4)).
            ways = ("downstream", "upstream") if there_hook == "upper" else ("upstream", "downstream")
            for side, way in enumerate(ways):
                rates[side] = _slower(rates[side], node["values"].get(f"{way}.bandwidth", 0))
            if other not in node["hooks"]:
                return
            there, there_hook = node["hooks"][other]
        if there not in self.nodes or (number, hook) > (there, there_hook):
            return
        self._join((number, hook), (there, there_hook), rates)

    def _join(self, one: tuple[str, str], two: tuple[str, str], rates: list[int]) -> None:
        ends = [self._end(*one), self._end(*two)]
        if None in ends or ends[0] is ends[1]:
            return
        bridges = [self.nodes[end[0]]["type"] in _BRIDGES for end in (one, two)]
        key = f"{int(one[0], 16)}.{one[1]}"
        if all(bridges):
            self._pair(key, ends[0]["name"], ends[1]["name"], rates)
        elif any(bridges) and not any(rates):
            device, bridge = ends if bridges[1] else ends[::-1]
            device["master"] = bridge["name"]
        else:
            self._between(key, ends, bridges, rates)

    def _between(self, key: str, ends: list[Any], bridges: list[bool], rates: list[int]) -> None:
        """A bridge of its own for two devices, or for a device and the pair that leads to a bridge."""
        name = bridge_name("m", key)
        self.plan.link(f"m{key}", name, ["type", "bridge"])
        for side, end in enumerate(ends):
            towards = rates[1 - side]
            if bridges[side]:
                self._pair(key, name, end["name"], [towards, 0])
            else:
                end.update(master=name, rate=towards)

    def _pair(self, key: str, one: str, two: str, rates: list[int]) -> None:
        first, second = bridge_name("a", key), bridge_name("z", key)
        self.plan.link(f"a{key}", first, ["type", "veth", "peer", second], master=one, rate=rates[0])
        self.plan.link(f"z{key}", second, None, master=two, rate=rates[1])

    def _end(self, number: str, hook: str) -> Any:
        """The link that stands for this hook; None for what leads nowhere."""
        node = self.nodes[number]
        kind = node["type"]
        if kind in _BRIDGES:
            return self.plan.lab[f"g{number}"]
        if kind == "socket" and os.path.exists(f"/proc/{node['pid']}"):
            key = f"s{number}"
            return self.plan.lab.get(key) or self.plan.link(
                key, socket_tap(number), ["tuntap", "mode", "tap"]
            )
        if kind == "eiface":
            return self.plan.lab.get(f"x{node['interface']}")
        if kind == "ether" and hook == "lower":
            # Without "upper" the host itself hears nothing of the interface.
            self.plan.lab[str(node["interface"])]["deaf"] = "upper" not in node["hooks"]
            return self.plan.lab[str(node["interface"])]
        return None


def _slower(one: int, two: int) -> int:
    return min(one, two) if one and two else one or two
