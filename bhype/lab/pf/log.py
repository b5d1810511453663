"""pflog0: packets that rules with ``log`` have met, as tcpdump(1) prints them with -n -e.

Source: pflog_print() in contrib/tcpdump/print-pflog.c, print-ip.c, print-tcp.c, print-udp.c, print-icmp.c;
pflog_packet() in S:sys/netpfil/pf/if_pflog.c: a rule inside of anchors is told by the number of the main rule that led
there, the last part of its anchor's name (at most 15 characters) and its own number.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

from bhype.lab import core, wires
from bhype.lab.pf import names, nft

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FLAGS = "FSRP.UEW"


def follow(options: dict[str, str], deltas: int, words: list[str]) -> int:
    """Print what is logged, until somebody ends the program or ``-c`` lines were told.

    deltas: how many "t" there were: 2 tell seconds since 1970, 3 those since the line before.
    words: a filter, taken for none.
    """
    del words
    head = (
        "tcpdump: verbose output suppressed, use -v[v]... for full protocol decode\n"
        f"listening on pflog0, link-type PFLOG (OpenBSD pflog file), snapshot length {options.get('s') or 262144} bytes"
    )
    pid = wires.namespace()
    if pid is None:
        core.warn(head)
        while True:  # nothing moves
            time.sleep(3600)
    limit = int(options.get("c") or 0)
    from bhype.lab.pf import netlink

    netlink.enter(pid)
    last = 0.0
    for told, (prefix, devices, packet) in enumerate(_packets(lambda: core.warn(head)), 1):
        now = time.time()
        stamp = _stamp(deltas, now, last)
        last = now
        line = describe(prefix, [_name(each) for each in devices], packet, linked="e" in options)
        sys.stdout.write(f"{stamp}{line}\n")
        sys.stdout.flush()
        if told == limit:
            return 0
    return 0


def _packets(begun: Callable[[], None]) -> Iterator[tuple[str, tuple[int, ...], bytes]]:
    from bhype.lab.pf.netlink import Netlink

    while True:
        try:
            yield from Netlink().follow_log(nft.GROUP, begun)
        except OSError as error:
            if error.errno != 16:  # EBUSY: another tcpdump reads; FreeBSD would let both
                raise
            time.sleep(0.1)


def _stamp(deltas: int, now: float, last: float) -> str:
    match deltas:
        case 1:
            return ""
        case 2:
            return f"{now:.6f} "
        case 3:
            return f" {_clock(now - last if last else 0.0)} "
    day = "%Y-%m-%d " * (deltas == 4)
    return f"{time.strftime(f'{day}%H:%M:%S', time.localtime(now))}.{int(now % 1 * 1e6):06d} "


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{int(seconds % 1 * 1e6):06d}"


def _name(number: int) -> str:
    if not number:
        return ""
    try:
        return socket.if_indextoname(number)
    except OSError:
        return ""


def describe(prefix: str, devices: list[str], packet: bytes, *, linked: bool = True) -> str:
    """One line. prefix: "WHERE ACTION DIRECTION m|b "; b tells of the bridge and not of its port.

    devices: names as `netlink.Netlink.follow_log` has their numbers.
    """
    where, action, direction, kind = (*prefix.split(), "", "", "", "")[:4]
    at = 0 if direction == "in" else 1
    device = devices[at] if kind == "b" else devices[at + 2] or devices[at]
    head = f"rule {where}/0(match): {action} {direction} on {device}: " if linked else ""
    return head + (ip(packet, linked=linked) if packet else "[|ip]")


def ip(packet: bytes, *, linked: bool = True) -> str:
    """A packet from its IP header, as tcpdump -n tells it."""
    version = packet[0] >> 4
    try:
        if version == 4:
            head = (packet[0] & 15) * 4
            length = int.from_bytes(packet[2:4], "big")
            kind = packet[9]
            source, target = (
                socket.inet_ntop(socket.AF_INET, packet[12:16]),
                socket.inet_ntop(socket.AF_INET, packet[16:20]),
            )
        else:
            head, length = 40, 40 + int.from_bytes(packet[4:6], "big")
            kind = packet[6]
            source, target = (
                socket.inet_ntop(socket.AF_INET6, packet[8:24]),
                socket.inet_ntop(socket.AF_INET6, packet[24:40]),
            )
        return ("" if linked else "IP6 " * (version == 6) or "IP ") + _upper(
            kind, source, target, packet[head:], length - head
        )
    except (IndexError, ValueError, struct.error):
        return "[|ip]"


def _upper(kind: int, source: str, target: str, data: bytes, length: int) -> str:
    if kind in (names.TCP, names.UDP):
        ports = struct.unpack_from(">HH", data)
        ends = f"{source}.{ports[0]} > {target}.{ports[1]}: "
        return ends + (_tcp(data, length) if kind == names.TCP else f"UDP, length {length - 8}")
    ends = f"{source} > {target}: "
    if kind in (names.ICMP, names.ICMP6):
        six = kind == names.ICMP6
        echoes = {128: "echo request", 129: "echo reply"} if six else {8: "echo request", 0: "echo reply"}
        word = "ICMP6," if six else "ICMP"
        if data[0] in echoes:
            number, order = struct.unpack_from(">HH", data, 4)
            return f"{ends}{word} {echoes[data[0]]}, id {number}, seq {order}, length {length}"
        return f"{ends}{word} type-#{data[0]}, length {length}"
    return f"{ends}{names.PROTOCOL_NAMES.get(kind, f'ip-proto-{kind}')} {length}"


def _tcp(data: bytes, length: int) -> str:
    order, acknowledged, offset, flags, window = struct.unpack_from(">IIBBH", data, 4)
    head = (offset >> 4) * 4
    shown = "".join(letter for bit, letter in enumerate(_FLAGS) if flags >> bit & 1 and letter != ".")
    shown += "." * bool(flags & 16)
    size = max(0, length - head)
    words = f"Flags [{shown or 'none'}]"
    if size or flags & 7:
        words += f", seq {order}" + (f":{order + size}" if size else "")
    if flags & 16:
        words += f", ack {acknowledged}"
    return f"{words}, win {window}, length {size}"
