"""What the words after an interface's name do, one by one, to ifconfig's state (see `ifconfig`)."""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Interface = dict[str, Any]

CLONERS = ("bridge", "lo", "tap", "vmnet")
FAMILIES = {"inet": "inet", "inet6": "inet6", **dict.fromkeys(("ether", "link", "lladdr"), "ether")}
NAME_MAX = 15
MTU_MIN = 72
MTU_MAX = 65535
EXISTS = "File exists"
MISSING = "No such file or directory"
INVALID = "Invalid argument"


class Trouble(Exception):
    """ifconfig ends here with ``code``; what it did so far stays done."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def boot(data: dict[str, Any]) -> None:
    """The interfaces of a host that has just started."""
    if data.get("interfaces"):
        return
    data.update(interfaces={}, index=0)
    nic = add(data, "em0", "em", up=True)
    nic.update(inet=["192.0.2.10/24"], ether="00:0c:29:5a:4d:01", groups=[])
    loopback = add(data, "lo0", "lo", up=True)
    loopback.update(inet=["127.0.0.1/8"], inet6=["::1/128"], mtu=16384, ether="")


def add(data: dict[str, Any], name: str, kind: str, *, up: bool = False) -> Interface:
    data["index"] += 1
    noise = os.urandom(2).hex()
    interface: Interface = {
        "kind": kind,
        "device": name,
        "index": data["index"],
        "up": up,
        "mtu": 1500,
        "description": "",
        "groups": [kind],
        "ether": f"58:9c:fc:10:{noise[:2]}:{noise[2:]}",
        "inet": [],
        "inet6": [],
    }
    if kind == "bridge":
        interface.update(members=[], private=[])
    data["interfaces"][name] = interface
    return interface


def forget(data: dict[str, Any], name: str) -> None:
    """Remove the interface, also from its bridge and from /dev."""
    interface = data["interfaces"].pop(name)
    for other in data["interfaces"].values():
        for key in ("members", "private"):
            if name in other.get(key, ()):
                other[key].remove(name)
    node = core.root(f"/dev/{interface['device']}")
    if interface["kind"] in ("tap", "vmnet") and os.path.exists(node):
        os.unlink(node)


class Run:
    """One command line about one interface, done word by word from left to right.

    name: the interface's name now; printed: to be told at the end, as ``create`` chose it; doomed: the name
    of an interface to destroy when the words are done.
    """

    def __init__(self, name: str, words: list[str]) -> None:
        self.name = name
        self.words = words
        self.printed = False
        self.doomed = ""
        self.family = "inet"
        self.address: tuple[str, str] | None = None
        self.prefix: int | None = None
        self.how = "set"

    def all(self, data: dict[str, Any]) -> None:
        """Do all words. Raises Trouble at the first that fails."""
        self.data = data
        self.interfaces: dict[str, Interface] = data["interfaces"]
        if self.words[0] in ("create", "plumb"):
            self.words.pop(0)
            self._create()
        elif self.name not in self.interfaces:
            raise Trouble(f"ifconfig: interface {self.name} does not exist")
        if self.words and self.words[0] in FAMILIES:
            self.family = FAMILIES[self.words.pop(0)]
        while self.words:
            word = self.words.pop(0)
            if word in PLAIN:
                PLAIN[word](self)
            elif word in WITH_ARGUMENT:
                if not self.words:
                    raise Trouble(f"ifconfig: '{word}' requires argument")
                WITH_ARGUMENT[word](self, self.words.pop(0))
            else:
                self._take_address(word)
        if not self.doomed:
            self._set_address()

    @property
    def me(self) -> Interface:
        return self.interfaces[self.name]

    def _create(self) -> None:
        wanted = self.name
        if len(wanted) > NAME_MAX:
            raise Trouble(f"ifconfig: {wanted}: cloning name too long")
        kind = wanted.rstrip("0123456789")
        unit = wanted[len(kind) :]
        if kind not in CLONERS or (unit.startswith("0") and unit != "0") or (unit and int(unit) > 32767):
            raise Trouble(f"ifconfig: SIOCIFCREATE2 ({wanted}): {INVALID}")
        taken = {each["device"] for each in self.interfaces.values()} | set(self.interfaces)
        if unit and wanted in taken:
            raise Trouble(f"ifconfig: SIOCIFCREATE2 ({wanted}): {EXISTS}")
        if not unit:
            number = 0
            while f"{kind}{number}" in taken:
                number += 1
            self.name = f"{kind}{number}"
            self.printed = True
        add(self.data, self.name, kind)
        if kind in ("tap", "vmnet"):
            open(core.root(f"/dev/{self.name}"), "w").close()

    # -- words without an argument -------------------------------------------------------------------

    def up(self) -> None:
        self.me["up"] = True

    def down(self) -> None:
        self.me["up"] = False

    def clear_description(self) -> None:
        self.me["description"] = ""

    def nothing(self, _argument: str = "") -> None:
        """A word that has no effect that anybody could see here."""

    def alias(self) -> None:
        self.how = "add"

    def unalias(self) -> None:
        self.how = "remove"

    def destroy(self) -> None:
        if self.me["kind"] not in CLONERS or self.name == "lo0":
            raise Trouble(f"ifconfig: SIOCIFDESTROY: {INVALID}")
        self.doomed = self.name
        self.words.clear()

    # -- words with an argument ----------------------------------------------------------------------

    def rename(self, new: str) -> None:
        if new in self.interfaces:
            core.warn(f"ifconfig: ioctl (set name): {EXISTS}")
            return
        if not new or len(new) > NAME_MAX:
            core.warn(f"ifconfig: ioctl (set name): {'File name too long' if new else INVALID}")
            return
        renamed = {new if name == self.name else name: each for name, each in self.interfaces.items()}
        self.interfaces.clear()
        self.interfaces.update(renamed)
        for other in self.interfaces.values():
            for key in ("members", "private"):
                if self.name in other.get(key, ()):
                    other[key][other[key].index(self.name)] = new
        self.name = new
        self.printed = False

    def describe(self, text: str) -> None:
        if len(text.encode(errors="surrogateescape")) >= 1024:
            core.warn("ifconfig: ioctl (set descr): File name too long")
            return
        self.me["description"] = text

    def join_group(self, group: str) -> None:
        if group[-1:].isdigit():
            raise Trouble("ifconfig: setifgroup: group names may not end in a digit")
        if len(group) > NAME_MAX:
            raise Trouble("ifconfig: setifgroup: group name too long")
        if group not in self.me["groups"]:
            self.me["groups"].append(group)

    def leave_group(self, group: str) -> None:
        if group not in self.me["groups"]:
            raise Trouble(f"ifconfig: -group {group}: {MISSING}")
        self.me["groups"].remove(group)

    def set_mtu(self, text: str) -> None:
        mtu = int(text) if text.isdigit() else 0
        wrong = not MTU_MIN <= mtu <= MTU_MAX
        # A member's MTU is the bridge's to change.
        wrong = wrong or any(self.name in each.get("members", ()) for each in self.interfaces.values())
        if wrong and mtu != self.me["mtu"]:
            core.warn(f"ifconfig: ioctl (set mtu): {INVALID}")
            return
        for name in (self.name, *self.me.get("members", ())):
            self.interfaces[name]["mtu"] = mtu

    def add_member(self, member: str) -> None:
        if self.me["kind"] != "bridge":
            self._bridge_trouble("BRDGADD", member, INVALID)
        if member not in self.interfaces:
            self._bridge_trouble("BRDGADD", member, MISSING)
        if member in self.me["members"]:
            self._bridge_trouble("BRDGADD", member, EXISTS)
        if any(member in each.get("members", ()) for each in self.interfaces.values()):
            self._bridge_trouble("BRDGADD", member, "Device busy")
        if self.interfaces[member]["kind"] in ("bridge", "lo"):
            self._bridge_trouble("BRDGADD", member, INVALID)
        if self.me["members"]:
            self.interfaces[member]["mtu"] = self.me["mtu"]
        else:
            self.me["mtu"] = self.interfaces[member]["mtu"]
        self.me["members"].append(member)

    def remove_member(self, member: str) -> None:
        if member not in self.me.get("members", ()):
            self._bridge_trouble("BRDGDEL", member, MISSING if self.me["kind"] == "bridge" else INVALID)
        self.me["members"].remove(member)
        if member in self.me["private"]:
            self.me["private"].remove(member)

    def make_private(self, member: str) -> None:
        self._need_member(member)
        if member not in self.me["private"]:
            self.me["private"].append(member)

    def make_public(self, member: str) -> None:
        self._need_member(member)
        if member in self.me["private"]:
            self.me["private"].remove(member)

    def tell_addresses(self) -> None:
        if self.me["kind"] != "bridge":
            raise Trouble(f"ifconfig: unable to get address cache: {INVALID}")

    def _need_member(self, member: str) -> None:
        if member not in self.me.get("members", ()):
            raise Trouble(f"ifconfig: unable to get bridge flags: {MISSING}")

    def member_setting(self, member: str) -> None:
        """stp, edge, sticky and the like: checked, and without effect as no frame moves."""
        self._need_member(member)

    def _bridge_trouble(self, request: str, member: str, reason: str) -> NoReturn:
        raise Trouble(f"ifconfig: {request} {member}: {reason}")

    # -- addresses -----------------------------------------------------------------------------------

    def netmask(self, text: str) -> None:
        try:
            number = int(text, 16) if text.startswith("0x") else int(inet_pton(AF_INET, text).hex(), 16)
        except (OSError, ValueError):
            raise Trouble(f"ifconfig: {text}: bad value") from None
        self.prefix = f"{number & 0xFFFFFFFF:032b}".count("1")

    def prefixlen(self, text: str) -> None:
        if not text.isdigit() or int(text) > 128:
            raise Trouble(f"ifconfig: {text}: bad value")
        self.prefix = int(text)

    def _take_address(self, word: str) -> None:
        """A word that is none of the others is an address (a real host would ask its name server)."""
        if self.family == "ether":
            self._set_ether(word)
            return
        bare, slash, width = word.partition("/")
        most = 32 if self.family == "inet" else 128
        if slash and (not width.isdigit() or int(width) > most):
            problem = "too large" if width.isdigit() else "invalid"
            raise Trouble(f"ifconfig: {word}: bad value (width {problem})")
        kind = AF_INET if self.family == "inet" else AF_INET6
        try:
            self.address = (self.family, inet_ntop(kind, inet_pton(kind, bare)))
        except (OSError, ValueError):
            raise Trouble(f"ifconfig: {bare}: bad value") from None
        if slash:
            self.prefix = int(width)

    def _set_ether(self, text: str) -> None:
        if text == "random":
            text = "58:9c:fc:" + ":".join(f"{byte:02x}" for byte in os.urandom(3))
        parts = text.lower().split(":")
        if len(parts) != 6 or any(not 1 <= len(p) <= 2 or set(p) - set("0123456789abcdef") for p in parts):
            raise Trouble("ifconfig: malformed link-level address")
        if int(parts[0], 16) & 1 or self.me["kind"] == "lo":
            raise Trouble(f"ifconfig: ioctl (SIOCSIFLLADDR): {INVALID}")
        self.me["ether"] = ":".join(part.zfill(2) for part in parts)

    def _set_address(self) -> None:
        if self.address is None:
            if self.how == "remove" and self.me[self.family]:
                self.me[self.family].pop(0)
            elif self.how == "remove":
                raise Trouble("ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address")
            return
        family, address = self.address
        mine: list[str] = self.me[family]
        there = next((entry for entry in mine if entry.partition("/")[0] == address), "")
        if self.how == "remove":
            if not there:
                raise Trouble("ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address")
            mine.remove(there)
            return
        others = (
            entry for name, each in self.interfaces.items() if name != self.name for entry in each[family]
        )
        if any(entry.partition("/")[0] == address for entry in others):
            raise Trouble(f"ifconfig: ioctl (SIOCAIFADDR): {EXISTS}")
        entry = f"{address}/{self._width(family, address)}"
        if there:
            mine[mine.index(there)] = entry
        elif self.how == "set" and mine and family == "inet":
            mine[0] = entry
        else:
            mine.append(entry)
        self.me["up"] = True

    def _width(self, family: str, address: str) -> int:
        if self.prefix is not None:
            return self.prefix
        if family == "inet6":
            return 64
        first = int(address.partition(".")[0])
        return 8 if first < 128 else 16 if first < 192 else 24


PLAIN: dict[str, Callable[[Run], None]] = {
    **{"up": Run.up, "down": Run.down, "alias": Run.alias, "add": Run.alias, "destroy": Run.destroy},
    **dict.fromkeys(("-alias", "delete", "remove"), Run.unalias),
    **dict.fromkeys(("-descr", "-description"), Run.clear_description),
    **dict.fromkeys(("promisc", "-promisc", "flush", "flushall", "arp", "-arp"), Run.nothing),
    **{"unplumb": Run.destroy, "addr": Run.tell_addresses},
}
WITH_ARGUMENT: dict[str, Callable[[Run, str], None]] = {
    **{"name": Run.rename, "descr": Run.describe, "description": Run.describe},
    **{"group": Run.join_group, "-group": Run.leave_group, "mtu": Run.set_mtu},
    **{"addm": Run.add_member, "deletem": Run.remove_member},
    **{"private": Run.make_private, "-private": Run.make_public},
    **dict.fromkeys(("stp", "-stp", "edge", "-edge", "sticky", "-sticky"), Run.member_setting),
    **dict.fromkeys(("learn", "-learn", "discover", "-discover"), Run.member_setting),
    **dict.fromkeys(("maxaddr", "timeout", "metric", "fib", "broadcast"), Run.nothing),
    **{"netmask": Run.netmask, "prefixlen": Run.prefixlen},
}
