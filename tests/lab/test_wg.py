"""wg(8) of the lab, by the sources of wireguard-tools."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.lab import core, wg_config, wg_show

A, B, C = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
CONF = f"""\
[Interface]
PrivateKey = {A}
ListenPort = 51820   # where

[peer]
publickey={B}
AllowedIPs = 10.99.0.2/32, 10.77.0.0/24
Endpoint = 192.0.2.7:51820
PersistentKeepalive = 25
[Peer]
PublicKey = {C}
AllowedIPs = fd00::3
"""


@pytest.fixture
def tunnel(lab):
    """A lab with the tunnel wg0, as CONF says."""
    assert lab.ok("ifconfig", "wg", "create") == "wg0\n"
    lab.path("/etc/wg0.conf").write_text(CONF)
    lab.ok("wg", "setconf", "wg0", "/etc/wg0.conf")
    return lab


def test_public_keys_are_those_of_the_real_wg():
    """As `wg pubkey` of wireguard-tools 1.0.20210914 prints it for the bytes 0 to 31."""
    private = base64.b64encode(bytes(range(32))).decode()
    assert public(private) == "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8="


def test_a_dump_has_tabs_and_all_keys(tunnel):
    assert tunnel.ok("wg", "show", "all", "dump") == (
        f"wg0\t{A}\t{public(A)}\t51820\toff\n"
        f"wg0\t{B}\t(none)\t192.0.2.7:51820\t10.99.0.2/32,10.77.0.0/24\t0\t0\t0\t25\n"
        f"wg0\t{C}\t(none)\t(none)\tfd00::3/128\t0\t0\t0\toff\n"
    )
    assert tunnel.ok("wg", "show", "wg0", "allowed-ips").endswith(f"{C}\tfd00::3/128\n")
    assert tunnel.ok("wg", "show", "interfaces") == "wg0\n"


def public(private: str) -> str:
    raw = wg_config.key_of(private)
    assert raw is not None
    return wg_config.text_of(wg_config.public_of(raw))


def test_people_see_no_private_key(tunnel):
    text = tunnel.ok("wg")
    assert A not in text and "  private key: (hidden)\n  listening port: 51820\n\npeer: " in text
    assert "  persistent keepalive: every 25 seconds\n" in text
    assert wg_config.key_of(tunnel.ok("wg", "genkey").strip())


def test_syncconf_keeps_who_stays_and_setconf_replaces(tunnel):
    tunnel.path("/etc/less.conf").write_text(
        f"[Interface]\nPrivateKey={A}\nListenPort=9\n[Peer]\nPublicKey={C}\n"
    )
    tunnel.ok("wg", "syncconf", "wg0", "/etc/less.conf")
    assert tunnel.ok("wg", "show", "wg0", "peers") == f"{C}\n"
    tunnel.ok("wg", "set", "wg0", "peer", B, "allowed-ips", "10.99.0.0/24", "persistent-keepalive", "5")
    assert tunnel.ok("wg", "show", "wg0", "persistent-keepalive") == f"{C}\toff\n{B}\t5\n"
    tunnel.ok("wg", "set", "wg0", "peer", B, "remove")
    assert tunnel.ok("wg", "show", "wg0", "listen-port") == "9\n"


def test_what_showconf_prints_is_what_setconf_reads(tunnel):
    text = tunnel.ok("wg", "showconf", "wg0")
    tunnel.path("/etc/again.conf").write_text(text)
    tunnel.ok("wg", "setconf", "wg0", "/etc/again.conf")
    assert tunnel.ok("wg", "showconf", "wg0") == text


def test_errors_are_those_of_the_real_one(tunnel):
    assert tunnel.fails("wg", "show", "wg9") == "Unable to access interface: Device not configured\n"
    assert tunnel.fails("wg", "show", "em0") == "Unable to access interface: Operation not supported\n"
    assert tunnel.fails("wg", "setconf", "wg0", "/etc/none") == "fopen: No such file or directory\n"
    assert tunnel.fails("wg", "dance").startswith("Invalid subcommand: `dance'\nUsage: wg <cmd> [<args>]\n")
    tunnel.path("/etc/bad.conf").write_text("[Interface]\nPort = 5\n")
    assert tunnel.fails("wg", "setconf", "wg0", "/etc/bad.conf") == (
        "Line unrecognized: `Port=5'\nConfiguration parsing error\n"
    )
    # What was there before is there still.
    assert tunnel.ok("wg", "show", "wg0", "listen-port") == "51820\n"
    tunnel.ok("ifconfig", "wg", "create")
    tunnel.path("/etc/port.conf").write_text(f"[Interface]\nPrivateKey={B}\nListenPort=51820\n")
    assert "Address already in use" in tunnel.fails("wg", "setconf", "wg1", "/etc/port.conf")


def test_a_tunnel_that_was_made_anew_knows_nothing(tunnel):
    tunnel.ok("ifconfig", "wg0", "destroy")
    assert tunnel.ok("wg", "show", "all", "dump") == ""
    tunnel.ok("ifconfig", "wg", "create")
    assert tunnel.ok("wg", "show", "wg0", "dump") == "(none)\t(none)\t0\toff\n"


def read(text: str) -> wg_config.Change | None:
    try:
        return wg_config.read(text.split("\n"))
    except core.Exit:
        return None


@given(st.text(alphabet="[]PerInfac=#:/. \t0123456789ABkey", max_size=200))
def test_any_file_is_read_or_refused(text):
    read(text)


@pytest.mark.parametrize("seconds", [0, 1, 59, 61, 3601, 90061, 400 * 86400])
def test_times_are_said_in_words(seconds):
    tunnel = {"private": A, "port": 1, "fwmark": 0, "peers": {}}
    peer = {"psk": "", "endpoint": "", "allowed": [], "keepalive": 0, "handshake": int(time.time()) - seconds}
    tunnel["peers"] = {B: peer}
    assert "latest handshake: " in wg_show.pretty("wg0", tunnel)
