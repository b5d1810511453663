"""The web process's end of a console: a small WebSocket client of the gateway, with back-pressure both ways.

Only what two programs of one installation need of RFC 6455: binary messages up, masked with zeroes (a mask
protects proxies on the way, and there is none); payloads down, without assembling messages: it is one stream.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct
import time
from pathlib import Path
from typing import cast

from .signing import read_key, sign

# Stop reading the gateway while this much waits for the viewer.
HIGH = 256 * 1024
FRAME = 64 * 1024
CONNECT_SECONDS = 8.0
_NO_MASK = b"\0\0\0\0"
_BINARY, _CLOSE, _CONTINUATION = 2, 8, 0


class Refused(Exception):
    """The gateway does not connect this console. ``status`` is that of HTTP; 0 if it does not answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Relay(asyncio.Protocol):
    """One connection to the gateway. ``read`` and ``write`` carry raw bytes of the console."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._upgraded: asyncio.Future[None] = loop.create_future()
        self._head = b""  # of a frame or of the answer, not complete yet
        self._left = 0  # bytes of the current frame that are still to come
        self._opcode = _BINARY
        self._parts: list[bytes] = []
        self._size = 0
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._reading_paused = False
        self.ended = False
        # When the guest stopped taking what the viewer sends; None while it takes it. Monotonic seconds.
        self.stuck_since: float | None = None

    @classmethod
    async def open(
        cls,
        gateway: Path,
        key_file: Path,
        name: str,
        kind: str,
        *,
        watch: bool = False,
        record: str = "",
        size: tuple[int, int] = (80, 24),
    ) -> Relay:
        """Connect to console ``kind`` of ``name``; for the rest see ``signing.Note``. Raises Refused."""
        loop = asyncio.get_running_loop()
        relay: Relay | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                key = await asyncio.to_thread(read_key, key_file)
                note = sign(key, name, kind, watch=watch, record=record, size=size)
                _, relay = await loop.create_unix_connection(cls, str(gateway))
                await relay._upgrade(note)
        except (OSError, TimeoutError) as error:
            if relay is not None:
                relay.abort()
            raise Refused(f"the console gateway does not answer: {error}") from error
        except BaseException:
            if relay is not None:
                relay.abort()
            raise
        return relay

    async def _upgrade(self, note: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET /?token={note} HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
        )
        self.transport.write(request.encode())
        await self._upgraded

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        if not self._upgraded.done():
            data = self._take_answer(data)
        self._take_frames(data)
        if self._size >= HIGH and not self._reading_paused and not self.ended:
            self._reading_paused = True
            self.transport.pause_reading()
        if self._parts or self.ended:
            self._wake_reader()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        if not self._upgraded.done():
            self._upgraded.set_exception(exc or ConnectionResetError("closed without an answer"))
            self._upgraded.exception()  # the opener may have gone
        self._wake_reader()
        self.resume_writing()

    def pause_writing(self) -> None:
        self.stuck_since = time.monotonic()

    def resume_writing(self) -> None:
        self.stuck_since = None
        writer, self._writer = self._writer, None
        if writer is not None and not writer.done():
            writer.set_result(None)

    # Frames.

    def _take_answer(self, data: bytes) -> bytes:
        """Read the answer to the upgrade; return what follows it."""
        answer, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            self._head = data
            return b""
        if answer.startswith(b"HTTP/1.1 101 "):
            self._upgraded.set_result(None)
            return rest
        status = answer[9:12]
        self._upgraded.set_exception(
            Refused("the gateway refused the console", int(status) if status.isdigit() else 0)
        )
        self.abort()
        return b""

    def _take_frames(self, data: bytes) -> None:
        """Keep the payloads of data frames, drop those of control frames, mark the end at a close frame."""
        end = len(data)
        if not self._left and 2 < end < 128 and data[0] == 0x82 and data[1] == end - 2:
            self._parts.append(data[2:])  # one short message, such as the echo of a key
            self._size += end - 2
            return
        position = 0
        while position < end:
            if self._left:
                taken = min(self._left, end - position)
                if self._opcode in (_BINARY, _CONTINUATION):
                    self._parts.append(data[position : position + taken])
                    self._size += taken
                self._left -= taken
                position += taken
                continue
            head = 2
            if end - position >= 2:
                length = data[position + 1] & 0x7F
                head = 4 if length == 126 else 10 if length == 127 else 2
            if end - position < head:
                self._head = data[position:]
                return
            if head > 2:
                length = int.from_bytes(data[position + 2 : position + head], "big")
            self._opcode = data[position] & 0x0F
            self._left = length
            position += head
            if self._opcode == _CLOSE:
                self.ended = True

    def _wake_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    # What the consumer calls.

    async def read(self) -> bytes:
        """What has come from the guest, at least one byte; b"" once it has ended."""
        while not self._parts:
            if self.ended:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if self._reading_paused and not self.ended:
            self._reading_paused = False
            self.transport.resume_reading()
        return data

    def send(self, data: bytes) -> None:
        """Send to the guest what fits into one frame. Silent once the connection has ended."""
        if self.ended:
            return
        size = len(data)
        if size < 126:
            head = b"\x82%c%b" % (0x80 | size, _NO_MASK)
        elif size < 65536:
            head = struct.pack(">BBH4x", 0x82, 0xFE, size)
        else:
            head = struct.pack(">BBQ4x", 0x82, 0xFF, size)
        self.transport.write(head + data)

    async def write(self, data: bytes) -> None:
        """Send to the guest; waits while it does not take it. Silent once the connection has ended."""
        for start in range(0, len(data), FRAME):
            self.send(data[start : start + FRAME])
            if self.stuck_since is not None and not self.ended:
                self._writer = asyncio.get_running_loop().create_future()
                await self._writer

    def abort(self) -> None:
        """End it at once; both waiting sides wake."""
        self.ended = True
        self.transport.abort()
