"""ngctl(8): netgraph(4) nodes. Each has a name, and hooks that join it to others; a path names a node directly
("tap1:") or the one behind a hook ("tap1:lower"), or behind several ("tap1:lower.upper")."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bhype.freebsd.command import Command, ParseError, Query
from bhype.freebsd.names import BadName

PROGRAM = "/usr/sbin/ngctl"
# ng_pipe(4) passes over bandwidths outside of these bounds (sys/netgraph/ng_pipe.c), and takes -1 for none.
SLOWEST, FASTEST = 100, 1_000_000_000
_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}:([a-z0-9]{1,31}(\.[a-z0-9]{1,31})*)?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
_WORD = re.compile(r"[a-z][a-z0-9]{0,30}")


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook of a node and what it is joined to. peer: the other node's name, its number in brackets if it has none."""

    name: str
    peer: str
    kind: str
    peer_hook: str


def nodes() -> Query[dict[str, str]]:
    """The type of each named node, by its name."""
    return Query(Command((PROGRAM, "list")), _nodes)


def name_of(path: str) -> Query[str]:
    """The name of the node at ``path``; fails when there is none."""
    return Query(Command((PROGRAM, "show", "-n", _path(path))), _only)


def hooks(path: str) -> Query[tuple[Hook, ...]]:
    """The hooks of the node at ``path`` that are joined to others; fails when there is no node."""
    return Query(Command((PROGRAM, "show", _path(path))), _hooks)


def make_named(kind: str, hook: str, name: str, *messages: str) -> Command:
    """Make a node that stands alone, and tell it ``messages``, such as to stay. One process does it all: a node without
    hooks ends with the process that it was made by."""
    lines = [
        f"mkpeer {_word(kind)} {_word(hook)} {_word(hook)}",
        f"name .:{_word(hook)} {_name(name)}",
        *(f"msg {_name(name)}: {_word(message)}" for message in messages),
    ]
    return Command((PROGRAM, "-f", "-"), stdin="".join(f"{line}\n" for line in lines).encode())


def connect(path: str, peer: str, hook: str, peer_hook: str) -> Command:
    """Join ``hook`` of the node at ``path`` to ``peer_hook`` of the node at ``peer``."""
    return Command((PROGRAM, "connect", _path(path), _path(peer), _word(hook), _word(peer_hook)))


def remove_hook(path: str, hook: str) -> Command:
    return Command((PROGRAM, "rmhook", _path(path), _word(hook)))


def make_peer(path: str, kind: str, hook: str, peer_hook: str) -> Command:
    """Make a node of ``kind`` and join its ``peer_hook`` to ``hook`` of the node at ``path``."""
    return Command((PROGRAM, "mkpeer", _path(path), _word(kind), _word(hook), _word(peer_hook)))


def set_name(path: str, name: str) -> Command:
    """Give the node at ``path`` a name, also in place of another."""
    return Command((PROGRAM, "name", _path(path), _name(name)))


def message(path: str, *words: str) -> Command:
    """Send a control message such as ("setautosrc", "0")."""
    return Command((PROGRAM, "msg", _path(path), *words))


def set_bandwidth(path: str, *, downstream: int | None, upstream: int | None) -> Command:
    """The bits per second that an ng_pipe(4) lets through to its lower hook and to its upper hook; None: all."""
    sides = (("downstream", downstream), ("upstream", upstream))
    words = " ".join(f"{side}={{ bandwidth={_bandwidth(value)} }}" for side, value in sides)
    return message(path, "setcfg", f"{{ {words} }}")


def shutdown(path: str) -> Command:
    """End a node; those that are part of an interface are only disconnected."""
    return Command((PROGRAM, "shutdown", _path(path)))


def _bandwidth(value: int | None) -> int:
    if value is None:
        return -1
    if not SLOWEST <= value <= FASTEST:
        raise BadName(f"{value} bits/s is nothing that ng_pipe can do.")
    return value


def _nodes(text: str) -> dict[str, str]:
    """Rows as ``  Name: ix0             Type: ether           ID: 00000002   Num hooks: 2``."""
    found = {}
    for line_number, line in enumerate(text.split("\n"), 1):
        if not line.lstrip().startswith("Name:"):
            continue
        match = re.match(r"\s*Name: (\S+)\s+Type: (\S+)\s+ID: [0-9a-f]+\s+Num hooks: [0-9]+\s*$", line)
        if not match:
            raise ParseError(f"line {line_number}: a node expected: {line!r}")
        if match[1] != "<unnamed>":
            found[match[1]] = match[2]
    return found


def _hooks(text: str) -> tuple[Hook, ...]:
    """Rows below the rule, as ``  link1           em0             ether        00000002        upper``."""
    found = []
    _, _, rows = text.partition("----------      ---------")
    for line in rows.split("\n")[1:]:
        words = line.split()
        if not words:
            continue
        if len(words) != 5:
            raise ParseError(f"a hook expected: {line!r}")
        hook, peer, kind, number, peer_hook = words
        found.append(Hook(hook, f"[{number}]" if peer == "<unnamed>" else peer, kind, peer_hook))
    return tuple(found)


def _only(text: str) -> str:
    found = _nodes(text)
    if len(found) != 1:
        raise ParseError(f"one node expected: {text[:200]!r}")
    return next(iter(found))


def _path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise BadName(f"{path!r} is not the path of a netgraph node.")
    return path


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadName(f"{name!r} is not the name of a netgraph node.")
    return name


def _word(word: str) -> str:
    if not _WORD.fullmatch(word):
        raise BadName(f"{word!r} is not the name of a hook or type.")
    return word
