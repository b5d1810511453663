"""An event loop and the byte streams that bhyve carries: serial ports, the VNC client, the control socket."""

from __future__ import annotations

import os
import select
import socket
import time
import tty
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 65536
_LIMIT = 1 << 18  # bytes that may wait for a slow reader before its writer is held back


def unblock(handle: int) -> None:
    os.set_blocking(handle, False)


class Loop:
    """epoll(7) with callbacks by descriptor, and timers."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.calls: dict[int, Callable[[int], None]] = {}
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.stopped = False

    def watch(self, handle: int, events: int, call: Callable[[int], None]) -> None:
        """Call ``call(events)`` when ``handle`` is ready. Raises PermissionError for plain files."""
        if handle in self.calls:
            self.poll.modify(handle, events)
        else:
            self.poll.register(handle, events)
        self.calls[handle] = call

    def forget(self, handle: int) -> None:
        if self.calls.pop(handle, None):
            self.poll.unregister(handle)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self.timers.append((time.monotonic() + seconds, call))

    def run(self) -> None:
        """Turn until `stopped`."""
        while not self.stopped:
            self.turn()

    def turn(self, seconds: float | None = None) -> None:
        """Wait for the next event or timer, at most ``seconds``, and do what is to be done."""
        now = time.monotonic()
        waits = [due - now for due, _ in self.timers] + ([] if seconds is None else [seconds])
        for handle, events in self.poll.poll(max(0.0, min(waits)) if waits else None):
            call = self.calls.get(handle)
            if call:
                call(events)
        now = time.monotonic()
        due = [timer for timer in self.timers if timer[0] <= now]
        self.timers = [timer for timer in self.timers if timer[0] > now]
        for _, call_timer in due:
            call_timer()


class Stream:
    """One end of a byte stream on a non-blocking descriptor. Set ``peer`` to the stream that gets what comes in."""

    def __init__(self, loop: Loop, handle: int, *, on_end: Callable[[], None] | None = None) -> None:
        self.loop = loop
        self.handle = handle
        self.on_end = on_end
        self.peer: Sink | None = None
        self.out = bytearray()
        self.held = False
        self.closed = False
        unblock(handle)
        self.update()

    def update(self) -> None:
        if not self.closed:
            reading = 0 if self.held else select.EPOLLIN
            self.loop.watch(self.handle, reading | (select.EPOLLOUT if self.out else 0), self._ready)

    def write(self, data: bytes) -> bool:
        """Queue ``data``; False when the writer should hold back until ``resume``."""
        if not self.closed:
            self.out += data
            self._flush()
            self.update()
        return len(self.out) < _LIMIT

    def resume(self) -> None:
        if self.held:
            self.held = False
            self.update()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.loop.forget(self.handle)
            os.close(self.handle)
            if self.on_end:
                self.on_end()

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
            if len(self.out) < _LIMIT // 2 and isinstance(self.peer, Stream):
                self.peer.resume()
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and not self.closed:
            try:
                data = os.read(self.handle, _CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            if self.peer and not self.peer.write(data):
                self.held = True
        self.update()

    def _flush(self) -> None:
        try:
            while self.out:
                del self.out[: os.write(self.handle, self.out[:_CHUNK])]
        except BlockingIOError:
            pass
        except OSError:
            self.out.clear()


class Terminal:
    """A terminal as the far end of a serial port: what nobody takes is dropped, so that a guest never waits.

    The events are edge-triggered, since the master of a pty(7) whose slave nobody has open is always "hung up".
    """

    def __init__(self, loop: Loop, handle: int, source: Stream) -> None:
        self.handle = handle
        self.source = source
        self.out = bytearray()
        self.hangup = select.poll()
        self.hangup.register(handle, 0)
        unblock(handle)
        with suppress(PermissionError):  # a plain file on stdin or stdout: nothing to wait for
            loop.watch(handle, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET, self._ready)

    def write(self, data: bytes) -> bool:
        if any(events & select.POLLHUP for _, events in self.hangup.poll(0)):
            self.out.clear()
            return True
        if len(self.out) < _LIMIT:
            self.out += data
        self._flush()
        return True

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        with suppress(OSError):
            while data := os.read(self.handle, _CHUNK):
                if len(self.source.out) < _LIMIT:
                    self.source.write(data)

    def _flush(self) -> None:
        try:
            while self.out:
                del self.out[: os.write(self.handle, self.out[:_CHUNK])]
        except BlockingIOError:
            pass
        except OSError:
            self.out.clear()


class TcpPort:
    """A TCP port as the far end of a serial port: one client at a time, the next is told so and closed.

    What comes while nobody is connected is lost (usr.sbin/bhyve/uart_backend.c).
    """

    def __init__(self, loop: Loop, listener: socket.socket, source: Stream) -> None:
        self.loop = loop
        self.listener = listener
        self.source = source
        self.client: Stream | None = None
        listener.settimeout(0)
        source.peer = self
        loop.watch(listener.fileno(), select.EPOLLIN, self._accept)

    def write(self, data: bytes) -> bool:
        if self.client and len(self.client.out) < _LIMIT:
            self.client.write(data)
        return True

    def _accept(self, events: int) -> None:
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        if self.client:
            with suppress(OSError):
                client.send(b"Socket already connected\n\0")
            client.close()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client = Stream(self.loop, client.detach(), on_end=self._ended)
        self.client.peer = self.source

    def _ended(self) -> None:
        self.client = None


class Output:
    """Standard output as the far end of a serial port; what does not fit is lost, as with bhyve's raw stdio."""

    def write(self, data: bytes) -> bool:
        with suppress(OSError):
            os.write(1, data)
        return True


Sink = Stream | Terminal | TcpPort | Output


def nulldmodem(path: str) -> tuple[int, str]:
    """A pty for nmdm(4): the master's descriptor and the slave's name, raw and once opened and closed.

    The caller links the slave at the *other* side of ``path``: bhyve has A, the reader opens B.
    """
    master, slave = os.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    os.close(slave)
    return master, name


def other_side(path: str) -> str:
    """``/dev/nmdmXA`` for ``/dev/nmdmXB`` and the other way round."""
    return path[:-1] + ("B" if path.endswith("A") else "A")


class Screen:
    """The VNC port of bhyve: one client at a time; the next one waits in the listener's queue."""

    def __init__(
        self, loop: Loop, listener: socket.socket, server: str, on_client: Callable[[], None]
    ) -> None:
        self.loop = loop
        self.listener = listener
        self.server = server
        self.on_client = on_client
        listener.settimeout(0)
        self._listen()

    def _listen(self) -> None:
        self.loop.watch(self.listener.fileno(), select.EPOLLIN, self._accept)

    def _accept(self, events: int) -> None:
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        inner = socket.socket(socket.AF_UNIX)
        try:
            inner.connect(self.server)
        except OSError:
            client.close()
            inner.close()
            return
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.loop.forget(self.listener.fileno())
        outside = Stream(self.loop, client.detach())
        inside = Stream(self.loop, inner.detach())
        outside.peer, inside.peer = inside, outside
        outside.on_end = inside.close
        inside.on_end = lambda: self._ended(outside)
        self.on_client()

    def _ended(self, outside: Stream) -> None:
        outside.close()
        self._listen()
