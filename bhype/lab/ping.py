"""ping(8): echo requests from the lab's host. With wires on they are sent; without, the host and its router answer.

Options: -4 -6 -n -q -o, -c count, -t seconds, -W milliseconds, -i seconds, -s size, -S source. Exit status
(S:sbin/ping): 0 when somebody answered, 2 when nobody did, 68 for a name that is none.
"""

from __future__ import annotations

import ipaddress
import os
import select
import struct
import time

from bhype.lab import core, routes, wires

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

USAGE = "usage: ping [-4AaDdfHnoQqRrv] [-c count] [-G sweepmaxsize] [-i wait] [-W waittime] [-t timeout] host"
EX_USAGE, EX_NOHOST = 64, 68


def main(argv: list[str]) -> int:
    core.fault(" ".join(["ping", *argv]))
    try:
        options, rest = core.getopt(argv, "46noqc:t:W:i:s:S:")
    except core.BadOption:
        core.fail(USAGE, EX_USAGE)
    given = dict(options)
    if len(rest) != 1:
        core.fail(USAGE, EX_USAGE)
    try:
        address = ipaddress.ip_address("127.0.0.1" if rest[0] == "localhost" else rest[0])
    except ValueError:
        core.fail(f"ping: cannot resolve {rest[0]}: Name does not resolve", EX_NOHOST)
    count, limit = int(given.get("c", 0)), float(given.get("t", 0))
    run = _Run(str(address), int(given.get("s", 56)), quiet="q" in given)
    dash = "--" if address.version == 6 else " "
    print(f"PING{'6' if dash == '--' else ''} {rest[0]} ({address}): {run.size} data bytes", flush=True)
    deadline = time.monotonic() + limit if limit else float("inf")
    wait = float(given.get("W", 10000)) / 1000
    while time.monotonic() < deadline:
        last = bool(count) and run.sent + 1 >= count
        pause = min(wait if last else float(given.get("i", 1)), deadline - time.monotonic())
        run.once(pause, stay=not last)
        if last or ("o" in given and run.times):
            break
    return run.end(rest[0])


class _Run:
    """Requests and what came back; times in milliseconds."""

    def __init__(self, address: str, size: int, *, quiet: bool) -> None:
        self.address, self.size, self.quiet = address, size, quiet
        self.sent, self.times = 0, list[float]()
        self.is_ipv6 = ":" in address
        self.socket: socket.socket | None = None
        if wires.namespace() is not None:
            import socket

            from bhype.lab import wires_socket

            family = socket.AF_INET6 if self.is_ipv6 else socket.AF_INET
            protocol = socket.IPPROTO_ICMPV6 if self.is_ipv6 else socket.IPPROTO_ICMP
            self.socket = wires_socket.make(family, socket.SOCK_RAW, protocol)

    def once(self, pause: float, *, stay: bool) -> None:
        """One request, and its answer if it comes within ``pause`` seconds. stay: wait that long in any case."""
        number, self.sent = self.sent, self.sent + 1
        started = time.monotonic()
        if self.socket is None:
            if _is_near(self.address):
                self._heard(number, 64, started)
        else:
            self._exchange(self.socket, number, started, pause)
        rest = started + pause - time.monotonic()
        if stay and rest > 0:
            time.sleep(rest)

    def _exchange(self, connection: socket.socket, number: int, started: float, pause: float) -> None:
        mine = os.getpid() & 0xFFFF
        kind, answer = (128, 129) if self.is_ipv6 else (8, 0)
        body = struct.pack("!HH", mine, number) + bytes(self.size)
        packet = struct.pack("!BBH", kind, 0, 0) + body
        packet = struct.pack("!BBH", kind, 0, 0 if self.is_ipv6 else _checksum(packet)) + body
        try:
            connection.sendto(packet, (self.address, 0))
        except OSError as error:
            core.warn(f"ping: sendto: {error.strerror}")
            return
        while (left := started + pause - time.monotonic()) > 0 and select.select([connection], [], [], left)[
            0
        ]:
            data, source = connection.recvfrom(65535)
            hops = 64
            if not self.is_ipv6:
                hops, data = data[8], data[(data[0] & 15) * 4 :]
            is_ours = data[:1] == bytes([answer]) and struct.unpack("!HH", data[4:8]) == (mine, number)
            if is_ours and source[0].partition("%")[0] == self.address:
                self._heard(number, hops, started)
                return

    def _heard(self, number: int, hops: int, started: float) -> None:
        took = (time.monotonic() - started) * 1000
        self.times.append(took)
        if not self.quiet:
            word = "hlim" if self.is_ipv6 else "ttl"
            text = f"{self.size + 8} bytes from {self.address}: icmp_seq={number} {word}={hops} time={took:.3f} ms"
            print(text, flush=True)

    def end(self, name: str) -> int:
        """The statistics, and the exit status."""
        if self.socket is not None:
            self.socket.close()
        lost = 100 * (self.sent - len(self.times)) / max(1, self.sent)
        print(f"\n--- {name} ping{'6' * self.is_ipv6} statistics ---")
        print(f"{self.sent} packets transmitted, {len(self.times)} packets received, {lost:.1f}% packet loss")
        if not self.times:
            return 2
        mean = sum(self.times) / len(self.times)
        spread = (sum((each - mean) ** 2 for each in self.times) / len(self.times)) ** 0.5
        figures = "/".join(f"{each:.3f}" for each in (min(self.times), mean, max(self.times), spread))
        print(f"round-trip min/avg/max/stddev = {figures} ms")
        return 0


def _checksum(data: bytes) -> int:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def _is_near(address: str) -> bool:
    """Without wires: the host's own addresses, and the router of its default route."""
    state = core.peek("ifconfig").get("interfaces", {})
    own = {entry.partition("/")[0] for each in state.values() for entry in (*each["inet"], *each["inet6"])}
    gateways = core.peek("route").get("routes", {}).values()
    return address in own or (address in gateways and bool(routes.way(address, state)))
