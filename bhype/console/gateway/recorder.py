"""Files of recorded sessions: serial lines as asciicast v2, screens as the VNC server's bytes with times.

asciicast v2 (docs.asciinema.org/manual/asciicast/v2): a JSON object on the first line, then one
``[seconds, "o", text]`` per line. A screen: a JSON object on the first line, then pieces of milliseconds since
the start and length (both u32, big-endian) and that many bytes. What a viewer types is not recorded: it may hold
passwords.
"""

from __future__ import annotations

import codecs
import json
import os
import struct
import time
from pathlib import Path

from bhype.console.signing import Note

SERIAL_MAX = 16 * 1024 * 1024
SCREEN_MAX = 256 * 1024 * 1024
FULL = "\r\n[bHype: the recording ends here, it has reached its limit]\r\n"


class Recorder:
    """One recording. It never breaks the console: where the disk is full it ends.

    Raises OSError if the file cannot be made.
    """

    def __init__(self, folder: Path, note: Note) -> None:
        self.is_screen = note.record.endswith(".rfb")
        self.room = SCREEN_MAX if self.is_screen else SERIAL_MAX
        self.started = time.monotonic()
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND
            self._file = os.open(note.record, flags, 0o600, dir_fd=directory)
        finally:
            os.close(directory)
        head = {"version": 2, "width": note.size[0], "height": note.size[1], "timestamp": int(time.time())}
        if self.is_screen:
            head = {"version": 1, "timestamp": int(time.time())}
        self._write(json.dumps(head | {"title": note.name}).encode() + b"\n")

    def output(self, data: bytes) -> None:
        """Keep what the guest has shown now."""
        if self._file < 0:
            return
        passed = time.monotonic() - self.started
        if self.is_screen:
            piece = struct.pack(">II", int(passed * 1000), len(data)) + data
        elif text := self._decode(data):
            piece = _event(passed, text)
        else:
            return
        if len(piece) > self.room:
            if not self.is_screen:
                self._write(_event(passed, FULL))
            self.close()
            return
        self._write(piece)

    def _write(self, data: bytes) -> None:
        self.room -= len(data)
        try:
            # A piece that is half written is the last one, and players leave it out.
            if os.write(self._file, data) != len(data):
                self.close()
        except OSError:
            self.close()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _event(seconds: float, text: str) -> bytes:
    return json.dumps([round(seconds, 3), "o", text]).encode() + b"\n"
