"""The control socket: one JSON object per line in, one per line out."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable
from typing import Any

from bhype.host import listen_unix
from bhype.vmrun.rundir import RunDir

Answer = dict[str, Any]
LINE = 4096
CLIENTS = 32
# Bytes of an answer that its reader need not have taken yet.
ROOM = 1 << 18


class Control:
    """Serves RUN/control.sock; ``handle`` gets each request and returns the answer."""

    def __init__(
        self, rundir: RunDir, selector: selectors.BaseSelector, handle: Callable[[Answer], Answer]
    ) -> None:
        self._rundir = rundir
        self._selector = selector
        self._handle = handle
        self._clients: list[socket.socket] = []
        self._server = listen_unix(rundir.local("control.sock"), 0o600)
        selector.register(self._server, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        for client in tuple(self._clients):
            self._drop(client)
        self._selector.unregister(self._server)
        self._server.close()
        self._rundir.host.unlink(self._rundir.file("control.sock"))

    def _accept(self, _mask: int) -> None:
        try:
            client, _ = self._server.accept()
        except OSError:
            return
        client.setblocking(False)  # noqa: FBT003
        # FreeBSD gives 8 KiB (net.local.stream.sendspace), and bhyve's command line alone may be as long.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        if len(self._clients) >= CLIENTS:
            # Somebody asks and hangs; the one that has hung longest makes room.
            self._drop(self._clients[0])
        self._clients.append(client)
        received = bytearray()
        self._selector.register(client, selectors.EVENT_READ, lambda mask: self._serve(client, received))

    def _serve(self, client: socket.socket, received: bytearray) -> None:
        try:
            block = client.recv(LINE)
        except BlockingIOError:
            return
        except OSError:
            block = b""
        received += block
        while b"\n" in received:
            line, _, rest = bytes(received).partition(b"\n")
            received[:] = rest
            if not self._answer(client, line):
                return
        if not block or len(received) > LINE:
            self._drop(client)

    def _answer(self, client: socket.socket, line: bytes) -> bool:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("no object")
        except (ValueError, RecursionError):
            answer: Answer = {"ok": False, "error": "A request is a JSON object on one line.", "state": {}}
        else:
            answer = self._handle(request)
        try:
            # An answer is far smaller than ROOM; who lets it fill up is not waited for.
            client.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            self._drop(client)
            return False
        return True

    def _drop(self, client: socket.socket) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client)
            client.close()
