"""What is packed comes out whole and bounded, or not at all."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from bhype import outside
from bhype.host import LocalHost
from bhype.outside import unpack

MIB = 2**20
BODY = os.urandom(100_000) + bytes(3 * MIB) + b"end"


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return out.getvalue()


PACKED = {"xz": lzma.compress, "gz": gzip.compress, "bz2": bz2.compress, "zst": zstd}


@pytest.fixture
def come_out(tmp_path):
    def ask(data: bytes, **request: object) -> dict:
        source, target = tmp_path / "source", tmp_path / "target"
        target.unlink(missing_ok=True)
        source.write_bytes(data)
        told = {
            "source": str(source),
            "target": str(target),
            "limit": 64 * MIB,
            "spare": 0,
            "seconds": 60,
            **request,
        }
        return outside.answer(LocalHost().run(outside.command("unpack", told, timeout=60)).stdout)

    ask.target = tmp_path / "target"
    return ask


@pytest.mark.parametrize("kind", PACKED)
def test_each_kind(come_out, kind):
    answer = come_out(PACKED[kind](BODY))
    assert (answer["kind"], answer["size"]) == (kind, len(BODY))
    assert come_out.target.read_bytes() == BODY
    assert come_out.target.stat().st_blocks * 512 < MIB  # zeros are holes


@pytest.mark.parametrize("kind", PACKED)
def test_several_streams_behind_each_other(come_out, kind):
    packed = PACKED[kind](BODY[:50_000]) + PACKED[kind](BODY[50_000:])
    assert come_out(packed)["size"] == len(BODY)
    assert come_out.target.read_bytes() == BODY


@pytest.mark.parametrize("kind", [*PACKED, "zip"])
def test_what_is_cut_off_is_refused(come_out, kind):
    packed = archive(("a.img", BODY)) if kind == "zip" else PACKED[kind](BODY)
    assert "cut off or broken" in come_out(packed[: len(packed) * 2 // 3])["error"]
    broken = bytearray(packed)
    broken[len(packed) // 2] ^= 0xFF
    assert "error" in come_out(bytes(broken))


@pytest.mark.parametrize("kind", [*PACKED, "zip"])
def test_bombs_are_bounded(come_out, kind):
    zeros = bytes(20 * MIB)
    packed = archive(("a.img", zeros)) if kind == "zip" else PACKED[kind](zeros)
    assert "allowed" in come_out(packed, limit=5 * MIB)["error"]
    assert come_out.target.stat().st_size <= 6 * MIB


def test_no_room(come_out):
    assert "not enough room" in come_out(gzip.compress(BODY), spare=1 << 62)["error"]


def test_what_is_not_packed_is_told_so(come_out):
    assert come_out(b"QFI\xfb" + BODY) == {"kind": ""}
    assert not come_out.target.exists()


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>\n<p>", b"\xef\xbb\xbf\n <HTML lang=en>"])
def test_a_web_page_is_no_disk(come_out, page):
    assert "web page" in come_out(page)["error"]


def test_archives(come_out):
    answer = come_out(archive(("readme.txt", b"hello"), ("vm/disk0.img", BODY)))
    assert (answer["name"], answer["size"]) == ("disk0.img", len(BODY))
    assert come_out.target.read_bytes() == BODY
    assert come_out(archive(("only", BODY), method=zipfile.ZIP_STORED))["size"] == len(BODY)
    for members in ((("a.img", b"1"), ("b.img", b"2")), (("a", b"1"), ("b", b"2"))):
        assert "one disk image was expected" in come_out(archive(*members))["error"]
    link = io.BytesIO()
    with zipfile.ZipFile(link, "w") as file:
        entry = zipfile.ZipInfo("disk0.img")
        entry.external_attr = 0o120777 << 16
        file.writestr(entry, "/etc/passwd")
    assert "error" in come_out(link.getvalue())


def test_a_link_is_not_followed(come_out, tmp_path):
    (tmp_path / "target").symlink_to(tmp_path / "elsewhere")
    told = {
        "source": str(tmp_path / "source"),
        "target": str(tmp_path / "target"),
        "limit": MIB,
        "spare": 0,
        "seconds": 9,
    }
    Path(told["source"]).write_bytes(gzip.compress(b"x"))
    with pytest.raises(Exception, match="exit status"):
        LocalHost().run(outside.command("unpack", told, timeout=60))
    assert not (tmp_path / "elsewhere").exists()


def test_a_host_without_zstd_says_so(monkeypatch):
    monkeypatch.setattr(unpack, "ZSTD", ("/nowhere/zstd",))
    with pytest.raises(unpack.Refused, match="not on this host"):
        unpack._zstd(0, None)
