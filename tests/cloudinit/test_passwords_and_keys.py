"""Hashes of passwords and public keys, against the programs that read them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bhype import cloudinit
from bhype.cloudinit import BadKey

from .examples import key


@settings(max_examples=8)
@given(
    st.text(
        st.characters(min_codepoint=32, max_codepoint=0x2FF, blacklist_categories=("Cc", "Cs")),
        min_size=1,
        max_size=80,
    ),
    st.text("./abcXYZ019", min_size=1, max_size=16),
)
def test_a_hash_is_the_one_that_openssl_makes(password, salt):
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-salt", salt, "-stdin"],
        input=password,
        capture_output=True,
        text=True,
        check=True,
    )
    assert cloudinit.hash_password(password, salt) == done.stdout.rstrip("\n")


def test_two_hashes_of_a_password_differ():
    first, second = cloudinit.hash_password("secret"), cloudinit.hash_password("secret")
    assert first != second and cloudinit.is_hash(first) and first.startswith("$6$")


@pytest.mark.parametrize(
    "text", ["", "secret", "$6$salt$short", "$1$salt$" + "a" * 22, "$6$a:b$" + "a" * 86, "*"]
)
def test_what_is_no_hash_is_seen(text):
    assert not cloudinit.is_hash(text)


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_key_that_ssh_keygen_has_made_is_taken(tmp_path, kind):
    path = tmp_path / "id"
    bits = {"rsa": ["-b", "2048"], "ecdsa": ["-b", "256"]}.get(kind, [])
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-C", "alice's key", "-f", path], check=True
    )
    found = cloudinit.public_key(path.with_suffix(".pub").read_text())
    told = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True).stdout
    assert found.fingerprint in told and found.comment == "alice's key"
    assert found.line == path.with_suffix(".pub").read_text().strip()
    with pytest.raises(BadKey, match="private key"):
        cloudinit.public_key(path.read_text())


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "Paste a public key"), ("hello", "begins with its type"), ("ssh-dss AAAA", "DSA"),
        ('command="rm -rf /" ' + key(), "begins with its type"), (key()[:50], "not complete"),
        (key().replace("ssh-ed25519", "ssh-rsa", 1), "not a key of this type"), (key() + "\nssh-rsa x", "one line"),
        ("ssh-ed25519 ????", "not complete"), ("ssh-ed25519 " + "A" * 9000, "one line"),
        ("ssh-ed25519", "not complete"), ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQ==", "not complete"),
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused_with_the_reason(text, word):
    with pytest.raises(BadKey, match=word):
        cloudinit.public_key(text)


def test_a_short_rsa_key_is_refused():
    weak = "AAAAB3NzaC1yc2EAAAADAQABAAAAgQ" + "C" * 170
    with pytest.raises(BadKey):
        cloudinit.public_key(f"ssh-rsa {weak}")


@given(st.text(max_size=200))
def test_any_text_is_a_key_or_is_refused(text):
    try:
        cloudinit.public_key(text)
    except BadKey as error:
        assert str(error).endswith((".", "ed25519"))
