"""Streams and disk images: what reaches an argv, what is read from zstream(8) and qemu-img(1), what is refused."""

from __future__ import annotations

import json
import shlex
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import geom, names, qemu_img, zfs, zstream
from bhype.freebsd.command import Command, ParseError, Query
from bhype.freebsd.qemu_img import BadImage


def words(command: Command | Query) -> str:
    return shlex.join((command.command if isinstance(command, Query) else command).argv)


LIMITED = "/usr/bin/limits -c 0k -v 2048m -t 43200s /usr/local/bin/qemu-img convert -p"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (zfs.promote("tank/a"), "/sbin/zfs promote tank/a"),
        (zfs.mount("tank/a"), "/sbin/zfs mount tank/a"),
        (zfs.send("tank/a@s"), "/sbin/zfs send tank/a@s"),
        (zfs.send("tank/a@s", replicate=True), "/sbin/zfs send -R tank/a@s"),
        (zfs.send_size("tank/a@s"), "/sbin/zfs send -nP tank/a@s"),
        (zfs.send_size("tank/a@s", replicate=True), "/sbin/zfs send -nPR tank/a@s"),
        (
            zfs.receive("tank/b", {"org.bhype:id": "1"}, without=["mountpoint"], mounted=False),
            "/sbin/zfs receive -o org.bhype:id=1 -x mountpoint -u tank/b",
        ),
        (zstream.dump("/tmp/a b"), "/usr/bin/zstream dump '/tmp/a b'"),
        (geom.volume_size("t/d"), "/usr/sbin/diskinfo /dev/zvol/t/d"),
        (
            qemu_img.convert_out("/dev/zvol/t/d", "/tmp/x", "vhdx"),
            f"{LIMITED} -f raw -O vhdx /dev/zvol/t/d /tmp/x",
        ),
        (
            qemu_img.convert_out("/dev/zvol/t/d", "/tmp/x", "vmdk", stream_optimized=True),
            f"{LIMITED} -f raw -O vmdk -o subformat=streamOptimized /dev/zvol/t/d /tmp/x",
        ),
    ],
)
def test_commands_are_built(command, expected):
    assert words(command) == expected


@given(st.text(max_size=40))
def test_no_text_becomes_an_option_or_a_protocol(text):
    builders = [
        lambda: zfs.send(text), lambda: zfs.receive(text), lambda: zfs.promote(text), lambda: zfs.mount(text),
        lambda: zstream.dump(text), lambda: geom.volume_size(text), lambda: qemu_img.convert_out("/x", text, "raw"),
        lambda: qemu_img.convert_out("/x", "/y", text),
    ]  # fmt: skip
    for build in builders:
        try:
            command = build()
        except (names.BadName, ValueError):
            continue
        argv = command.command.argv if isinstance(command, Query) else command.argv
        assert text not in argv or text in qemu_img.FORMATS or text[0].isalpha() or text[0] == "/"


@pytest.mark.parametrize(
    "path", ["json:{}", "nbd://127.0.0.1/x", "/a,b", "/a:b", "/a/../b", "/a\nb", "x", "", "/" * 2000]
)
def test_qemu_takes_paths_and_nothing_else(path):
    with pytest.raises(names.BadName):
        qemu_img.convert_out(path, "/x", "raw")


def test_sizes_of_streams_are_read():
    parse = zfs.send_size("t/a@s").parse
    assert parse("full\ttank/a@s1\t1048576\nsize\t1048576\n") == 1048576
    assert parse("incremental\ts1\ttank/a@s2\t624\nsize\t624\n") == 624
    for text in ("", "full\tx\t1\n", "size\tx\n"):
        with pytest.raises(ParseError):
            qemu_img.read_info(text, "vmdk")


def begin(name, to, base=0, kind=2, package=1, flags=0) -> str:
    return (
        f"BEGIN record\n\thdrtype = {package}\n\tfeatures = 4\n\tmagic = 2f5bacbac\n\tcreation_time = 6a3f\n"
        f"\ttype = {kind}\n\tflags = 0x{flags:x}\n\ttoguid = {to:x}\n\tfromguid = {base:x}\n\ttoname = {name}\n"
        "\tpayloadlen = 0\nEND checksum = 1/2/3/4\n"
    )


def dumped(*records: str, count: int | None = None) -> str:
    number = len(records) if count is None else count
    return (
        "".join(records) + f"SUMMARY:\n\tTotal DRR_BEGIN records = {number} (0 bytes)\n\tTotal records = 99\n"
    )


FAKE = begin("t/a@t", 77).removesuffix("END checksum = 1/2/3/4\n")
PACKAGE = begin("t/a@s", 0, package=2, kind=0)
TOP = begin("t/a@s", 5)


def test_the_parts_of_a_stream_are_read():
    found = zstream.contents(dumped(PACKAGE, TOP, begin("t/a/disk0@s", 6, kind=3)))
    assert (found.top, found.is_package) == ("t/a@s", True)
    assert [(each.name, each.kind, each.guid, each.base) for each in found.substreams] == [
        ("t/a@s", "filesystem", 5, 0),
        ("t/a/disk0@s", "volume", 6, 0),
    ]
    assert zstream.problem_of(found) == ""
    assert zstream.contents(dumped(begin("t/a@s", 5, kind=3))).is_package is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        dumped(),
        dumped(PACKAGE),
        dumped(TOP, count=2),
        dumped(TOP) + "SUMMARY:\n\tTotal DRR_BEGIN records = 1 (0 bytes)\n",
        dumped(begin("t/a@s\n\tpayloadlen = 0\nBEGIN record", 5)),
        dumped(begin("t/a@s", 5, kind=9)),
        # A name that holds a whole second record, which would vouch for a guid.
        dumped(begin("t/a@s\n\tpayloadlen = 0\n" + FAKE, 5), count=1),
        # A property that does.
        dumped(TOP + "x = \n" + begin("t/a@t", 77), count=1),
    ],
)
def test_what_is_not_sure_is_refused(text):
    with pytest.raises(ParseError):
        zstream.contents(text)


@pytest.mark.parametrize(
    ("records", "word"),
    [
        ([PACKAGE, begin("t/b@s", 5)], "begins with t/b"),
        ([PACKAGE, TOP, begin("t/ab@s", 6)], "not part of t/a"),
        ([PACKAGE, TOP, begin("t/a/x@s", 6, base=9)], "builds upon a snapshot"),
        ([PACKAGE, TOP, begin("t/a/x@s", 6, flags=1)], "builds upon a snapshot"),
        ([PACKAGE, begin("t/a@s", 5, base=4)], "builds upon a snapshot"),
        ([PACKAGE, TOP, begin("t/a/%recv@s", 6)], "snapshot name|dataset name"),
        ([PACKAGE, TOP, begin("t/a/../b@s", 6)], "snapshot name|dataset name"),
        ([PACKAGE, TOP, begin("t/a/b", 6)], "snapshot name|dataset name"),
    ],
)
def test_streams_that_reach_for_others_are_refused(records, word):
    import re

    assert re.search(word, zstream.problem_of(zstream.contents(dumped(*records))))


def test_increments_within_the_stream_are_fine():
    records = [PACKAGE, TOP, begin("t/a@t", 6, base=5), begin("t/a/disk0@t", 7, base=6, flags=1, kind=3)]
    assert zstream.problem_of(zstream.contents(dumped(*records))) == ""


@given(st.text(max_size=300))
def test_any_output_of_zstream_is_understood_or_refused(noise):
    for text in (noise, dumped(PACKAGE, begin(noise, 5)), dumped(TOP) + noise):
        try:
            found = zstream.contents(text)
        except ParseError:
            continue
        assert found.substreams


def qcow2(version=3, backing=0, crypt=0, features=0) -> bytes:
    head = bytearray(512)
    struct.pack_into(">4sIQ", head, 0, b"QFI\xfb", version, backing)
    struct.pack_into(">I", head, 32, crypt)
    struct.pack_into(">Q", head, 72, features)
    return bytes(head)


@pytest.mark.parametrize(
    ("head", "tail", "kind"),
    [
        (qcow2(), b"", "qcow2"),
        (qcow2(version=2, features=0b110), b"", "qcow2"),
        (b"vhdxfile" + b"\0" * 90, b"", "vhdx"),
        (b"\0" * 64 + b"\x7f\x10\xda\xbe", b"", "vdi"),
        (b"\0" * 512, b"\0" * 512, "raw"),
        (b"\xeb\x63", b"", "raw"),
        (b"\0" * 512, b"conectix" + b"\0" * 52 + b"\0\0\0\2", "vpc"),
        (b"conectix" + b"\0" * 52 + b"\0\0\0\3", b"", "vpc"),
    ],
)
def test_formats_are_told_by_their_bytes(head, tail, kind):
    assert qemu_img.sniff(head, tail) == kind


@pytest.mark.parametrize(
    ("head", "tail", "word"),
    [
        (qcow2(backing=1), b"", "backing file"),
        (qcow2(crypt=2), b"", "encrypted"),
        (qcow2(features=4), b"", "another file"),
        (qcow2(features=2), b"", "corrupt"),
        (qcow2(version=9), b"", "version 9"),
        (qcow2()[:40], b"", "cut off"),
        (qcow2()[:90], b"", "cut off"),
        (b"KDMV", b"", "cut off"),
        (b"KDMV" + b"\0" * 600, b"", "other files"),
        (b"# Disk DescriptorFile\n", b"", "several files"),
        (b"COWD" + b"\0" * 600, b"", "several files"),
        (b"", b"conectix" + b"\0" * 52 + b"\0\0\0\4", "differencing"),
        (b"PK\x03\x04", b"", "ZIP"),
        (b"\xfd7zXZ\0", b"", "xz"),
    ],
)
def test_images_that_need_other_files_are_refused(head, tail, word):
    with pytest.raises(BadImage, match=word):
        qemu_img.sniff(head, tail)


@given(
    st.sampled_from([b"QFI\xfb", b"KDMV", b"conectix", b""]), st.binary(max_size=700), st.binary(max_size=512)
)
def test_any_bytes_are_a_format_or_refused(magic, head, tail):
    try:
        assert qemu_img.sniff(magic + head, tail) in qemu_img.FORMATS
    except BadImage as error:
        assert str(error)


def test_what_qemu_img_tells_is_read_or_refused():
    fine = {"format": "vmdk", "virtual-size": 1024, "actual-size": 512}
    assert qemu_img.read_info(json.dumps(fine), "vmdk") == 1024
    bad = [
        {"backing-filename": "/etc/passwd"}, {"full-backing-filename": "x"}, {"encrypted": True}, {"format": "raw"},
        {"virtual-size": 0}, {"format-specific": {"data": {"data-file": "x"}}},
        {"format-specific": {"data": {"extents": [1, 2]}}},
    ]  # fmt: skip
    for more in bad:
        with pytest.raises(BadImage):
            qemu_img.read_info(json.dumps({**fine, **more}), "vmdk")
    for text in ("", "[]", "{}", "null", '{"format": "vmdk", "virtual-size": "x"}'):
        with pytest.raises(ParseError):
            qemu_img.read_info(text, "vmdk")


def test_qemu_img_is_given_what_was_opened_for_it():
    image, disk = (f"file.driver=nbd,file.server.type=fd,file.server.str={end}" for end in (5, 7))
    assert qemu_img.info("qcow2", 5) == ("info", "--image-opts", "--output=json", f"driver=qcow2,{image}")
    assert qemu_img.convert_in("vpc", 5, 7, is_zero=True) == (
        *("convert", "-p", "-n", "-W", "-m", "16", "-S", "64k"),
        *("--target-is-zero", "--image-opts", "--target-image-opts"),
        *(f"driver=vpc,{image}", f"driver=raw,{disk}"),
    )
    assert "--target-is-zero" not in qemu_img.convert_in("vpc", 5, 7, is_zero=False)
    for kind in ("", "raw,file.filename=/etc/passwd", "qcow"):
        with pytest.raises(names.BadName):
            qemu_img.info(kind, 5)


def test_progress_is_read_from_pieces():
    assert qemu_img.progress("    (1.00/100%)\r    (12.50/100%)\r") == 12.5
    assert qemu_img.progress("    (12.5") is None
    assert qemu_img.progress("(999.00/100%)") == 100
