"""websockify with a proxy loop that is full duplex and bounded, and with notes in place of tokens.

websockify's own ``do_proxy`` blocks in ``send`` while a viewer is slow, so that no key gets through, and
reads the VNC server into memory without limit. This loop never blocks, and stops reading a side whose other
side is behind.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

from websockify.websocket import WebSocketWantReadError, WebSocketWantWriteError
from websockify.websocketproxy import ProxyRequestHandler, WebSocketProxy
from websockify.websockifyserver import CompatibleWebSocket

from bhype.console.signing import CONSOLES, LIFETIME_MAX, BadNote, Note, verify

from . import picture, targets
from .onlooker import Hostile, ScreenInput
from .recorder import Recorder
from .screens import Busy, Screens

log = logging.getLogger("bhype.gateway")

IN, OUT = select.POLLIN, select.POLLOUT
ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL
# Bytes on the way to the guest at which the viewer is no longer read.
QUEUE_MAX = 256 * 1024
# The web process sends frames of at most 64 KiB.
FRAME_MAX = 1024 * 1024
# What bHype's web process masks with.
NO_MASK = b"\0\0\0\0"
# Seconds for the upgrade request to arrive.
HANDSHAKE_SECONDS = 10.0
CONSOLES_MAX = 256
# At most so much of a log is given at once; a supervisor keeps twice 1 MiB of each line.
LOG_MAX = 4 * 1024 * 1024


class Socket(CompatibleWebSocket):  # type: ignore[misc]
    """websockify's protocol code, reading in larger pieces and without numpy (10 MiB per process)."""

    ping_due: bytes | None = None
    _recv_buffer: bytes

    def handle_ping(self, data: bytes) -> None:
        """Answer later: a pong may not cut into a message that is half sent."""
        self.ping_due = data

    def recvmsg(self) -> bytes | None:
        """As websockify's; faster where a read brings one whole short message, as keys do."""
        if self._recv_buffer or self._recv_queue or self._partial_msg or self._received_close:
            return cast("bytes | None", super().recvmsg())
        if not self._recv():
            return cast("bytes | None", super().recvmsg())  # finds the end once more
        data = self._recv_buffer
        if len(data) < 132 and data[0] == 0x82 and data[1] == (len(data) - 6) | 0x80 and data[2:6] == NO_MASK:
            self._recv_buffer = b""
            return bytes(data[6:])
        while (frame := self._decode_hybi(self._recv_buffer)) is not None:
            self._recv_buffer = self._recv_buffer[frame["length"] :]
            self._recv_queue.append(frame)
        return cast("bytes | None", self._recvmsg())

    def _recv(self) -> bool:
        try:
            data = self.socket.recv(65536) if len(self._recv_buffer) <= FRAME_MAX else b""
        except BlockingIOError as error:
            raise WebSocketWantReadError from error
        self._recv_buffer += data
        return bool(data)

    def _unmask(self, buf: bytes, mask: bytes) -> bytes:
        if mask == NO_MASK:
            return buf
        key = (mask * (len(buf) // 4 + 1))[: len(buf)]
        return (int.from_bytes(buf, "little") ^ int.from_bytes(key, "little")).to_bytes(len(buf), "little")


class NoteBook:
    """Verifies notes and takes each of them once, across all processes of the gateway.

    Works as one of websockify's token plugins. folder: private to the gateway; a file per spent note.
    """

    def __init__(self, key: bytes, root: str, folder: Path) -> None:
        self.key = key
        self.root = root
        self.folder = folder
        self.swept = 0.0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def take(self, text: str) -> Note:
        """Spend a note. Raises BadNote."""
        note = verify(self.key, text)
        try:
            os.close(os.open(self.folder / note.jti, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError as error:
            raise BadNote("used before") from error
        return note

    def lookup(self, text: str) -> tuple[str, int | str] | None:
        """Spend a note and tell where it leads; None if it leads nowhere."""
        try:
            note = self.take(text)
            return targets.locate(self.root, note.name, note.kind, watch=note.watch)
        except (BadNote, targets.Unreachable):
            return None

    def sweep(self) -> None:
        """Forget the notes that are too old to be taken anyway."""
        if time.monotonic() - self.swept < LIFETIME_MAX:
            return
        self.swept = time.monotonic()
        for file in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > 2 * LIFETIME_MAX:
                    file.unlink()


class Handler(ProxyRequestHandler):  # type: ignore[misc]
    """One console, or one question about a guest, in a process of its own."""

    SocketClass = Socket
    timeout = HANDSHAKE_SECONDS
    buffer_size = 65536
    title = "console"
    note: Note
    target: socket.socket | None = None
    recorder: Recorder | None = None
    screen_input: ScreenInput | None = None

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: websockify logs request lines, and those hold notes."""

    def handle_upgrade(self) -> None:
        if self.server.full:
            log.warning("refused: %d consoles are open", CONSOLES_MAX)
            self.send_error(503)
            return
        try:
            self.validate_connection()
        except (BadNote, targets.Unreachable, OSError) as error:
            log.warning("refused: %s", error)
            self.send_error(403 if isinstance(error, BadNote) else 502)
            return
        try:
            # Skips websockify's own check and dial: both are done.
            super(ProxyRequestHandler, self).handle_upgrade()
        finally:
            if self.target is not None:
                self.target.close()
            if self.recorder is not None:
                self.recorder.close()

    def validate_connection(self) -> None:
        """Spend the note and dial, before the upgrade is answered."""
        if self.target is not None:
            return
        _, _, query = self.path.partition("?token=")
        book = self.server.token_plugin
        note = book.take(query)
        if note.kind not in CONSOLES:
            raise BadNote("a note for something else")
        self.note, self.title = note, f"{note.kind} of {note.name}"
        if note.kind == "vnc":
            self.server.screens.view(note.name)  # until this process ends
            self.screen_input = ScreenInput() if note.watch else None
        address = targets.locate(book.root, note.name, note.kind, watch=note.watch)
        if note.record:
            self.recorder = self.start_recording(note)
        self.target = targets.dial(book.root, note.name, address)

    def start_recording(self, note: Note) -> Recorder | None:
        try:
            return Recorder(self.server.recordings, note)
        except OSError as error:
            log.error("%s: not recorded: %s", self.title, error)
            return None

    def do_GET(self) -> None:
        """Answer with the picture of a screen, or with the end of a log."""
        query = parse_qs(urlsplit(self.path).query)
        if "token" not in query:
            super().do_GET()
            return
        try:
            note = self.server.token_plugin.take(query["token"][0])
            if note.kind == "picture":
                self.answer(self.take_picture(note), "image/png")
            elif note.kind.startswith("log"):
                tail = query.get("tail", ["0"])[0]
                size = min(int(tail), LOG_MAX) if tail.isdecimal() and len(tail) < 10 else LOG_MAX
                root = self.server.token_plugin.root
                self.answer(targets.read_log(root, note.name, note.kind, size), "application/octet-stream")
            else:
                raise BadNote("a note for something else")
        except BadNote:
            self.send_error(403)
        except Busy:
            self.send_error(409)
        except (targets.Unreachable, picture.NoPicture, OSError) as error:
            log.info("%s", error)
            self.send_error(404)

    def take_picture(self, note: Note) -> bytes:
        """Of a screen that nobody views. Raises Busy, Unreachable, NoPicture, OSError."""
        book, screens = self.server.token_plugin, self.server.screens
        lock = screens.spare(note.name)
        try:
            address = targets.locate(book.root, note.name, note.kind)
            with targets.dial(book.root, note.name, address, picture.SECONDS) as connection:
                password = unquote(self.headers.get("X-Password", ""))
                return picture.take(connection, password, lambda: screens.is_wanted(note.name))
        finally:
            os.close(lock)

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def new_websocket_client(self) -> None:
        started = time.monotonic()
        log.info("%s: opened", self.title)
        try:
            self.do_proxy(cast("socket.socket", self.target))
        except OSError as error:
            log.info("%s: %s", self.title, error)
        except Hostile as error:
            log.warning("%s: a watcher sent %s", self.title, error)
            self.send_close(1008, "You may only watch.")
        finally:
            log.info("%s: closed after %.0f s", self.title, time.monotonic() - started)

    def do_proxy(self, target: socket.socket) -> None:
        """Carry bytes both ways until a side ends. Holds at most one frame down and QUEUE_MAX bytes up."""
        viewer: Socket = self.request
        viewer.settimeout(0)
        target.settimeout(0)
        watch = select.poll()
        viewer_fd, target_fd = viewer.fileno(), target.fileno()
        viewer_mask = target_mask = -1  # as registered
        # The message that is half sent to the viewer, with the call that goes on with it.
        pending: tuple[Callable[[bytes], object], bytes] | None = None
        queue = bytearray()
        beat = self.server.heartbeat or 0
        next_beat = time.monotonic() + beat

        def send(call: Callable[[bytes], object], data: bytes) -> None:
            nonlocal pending
            try:
                call(data)
                pending = None
            except WebSocketWantWriteError:
                pending = (call, data)

        while True:
            wanted = (IN if len(queue) < QUEUE_MAX else 0) | (OUT if pending else 0)
            if wanted != viewer_mask:
                watch.register(viewer_fd, wanted)
                viewer_mask = wanted
            wanted = (0 if pending else IN) | (OUT if queue else 0)
            if wanted != target_mask:
                watch.register(target_fd, wanted)
                target_mask = wanted
                if not wanted:
                    # A guest that hangs up now would wake the loop for ever; it is seen later.
                    watch.unregister(target_fd)
            from_viewer = from_target = 0
            for descriptor, event in watch.poll(1000 * beat if beat else None):
                if descriptor == viewer_fd:
                    from_viewer = event
                else:
                    from_target = event

            if pending and from_viewer & (OUT | ENDED):
                send(*pending)
            if from_viewer & (IN | ENDED):
                for data in self.receive(viewer):
                    queue += self.allowed(data)
            if queue:
                with contextlib.suppress(BlockingIOError):
                    del queue[: target.send(queue)]
            if not pending and viewer.ping_due is not None:
                data, viewer.ping_due = viewer.ping_due, None
                send(viewer.pong, data)
            if not pending and from_target & (IN | ENDED):
                self.fetch(target, send, viewer)
            if beat and not pending and time.monotonic() > next_beat:
                next_beat = time.monotonic() + beat
                send(viewer.ping, b"")

    def allowed(self, data: bytes) -> bytes:
        """The part of what the viewer has sent that it may send. Raises Hostile."""
        if not self.note.watch:
            return data
        return self.screen_input.feed(data) if self.screen_input is not None else b""

    def receive(self, viewer: Socket) -> list[bytes]:
        """What the viewer has sent. Raises CClose when it has closed."""
        found: list[bytes] = []
        try:
            while not found or viewer.pending():
                data = viewer.recvmsg()
                if data is None:
                    raise self.CClose(viewer.close_code, viewer.close_reason)
                found.append(data)
        except WebSocketWantReadError:
            pass
        except WebSocketWantWriteError:  # its close frame found no room to be answered
            raise self.CClose(1000, "closed") from None
        return found

    def fetch(self, target: socket.socket, send: Callable[..., None], viewer: Socket) -> None:
        """Carry one piece from the guest to the viewer. Raises CClose when the guest has closed."""
        try:
            data = target.recv(self.buffer_size)
        except BlockingIOError:
            return
        if not data:
            raise self.CClose(1000, "The guest closed the console.")
        if self.screen_input is not None:
            self.screen_input.served(data)
        if self.recorder is not None:
            self.recorder.output(data)
        send(viewer.sendmsg, data)

    def send_close(self, code: int = 1000, reason: str = "") -> None:
        with contextlib.suppress(WebSocketWantWriteError, OSError):
            super().send_close(code, reason)


class Gateway(WebSocketProxy):  # type: ignore[misc]
    """Listens on a unix socket that only the web process can reach; forks a process per console.

    recordings: the folder that recorded sessions go to.
    """

    full = False

    def __init__(
        self,
        path: Path,
        book: NoteBook,
        recordings: Path,
        *,
        heartbeat: int = 20,
        handler: type = Handler,
    ) -> None:
        self.screens = Screens(path.parent / "gateway.screens")
        self.recordings = recordings
        super().__init__(
            handler, unix_listen=str(path), unix_listen_mode=0o600, token_plugin=book, heartbeat=heartbeat
        )

    def poll(self) -> None:
        """Called about every second, and before each connection is taken."""
        self.token_plugin.sweep()
        self.full = len(multiprocessing.active_children()) >= CONSOLES_MAX

    def top_new_client(self, startsock: socket.socket, address: Any) -> None:
        """The life of one console's process, which ends quietly when the gateway does."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        super().top_new_client(startsock, address)
