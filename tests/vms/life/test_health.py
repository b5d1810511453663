"""What tells that a guest does its work: what may be written, and looking at it."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.host import LocalHost
from vms.life import health
from vms.models import VM


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("", None),
        ("tcp:10.0.0.7:22", health.Check("tcp", "10.0.0.7", 22)),
        ("tcp:[fd00::7]:443", health.Check("tcp", "fd00::7", 443)),
        ("serial:login:", health.Check("serial", text="login:")),
    ],
)
def test_a_check_is_read(text, check):
    assert health.parse(text) == check


@pytest.mark.parametrize(
    "text",
    ["tcp", "tcp:", "tcp:10.0.0.7", "tcp:10.0.0.7:0", "tcp:10.0.0.7:65536", "tcp:web1:22", "tcp:10.0.0.7:2²",
     "tcp:127.0.0.1:22", "tcp:[::1]:22", "tcp:0.0.0.0:22", "tcp:[::ffff:127.0.0.1]:22", "tcp:169.254.0.1:80",
     "tcp:224.0.0.1:80", "serial:", "serial: ", "serial:\n", "serial:" + "x" * 101, "http://x", "ping:10.0.0.7"],
)  # fmt: skip
def test_what_is_no_check_or_looks_at_the_host_itself_is_refused(text):
    with pytest.raises(health.BadHealth, match=r"\."):
        health.parse(text)


@given(st.text(max_size=60))
def test_no_text_breaks_it(text):
    try:
        health.parse(text)
    except health.BadHealth:
        return


def test_a_serial_text_counts_only_since_the_start_and_in_two_pieces(tmp_path):
    log = tmp_path / "var/run/bhype/vms/web1/serial1.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"login: ")
    watch = health.Watch(LocalHost(str(tmp_path)), VM(name="web1", health="serial:login:"))
    assert not watch.is_healthy()
    with log.open("ab") as file:
        file.write(b"booting\r\nlog")
    assert not watch.is_healthy()
    with log.open("ab") as file:
        file.write(b"in: ")
    assert watch.is_healthy()


def test_a_log_that_was_put_aside_is_read_anew(tmp_path):
    log = tmp_path / "var/run/bhype/vms/web1/serial1.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * 1000)
    watch = health.Watch(LocalHost(str(tmp_path)), VM(name="web1", health="serial:ready"))
    log.write_bytes(b"ready")
    assert watch.is_healthy()


def test_a_port_that_answers_is_healthy(tmp_path, monkeypatch):
    watch = health.Watch(LocalHost(str(tmp_path)), VM(name="web1", health="tcp:10.0.0.7:22"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = server.getsockname()
        connect = socket.create_connection
        monkeypatch.setattr(socket, "create_connection", lambda address, timeout: connect(there, timeout))
        assert watch.is_healthy()
    assert not watch.is_healthy()


def test_without_a_check_to_run_is_to_be_healthy(tmp_path):
    assert health.Watch(LocalHost(str(tmp_path)), VM(name="web1")).is_healthy()
