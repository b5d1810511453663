"""What wg(8) of the lab reads: keys, configuration files and words, and what they make of a tunnel (see `wg`)."""

from __future__ import annotations

import binascii
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Tunnel = dict[str, Any]

SET_USAGE = (
    "Usage: wg set <interface> [listen-port <port>] [fwmark <mark>] [private-key <file path>] [peer <base64 public"
    " key> [remove] [preshared-key <file path>] [endpoint <ip>:<port>] [persistent-keepalive <interval seconds>]"
    " [allowed-ips [+|-]<ip1>/<cidr1>[,[+|-]<ip2>/<cidr2>]...] ]..."
)
_PRIME = 2**255 - 19


def key_of(text: str) -> bytes | None:
    """The 32 bytes of a key in base64; None for what is none."""
    if len(text) != 44 or text[-1] != "=":
        return None
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    return raw if len(raw) == 32 and text_of(raw) == text else None


def text_of(key: bytes) -> str:
    return binascii.b2a_base64(key, newline=False).decode()


def public_of(private: bytes) -> bytes:
    """X25519 with the base point (RFC 7748, 5). For a lab: it takes not the same time for all keys."""
    number = int.from_bytes(private, "little") & ~7 & (1 << 255) - 1 | 1 << 254
    x2, z2, x3, z3, swap = 1, 0, 9, 1, 0
    for at in range(254, -1, -1):
        bit = number >> at & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % _PRIME, b * b % _PRIME, d * a % _PRIME, c * b % _PRIME
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % _PRIME, 9 * (da - cb) ** 2 % _PRIME
        x2, z2 = aa * bb % _PRIME, e * (aa + 121665 * e) % _PRIME
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _PRIME - 2, _PRIME) % _PRIME).to_bytes(32, "little")


class Peer:
    """What is said of one peer; None for what is not said. more, fewer: networks with + or - before them."""

    def __init__(self, public: str) -> None:
        self.public = public
        self.remove = False
        self.psk: str | None = None
        self.endpoint: str | None = None
        self.keepalive: int | None = None
        self.replaces = False
        self.allowed: list[str] = []
        self.fewer: list[str] = []


class Change:
    """What a file or words say of a tunnel."""

    def __init__(self) -> None:
        self.private: str | None = None
        self.port: int | None = None
        self.fwmark: int | None = None
        self.peers: list[Peer] = []


def read(lines: list[str]) -> Change:
    """A configuration file. Ends the program at a line that is not understood (config.c)."""
    change, part = Change(), ""
    for line in lines:
        text = "".join(line.partition("#")[0].split())
        if not text:
            continue
        if text.lower() in ("[interface]", "[peer]"):
            part = text.lower()
            if part == "[peer]":
                change.peers.append(Peer(""))
                change.peers[-1].replaces = True
            continue
        name, equals, value = text.partition("=")
        known = {"[interface]": _INTERFACE, "[peer]": _PEER}.get(part, {})
        if not equals or name.lower() not in known:
            _bad(f"Line unrecognized: `{text}'")
        known[name.lower()](change, value)
    if any(not peer.public for peer in change.peers):
        core.fail("A peer is missing a public key\nInvalid configuration", 1)
    return change


def _bad(text: str) -> None:
    core.fail(f"{text}\nConfiguration parsing error", 1)


def read_words(words: list[str], path: Callable[[str], str]) -> Change:
    """The words of `wg set`."""
    change = Change()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        peer = change.peers[-1] if change.peers else None
        if word == "remove" and peer:
            peer.remove = True
            continue
        known = _WORDS_OF_PEER if peer else _WORDS
        if word == "peer" and rest:
            change.peers.append(Peer(_key(rest.pop(0))))
        elif word in ("private-key", "preshared-key") and rest and (peer is None) == (word == "private-key"):
            key = _from_file(path(rest.pop(0)))
            if peer:
                peer.psk = key
            else:
                change.private = key
        elif word in known and rest:
            known[word](change, rest.pop(0))
        else:
            core.fail(f"Invalid argument: {word}\n{SET_USAGE}", 1)
    return change


def _from_file(path: str) -> str:
    try:
        with open(path) as file:
            text = file.read().strip()
    except OSError:
        core.fail("fopen: No such file or directory", 1)
    return _key(text) if text else ""


def _key(text: str) -> str:
    if key_of(text) is None:
        _bad(f"Key is not the correct length or format: `{text}'")
    return text


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        _bad(f"Service was not recognized for socket type: `{text}'")
    return int(text)


def _mark(text: str) -> int:
    if text.lower() == "off":
        return 0
    try:
        return int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        _bad(f"Fwmark is neither 0/off nor 0-0xffffffff: `{text}'")
    return 0


def _seconds(text: str) -> int:
    if text.lower() == "off":
        return 0
    if not text.isdigit() or int(text) > 65535:
        _bad(f"Persistent keepalive interval is neither 0/off nor 1-65535: `{text}'")
    return int(text)


def _endpoint(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port:
        _bad(f"Unable to find port of endpoint: `{text}'")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    family = AF_INET6 if ":" in bare else AF_INET
    try:
        address = inet_ntop(family, inet_pton(family, bare))
    except (OSError, ValueError):
        # The lab's host asks no name server here.
        _bad(f"Name does not resolve: `{text}'")
    return f"[{address}]:{_port(port)}" if family == AF_INET6 else f"{address}:{_port(port)}"


def network(text: str) -> str:
    """An allowed network as wg(8) prints it, without host bits (the kernel keeps none)."""
    address, slash, width = text.partition("/")
    family, bits = (AF_INET6, 128) if ":" in address else (AF_INET, 32)
    try:
        raw = inet_pton(family, address)
    except (OSError, ValueError):
        _bad(f"Unable to parse IP address: `{address}'")
    if slash and (not width.isdigit() or int(width) > bits):
        _bad(f"AllowedIP is not in the correct format: `{text}'")
    kept = int(width) if slash else bits
    number = int.from_bytes(raw, "big") >> bits - kept << bits - kept
    return f"{inet_ntop(family, number.to_bytes(bits // 8, 'big'))}/{kept}"


def _allowed(peer: Peer, text: str) -> None:
    peer.replaces = True
    for word in filter(None, text.split(",")):
        if word[0] in "+-":
            peer.replaces = False
        (peer.fewer if word[0] == "-" else peer.allowed).append(network(word.lstrip("+-")))


def apply(tunnel: Tunnel, change: Change, verb: str) -> None:
    """verb: "setconf" replaces everything, "syncconf" keeps peers that stay, "addconf" adds."""
    if change.private is not None:
        tunnel["private"] = change.private
    if change.port is not None:
        tunnel["port"] = change.port
    if change.fwmark is not None:
        tunnel["fwmark"] = change.fwmark
    if verb != "addconf":
        for name, said in (("private", change.private), ("port", change.port), ("fwmark", change.fwmark)):
            if said is None:
                tunnel[name] = "" if name == "private" else 0
        kept = {peer.public for peer in change.peers} if verb == "syncconf" else set()
        tunnel["peers"] = {public: one for public, one in tunnel["peers"].items() if public in kept}
    private = key_of(tunnel["private"])
    own = text_of(public_of(private)) if private else ""
    for peer in change.peers:
        if peer.remove or peer.public == own:
            # The kernel knows itself as no peer (wg_peer_create in if_wg.c).
            tunnel["peers"].pop(peer.public, None)
            continue
        one = tunnel["peers"].setdefault(
            peer.public, {"psk": "", "endpoint": "", "allowed": [], "keepalive": 0}
        )
        one["psk"] = one["psk"] if peer.psk is None and verb != "syncconf" else peer.psk or ""
        one["endpoint"] = one["endpoint"] if peer.endpoint is None else peer.endpoint
        if peer.keepalive is not None or verb == "syncconf":
            one["keepalive"] = peer.keepalive or 0
        if peer.replaces:
            one["allowed"] = []
        one["allowed"] = [each for each in one["allowed"] if each not in peer.fewer]
        for each in peer.allowed:
            # A network is one peer's: the last that asks for it gets it.
            for other in tunnel["peers"].values():
                other["allowed"] = [had for had in other["allowed"] if had != each]
            one["allowed"].append(each)


def _of(name: str, read: Callable[[str], Any]) -> Callable[[Change, str], None]:
    return lambda change, text: setattr(change, name, read(text))


def _of_peer(name: str, read: Callable[[str], Any]) -> Callable[[Change, str], None]:
    return lambda change, text: setattr(change.peers[-1], name, read(text))


_WORDS = {"listen-port": _of("port", _port), "fwmark": _of("fwmark", _mark)}
_WORDS_OF_PEER: dict[str, Callable[[Change, str], None]] = {
    "endpoint": _of_peer("endpoint", _endpoint),
    "persistent-keepalive": _of_peer("keepalive", _seconds),
    "allowed-ips": lambda change, text: _allowed(change.peers[-1], text),
}
_INTERFACE = {
    "listenport": _WORDS["listen-port"],
    "fwmark": _WORDS["fwmark"],
    "privatekey": _of("private", _key),
}
_PEER = {
    "publickey": _of_peer("public", _key),
    "presharedkey": _of_peer("psk", _key),
    "endpoint": _WORDS_OF_PEER["endpoint"],
    "persistentkeepalive": _WORDS_OF_PEER["persistent-keepalive"],
    "allowedips": _WORDS_OF_PEER["allowed-ips"],
}
