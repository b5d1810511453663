"""``ask.py SERVER KIND NAME``: asks a name server once and prints the answers, one in a line; "!NXDOMAIN" and the like.

A resolver of a few lines (RFC 1035), so that tests see what the server says and nothing else.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys

KINDS = {"A": 1, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


def main(server: str, kind: str, name: str) -> None:
    if kind == "PTR":
        name = ipaddress.ip_address(name).reverse_pointer
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    packet = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", KINDS[kind], 1)
    with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        try:
            sock.sendto(packet, (server, 53))
            data = sock.recv(4096)
        except OSError as error:
            tell(f"!{type(error).__name__}")
            return
    _, flags, _, answers, _, _ = struct.unpack_from(">6H", data)
    if flags & 15:
        tell("!" + CODES.get(flags & 15, str(flags & 15)))
    at = 12 + len(question) + 4
    for _ in range(answers):
        _, at = read_name(data, at)
        found, _, _, length = struct.unpack_from(">HHIH", data, at)
        if found == KINDS[kind]:
            tell(value(data, at + 10, found, length))
        at += 10 + length


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")


def read_name(data: bytes, at: int) -> tuple[str, int]:
    parts, end = [], 0
    while data[at]:
        if data[at] >= 0xC0:
            end = end or at + 2
            at = struct.unpack_from(">H", data, at)[0] & 0x3FFF
            continue
        parts.append(data[at + 1 : at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(parts), end or at + 1


def value(data: bytes, at: int, kind: int, length: int) -> str:
    match kind:
        case 1 | 28:
            return str(ipaddress.ip_address(data[at : at + length]))
        case 15:
            return f"{struct.unpack_from('>H', data, at)[0]} {read_name(data, at + 2)[0]}"
        case 33:
            return " ".join(map(str, struct.unpack_from(">3H", data, at))) + " " + read_name(data, at + 6)[0]
        case 16:
            text, end = b"", at + length
            while at < end:
                text += data[at + 1 : at + 1 + data[at]]
                at += 1 + data[at]
            return text.decode()
        case _:
            return read_name(data, at)[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
