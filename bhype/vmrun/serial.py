"""One serial line of a guest: its output goes to a log and to all who listen, their input goes to the guest.

Nothing here ever waits: a slow listener loses the oldest output, and input waits in the listeners' sockets
while the guest does not take it.

Each line has two sockets, and which one is dialled is the mode of the attachment: ``serialN.sock`` (write) and
``serialN-watch.sock`` (watch), whose listeners are shown the same and whose input is thrown away. Both carry
nothing but the line's bytes. Who may write, and that only one does, is decided by those who hand them out.
"""

from __future__ import annotations

import os
import selectors
import socket
import termios
from collections.abc import Callable

from bhype.host import listen_unix
from bhype.vmrun.rundir import LOG_LIMIT, RunDir

BLOCK = 16384
# What a listener may be behind, what a new one is shown of the past, and what the guest may be behind.
BACKLOG = 256 * 1024
RECENT = 16 * 1024
INPUT = 64 * 1024
CLIENTS = 32
# The modes of an attachment.
WRITE, WATCH = "write", "watch"

Selector = selectors.BaseSelector
Serve = Callable[[int], None]


def socket_name(line: str, mode: str = WRITE) -> str:
    """The socket in the run directory; line: as "serial1"; mode: WRITE or WATCH."""
    return f"{line}.sock" if mode == WRITE else f"{line}-{mode}.sock"


def is_served(device: str) -> bool:
    """Whether the supervisor has the other end: of null-modem pairs, not of bhyve's own terminal or sockets."""
    return device.startswith("/dev/")


def other_side(device: str) -> str:
    """The end of a null-modem pair that is not ``device``, nmdm(4)."""
    return device[:-1] + ("B" if device.endswith("A") else "A")


class SerialLine:
    """com: as "com1"; device: the end that bhyve has. Serves RUN/serialN.sock and writes RUN/serialN.log."""

    def __init__(self, rundir: RunDir, selector: Selector, com: str, device: str) -> None:
        self.com = com
        self.device = device
        self._rundir = rundir
        self._selector = selector
        self._path = rundir.host.path(other_side(device))
        self._name = f"serial{com.removeprefix('com')}"
        self._tty = -1
        self._input = bytearray()
        self._recent = bytearray()
        self._clients: list[_Client] = []
        self._log = rundir.open_log(f"{self._name}.log")
        self._logged = rundir.log_size(f"{self._name}.log")
        self._servers: dict[str, socket.socket] = {}
        for mode in (WRITE, WATCH):
            self._listen(mode)

    def _listen(self, mode: str) -> None:
        name = socket_name(self._name, mode)
        server = self._servers[name] = listen_unix(self._rundir.local(name), 0o660)
        self._rundir.share(name)
        self._selector.register(server, selectors.EVENT_READ, lambda mask: self._accept(server, mode))

    def connect(self) -> None:
        """Open the line if it is not open; without bhyve there may be none yet."""
        if self._tty >= 0:
            return
        try:
            tty = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            return
        try:
            _make_raw(tty)
        except termios.error:
            os.close(tty)
            return
        self._tty = tty
        self._input.clear()
        self._selector.register(tty, selectors.EVENT_READ, self._serve_tty)

    def _disconnect(self) -> None:
        if self._tty >= 0:
            self._selector.unregister(self._tty)
            os.close(self._tty)
            self._tty = -1
            self._input.clear()
            self._watch()

    def close(self) -> None:
        """Hang up: on the guest, on the listeners, on those who would come."""
        self._disconnect()
        for client in tuple(self._clients):
            self._drop(client)
        for name, server in self._servers.items():
            self._selector.unregister(server)
            server.close()
            self._rundir.host.unlink(self._rundir.file(name))
        os.close(self._log)

    def _serve_tty(self, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE and self._input:
                del self._input[: os.write(self._tty, self._input[:BLOCK])]
            output = os.read(self._tty, BLOCK) if mask & selectors.EVENT_READ else None
        except BlockingIOError:
            return
        except OSError:
            # EIO: the other end was closed.
            output = b""
        if output == b"":
            self._disconnect()
            return
        if output:
            self._spread(output)
        self._watch()

    def _spread(self, output: bytes) -> None:
        self._write_log(output)
        self._recent += output
        del self._recent[:-RECENT]
        for client in tuple(self._clients):
            client.add(output)
            self._flush(client)

    def _write_log(self, output: bytes) -> None:
        try:
            os.write(self._log, output)
            self._logged += len(output)
            if self._logged > LOG_LIMIT:
                # First the new one: where there is none to be had, the old descriptor must stay ours.
                log = self._rundir.open_log(f"{self._name}.log")
                os.close(self._log)
                self._log = log
                self._logged = self._rundir.log_size(f"{self._name}.log")
        except OSError:
            # A full disk costs the log, not the console.
            self._logged = self._rundir.log_size(f"{self._name}.log")

    def _accept(self, server: socket.socket, mode: str) -> None:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        if len(self._clients) >= CLIENTS:
            connection.close()
            return
        connection.setblocking(False)  # noqa: FBT003
        client = _Client(connection, writes=mode == WRITE)
        client.serve = lambda mask: self._serve_client(client, mask)
        self._clients.append(client)
        client.add(bytes(self._recent))
        self._flush(client)

    def _serve_client(self, client: _Client, mask: int) -> None:
        if mask & selectors.EVENT_READ:
            try:
                typed = client.connection.recv(BLOCK)
            except BlockingIOError:
                typed = None
            except OSError:
                typed = b""
            if typed == b"":
                self._drop(client)
                return
            if typed and client.writes and self._tty >= 0:
                self._input += typed
                self._watch()
        if mask & selectors.EVENT_WRITE:
            self._flush(client)

    def _flush(self, client: _Client) -> None:
        try:
            client.send()
        except OSError:
            self._drop(client)
            return
        self._watch()

    def _drop(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            client.watch(self._selector, 0)
            client.connection.close()

    def _watch(self) -> None:
        """Ask the selector for what can go on now: no reading of what there is no room for."""
        reading = selectors.EVENT_READ
        if self._tty >= 0:
            wanted = reading | (selectors.EVENT_WRITE if self._input else 0)
            self._selector.modify(self._tty, wanted, self._serve_tty)
        hears = len(self._input) < INPUT
        for client in self._clients:
            wanted = (reading if hears or not client.writes else 0) | (
                selectors.EVENT_WRITE if client.pending else 0
            )
            client.watch(self._selector, wanted)


class _Client:
    """One listener, with the output that it has not taken yet. writes: whether its input counts."""

    def __init__(self, connection: socket.socket, *, writes: bool) -> None:
        self.connection = connection
        self.writes = writes
        self.pending = bytearray()
        self.serve: Serve = lambda mask: None
        self._watched = 0

    def watch(self, selector: Selector, wanted: int) -> None:
        """Have ``serve`` called for the ``wanted`` events, none with 0."""
        if wanted == self._watched:
            return
        if not self._watched:
            selector.register(self.connection, wanted, self.serve)
        elif wanted:
            selector.modify(self.connection, wanted, self.serve)
        else:
            selector.unregister(self.connection)
        self._watched = wanted

    def add(self, output: bytes) -> None:
        self.pending += output
        del self.pending[:-BACKLOG]

    def send(self) -> None:
        """Send what the socket takes. Raises OSError when the listener has gone."""
        if self.pending:
            try:
                del self.pending[: self.connection.send(self.pending)]
            except BlockingIOError:
                return


def _make_raw(tty: int) -> None:
    """Bytes pass as they are, and the line stays open without a carrier (termios(4), cfmakeraw(3))."""
    mode = termios.tcgetattr(tty)
    mode[0] = 0  # input flags
    mode[1] = 0  # output flags
    mode[2] = (mode[2] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8 | termios.CREAD | termios.CLOCAL
    mode[3] = 0  # local flags: no echo, no signals, no lines
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    termios.tcsetattr(tty, termios.TCSANOW, mode)
