"""Addresses of interfaces as ifconfig(8) sets them, and the flags of IPv6 (af_inet.c, af_inet6.c, in6.c, nd6.c)."""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from bhype.lab import core, release
from bhype.lab.ifconfig_state import EXISTS, INVALID, Trouble, bridge_of, is_mac, nd6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bhype.lab.ifconfig_run import Run
    from bhype.lab.ifconfig_state import Interface

_FLAGS = {
    "accept_rtadv": "ACCEPT_RTADV",
    "auto_linklocal": "AUTO_LINKLOCAL",
    "ifdisabled": "IFDISABLED",
    "no_dad": "NO_DAD",
    "no_radr": "NO_RADR",
    "nud": "PERFORMNUD",
}


def link_local(ether: str) -> str:
    """The address that an interface makes of its own (EUI-64), with its prefix."""
    octets = [int(part, 16) for part in ether.split(":")]
    octets[0] ^= 2
    packed = bytes([0xFE, 0x80, *[0] * 6, *octets[:3], 0xFF, 0xFE, *octets[3:]])
    return inet_ntop(AF_INET6, packed) + "/64"


def netmask(run: Run, text: str) -> None:
    try:
        number = int(text, 16) if text.startswith("0x") else int(inet_pton(AF_INET, text).hex(), 16)
    except (OSError, ValueError):
        raise Trouble(f"ifconfig: {text}: bad value") from None
    run.prefix = f"{number & 0xFFFFFFFF:032b}".count("1")


def prefixlen(run: Run, text: str) -> None:
    if not text.isdigit() or int(text) > 128:
        raise Trouble(f"ifconfig: {text}: bad value")
    run.prefix = int(text)


def take(run: Run, word: str) -> None:
    """A word that is none of the others is an address (a real host would ask its name server)."""
    if run.family == "ether":
        _set_ether(run, word)
        return
    bare, slash, width = word.partition("/")
    most = 32 if run.family == "inet" else 128
    if slash and (not width.isdigit() or int(width) > most):
        problem = "too large" if width.isdigit() else "invalid"
        raise Trouble(f"ifconfig: {word}: bad value (width {problem})")
    kind = AF_INET if run.family == "inet" else AF_INET6
    try:
        run.address = (run.family, inet_ntop(kind, inet_pton(kind, bare.partition("%")[0])))
    except (OSError, ValueError):
        raise Trouble(f"ifconfig: {bare}: bad value") from None
    if slash:
        run.prefix = int(width)


def set_ether(run: Run, text: str) -> None:
    _set_ether(run, text)


def _set_ether(run: Run, text: str) -> None:
    if text == "random":
        text = "58:9c:fc:" + ":".join(f"{byte:02x}" for byte in os.urandom(3))
    if not is_mac(text):
        raise Trouble("ifconfig: malformed link-level address")
    parts = text.lower().split(":")
    if int(parts[0], 16) & 1 or run.me["kind"] in ("lo", "wg"):
        raise Trouble(f"ifconfig: ioctl (SIOCSIFLLADDR): {INVALID}")
    run.me["ether"] = ":".join(part.zfill(2) for part in parts)


def finish(run: Run) -> None:
    """Set or remove the address that the words told of."""
    if run.address is None:
        if run.how == "remove" and run.me[run.family]:
            run.me[run.family].pop(0)
        elif run.how == "remove":
            raise Trouble("ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address")
        return
    family, address = run.address
    mine: list[str] = run.me[family]
    there = next((entry for entry in mine if entry.partition("/")[0] == address), "")
    if run.how == "remove":
        if not there:
            raise Trouble("ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address")
        mine.remove(there)
        return
    _check(run, family, address)
    entry = f"{address}/{_width(run, family, address)}"
    if there:
        mine[mine.index(there)] = entry
    elif run.how == "set" and mine and family == "inet":
        mine[0] = entry
    else:
        mine.append(entry)
    run.me["up"] = True
    if family == "inet6":
        # in6_addifaddr in in6.c: an interface with an address has IPv6.
        run.me["nd6"] = [each for each in nd6(run.me) if each != "IFDISABLED"]
    attach(run.me)


def _check(run: Run, family: str, address: str) -> None:
    others = (
        entry
        for name, each in run.interfaces.items()
        if name != run.name
        for entry in each[family]
        if not entry.startswith("fe80:")
    )
    if any(entry.partition("/")[0] == address for entry in others):
        raise Trouble(f"ifconfig: ioctl (SIOCAIFADDR): {EXISTS}")
    bridged = bridge_of(run.interfaces, run.name) and not address.startswith("fe80:")
    if release.major() >= 15 and bridged and core.peek("sysctl").get("net.link.bridge.member_ifaddrs") != "1":
        raise Trouble(f"ifconfig: ioctl (SIOCAIFADDR): {INVALID}")


def _width(run: Run, family: str, address: str) -> int:
    if run.prefix is not None:
        return run.prefix
    if family == "inet6":
        return 64
    first = int(address.partition(".")[0])
    return 8 if first < 128 else 16 if first < 192 else 24


def attach(interface: Interface) -> None:
    """Give an interface that is up and has IPv6 its link-local address, where it is to make one (in6_ifattach)."""
    flags = nd6(interface)
    if (
        not interface["up"]
        or "IFDISABLED" in flags
        or "AUTO_LINKLOCAL" not in flags
        or not interface["ether"]
    ):
        return
    if not any(each.startswith("fe80:") for each in interface["inet6"]):
        interface["inet6"].append(link_local(interface["ether"]))


def _flag(name: str, *, on: bool) -> Callable[[Run], None]:
    def word(run: Run) -> None:
        if run.family != "inet6":
            raise Trouble("ifconfig: not allowed for the AF")
        flags = [each for each in nd6(run.me) if each != name]
        run.me["nd6"] = [*flags, name] if on else flags
        if name == "AUTO_LINKLOCAL" or (name == "IFDISABLED" and not on):
            attach(run.me)

    return word


def alias(run: Run) -> None:
    run.how = "add"


def unalias(run: Run) -> None:
    run.how = "remove"


WORDS: dict[str, tuple[int, Callable[..., None]]] = {
    **{"alias": (0, alias), "add": (0, alias)},
    **dict.fromkeys(("-alias", "delete", "remove"), (0, unalias)),
    **{"netmask": (1, netmask), "prefixlen": (1, prefixlen)},
    **{sign + word: (0, _flag(name, on=not sign)) for word, name in _FLAGS.items() for sign in ("", "-")},
}
