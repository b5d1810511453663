"""A question to a name server (RFC 1035), for the lab's host(1) and drill(1).

With wires on it is sent in the lab's namespace. Without, nobody can hear it; a dnsmasq(8) that the lab runs for the
server's address answers that there is no such name.
"""

from __future__ import annotations

import ipaddress
import os
import struct

from bhype.lab import bhyve_state, core, wires

TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
    "ANY": 255,
}
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_NAMES = {number: name for name, number in TYPES.items()}


class NoAnswer(Exception):
    """Nobody answered in time, or the server cannot be reached. A sentence."""


class Reply:
    """code: such as "NXDOMAIN"; flags: such as ["qr", "rd"]; records: (name, type, seconds, text) of each section."""

    def __init__(self, code: str, flags: list[str], sections: list[list[tuple[str, str, int, str]]]) -> None:
        self.code, self.flags, self.sections = code, flags, sections

    @property
    def answers(self) -> list[tuple[str, str, int, str]]:
        return self.sections[0]


def servers() -> list[str]:
    """Those of /etc/resolv.conf."""
    try:
        with open(core.root("/etc/resolv.conf")) as file:
            words = [line.split() for line in file]
    except FileNotFoundError:
        words = []
    return [each[1] for each in words if len(each) > 1 and each[0] == "nameserver"] or ["127.0.0.1"]


def ask(
    server: str, name: str, kind: str, *, recursive: bool = True, port: int = 53, patience: float = 5.0
) -> Reply:
    """Raises NoAnswer."""
    if wires.namespace() is None:
        return _simulated(server)
    import select
    import socket

    from bhype.lab import wires_socket

    number = struct.unpack("!H", os.urandom(2))[0]
    question = (
        b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split(".") if part) + b"\0"
    )
    packet = struct.pack("!HHHHHH", number, 0x0100 if recursive else 0, 1, 0, 0, 0)
    packet += question + struct.pack("!HH", TYPES[kind], 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with wires_socket.make(family, socket.SOCK_DGRAM) as connection:
        try:
            connection.connect((server, port))
            for _ in range(2):
                connection.send(packet)
                if select.select([connection], [], [], patience / 2)[0]:
                    return _parse(connection.recv(65535))
        except OSError as error:
            raise NoAnswer(f"{server}: {error.strerror}") from error
    raise NoAnswer(f"{server}: no answer")


def _simulated(server: str) -> Reply:
    for entry in bhyve_state.registered().values():
        config = next((word[12:] for word in entry["argv"] if word.startswith("--conf-file=")), "")
        if "dnsmasq" in entry["argv"][0] and config and _serves(core.root(config), server):
            return Reply("NXDOMAIN", ["qr", "rd"], [[], [], []])
    raise NoAnswer(f"{server}: Connection refused")


def _serves(config: str, server: str) -> bool:
    try:
        with open(config) as file:
            lines = file.read().split()
    except OSError:
        return False
    if "port=0" in lines:
        return False
    names = [line.partition("=")[2] for line in lines if line.startswith("interface=")]
    interfaces = core.peek("ifconfig").get("interfaces", {})
    addresses = [
        entry
        for name in names
        if name in interfaces
        for key in ("inet", "inet6")
        for entry in interfaces[name][key]
    ]
    return f"listen-address={server}" in lines or server in {
        str(ipaddress.ip_interface(each).ip) for each in addresses
    }


def _parse(data: bytes) -> Reply:
    try:
        _, bits, questions, *counts = struct.unpack("!HHHHHH", data[:12])
        at = 12
        for _ in range(questions):
            at = _name(data, at)[1] + 4
        sections = []
        for count in counts:
            rows = []
            for _ in range(count):
                name, at = _name(data, at)
                kind, _, ttl, size = struct.unpack("!HHIH", data[at : at + 10])
                at += 10
                rows.append((name, _NAMES.get(kind, f"TYPE{kind}"), ttl, _text(data, at, size, kind)))
                at += size
            sections.append(rows)
    except (struct.error, IndexError) as error:
        raise NoAnswer("the answer is not understood") from error
    names = (("qr", 0x8000), ("aa", 0x0400), ("tc", 0x0200), ("rd", 0x0100), ("ra", 0x0080))
    return Reply(CODES.get(bits & 15, str(bits & 15)), [name for name, bit in names if bits & bit], sections)


def _name(data: bytes, at: int, depth: int = 0) -> tuple[str, int]:
    """A name with its compression, and where the next thing begins."""
    parts: list[str] = []
    while data[at]:
        if data[at] & 0xC0 == 0xC0:
            if depth > 20:
                raise IndexError
            rest = _name(data, (data[at] & 0x3F) << 8 | data[at + 1], depth + 1)[0]
            return ".".join([*parts, rest]), at + 2
        parts.append(data[at + 1 : at + 1 + data[at]].decode(errors="replace"))
        at += data[at] + 1
    return ".".join([*parts, ""]), at + 1


def _text(data: bytes, at: int, size: int, kind: int) -> str:
    raw = data[at : at + size]
    match _NAMES.get(kind):
        case "A" | "AAAA":
            return str(ipaddress.ip_address(raw))
        case "NS" | "CNAME" | "PTR":
            return _name(data, at)[0]
        case "MX":
            return f"{int.from_bytes(raw[:2], 'big')} {_name(data, at + 2)[0]}"
        case "SRV":
            return (
                " ".join(str(each) for each in struct.unpack("!HHH", raw[:6])) + " " + _name(data, at + 6)[0]
            )
        case "TXT":
            return f'"{raw[1:].decode(errors="replace")}"'
        case "SOA":
            first, next_at = _name(data, at)
            second, next_at = _name(data, next_at)
            return " ".join([first, second, *map(str, struct.unpack("!IIIII", data[next_at : next_at + 20]))])
    return raw.hex()
