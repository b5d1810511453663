"""OpenPGP signatures and lists of checksums. What lies in ``signed`` was made with gpg(1) of GnuPG 2.2, its clock set
to 2024-01-01: keys of a vendor, of somebody else, and one that has expired on the next day."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype import outside
from bhype.host import LocalHost
from bhype.outside.signature import dearmor
from storage.library import checksums
from storage.library.checksums import BadChecksum

SIGNED = Path(__file__).with_name("signed")
KEY = (SIGNED / "key.asc").read_text()
HASH = "106baebeaf32eeb5ca77b025cd37f78c612166f33d7cc200996c7ea356020ff5"


def check(path: Path, signature: bytes = b"", key: str = KEY) -> dict:
    request = {
        "path": str(path), "signature": base64.b64encode(signature).decode(), "key": key, "seconds": 20,
    }  # fmt: skip
    return outside.answer(LocalHost().run(outside.command("signature", request, timeout=60)).stdout)


def signature(name: str) -> bytes:
    return (SIGNED / name).read_bytes()


@pytest.mark.parametrize("name", ["SHA256SUMS.asc", "SHA256SUMS.gpg"])
def test_a_signature_beside_the_list(name):
    answer = check(SIGNED / "SHA256SUMS", signature(name))
    assert len(answer["key"]) == 40 and not answer["is_expired"]


def test_a_list_that_is_signed_in_clear():
    answer = check(SIGNED / "SHA256SUMS.signed")
    assert checksums.find(answer["text"], "disk.img").value == HASH


def test_only_what_is_signed_counts(tmp_path):
    """Lines before and behind the signed ones are no part of it."""
    path = tmp_path / "list"
    forged = f"{'0' * 64}  disk.img\n"
    path.write_text(forged + (SIGNED / "SHA256SUMS.signed").read_text() + forged)
    answer = check(path)
    assert "error" in answer or checksums.find(answer["text"], "disk.img").value == HASH
    assert checksums.find(path.read_text(), "disk.img").value == HASH


def test_what_is_wrong_is_said(tmp_path):
    changed = tmp_path / "SHA256SUMS"
    changed.write_bytes(signature("SHA256SUMS").replace(b"1", b"2", 1))
    good, key = SIGNED / "SHA256SUMS", (SIGNED / "other.asc").read_text()
    assert "not what was signed" in check(changed, signature("SHA256SUMS.gpg"))["error"]
    assert "another key" in check(good, signature("SHA256SUMS.gpg"), key)["error"]
    assert "no valid signature" in check(good, b"rubbish")["error"]
    assert "no valid signature" in check(good, b"-----BEGIN PGP SIGNATURE-----\n\nrubbish!\n")["error"]
    assert "no valid signature" in check(good)["error"]
    assert "no OpenPGP public key" in check(good, signature("SHA256SUMS.gpg"), "rubbish")["error"]
    changed.write_text((SIGNED / "SHA256SUMS.signed").read_text().replace(HASH, "0" * 64))
    assert "error" in check(changed)


def test_an_expired_key_is_told():
    answer = check(SIGNED / "SHA256SUMS", signature("SHA256SUMS.old"), (SIGNED / "expired.asc").read_text())
    assert answer["is_expired"]


def test_several_keys_in_one_text():
    both = (SIGNED / "other.asc").read_text() + "\n" + KEY
    assert "key" in check(SIGNED / "SHA256SUMS", signature("SHA256SUMS.gpg"), both)


@given(st.text())
def test_no_text_breaks_the_armor(text):
    dearmor(text, "SIGNATURE")
    dearmor(f"-----BEGIN PGP SIGNATURE-----\n{text}\n-----END PGP SIGNATURE-----\n", "SIGNATURE")


# Lists of checksums.

OTHER = "f" * 64
STRONG = "ab" * 64


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"SHA256 (a.img) = {HASH}\n", HASH),
        (f"SHA512 (a.img) = {STRONG}\nSHA256 (a.img) = {HASH}\n", STRONG),
        (f"{OTHER}  b.img\r\n{HASH}  a.img\r\n", HASH),
        (f"{HASH} *a.img\n", HASH),
        (f"{HASH.upper()}  ./images/a.img", HASH),
        (f"# a.img: 12 bytes\nSHA256 (a.img) = {HASH}\n", HASH),
        (HASH, HASH),
        (f"\ufeff{HASH}  a.img", HASH),
        (f"{HASH}  a.img\n{HASH}  a.img\n", HASH),
        (f"d41d8cd98f00b204e9800998ecf8427e  a.img\n{HASH}  a.img", HASH),
    ],
)
def test_lists_of_vendors(text, found):
    assert checksums.find(text, "a.img").value == found


@pytest.mark.parametrize(
    "text",
    ["", "<html>not found</html>", f"{HASH}  b.img", f"{HASH}  a.img\n{OTHER}  a.img",
     "d41d8cd98f00b204e9800998ecf8427e a",
     f"SHA256 (a.img) = {STRONG}", f"{HASH}\n{OTHER}\n", f"SHA1 (a.img) = {'a' * 40}", f"{HASH[:-1]}  a.img",
     f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n{HASH}  a.img\n"],
)  # fmt: skip
def test_lists_that_say_nothing(text):
    with pytest.raises(BadChecksum):
        checksums.find(text, "a.img")


def test_what_people_type():
    assert checksums.parse(f" {HASH.upper()} ").value == HASH
    assert checksums.parse(f"sha256:{HASH}").algorithm == "sha256"
    assert checksums.parse(f"SHA-512:{STRONG}").label == "SHA-512"
    for text in ("", "x", HASH[1:], f"sha512:{HASH}", f"md5:{HASH}", "g" * 64):
        with pytest.raises(BadChecksum):
            checksums.parse(text)


@given(st.text())
def test_any_list_is_read_or_refused(text):
    with contextlib.suppress(BadChecksum):
        assert len(checksums.find(text, "a.img").value) in {64, 128}
