"""The lab's ZFS stream: records of JSON and bytes, framed and checksummed; ``zfs send`` writes, ``receive`` reads.

A stream is what zfs(8) calls one: either a single substream (BEGIN, data, END) or a package (BEGIN with what is in
it, END, substreams, END). Records: four bytes magic, the length and CRC of a JSON object, the length of bytes, both.
Each record can be trusted alone, as in OpenZFS (drr_checksum): a BEGIN is acted upon before its END, and what came
before a stream was cut off may be kept. An END holds the SHA-256 of all since its BEGIN.
Kinds of records between:

  dir, link, file: an entry of a filesystem with its mode, owner and times; data: bytes of the last file or of the
  volume, at an offset; size: the length of the last file or of the volume; gone: an entry that is no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Record = dict[str, Any]

FRAME = struct.Struct(">4sIII")
MAGIC = b"LZS1"
BLOCK = 128 * 1024
LONGEST = 64 * 1024**2


class BadStream(Exception):
    """The stream is not one, or not whole; the message is libzfs's reason."""


class Truncated(BadStream):
    """The stream ends before its end."""


class Writer:
    """Writes records to a descriptor; told: called with the count of bytes now and then."""

    def __init__(self, handle: int, told: Callable[[int], None]) -> None:
        self.handle = handle
        self.told = told
        self.sent = 0
        self.digest = hashlib.sha256()

    def begin(self, **values: object) -> None:
        self.digest = hashlib.sha256()
        self.write("begin", values)

    def end(self) -> None:
        self.write("end", {"sha256": self.digest.hexdigest()})

    def write(self, kind: str, values: Record, data: bytes = b"") -> None:
        if data:
            values = {**values, "crc": zlib.crc32(data)}
        head = json.dumps({"kind": kind, **values}).encode()
        frame = FRAME.pack(MAGIC, len(head), zlib.crc32(head), len(data)) + head + data
        self.digest.update(frame)
        view = memoryview(frame)
        while view:
            view = view[os.write(self.handle, view) :]
        self.sent += len(frame)
        self.told(self.sent)


class Reader:
    """Reads records from a descriptor, checking each END."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.read_bytes = 0
        self.digest = hashlib.sha256()

    def begin(self) -> Record | None:
        """The next BEGIN, None for the END behind the last substream of a package."""
        try:
            record, _ = self.next()
        except Truncated:
            raise Truncated("failed to read from stream") from None
        if record["kind"] == "end":
            return None
        if record["kind"] != "begin":
            raise BadStream("invalid stream (bad magic number)")
        name = record.get("toname")
        if not isinstance(name, str) or name.count("@") != 1:
            raise BadStream("invalid stream (bad snapshot name)")
        return record

    def rest(self) -> Iterator[tuple[Record, bytes]]:
        """The records up to END. Raises Truncated, or BadStream where the checksum differs."""
        while True:
            digest = self.digest.hexdigest()
            record, data = self.next()
            if record["kind"] == "end":
                if record.get("sha256") != digest:
                    raise BadStream("checksum mismatch")
                return
            yield record, data

    def next(self) -> tuple[Record, bytes]:
        frame = self._exactly(FRAME.size)
        magic, head_length, head_crc, data_length = FRAME.unpack(frame)
        if magic != MAGIC or head_length > LONGEST or data_length > LONGEST:
            raise BadStream("invalid stream (bad magic number)")
        head, data = self._exactly(head_length), self._exactly(data_length)
        if zlib.crc32(head) != head_crc:
            raise BadStream("checksum mismatch")
        try:
            record = json.loads(head)
        except ValueError:
            raise BadStream("checksum mismatch") from None
        if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
            raise BadStream("checksum mismatch")
        if data and record.get("crc") != zlib.crc32(data):
            raise BadStream("checksum mismatch")
        if record["kind"] == "begin":
            self.digest = hashlib.sha256()
        self.digest.update(frame + head + data)
        return record, data

    def _exactly(self, length: int) -> bytes:
        parts = []
        while length:
            part = os.read(self.handle, min(length, 1 << 20))
            if not part:
                raise Truncated("incomplete stream")
            parts.append(part)
            length -= len(part)
            self.read_bytes += len(part)
        return b"".join(parts)
