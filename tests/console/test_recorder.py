from __future__ import annotations

import json
import os
import struct

import pytest

from bhype.console.gateway import recorder
from bhype.console.gateway.recorder import Recorder
from bhype.console.signing import Note

NAME = "0" * 32


def note(ending: str) -> Note:
    return Note("web1", "serial", "x", 0, record=f"{NAME}.{ending}", size=(132, 43))


def pieces(data: bytes) -> list[bytes]:
    """The pieces of a recorded screen."""
    found, at = [], data.index(b"\n") + 1
    while at < len(data):
        _, length = struct.unpack(">II", data[at : at + 8])
        found.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    return found


def test_a_serial_line_becomes_an_asciicast(tmp_path):
    tape = Recorder(tmp_path, note("cast"))
    for data in (b"a\x1b[1mb\r\n", "ä".encode()[:1], "ä".encode()[1:], b"\xff"):
        tape.output(data)
    tape.close()
    head, *events = [json.loads(line) for line in (tmp_path / f"{NAME}.cast").read_text().splitlines()]
    assert (head["version"], head["width"], head["height"], head["title"]) == (2, 132, 43, "web1")
    assert [event[1:] for event in events] == [["o", "a\x1b[1mb\r\n"], ["o", "ä"], ["o", "\ufffd"]]
    assert all(event[0] >= 0 for event in events)


def test_a_screen_is_kept_as_the_servers_bytes_with_times(tmp_path):
    tape = Recorder(tmp_path, note("rfb"))
    tape.output(b"RFB 003.008\n")
    tape.output(bytes(70000))
    tape.close()
    assert pieces((tmp_path / f"{NAME}.rfb").read_bytes()) == [b"RFB 003.008\n", bytes(70000)]


def test_nobody_else_reads_it_and_no_file_is_written_twice(tmp_path):
    Recorder(tmp_path, note("cast")).close()
    assert (tmp_path / f"{NAME}.cast").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        Recorder(tmp_path, note("cast"))
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError):
        Recorder(tmp_path / "link", note("rfb"))


def test_it_ends_at_its_limit_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "SERIAL_MAX", 400)
    tape = Recorder(tmp_path, note("cast"))
    for _ in range(100):
        tape.output(b"0123456789")
    tape.close()
    text = (tmp_path / f"{NAME}.cast").read_text()
    assert len(text) < 600 and "it has reached its limit" in text.splitlines()[-1]


def test_a_full_disk_ends_the_recording_and_not_the_console(tmp_path, monkeypatch):
    tape = Recorder(tmp_path, note("cast"))

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    tape.output(b"x")
    tape.output(b"y")
    tape.close()
