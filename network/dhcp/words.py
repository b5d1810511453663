"""Which words may stand in dnsmasq's files: names, addresses, servers, records. Forms and the builder ask here.

Everything comes out in one spelling. What is not understood raises BadWord, whose message is for the person who typed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Of services and the like, RFC 8552.
_RECORD_LABEL = re.compile(r"_?[a-z0-9]([a-z0-9_-]{0,60}[a-z0-9])?")
_TXT = re.compile(r"[ !#-\[\]-~]+")
# Known to resolvers as something else: RFC 6761, RFC 6762.
_TAKEN = ("local", "localhost", "invalid", "onion", "arpa")
# Whoever answers to these is asked for everybody's proxy or tunnel (CERT VU#598349), or is taken for the machine.
_LOOKED_UP = frozenset({"wpad", "isatap", "localhost", "broadcasthost", "autodiscover"})
TXT_PART = 255

KINDS = ("A", "AAAA", "CNAME", "MX", "SRV", "TXT")


class BadWord(ValueError):
    """The message is a sentence."""


def label(text: str) -> str:
    """A name without dots, such as that of a machine."""
    text = text.lower()
    if not _LABEL.fullmatch(text):
        raise BadWord(
            f"{text[:80]!r} is not a name of a machine: letters, digits and -, at most 63 characters."
        )
    return text


def of_guest(text: str) -> str:
    """The name by which a guest is found; none that other machines look up by themselves."""
    if label(text) in _LOOKED_UP:
        raise BadWord(f"Machines ask for {text.lower()} by themselves: no guest is found by that name.")
    return label(text)


def domain(text: str) -> str:
    """A domain, without a dot at its end. Refuses those that resolvers take for something else."""
    text = text.lower().removesuffix(".")
    if len(text) > 200 or not all(_LABEL.fullmatch(part) for part in text.split(".")):
        raise BadWord(f"{text[:80]!r} is not a domain such as lab.internal: letters, digits, - and dots.")
    last = text.rpartition(".")[2]
    if last in _TAKEN:
        raise BadWord(
            f"Names below {last} mean something else to resolvers: choose another, such as lab.internal."
        )
    if last.isdigit():
        raise BadWord("The last part of a domain is not a number.")
    return text


def name(text: str, below: str) -> str:
    """The whole name of a record: ``text`` below the domain ``below``, or as it stands where it ends in a dot; "@" is
    the domain itself."""
    text = text.lower()
    whole = below if text == "@" else text.removesuffix(".") if text.endswith(".") else f"{text}.{below}"
    if len(whole) > 253 or not all(_RECORD_LABEL.fullmatch(part) for part in whole.split(".")):
        raise BadWord(
            f"{text[:80]!r} is not a name: letters, digits, - and _ between dots, or @ for the domain."
        )
    return whole


def address(text: str, version: int | None = None) -> str:
    """An address that one machine may have."""
    try:
        found = ip_address(text)
    except ValueError as error:
        raise BadWord(f"{text[:80]!r} is not an address.") from error
    if version and found.version != version:
        raise BadWord(f"{found} is not an IPv{version} address.")
    if found.is_multicast or found.is_unspecified or getattr(found, "scope_id", None):
        raise BadWord(f"{found} is not the address of a machine.")
    return str(found)


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server that is asked. domain: for names below it only, "" for all; address: "" for whoever is asked for all;
    port: 53 where none is said."""

    domain: str
    address: str
    port: int = 53

    def __str__(self) -> str:
        """As dnsmasq(8)'s --server has it, and as it stands in Switch.upstreams."""
        server = (self.address or "#") + (f"#{self.port}" if self.port != 53 else "")
        return f"/{self.domain}/{server}" if self.domain else server


def upstream(text: str) -> Upstream:
    """``1.1.1.1``, ``1.1.1.1#5353``, and for a domain ``corp.example 10.0.0.1`` or ``/corp.example/10.0.0.1``.

    # in place of the address is whoever is asked for all other names: its answers may then be private addresses.
    """
    words = text.replace("/", " ").split()
    if len(words) not in {1, 2} or (text.strip().startswith("/") and len(words) == 1):
        raise BadWord(f"{text[:80]!r}: write an address, or a domain, a blank and an address.")
    below = domain(words[0]) if len(words) == 2 else ""
    if below and words[1] == "#":
        return Upstream(below, "")
    server, hash_, port = words[-1].partition("#")
    where = address(server)
    if ip_address(where).is_loopback or ip_address(where).is_link_local:
        raise BadWord(f"{where} cannot be asked: name the server's address in the network.")
    return Upstream(below, where, _number(port, 1, 65535, "a port") if hash_ else 53)


@dataclass(frozen=True, slots=True)
class Record:
    """A record. name: whole, without a dot at its end; value: as its kind has it; words: the value's parts."""

    name: str
    kind: str
    words: tuple[str, ...]

    @property
    def value(self) -> str:
        """As in a zone file, with whole names that end in a dot."""
        match self.kind:
            case "CNAME" | "MX" | "SRV":
                return " ".join([*self.words[:-1], self.words[-1] + "."])
            case _:
                return self.words[0]


def record(kind: str, text: str, value: str, below: str) -> Record:
    """Check a record; ``below`` is the switch's domain. Values as zone files have them:

    an address, a name, ``10 mail`` (preference, name), ``0 5 389 ldap`` (priority, weight, port, name), or text.
    """
    whole = name(text, below)
    parts = value.split()
    match kind:
        case "A" | "AAAA":
            return Record(whole, kind, (address(value.strip(), 4 if kind == "A" else 6),))
        case "CNAME":
            target = name(value.strip(), below)
            if target == whole:
                raise BadWord("A name cannot stand for itself.")
            return Record(whole, kind, (target,))
        case "MX" if len(parts) == 2:
            return Record(whole, kind, (_digits(parts[0], "a preference"), name(parts[1], below)))
        case "MX":
            raise BadWord("Write a preference and a name, such as 10 mail.")
        case "SRV" if len(parts) == 4:
            numbers = (
                _digits(parts[0], "a priority"),
                _digits(parts[1], "a weight"),
                _digits(parts[2], "a port"),
            )
            return Record(whole, kind, (*numbers, name(parts[3], below)))
        case "SRV":
            raise BadWord("Write priority, weight, port and a name, such as 0 5 389 ldap.")
        case "TXT":
            if not _TXT.fullmatch(value) or len(value) > 500:
                raise BadWord('A text has printable ASCII characters without " and \\, at most 500.')
            return Record(whole, kind, (value,))
    raise BadWord(f"{kind[:20]!r} is not a kind of record: {', '.join(KINDS)}.")


def _digits(text: str, what: str) -> str:
    return str(_number(text, 0, 65535, what))


def _number(text: str, least: int, most: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and least <= int(text) <= most):
        raise BadWord(f"{text[:20]!r} is not {what}: a number from {least} to {most}.")
    return int(text)


def parsed(text: str) -> IPv4Address | IPv6Address:
    """An address as an object. Raises BadWord."""
    return ip_address(address(text))
