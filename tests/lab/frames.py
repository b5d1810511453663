"""Frames made and read by hand, and the ends of a wired lab's cables."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import struct
import time
from ipaddress import ip_address

from bhype.lab import core, wires, wires_tap
from bhype.lab.pf.model import Packet
from bhype.lab.pf.names import PROTOCOL_NAMES, PROTOCOLS

CLONE_NEWNET = 0x40000000


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet_bytes(packet: Packet) -> bytes:
    """The packet from its IP header, with an empty body."""
    six = ":" in packet.source
    source, target = ip_address(packet.source).packed, ip_address(packet.target).packed
    kind = PROTOCOLS[packet.protocol]
    if packet.protocol == "tcp":
        bits = sum(1 << "FSRPAU".index(each) for each in packet.flags)
        upper = struct.pack(
            ">HHIIBBHHH", packet.source_port, packet.target_port, 1000, 1, 80, bits, 65535, 0, 0
        )
        at = 16
    elif packet.protocol == "udp":
        upper, at = struct.pack(">HHHH", packet.source_port, packet.target_port, 8, 0), 6
    else:
        upper, at = struct.pack(">BBHHH", *packet.icmp, 0, packet.identifier, 1), 2
    pseudo = (
        source
        + target
        + (struct.pack(">II", len(upper), kind) if six else struct.pack(">HH", kind, len(upper)))
    )
    total = checksum((b"" if packet.protocol == "icmp" else pseudo) + upper)
    upper = upper[:at] + struct.pack(">H", total) + upper[at + 2 :]
    if six:
        return struct.pack(">IHBB", 6 << 28, len(upper), kind, 64) + source + target + upper
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(upper), 7, 0, 64, kind, 0) + source + target
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + upper


def read_packet(frame: bytes) -> Packet | None:
    """The packet in a frame; None for anything else than IP."""
    if frame[12:14] == b"\x08\x00":
        data = frame[14:]
        kind, upper = data[9], data[(data[0] & 15) * 4 :]
        ends = socket.inet_ntop(socket.AF_INET, data[12:16]), socket.inet_ntop(socket.AF_INET, data[16:20])
    elif frame[12:14] == b"\x86\xdd":
        data = frame[14:]
        kind, upper = data[6], data[40:]
        ends = socket.inet_ntop(socket.AF_INET6, data[8:24]), socket.inet_ntop(socket.AF_INET6, data[24:40])
    else:
        return None
    name = PROTOCOL_NAMES.get(kind, "")
    if name in ("tcp", "udp"):
        ports = struct.unpack_from(">HH", upper)
        flags = "".join(each for bit, each in enumerate("FSRPAU") if name == "tcp" and upper[13] >> bit & 1)
        return Packet("", "", name, *ends, *ports, flags=flags)
    return Packet(
        "", "", name, *ends, icmp=(upper[0], upper[1]), identifier=int.from_bytes(upper[4:6], "big")
    )


class Cables:
    """The ends of a wired lab's cables: taps by name, and "em0" for the network outside. The lab must be named."""

    def __init__(self, taps: dict[str, str]) -> None:
        """taps: the MAC address of the guest at each tap."""
        self.macs = dict(taps)
        interfaces = core.peek("ifconfig")["interfaces"]
        self.handles = {name: wires_tap.open_wire(str(interfaces[name]["index"])) for name in taps}
        self.socket = self._outside()
        self.handles["em0"] = self.socket.fileno()
        self.own = {name: each["ether"] for name, each in interfaces.items()}
        for name in taps:  # so that bridges know them
            self._write(name, "ff:ff:ff:ff:ff:ff", b"", kind=b"\x88\xb5")

    def _outside(self) -> socket.socket:
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{wires.outside_namespace()}/ns/net", os.O_RDONLY)
        assert not libc.setns(there, CLONE_NEWNET)
        try:
            found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            found.bind(("out0", 0))
            found.setblocking(False)
            self.macs["em0"] = ":".join(f"{each:02x}" for each in found.getsockname()[4])
            return found
        finally:
            libc.setns(home, CLONE_NEWNET)
            os.close(home)
            os.close(there)

    def close(self) -> None:
        for name, handle in self.handles.items():
            if name != "em0":
                os.close(handle)
        self.socket.close()

    def _write(self, name: str, to: str, data: bytes, kind: bytes) -> None:
        frame = b"".join(bytes.fromhex(each.replace(":", "")) for each in (to, self.macs[name])) + kind + data
        os.write(self.handles[name], frame.ljust(60, b"\0"))

    def send(self, name: str, packet: Packet, to: str) -> None:
        """Send from the end ``name`` to the MAC address ``to``; what came before is forgotten."""
        for handle in self.handles.values():
            with contextlib.suppress(BlockingIOError):
                while os.read(handle, 4096):
                    pass
        kind = b"\x86\xdd" if ":" in packet.source else b"\x08\x00"
        self._write(name, to, packet_bytes(packet), kind)

    def arrives(self, name: str, like: Packet, *, patience: float) -> Packet | None:
        """The first packet at the end ``name`` that is like another, but for its source; None after ``patience``."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.handles[name]], [], [], left)[0]:
                return None
            try:
                found = read_packet(os.read(self.handles[name], 4096))
            except BlockingIOError:
                continue
            if found and (found.protocol, found.target, found.target_port, found.icmp) == (
                like.protocol,
                like.target,
                like.target_port,
                like.icmp if found.protocol.endswith("icmp") else found.icmp,
            ):
                return found
        return None
