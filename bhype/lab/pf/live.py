"""pf at work on the wires of the lab (`bhype.lab.wires`): what is loaded is carried into Linux' nftables (`nft`).

Without wires nothing moves, so that there are no states, and all counts stay 0. The state "pf-live" remembers what
was carried: {"pid": who held the namespace, "text", "objects": of the bridge's table, "generation"}.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from bhype.lab import core, wires

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_COUNTER = re.compile(r"(?:g[0-9]+_)?([ios])([0-9]+)")
_SET = re.compile("[mb](in|out)(p?)[46]")
_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58}


@dataclass(frozen=True)
class Live:
    """A state as pfctl prints it. rule: the id of the rule that made it, in 16 bits. handle: how Linux calls it."""

    number: int
    protocol: str
    direction: str
    source: str
    source_port: int
    target: str
    target_port: int
    rule: int = 0
    interface: str = "all"
    packets: int = 0
    octets: int = 0
    handle: tuple[str, ...] = ()
    translated: str = ""

    def text(self) -> str:
        """One line of ``pfctl -ss``: the inner end first, then in brackets what it was before its translation."""
        source = _place(self.source, self.source_port)
        target = _place(self.target, self.target_port)
        inner = f" ({self.translated})" if self.translated else ""
        ends = f"{target}{inner} <- {source}" if self.direction == "in" else f"{source}{inner} -> {target}"
        word = {"tcp": "ESTABLISHED:ESTABLISHED", "udp": "MULTIPLE:MULTIPLE"}.get(self.protocol, "0:0")
        name = {"icmpv6": "ipv6-icmp"}.get(self.protocol, self.protocol)
        return f"{self.interface} {name} {ends}       {word}"


def _place(address: str, port: int) -> str:
    return f"{address}[{port}]" if ":" in address else f"{address}:{port}"


# -- carrying ----------------------------------------------------------------------------------------


def carry() -> None:
    """Bring Linux' packet filter to what is loaded; nothing without wires, or where nothing has changed."""
    pid = wires.namespace()
    if pid is None:
        return
    with core.state("pf-live") as live:
        if live.get("pid") != pid:
            live.clear()
            live.update(pid=pid, text="", objects=[], generation=0)
        text = _wanted(0, [])[0]
        if text == live["text"]:
            return
        with core.state("pf") as data:
            _add(data.setdefault("counts", {}), _counters())
        live["generation"] += 1
        script, objects = _wanted(live["generation"], live["objects"])
        done = wires.run(["nft", "-f", "-"], input=script)
        if done.returncode:
            core.warn(f"lab: nft: {done.stderr.strip()}")
            return
        live.update(text=text, objects=objects)
    # Linux asks for a translation only once for each connection, pf for each packet without a state.
    _end(pid, {state.handle for line in _lines(pid) for state in _connection(line, stateless=True)})


def _wanted(generation: int, old: list[str]) -> tuple[str, list[str]]:
    """The text for nft, and what to remove before the next."""
    from bhype.lab.pf import kernel, nft
    from bhype.lab.pf.journey import Pfil

    data = kernel.fresh(core.peek("pf"))
    if not data["enabled"] or not kernel.loaded():
        return nft.nothing(), []
    from bhype.lab.sysctl import of_module

    values = of_module("if_bridge") | core.peek("sysctl")

    def is_on(name: str) -> bool:
        return bool(values[f"net.link.bridge.{name}"] != "0")

    pfil = Pfil(is_on("pfil_member"), is_on("pfil_bridge"), is_on("pfil_local_phys"))
    ids = {
        (path, section): kernel.numbers(data, path, section)
        for path in data["anchors"]
        for section in kernel.SECTIONS
    }
    pf = kernel.filter_of(data)
    return nft.compile_all(pf, ids, pfil, generation, old)


# -- counts ------------------------------------------------------------------------------------------


def read(data: dict[str, Any]) -> None:
    """Add what rules have counted on the wires to ``data["counts"]``, and how many states they have now."""
    if wires.namespace() is None:
        return
    from bhype.lab.pf.nft import short

    _add(data["counts"], _counters())
    now = [state.rule for state in states()]
    for number, counts in data["counts"].items():
        counts[5] = now.count(short(int(number)))


def _counters() -> list[dict[str, Any]]:
    """All counters of the tables "pf"."""
    done = wires.run(["nft", "-j", "list", "counters"])
    if done.returncode:
        return []
    found = json.loads(done.stdout)["nftables"]
    return [each["counter"] for each in found if each.get("counter", {}).get("table") == "pf"]


def _add(counts: dict[str, list[int]], counters: list[dict[str, Any]]) -> None:
    """counts: as in `kernel`: packets and bytes in and out, states made, states now, evaluations."""
    for counter in counters:
        met = _COUNTER.fullmatch(counter["name"])
        if not met or not counter["packets"]:
            continue
        entry = counts.setdefault(met[2], [0] * 7)
        entry[5] = 0
        if met[1] == "s":
            entry[4] += counter["packets"]
        else:
            at = 0 if met[1] == "i" else 2
            entry[at] += counter["packets"]
            entry[at + 1] += counter["bytes"]
            entry[6] += counter["packets"]


# -- states ------------------------------------------------------------------------------------------


def states() -> Iterator[Live]:
    """The states that there are: Linux' connections with a mark of ours, and those of bridges."""
    pid = wires.namespace()
    if pid is None:
        return
    for line in _lines(pid):
        yield from _connection(line)
    yield from _bridged()


def _lines(pid: int) -> list[str]:
    """Linux' connections in the lab's namespace."""
    try:
        with open(f"/proc/{pid}/net/nf_conntrack") as file:
            return file.readlines()
    except OSError:
        return []


def _connection(line: str, *, stateless: bool = False) -> Iterator[Live]:
    """The states that a connection stands for; with ``stateless`` itself, if it stands for none."""
    words = line.split()
    pairs = [word.partition("=")[::2] for word in words if "=" in word]
    first: dict[str, str] = {}
    second: dict[str, str] = {}
    for key, value in pairs:
        if key in ("src", "dst", "sport", "dport", "id", "type", "packets", "bytes"):
            (second if key in first and key != "mark" else first)[key] = value
    mark = int(dict(pairs).get("mark", "0"))
    if bool(mark) == stateless or words[2] not in _PROTOCOLS:
        return
    ports = int(first.get("sport", first.get("id", "0"))), int(first.get("dport", first.get("id", "0")))
    ends = (first["src"], ports[0], first["dst"], ports[1])
    handle = (
        "connection",
        first["src"],
        first["dst"],
        words[2],
        str(ports[0]),
        str(ports[1]),
        first.get("type", ""),
    )
    back = (
        second["src"],
        int(second.get("sport", ports[1])),
        second["dst"],
        int(second.get("dport", ports[0])),
    )
    if stateless:
        yield Live(0, words[2], "", *ends, handle=handle)
        return
    packets, octets = int(first.get("packets", 0)), int(first.get("bytes", 0))
    number = hash_of(" ".join(handle))
    for direction, rule in (("in", mark & 0xFFFF), ("out", mark >> 16)):
        if not rule:
            continue
        shown, other = ends, ""
        if direction == "in" and back[:2] != ends[2:]:
            other = _place(ends[2], ends[3])
            shown = (*ends[:2], *back[:2])
        elif direction == "in":
            pass
        elif back[2:] != ends[:2]:
            other = _place(ends[0], ends[1])
            shown = (*back[2:], *back[:2])
        else:
            shown = (*ends[:2], *back[:2])
        yield Live(
            number + (direction == "out"),
            words[2],
            direction,
            *shown,
            rule,
            "all",
            packets,
            octets,
            handle,
            other,
        )


def hash_of(text: str) -> int:
    """A number for a state, the same each time."""
    from zlib import crc32

    return crc32(text.encode()) << 1


def _bridged() -> Iterator[Live]:
    done = wires.run(["nft", "-j", "list", "table", "bridge", "pf"])
    if done.returncode:
        return
    blame = _blamer()
    for each in json.loads(done.stdout)["nftables"]:
        found = each.get("set", {})
        name = found.get("name", "")
        met = _SET.fullmatch(name)
        if not met:
            continue
        direction = met[1]
        for element in found.get("elem", ()):
            parts = element["elem"]["val"]["concat"]
            handle = ("element", name, " . ".join(str(part) for part in parts))
            if met[2]:
                protocol, ports = "icmp" if name.endswith("4") else "icmpv6", (parts[2], parts[2])
            else:
                protocol, ports = parts[2], (_port(parts[3]), _port(parts[4]))
            number = hash_of(" ".join(handle))
            made = Live(number, protocol, direction, parts[0], ports[0], parts[1], ports[1], handle=handle)
            yield replace(made, rule=blame(made))


def _blamer() -> Callable[[Live], int]:
    """Finds the rule that made a state of a bridge, which keeps none: the one that would make it now."""
    from bhype.lab.pf import kernel, nft
    from bhype.lab.pf.model import Packet

    data = kernel.fresh(core.peek("pf"))
    pf = kernel.filter_of(data)
    bridges = [name for name, each in pf.world.interfaces.items() if each.members]
    ports = [name for bridge in bridges for name in pf.world.interfaces[bridge].members]

    def blame(state: Live) -> int:
        icmp = (128 if state.protocol == "icmpv6" else 8, 0)
        name = {"icmpv6": "icmp6"}.get(state.protocol, state.protocol)
        ends = (state.source, state.target, state.source_port, state.target_port)
        for interface in (*bridges, *ports):
            pf.states.clear()
            found = pf.test(Packet(interface, state.direction, name, *ends, icmp=icmp))
            if found.passes and found.rule and found.rule.keep:
                return nft.short(kernel.numbers(data, found.anchor, "filter")[found.number])
        return 0

    return blame


def _port(value: int | str) -> int:
    from bhype.lab.pf import names

    return value if isinstance(value, int) else names.service(value) or 0


def forget(which: Callable[[Live], bool] | None) -> int:
    """End the states that ``which`` meets, or all; returns how many."""
    pid = wires.namespace()
    if pid is None:
        return 0
    found = [state for state in states() if which is None or which(state)]
    elements = [state.handle for state in found if state.handle[0] == "element"]
    if elements:
        lines = [f"delete element bridge pf {name} {{ {key} }}" for _, name, key in elements]
        wires.run(["nft", "-f", "-"], input="\n".join(lines) + "\n")
    _end(pid, {state.handle for state in found if state.handle[0] == "connection"})
    return len(found)


def _end(pid: int, connections: set[tuple[str, ...]]) -> None:
    """Delete connections by their handles."""
    if not connections:
        return
    from bhype.lab.pf import netlink

    def end() -> None:
        link = netlink.Netlink()
        for _, source, target, protocol, first, second, kind in connections:
            link.end_connection(
                source, target, _PROTOCOLS[protocol], (int(first), int(second)), int(kind or -1)
            )

    netlink.within(pid, end)
