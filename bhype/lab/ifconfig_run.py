"""What the words after an interface's name do, one by one, to ifconfig's state (see `ifconfig`)."""

from __future__ import annotations

from bhype.lab import core, ifconfig_bridge, ifconfig_clones, ifconfig_inet, release
from bhype.lab.ifconfig_state import (
    CLONERS,
    EXISTS,
    FAMILIES,
    INVALID,
    MISSING,
    NAME_MAX,
    Trouble,
    bridge_of,
    renamed,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bhype.lab.ifconfig_state import Interface

MTU_MIN = 72
MTU_MAX = 65535


class Run:
    """One command line about one interface, done word by word from left to right.

    name: the interface's name now; printed: to be told at the end, as ``create`` chose it; made: the kind of what was
    created; doomed: an interface to destroy when the words are done; later: what is to be told of or done to a bridge
    that is real, ``("addr" or "flush", name)``; pending: the words of a VLAN, which work together; code: the exit
    status.
    """

    def __init__(self, name: str, words: list[str]) -> None:
        self.name = name
        self.words = words
        self.printed = False
        self.made = ""
        self.doomed = ""
        self.family = "inet"
        self.address: tuple[str, str] | None = None
        self.prefix: int | None = None
        self.how = "set"
        self.later: list[tuple[str, str]] = []
        self.pending: dict[str, str] = {}
        self.code = 0

    def all(self, data: dict[str, Any]) -> None:
        """Do all words. Raises Trouble at the first that fails."""
        self.data = data
        self.interfaces: dict[str, Interface] = data["interfaces"]
        if self.words[0] in ("create", "plumb"):
            self.words.pop(0)
            ifconfig_clones.create(self)
        elif self.name not in self.interfaces:
            raise Trouble(f"ifconfig: interface {self.name} does not exist")
        if self.words and self.words[0] in FAMILIES:
            self.family = FAMILIES[self.words.pop(0)]
        known = WORDS | (ifconfig_bridge.WORDS_15 if release.major() >= 15 else {})
        while self.words:
            word = self.words.pop(0)
            if word not in known:
                ifconfig_inet.take(self, word)
                continue
            count, action = known[word]
            if len(self.words) < count:
                raise Trouble(f"ifconfig: '{word}' requires {'argument' if count == 1 else '2 arguments'}")
            arguments, self.words[:] = self.words[:count], self.words[count:]
            action(self, *arguments)
        if len(self.pending) == 1 and self.me["kind"] == "vlan":
            raise Trouble("ifconfig: both vlan and vlandev must be specified")
        if not self.doomed:
            ifconfig_inet.finish(self)

    @property
    def me(self) -> Interface:
        return self.interfaces[self.name]


def up(run: Run) -> None:
    run.me["up"] = True
    ifconfig_inet.attach(run.me)


def down(run: Run) -> None:
    run.me["up"] = False


def clear_description(run: Run) -> None:
    run.me["description"] = ""


def nothing(run: Run, *_arguments: str) -> None:
    """A word that has no effect that anybody could see here."""


def destroy(run: Run) -> None:
    if run.me["kind"] not in CLONERS or run.name == "lo0":
        raise Trouble(f"ifconfig: SIOCIFDESTROY: {INVALID}")
    run.doomed = run.name
    run.words.clear()


def rename(run: Run, new: str) -> None:
    if new == run.name:
        return
    if new in run.interfaces:
        core.warn(f"ifconfig: ioctl (set name): {EXISTS}")
        return
    if not new or len(new) > NAME_MAX:
        core.warn(f"ifconfig: ioctl (set name): {'File name too long' if new else INVALID}")
        return
    ordered = {new if name == run.name else name: each for name, each in run.interfaces.items()}
    run.interfaces.clear()
    run.interfaces.update(ordered)
    for other in run.interfaces.values():
        renamed(other, run.name, new)
    run.name = new
    run.printed = False


def describe(run: Run, text: str) -> None:
    if len(text.encode(errors="surrogateescape")) >= 1024:
        core.warn("ifconfig: ioctl (set descr): File name too long")
        return
    run.me["description"] = text


def join_group(run: Run, group: str) -> None:
    if group[-1:].isdigit():
        raise Trouble("ifconfig: setifgroup: group names may not end in a digit")
    if len(group) > NAME_MAX:
        raise Trouble("ifconfig: setifgroup: group name too long")
    if group not in run.me["groups"]:
        run.me["groups"].append(group)


def leave_group(run: Run, group: str) -> None:
    if group not in run.me["groups"]:
        raise Trouble(f"ifconfig: -group {group}: {MISSING}")
    run.me["groups"].remove(group)


def set_mtu(run: Run, text: str) -> None:
    mtu = int(text) if text.isdigit() else 0
    wrong = not MTU_MIN <= mtu <= MTU_MAX
    # A member's MTU is the bridge's to change, and a VLAN's frames must fit into its parent's.
    wrong = wrong or bool(bridge_of(run.interfaces, run.name))
    parent = run.interfaces.get(run.me.get("vlandev", ""))
    if (wrong or (parent is not None and mtu > parent["mtu"])) and mtu != run.me["mtu"]:
        core.warn(f"ifconfig: ioctl (set mtu): {INVALID}")
        return
    for name in (run.name, *run.me.get("members", ())):
        run.interfaces[name]["mtu"] = mtu


def into_jail(run: Run, jail: str) -> None:
    """S:sbin/ifconfig/ifconfig.c, getifjailid: the lab has no jail yet."""
    raise Trouble(f'ifconfig: jail "{jail}" not found')


def random_address(run: Run, text: str) -> None:
    """``link random`` and ``ether MAC`` behind other words."""
    ifconfig_inet.set_ether(run, text)


# Each word with the number of its arguments.
WORDS: dict[str, tuple[int, Callable[..., None]]] = {
    **{"up": (0, up), "down": (0, down), "destroy": (0, destroy), "unplumb": (0, destroy)},
    **dict.fromkeys(("-descr", "-description"), (0, clear_description)),
    **dict.fromkeys(("promisc", "-promisc", "arp", "-arp", "monitor", "-monitor"), (0, nothing)),
    **dict.fromkeys(("rxcsum", "-rxcsum", "txcsum", "-txcsum", "tso", "-tso", "lro", "-lro"), (0, nothing)),
    **dict.fromkeys(("vlanhwfilter", "-vlanhwfilter", "vlanhwtag", "-vlanhwtag"), (0, nothing)),
    **{"name": (1, rename), "descr": (1, describe), "description": (1, describe)},
    **{"group": (1, join_group), "-group": (1, leave_group), "mtu": (1, set_mtu)},
    **dict.fromkeys(("metric", "fib", "broadcast", "tunnelfib"), (1, nothing)),
    **{"vnet": (1, into_jail), "-vnet": (1, into_jail)},
    **dict.fromkeys(("ether", "link", "lladdr"), (1, random_address)),
    **ifconfig_inet.WORDS,
    **ifconfig_clones.WORDS,
    **ifconfig_bridge.WORDS,
}
