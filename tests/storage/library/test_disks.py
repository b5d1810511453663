"""Disk images are read as nobody, by programs that open nothing, and come out whole."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bhype import outside
from bhype.host import LocalHost, Watch
from bhype.outside import disk, nbd

MIB = 2**20
SIZE = 6 * MIB


@pytest.fixture
def raw(tmp_path) -> Path:
    """Data, a hole, zeros that take room, data, and a last sector that is not whole."""
    path = tmp_path / "raw"
    with path.open("wb") as file:
        file.write(b"begin" + bytes(MIB))
        file.seek(4 * MIB + 1000)
        file.write(os.urandom(MIB) + b"end")
        file.truncate(SIZE - 100)
    return path


def ask(program: str, **request: object) -> dict:
    command = outside.command(program, {"seconds": 60, **request}, timeout=120)
    return outside.answer(LocalHost().run(command).stdout)


def content(path: Path) -> bytes:
    return path.read_bytes().ljust(SIZE, b"\0")


def convert(raw: Path, kind: str) -> Path:
    words = kind.split()
    image = raw.with_name("image")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", *words, raw, image], check=True)
    # As it is among what was fetched: nobody else may read it.
    image.chmod(0o600)
    return image


@pytest.mark.parametrize("kind", ["raw", "qcow2", "qcow2 -c", "vmdk", "vhdx", "vdi"])
@pytest.mark.parametrize("is_zero", [True, False])
def test_an_image_comes_out_whole_over_whatever_was_there(raw, tmp_path, kind, is_zero):
    image = raw if kind == "raw" else convert(raw, kind)
    found = ask("examine", path=str(image))
    assert found == {"kind": kind.split()[0], "size": SIZE}
    target = tmp_path / "target"
    with target.open("wb") as file:
        file.write(b"" if is_zero else b"x" * (SIZE + MIB))
        file.truncate(SIZE + MIB)
    target.chmod(0o600)
    answer = ask("write", path=str(image), target=str(target), is_zero=is_zero, **found)
    assert answer == {"size": SIZE}
    assert target.read_bytes()[:SIZE] == content(raw)
    assert target.read_bytes()[SIZE:] == (bytes(MIB) if is_zero else b"x" * MIB)
    if is_zero:
        assert target.stat().st_blocks * 512 < 3 * MIB, "holes were filled"


def test_a_link_is_not_followed(raw, tmp_path):
    (tmp_path / "link").symlink_to(raw)
    for request in ({"path": str(tmp_path / "link")}, {"path": str(raw), "target": str(tmp_path / "link")}):
        command = outside.command(
            "write" if "target" in request else "examine",
            {"seconds": 5, "kind": "raw", "size": SIZE, "is_zero": False, **request},
            timeout=60,
        )
        result = subprocess.run(command.argv, check=False, input=command.stdin, capture_output=True)
        assert result.returncode == 1 and b"Too many levels" in result.stderr


LEASH = """
import os, sys, time
from bhype.outside import cage
cage.enter(seconds=60)
open(int(sys.argv[1]), "w").write(f"{os.getuid()} {os.getpid()}")
time.sleep(600)
"""


def test_a_program_that_is_nobody_dies_with_whoever_asked(tmp_path):
    inner, outer = os.pipe()
    program = (sys.executable, "-c", LEASH, str(outer))
    parent = os.fork()
    if not parent:
        os.set_inheritable(outer, True)
        os.posix_spawn(sys.executable, program, dict(os.environ))
        time.sleep(600)
    os.close(outer)
    try:
        identity, child = (int(word) for word in os.read(inner, 100).split())
        assert identity or os.geteuid()
        ended = Watch(child)
    finally:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        os.close(inner)
    with contextlib.closing(ended):
        assert select.select([ended], [], [], 30)[0], "it goes on by itself"


def talk(storage: nbd.Storage, sent: bytes) -> bytes:
    """All that the server answers."""
    here, there = socket.socketpair()
    server = threading.Thread(target=nbd.serve, args=(there, storage))
    server.start()
    found = b""
    # One that breaks the protocol is left in the middle of a word.
    with here, contextlib.suppress(ConnectionError):
        here.sendall(sent)
        here.shutdown(socket.SHUT_WR)
        while block := here.recv(1 << 16):
            found += block
    server.join(10)
    assert not server.is_alive()
    return found


HELLO = struct.pack(">I8sII", 2, b"IHAVEOPT", nbd.EXPORT_NAME, 0)


def asked(kind: int, place: int, count: int) -> bytes:
    return struct.pack(">IHHQQI", nbd.REQUEST, 0, kind, 7, place, count)


def test_the_server_gives_and_takes_nothing_beyond_the_disk(tmp_path):
    path = tmp_path / "disk"
    path.write_bytes(b"a" * 8192)
    with path.open("r+b") as file:
        target = disk.Disk(file.fileno(), 4096, is_zero=False)
        image = disk.Image(file.fileno())
        greeting = len(nbd.GREETING) + 10
        for storage, kind, place, count, problem in (
            (target, nbd.WRITE, 4000, 97, 22), (target, nbd.READ, 2**63, 1, 22), (target, 9, 0, 0, 22),
            (target, nbd.WRITE_ZEROES, 1, 4096, 22), (image, nbd.WRITE, 0, 1, 22), (image, nbd.WRITE_ZEROES, 0, 1, 22),
            (target, nbd.WRITE, 0, 1, 0), (target, nbd.FLUSH, 0, 0, 0),
        ):  # fmt: skip
            data = b"b" * count if kind == nbd.WRITE else b""
            said = talk(storage, HELLO + asked(kind, place, count) + data)[greeting:]
            assert struct.unpack(">IIQ", said) == (nbd.REPLY, problem, 7), (kind, place)
        for broken in (b"", b"x" * 40, HELLO + b"x" * 28, HELLO + asked(nbd.READ, 0, 2**31), HELLO[:9]):
            assert len(talk(image, broken)) <= greeting
    assert path.read_bytes() == b"b" + b"a" * 8191
