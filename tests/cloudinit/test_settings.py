"""Settings as they are stored: what is taken, and what is told of what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype import cloudinit
from bhype.cloudinit import Invalid

from .examples import HASH, key

PORT = {"nic": 0, "addresses": ["10.0.0.5/24"]}


def problems(values: dict) -> dict[str, str]:
    try:
        cloudinit.parse(values)
    except Invalid as invalid:
        return {problem.field: problem.message for problem in invalid.problems}
    return {}


def test_nothing_said_is_all_right():
    assert cloudinit.parse({}) == cloudinit.Settings()
    assert cloudinit.parse({"user": None, "ssh_keys": None, "networks": []}) == cloudinit.Settings()


def test_the_panels_notes_are_passed_over():
    assert problems({"slot": "0:30:0", "device": "ahci-cd", "applied": "x"}) == {}


@pytest.mark.parametrize(
    ("values", "field", "word"),
    [
        ({"user": "root"}, "user", "sudo"),
        ({"user": "Alice"}, "user", "small letters"),
        ({"user": 5}, "user", "not a text"),
        ({"user": "a\nb"}, "user", "small letters"), ({"password_hash": "secret"}, "password_hash", "not the hash"),
        ({"ssh_keys": ["x"]}, "ssh_keys", "type"), ({"ssh_keys": "x"}, "ssh_keys", "not a list"),
        ({"hostname": "a_b"}, "hostname", "host name"), ({"hostname": "a" * 64}, "hostname", "host name"),
        ({"fqdn": "a..b"}, "fqdn", "full name"), ({"timezone": "../etc"}, "timezone", "time zone"),
        ({"locale": "en US"}, "locale", "locale"), ({"packages": ["-y"]}, "packages", "package"),
        ({"packages": ["a; rm"]}, "packages", "package"), ({"scripts": ["echo"]}, "scripts", "#!/bin/sh"),
        ({"scripts": ["#!/bin/sh\n\0"]}, "scripts", "control character"),
        ({"user_data": "x" * 70000}, "user_data", "64 KiB"),
        ({"snippets": ["1"]}, "snippets", "numbers"), ({"snippets": [True]}, "snippets", "numbers"),
        ({"eject": "yes"}, "eject", "true nor false"), ({"kind": "other"}, "kind", "one of"),
        ({"usr": "alice"}, "usr", "Is user meant?"), ({"installer": "x"}, "installer", "one of"),
        ({"answers": -1}, "answers", "number"), ({"shell": "bash"}, "shell", "path of a shell"),
        ({"kind": "nuageinit", "password_hash": "$y$j9T$aaaa$" + "b" * 43}, "password_hash", "yescrypt"),
        ({"networks": [{"nic": 0, "dhcp": True, "addresses": ["10.0.0.5/24"]}]}, "networks.addresses", "either"),
        ({"networks": [{"nic": 0, "dhcp": False}]}, "networks.addresses", "needs an address"),
        ({"networks": [{"nic": 0, "addresses": ["10.0.0.5"]}]}, "networks.addresses", "prefix"),
        ({"networks": [{"nic": 0, "addresses": ["10.0.0.0/24"]}]}, "networks.addresses", "network itself"),
        ({"networks": [{"nic": 0, "addresses": ["127.0.0.1/8"]}]}, "networks.addresses", "not an address for a guest"),
        ({"networks": [{**PORT, "gateway4": "10.0.1.1"}]}, "networks.gateway4", "none of"),
        ({"networks": [{**PORT, "gateway4": "fd00::1"}]}, "networks.gateway4", "not an IPv4"),
        ({"networks": [{**PORT, "gateway6": "fe80::1"}]}, "", ""),
        ({"networks": [{"nic": 0, "dhcp": True, "nameservers": ["dns"]}]}, "networks.nameservers", "IP address"),
        ({"networks": [{"nic": 0, "dhcp": True, "search": ["a b"]}]}, "networks.search", "domain"),
        ({"networks": [{"nic": 0, "dhcp": True}, {"nic": 0, "dhcp": True}]}, "networks", "twice"),
        ({"networks": [{"nic": "0"}]}, "networks", "number"), ({"networks": [5]}, "networks", "A port has"),
        ({"networks": [{"nic": 0, "mtu": 5}]}, "networks", "A port has"),
    ],
)  # fmt: skip
def test_each_problem_is_told_at_its_field(values, field, word):
    found = problems(values)
    assert (field in found and word in found[field]) if field else not found, found


def test_all_problems_are_told_at_once():
    assert set(problems({"user": "root", "hostname": "_", "locale": " ", "password_hash": "x"})) == {
        "user", "hostname", "locale", "password_hash",
    }  # fmt: skip


def test_windows_line_ends_are_no_matter():
    found = cloudinit.parse(
        {"user_data": "#cloud-config\r\nruncmd: [a]\r\n", "scripts": ["#!/bin/sh\r\nls\r\n"]}
    )
    assert "\r" not in found.user_data + found.scripts[0]


def test_what_is_there_twice_is_taken_once():
    assert cloudinit.parse({"ssh_keys": [key(), key()], "snippets": [3, 1, 3]}).snippets == (3, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*cloudinit.Settings.__slots__, "x"]), JSON))
def test_any_object_is_settings_or_is_refused(values):
    try:
        cloudinit.parse(values)
    except Invalid as invalid:
        assert invalid.problems and HASH not in str(invalid)
