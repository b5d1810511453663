"""netgraph(4) of the lab's kernel: nodes, their hooks, and what control messages set.

The state "netgraph" has ``next`` (the next ID) and ``nodes``::

    {ID: {"name": str, "type": str, "hooks": {HOOK: [ID, HOOK]}, "interface": index or None, "values": {...}}}

An ether node stands for each Ethernet interface once ng_ether(4) is loaded, under the interface's name; it is in the
state only while something hangs at it. An eiface node is an interface of its own (``ngeth0``), which ifconfig(8) shows.
Sources: netgraph(4), ng_ether(4), ng_eiface(4), ng_bridge(4), ng_pipe(4), sys/netgraph/ng_base.c (errors).

With wires on bridges and rates are real ones (`wires_graph`). Otherwise no frame moves: `interfaces_behind` tells
qemu.py which bridge a tap reaches, and rates are noted but not kept.
"""

from __future__ import annotations

import os
import re

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Node = dict[str, Any]

MISSING, EXISTS, INVALID = "No such file or directory", "File exists", "Invalid argument"
# Hooks by the type of node: a name, or a prefix with "#" for a number.
HOOKS = {
    "ether": ("lower", "upper", "orphans"),
    "eiface": ("ether",),
    "pipe": ("upper", "lower"),
    "bridge": ("link#", "uplink#"),
    "socket": ("*",),
    "hole": ("*",),
    "hub": ("*",),
}
MODULE = {name: f"ng_{name}" for name in HOOKS}
_NG_ETHER = ("em", "tap", "vmnet", "bridge", "vlan", "lagg", "epair", "vxlan")


class Refused(Exception):
    """The kernel's error text for what was asked."""


class Taken(Refused):
    """A node has this name already."""


class Graph:
    """All nodes, locked. ``with Graph() as graph``; nothing is written when an exception leaves the block."""

    def __enter__(self) -> Graph:
        # Always in this order, so that two programs cannot wait for each other.
        self.locks = [core.state("ifconfig"), core.state("netgraph")]
        self.interfaces: dict[str, Any] = self.locks[0].__enter__().setdefault("interfaces", {})
        self.data = self.locks[1].__enter__()
        self.nodes: dict[str, Node] = self.data.setdefault("nodes", {})
        self._refresh()
        return self

    def __exit__(self, *what: Any) -> None:
        for lock in reversed(self.locks):
            lock.__exit__(*what)

    def _refresh(self) -> None:
        """Interfaces that came, went or were renamed since; sockets whose process has ended."""
        by_index = {each["index"]: name for name, each in self.interfaces.items()}
        for number, node in list(self.nodes.items()):
            gone = node["interface"] is not None and node["interface"] not in by_index
            if gone or (node.get("pid") and not os.path.exists(f"/proc/{node['pid']}")):
                self.drop(number)
            elif node["type"] == "ether":
                node["name"] = _node_name(by_index[node["interface"]])
        if not _is_loaded("ng_ether"):
            return
        known = {node["interface"] for node in self.nodes.values()}
        for name, each in self.interfaces.items():
            if each["kind"] in _NG_ETHER and each["index"] not in known:
                self.add("ether", _node_name(name), interface=each["index"])

    def add(self, kind: str, name: str = "", *, interface: int | None = None, pid: int = 0) -> str:
        self.data["next"] = self.data.get("next", 0) + 1
        number = f"{self.data['next']:08x}"
        self.nodes[number] = {
            "name": name, "type": kind, "hooks": {}, "interface": interface, "values": {}, "pid": pid,
        }  # fmt: skip
        return number

    def drop(self, number: str) -> None:
        """Remove a node and what hangs at its hooks' other ends, and its interface if it is one."""
        node = self.nodes.pop(number, None)
        if node is None:
            return
        for hook in list(node["hooks"]):
            self._unhook(node, hook)
        if node["type"] == "eiface":
            from bhype.lab.ifconfig_state import forget

            for name, each in list(self.interfaces.items()):
                if each["index"] == node["interface"]:
                    forget(self.locks[0].data, name)

    def disconnect(self, number: str, hook: str) -> None:
        """Break one hook. Raises Refused."""
        if hook not in self.nodes[number]["hooks"]:
            raise Refused(MISSING)
        self._unhook(self.nodes[number], hook)
        self._end(number)

    def _unhook(self, node: Node, hook: str) -> None:
        other, other_hook = node["hooks"].pop(hook)
        peer = self.nodes.get(other)
        if peer is not None:
            peer["hooks"].pop(other_hook, None)
            self._end(other)

    def _end(self, number: str) -> None:
        """Of the types here a pipe, a bridge without setpersistent, a hub and a hole end with their last hook."""
        node = self.nodes[number]
        mortal = node["type"] in ("pipe", "bridge", "hole", "hub") and not node["values"].get("persistent")
        if mortal and not node["hooks"]:
            self.drop(number)

    def find(self, path: str) -> str:
        """The ID of the node at ``NAME:HOOK.HOOK``, ``[ID]:`` or ``NAME:``. Raises Refused."""
        name, colon, hooks = path.partition(":")
        if not colon:
            raise Refused(MISSING)
        if re.fullmatch(r"\[[0-9a-fA-F]+\]", name):
            number: str | None = f"{int(name[1:-1], 16):08x}"
        else:
            number = next((each for each, node in self.nodes.items() if name and node["name"] == name), None)
        if number not in self.nodes:
            raise Refused(MISSING)
        for hook in hooks.split(".") if hooks else ():
            there = self.nodes[number]["hooks"].get(hook)
            if there is None:
                raise Refused(MISSING)
            number = there[0]
        return number

    def rename(self, number: str, name: str) -> None:
        """Raises Refused."""
        if not name or len(name) > 31 or re.search(r"[.:\s]", name):
            raise Refused(INVALID)
        if any(node["name"] == name for node in self.nodes.values()):
            raise Refused("Address already in use")
        self.nodes[number]["name"] = name

    def make(self, kind: str) -> str:
        """A new node of a type. Raises Refused."""
        if kind == "ether" or kind not in HOOKS:
            raise Refused(MISSING if kind not in HOOKS else INVALID)
        if kind != "eiface":
            return self.add(kind)
        unit = 0
        while f"ngeth{unit}" in self.interfaces:
            unit += 1
        from bhype.lab.ifconfig_state import add

        interface = add(self.locks[0].data, f"ngeth{unit}", "ngeth")
        interface["groups"] = []
        return self.add(kind, f"ngeth{unit}", interface=interface["index"])

    def connect(self, one: str, hook: str, other: str, other_hook: str) -> None:
        """Join two hooks. Raises Refused, as ng_base.c does."""
        for number, name in ((one, hook), (other, other_hook)):
            node = self.nodes[number]
            if name in node["hooks"]:
                raise Refused(EXISTS)
            if not name or len(name) > 31 or not _fits(node["type"], name):
                raise Refused(INVALID)
        self.nodes[one]["hooks"][hook] = [other, other_hook]
        self.nodes[other]["hooks"][other_hook] = [one, hook]


def _fits(kind: str, hook: str) -> bool:
    for known in HOOKS[kind]:
        if known in ("*", hook) or (known.endswith("#") and re.fullmatch(known[:-1] + r"(0|[1-9]\d*)", hook)):
            return True
    return False


def join(socket: str | None, hook: str, path: str, peer_hook: str) -> str:
    """What bhyve does with ``netgraph`` as backend: a socket node joined to ``peer_hook`` of the node at ``path``.

    Returns the socket node's ID, for `leave`. Raises Taken, Refused.
    """
    with Graph() as graph:
        if socket and any(node["name"] == socket for node in graph.nodes.values()):
            raise Taken("Address already in use")
        number = graph.add("socket", socket or "", pid=os.getpid())
        graph.connect(number, hook, graph.find(path), peer_hook)
        return number


def leave(sockets: list[str]) -> None:
    """Close these sockets."""
    if sockets:
        with Graph() as graph:
            for number in sockets:
                graph.drop(number)


def interfaces_behind(name: str) -> set[str]:
    """The interfaces (ng_eiface) that frames of the interface ``name`` reach through netgraph."""
    if not core.peek("netgraph").get("nodes"):
        return set()
    with Graph() as graph:
        start = next(
            (number for number, node in graph.nodes.items() if node["name"] == _node_name(name)), None
        )
        seen: set[str] = set()
        todo = [start] if start else []
        while todo:
            number = todo.pop()
            if number not in seen:
                seen.add(number)
                todo += [peer for peer, _ in graph.nodes[number]["hooks"].values()]
        indexes = {graph.nodes[each]["interface"] for each in seen if graph.nodes[each]["type"] == "eiface"}
        return {each for each, interface in graph.interfaces.items() if interface["index"] in indexes}


def _node_name(interface: str) -> str:
    """ng_ether(4): characters that a path needs are replaced."""
    return interface.replace(".", "_").replace(":", "_")


def _is_loaded(module: str) -> bool:
    return module in core.peek("kld").get("loaded", {})
