"""ngctl(8): makes, joins, names and asks netgraph(4) nodes; one command a call, or with -f several of one process.

Source: ngctl(8) and usr.sbin/ngctl of FreeBSD 14 (the texts of msg.c, mkpeer.c and so on; ``freebsd/net.md`` 7).
A node of another type than `netgraph` knows is refused as if its module were missing. Messages that are known:
setpersistent and getstats (bridge), setcfg and getcfg (pipe), setautosrc, setpromisc and their get forms (ether),
set (eiface), getifname and getifindex; all are noted and none changes what a guest's frames do.
"""

from __future__ import annotations

import os
import re
import sys

from bhype.lab import core, netgraph, wires

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from bhype.lab.netgraph import Graph, Node

EX_USAGE = 64
SYNOPSIS = {
    "connect": "connect [path] <relpath> <hook> <peerhook>",
    "list": "list [-ln]",
    "mkpeer": "mkpeer [path] <type> <hook> <peerhook>",
    "msg": "msg path command [args ... ]",
    "name": "name <path> <name>",
    "rmhook": "rmhook [path] <hook>",
    "show": "show [-n] <path>",
    "shutdown": "shutdown <path>",
    "types": "types",
}


def main(argv: list[str]) -> int:
    core.fault(" ".join(["ngctl", *argv]))
    try:
        options, words = core.getopt(argv, "df:n:")
    except core.BadOption:
        core.fail("usage: ngctl [-j jail] [-d] [-f file] [-n name] [command ...]", EX_USAGE)
    names = dict(options)
    if names.get("f", "-") != "-" or not (words or "f" in names):
        core.fail("ngctl: commands are taken from the command line and standard input only", EX_USAGE)
    lines = [line.split() for line in sys.stdin] if "f" in names else [words]
    commands = [(_verb(line[0]), line[1:]) for line in lines if line and not line[0].startswith("#")]
    if commands == [("types", [])]:
        _types()
        return 0
    with netgraph.Graph() as graph:
        me = graph.add("socket", names.get("n", f"ngctl{os.getpid()}"), pid=os.getpid())
        try:
            for verb, rest in commands:
                _VERBS[verb](graph, me, [_absolute(word, me) for word in rest])
        finally:
            graph.drop(me)
    wires.carry()
    return 0


def _verb(word: str) -> str:
    """Unambiguous prefixes are enough."""
    found = [verb for verb in SYNOPSIS if verb.startswith(word)]
    if word not in SYNOPSIS and len(found) != 1:
        core.fail(f"ngctl: {word}: {'ambiguous' if found else 'unknown'} command", EX_USAGE)
    return word if word in SYNOPSIS else found[0]


def _absolute(word: str, me: str) -> str:
    """A path from ngctl's own node, ".:hook", as one from anywhere."""
    return f"[{me}]{word[1:]}" if word.startswith(".:") else word


def _usage(verb: str) -> NoReturn:
    core.fail(f"usage: {SYNOPSIS[verb]}", EX_USAGE)


def _refuse(what: str, error: netgraph.Refused) -> NoReturn:
    core.fail(f"ngctl: {what}: {error}", 1)


def _types() -> None:
    loaded = sorted(
        kind for kind, module in netgraph.MODULE.items() if module in core.peek("kld").get("loaded", {})
    )
    print(f"There are {len(loaded) + 1} total types:")
    print("   Type name   Number of living nodes\n   ---------   ----------------------")
    counts = [node["type"] for node in core.peek("netgraph").get("nodes", {}).values()]
    for kind in (*loaded, "socket"):
        print(f"{kind:>15}   {counts.count(kind):>22}")


def _list(graph: Graph, me: str, words: list[str]) -> None:
    if any(word not in ("-l", "-n", "-ln", "-nl") for word in words):
        _usage("list")
    print(f"There are {len(graph.nodes)} total nodes:")
    for number in graph.nodes:
        _print(graph, number)
        if any("l" in word for word in words):
            _print_hooks(graph, number)


def _show(graph: Graph, me: str, words: list[str]) -> None:
    only_node = words[:1] == ["-n"]
    if len(words) != 1 + only_node:
        _usage("show")
    number = _find(graph, words[-1], "send msg")
    _print(graph, number)
    if not only_node:
        _print_hooks(graph, number)


def _print(graph: Graph, number: str) -> None:
    node = graph.nodes[number]
    name = node["name"] or "<unnamed>"
    print(f"  Name: {name:<15} Type: {node['type']:<15} ID: {number}   Num hooks: {len(node['hooks'])}")


def _print_hooks(graph: Graph, number: str) -> None:
    hooks = graph.nodes[number]["hooks"]
    if not hooks:
        return
    row = "  {:<15} {:<15} {:<12} {:<15} {:<15}"
    print(row.format("Local hook", "Peer name", "Peer type", "Peer ID", "Peer hook"))
    print(row.format("----------", "---------", "---------", "-------", "---------"))
    for hook, (peer, peer_hook) in hooks.items():
        other = graph.nodes[peer]
        print(row.format(hook, other["name"] or "<unnamed>", other["type"], peer, peer_hook))


def _find(graph: Graph, path: str, what: str) -> str:
    try:
        return graph.find(path)
    except netgraph.Refused as error:
        _refuse(what, error)


def _mkpeer(graph: Graph, me: str, words: list[str]) -> None:
    if len(words) not in (3, 4):
        _usage("mkpeer")
    kind, hook, peer_hook = words[-3:]
    one = _find(graph, words[0], "send msg") if len(words) == 4 else me
    try:
        if kind not in netgraph.HOOKS:
            raise netgraph.Refused(netgraph.MISSING)
        if hook in graph.nodes[one]["hooks"]:
            raise netgraph.Refused(netgraph.EXISTS)
        other = graph.make(kind)
        try:
            graph.connect(one, hook, other, peer_hook)
        except netgraph.Refused:
            graph.drop(other)
            raise
    except netgraph.Refused as error:
        _refuse("send msg", error)


def _connect(graph: Graph, me: str, words: list[str]) -> None:
    if len(words) not in (3, 4):
        _usage("connect")
    path, hook, peer_hook = words[-3:]
    one = _find(graph, words[0], "send msg") if len(words) == 4 else me
    # A relative path goes through hooks of the first node; one with a colon is absolute.
    text = path if ":" in path else f"[{one}]:{path}"
    try:
        graph.connect(one, hook, graph.find(text), peer_hook)
    except netgraph.Refused as error:
        _refuse("send msg", error)


def _name(graph: Graph, me: str, words: list[str]) -> None:
    if len(words) != 2:
        _usage("name")
    number = _find(graph, words[0], "send msg")
    try:
        graph.rename(number, words[1])
    except netgraph.Refused as error:
        _refuse("send msg", error)


def _rmhook(graph: Graph, me: str, words: list[str]) -> None:
    if len(words) not in (1, 2):
        _usage("rmhook")
    number = _find(graph, words[0], "send msg") if len(words) == 2 else me
    try:
        graph.disconnect(number, words[-1])
    except netgraph.Refused as error:
        _refuse("send msg", error)


def _shutdown(graph: Graph, me: str, words: list[str]) -> None:
    if len(words) != 1:
        _usage("shutdown")
    number = _find(graph, words[0], "shutdown")
    node = graph.nodes[number]
    if node["type"] == "ether":  # it belongs to its interface and only loses its hooks
        for hook in list(node["hooks"]):
            graph.disconnect(number, hook)
    else:
        graph.drop(number)


def _msg(graph: Graph, me: str, words: list[str]) -> None:
    if len(words) < 2:
        _usage("msg")
    path, command, arguments = words[0], words[1], " ".join(words[2:])
    number = _find(graph, path, "send msg")
    node = graph.nodes[number]
    if command == "shutdown":
        _shutdown(graph, me, [path])
        return
    reply = _ask(node, command, arguments)
    if node["type"] == "eiface" and command == "set":
        for each in graph.interfaces.values():
            if each["index"] == node["interface"]:
                each["ether"] = ":".join(part.zfill(2) for part in arguments.split(":"))
    if reply is not None:
        print(f'Rec\'d response "{command}" ({len(reply)}) from "[{number.lstrip("0")}]:":\nArgs:\t{reply}')


def _ask(node: Node, command: str, arguments: str) -> str | None:
    kind, values = node["type"], node["values"]
    if kind == "bridge" and command == "setpersistent":
        values["persistent"] = True
    elif kind == "bridge" and command == "getstats":
        if f"link{arguments}" not in node["hooks"]:
            _refuse("send msg", netgraph.Refused("Socket is not connected"))
        return "{ recvOctets=0 recvPackets=0 xmitOctets=0 xmitPackets=0 }"
    elif kind == "pipe" and command == "setcfg":
        _configure(values, arguments)
    elif kind == "pipe" and command == "getcfg":
        return "{ " + " ".join(f"{key}={value}" for key, value in _shown(values).items()) + " }"
    elif kind == "ether" and command in ("setpromisc", "setautosrc") and re.fullmatch(r"\d+", arguments):
        values[command[3:]] = int(arguments)
    elif kind == "ether" and command in ("getpromisc", "getautosrc"):
        return str(values.get(command[3:], int(command == "getautosrc")))
    elif kind in ("ether", "eiface") and command in ("getifname", "getifindex"):
        return f'"{node["name"]}"' if command == "getifname" else str(node["interface"])
    elif (
        kind == "eiface" and command == "set" and re.fullmatch(r"([0-9a-f]{1,2}:){5}[0-9a-f]{1,2}", arguments)
    ):
        values["ether"] = arguments
    else:
        _refuse("send msg", netgraph.Refused(netgraph.INVALID))
    return None


def _configure(values: Node, text: str) -> None:
    """``{ bandwidth=N delay=N upstream={ bandwidth=N ... } downstream={ ... } }``; -1 sets back (ng_pipe.c)."""
    tokens = re.findall(r"[{}=]|[^\s{}=]+", text)
    if tokens[:1] != ["{"] or tokens.count("{") != tokens.count("}"):
        _refuse("send msg", netgraph.Refused(netgraph.INVALID))
    inside = ""
    at = 1
    while at < len(tokens) - 1:
        token = tokens[at]
        if token == "}" and inside:
            inside, at = "", at + 1
        elif token in ("upstream", "downstream") and tokens[at + 1 : at + 3] == ["=", "{"] and not inside:
            inside, at = token, at + 3
        elif tokens[at + 1 : at + 2] == ["="] and re.fullmatch(r"-?\d+", tokens[at + 2]):
            _set(values, f"{inside}.{token}" if inside else token, int(tokens[at + 2]))
            at += 3
        else:
            _refuse("send msg", netgraph.Refused(netgraph.INVALID))


def _set(values: Node, key: str, number: int) -> None:
    known = {"bandwidth", "delay", "overhead", "header_offset"}
    sided = {"bandwidth", "ber", "queuelen", "fifo", "drr", "wfq", "droptail", "drophead", "duplicate"}
    side, _, name = key.rpartition(".")
    if name not in (sided if side else known):
        _refuse("send msg", netgraph.Refused(netgraph.INVALID))
    if name == "bandwidth" and number != -1 and not 100 <= number <= 1_000_000_000:
        return  # ng_pipe(4) passes over it
    for each in (f"upstream.{name}", f"downstream.{name}") if key == "bandwidth" else (key,):
        if number == -1:
            values.pop(each, None)
        else:
            values[each] = number


def _shown(values: Node) -> dict[str, str]:
    """Sides as ``upstream={ bandwidth=... }``, only what is set."""
    found: dict[str, str] = {key: str(value) for key, value in values.items() if "." not in key}
    for side in ("downstream", "upstream"):
        inner = [
            f"{key.partition('.')[2]}={value}" for key, value in values.items() if key.startswith(side + ".")
        ]
        if inner:
            found[side] = "{ " + " ".join(inner) + " }"
    return found


_VERBS: dict[str, Callable[[Graph, str, list[str]], None]] = {
    "connect": _connect,
    "list": _list,
    "mkpeer": _mkpeer,
    "msg": _msg,
    "name": _name,
    "rmhook": _rmhook,
    "show": _show,
    "shutdown": _shutdown,
}
