"""What a console talks to: stand-ins for VNC and serial servers, and the real gateway process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bhype.console.gateway.targets import RUN_DIR


class Guest:
    """A server on a loopback port, or on a unix socket. ``serve(connection)`` runs in a thread per client."""

    def __init__(self, serve: Callable[[socket.socket], None], path: Path | None = None) -> None:
        if path is None:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.port = self.listener.getsockname()[1]
        else:
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(str(path))
            self.listener.listen()
        self.serve = serve
        self.clients: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def _spawn(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.clients.append(connection)
            self._spawn(self._run, connection)

    def _run(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self.serve(connection)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for client in self.clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(5)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def greet(connection: socket.socket) -> None:
    """As a VNC server: it speaks first. Then it echoes."""
    connection.sendall(b"RFB 003.008\n")
    echo(connection)


class Flood:
    """A screen that changes without end, and notes when keys (8 bytes each) arrive."""

    def __init__(self) -> None:
        self.keys: list[float] = []
        self.sent = 0

    def __call__(self, connection: socket.socket) -> None:
        reader = threading.Thread(target=self._read, args=(connection.dup(),), daemon=True)
        reader.start()
        frame = bytes(65536)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(frame)
                self.sent += len(frame)

    def _read(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            got = 0
            while data := connection.recv(4096):
                got += len(data)
                self.keys += [time.monotonic()] * (got // 8 - len(self.keys))


def run_directory(root: Path, name: str) -> Path:
    folder = Path(f"{root}{RUN_DIR}/{name}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_state(root: Path, name: str, port: int | None, **changes: object) -> Path:
    """The run directory of a running guest, as its supervisor keeps it."""
    folder = run_directory(root, name)
    vnc = {"host": "127.0.0.1", "port": port} if port else None
    state = {"name": name, "state": "running", "pid": os.getpid(), "vnc": vnc, "serial": ["com1"]} | changes
    (folder / "state.json").write_text(json.dumps(state))
    return folder


class GatewayProcess:
    """The gateway as ``make run`` starts it, with everything below one short folder."""

    def __init__(self, folder: Path, listen: Path | None = None) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir(exist_ok=True)
        self.socket = listen or folder / "gateway.sock"
        self.key_file = folder / "gateway.key"
        self.log = folder / "gateway.log"
        argv = [sys.executable, "-m", "bhype.console.gateway", "--socket", str(self.socket)]
        argv += ["--key-file", str(self.key_file), "--root", str(self.root)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.02)
        eventually(lambda: not self.children())  # the probe was a client, too

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return bool(probe.recv(100))
            except OSError:
                return False

    def children(self) -> list[int]:
        """Processes of consoles that are open."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(word) for word in text.split()]

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def gateway(folder: Path, listen: Path | None = None) -> Iterator[GatewayProcess]:
    process = GatewayProcess(folder, listen)
    try:
        yield process
    finally:
        process.close()


@contextlib.contextmanager
def plain_websockify(target: int) -> Iterator[int]:
    """websockify as it comes, in front of a loopback port. Yields its own port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "websockify", f"127.0.0.1:{port}", f"127.0.0.1:{target}"]
    process = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        if not eventually(listens, 60):
            raise RuntimeError("websockify did not start")
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its consoles are in its group
        process.wait()


def resident(pid: int) -> int:
    """Memory of a process that it shares with nobody, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon")


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
