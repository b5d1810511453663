"""Linux' netlink, as far as pf on the wires needs it: the log of packets, and the end of a connection.

Source: linux/netfilter/nfnetlink_log.h, nfnetlink_conntrack.h and netlink(7).
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NETFILTER = 12
_REQUEST, _ACK = 1, 4
_NESTED = 0x8000
_CONNTRACK, _LOG = 1, 4  # subsystems
_ERROR = 2
_CLONE_NEWNET = 0x40000000
_SIZE = 1 << 18


def enter(pid: int) -> None:
    """Move this process into the network namespace of another. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(handle, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(handle)


def within(pid: int, work: Callable[[], None]) -> None:
    """Do something in another network namespace: in a child, as this process stays where it is."""
    child = os.fork()
    if not child:
        code = 1
        try:
            enter(pid)
            work()
            code = 0
        finally:
            os._exit(code)
    os.waitpid(child, 0)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by their kind."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


class Netlink:
    """A socket to Linux' netfilter in this process' network namespace."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SIZE)
        self.socket.bind((0, 0))

    def ask(self, subsystem: int, kind: int, family: int, number: int, body: bytes) -> int:
        """Send a request and wait for its acknowledgement: 0 or an errno."""
        length = 20 + len(body)
        head = struct.pack("=IHHII", length, subsystem << 8 | kind, _REQUEST | _ACK, 1, 0)
        self.socket.send(head + struct.pack(">BBH", family, 0, number) + body)
        while True:
            for found, data in messages(self.socket.recv(_SIZE)):
                if found == _ERROR:
                    return -int(struct.unpack_from("=i", data)[0])

    def end_connection(
        self, source: str, target: str, protocol: int, ends: tuple[int, int], icmp: int = -1
    ) -> bool:
        """Delete a connection by its first packet; ends: ports, or (id, 0) of an echo of the type ``icmp``."""
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        first = 3 if family == socket.AF_INET6 else 1
        addresses = b"".join(
            attribute(first + step, socket.inet_pton(family, each))
            for step, each in enumerate((source, target))
        )
        numbers = attribute(1, struct.pack("B", protocol))
        if icmp < 0:
            numbers += b"".join(
                attribute(2 + step, struct.pack(">H", each)) for step, each in enumerate(ends)
            )
        else:
            base = 7 if family == socket.AF_INET6 else 4
            numbers += attribute(base, struct.pack(">H", ends[0]))
            numbers += attribute(base + 1, struct.pack("B", icmp)) + attribute(base + 2, b"\0")
        tuple_ = attribute(1 | _NESTED, addresses) + attribute(2 | _NESTED, numbers)
        return self.ask(_CONNTRACK, 2, family, 0, attribute(1 | _NESTED, tuple_)) == 0

    def follow_log(
        self, group: int, begun: Callable[[], None]
    ) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
        """What ``log group`` meets: prefix, numbers of interfaces, the packet from its IP header.

        begun: called once nothing that comes is missed any more.

        The interfaces are those in and out, and then the ports of a bridge in and out; 0 for none.

        Raises OSError(EBUSY) while another process follows the same group.
        """
        code = self.ask(_LOG, 1, socket.AF_UNSPEC, group, attribute(1, b"\1"))
        if code:
            raise OSError(code, os.strerror(code))
        mode = struct.pack(">IBB", 0xFFFF, 2, 0)
        self.ask(_LOG, 1, socket.AF_UNSPEC, group, attribute(2, mode) + attribute(3, struct.pack(">I", 1)))
        begun()
        while True:
            try:
                data = self.socket.recv(_SIZE)
            except OSError as error:
                if error.errno == 105:  # ENOBUFS: it came faster than it was read, and some is lost
                    continue
                raise
            for kind, body in messages(data):
                if kind == _LOG << 8:
                    found = attributes(body[4:])
                    prefix = found.get(10, b"").rstrip(b"\0").decode(errors="replace")
                    yield prefix, tuple(_number(found.get(each)) for each in (4, 5, 6, 7)), found.get(9, b"")


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of one datagram: kind and what follows the head."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if length < 16:
            return
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]


def _number(value: bytes | None) -> int:
    return int(struct.unpack(">I", value)[0]) if value and len(value) == 4 else 0
