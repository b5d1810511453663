"""wg(8): tunnels of WireGuard. Private keys reach it by standard input and by files alone, never by an argument."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError, Query

PROGRAM = "/usr/bin/wg"
IFCONFIG = "/sbin/ifconfig"
GROUP = "bhype"
KEY_BYTES = 32
_NONE = "(none)"
_OFF = "off"
# Fields of a line of `wg show all dump`: an interface's, and a peer's (S:contrib/wireguard-tools/show.c dump_print).
_OF_INTERFACE, _OF_PEER = 5, 9


@dataclass(frozen=True, slots=True)
class Link:
    """What an interface knows of a peer. endpoint: "" for unknown; allowed: networks, as 10.99.0.2/32; handshake:
    seconds since 1970, 0 for never; received, sent: bytes; keepalive: seconds, 0 for none."""

    public_key: str
    endpoint: str
    allowed: tuple[str, ...]
    handshake: int
    received: int
    sent: int
    keepalive: int


@dataclass(slots=True)
class Device:
    """A tunnel's interface. public_key: "" before a key was set. Its private key is dropped while it is read."""

    name: str
    public_key: str
    port: int
    links: list[Link] = field(default_factory=list)


def key(text: str) -> str:
    """Return ``text`` if it is a key as wg(8) writes it: 32 bytes in base64. Raises BadName, without repeating it."""
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES or base64.b64encode(raw).decode() != text:
        raise names.BadName(
            "A key has 44 characters that end in =, as `wg pubkey` prints it: 43 of A-Z, a-z, 0-9, + and /."
        )
    return text


def new_private_key(noise: bytes) -> str:
    """The private key that 32 random bytes make, as `wg genkey` would: clamped as RFC 7748, 5 says.

    It is made here because what a command prints stands in a task's log.
    """
    if len(noise) != KEY_BYTES:
        raise ValueError("32 random bytes make a key")
    first, last = noise[0] & 248, (noise[31] & 127) | 64
    return base64.b64encode(bytes((first, *noise[1:31], last))).decode()


def public_key(private: str) -> Query[str]:
    """The public key of a private one, which goes in by standard input."""
    return Query(Command((PROGRAM, "pubkey"), stdin=f"{key(private)}\n".encode()), _one_key)


def _one_key(text: str) -> str:
    try:
        return key(text.strip())
    except names.BadName as error:
        raise ParseError("`wg pubkey` printed no key") from error


def create(name: str, description: str) -> Command:
    """Create a tunnel's interface with a name of its own. As `ifconfig.create_bridge`, the description comes first:
    one that a crash has left unnamed still tells whose it is."""
    if not description.isascii() or not description.isprintable():
        raise names.BadName(f"{description[:80]!r} cannot be the description of an interface.")
    words = ("wg", "create", "descr", description, "group", GROUP, "name", names.interface(name))
    return Command((IFCONFIG, *words))


def synchronise(name: str, path: str) -> Command:
    """Make an interface as the file says, without a break for peers that stay as they are."""
    return Command((PROGRAM, "syncconf", names.interface(name), names.path(path)))


def show_all() -> Query[list[Device]]:
    """All tunnels of the host. Only for hosts without a listener: wg(8) prints private keys here."""
    return Query(Command((PROGRAM, "show", "all", "dump")), _devices)


def _devices(text: str) -> list[Device]:
    found: dict[str, Device] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        words = line.split("\t")
        try:
            if len(words) == _OF_INTERFACE:
                # words[1] is the private key.
                found[words[0]] = Device(words[0], _unless_none(words[2]), int(words[3]))
            elif len(words) == _OF_PEER:
                found[words[0]].links.append(_link(words))
            else:
                raise ValueError
        except (ValueError, KeyError):
            # The line itself may hold a key; neither it nor the first error is repeated.
            raise ParseError(f"line {number} of `wg show all dump` is not understood") from None
    return list(found.values())


def _link(words: list[str]) -> Link:
    """``IF PUBLIC PRESHARED ENDPOINT ALLOWED HANDSHAKE RECEIVED SENT KEEPALIVE``, between tabs."""
    _, public, _, endpoint, allowed, handshake, received, sent, keepalive = words
    return Link(
        public_key=key(public),
        endpoint=_unless_none(endpoint),
        allowed=tuple(sorted(_unless_none(allowed).split(","))) if allowed != _NONE else (),
        handshake=int(handshake),
        received=int(received),
        sent=int(sent),
        keepalive=0 if keepalive == _OFF else int(keepalive),
    )


def _unless_none(word: str) -> str:
    return "" if word == _NONE else word
