from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.console.gateway.targets import Unreachable, locate, read_log, read_state, vnc_address

from .guests import run_directory, write_state


@pytest.fixture
def root(short_path):
    return Path(tempfile.mkdtemp(dir=short_path))


def test_it_finds_the_screen_and_the_serial_console(root):
    folder = write_state(root, "web1", 5900)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "serial1.sock"))
        assert locate(str(root), "web1", "vnc") == ("127.0.0.1", 5900)
        assert locate(str(root), "web1", "serial") == ("unix_socket", str(folder / "serial1.sock"))


@pytest.mark.parametrize(
    "name", ["..", "../web2", "web1/..", "/etc", "", ".", "web1\0", "Web1", "-x", "web1/../web1"]
)
def test_names_that_are_paths_lead_nowhere(root, name):
    write_state(root, "web1", 5900)
    write_state(root, "web2", 5901)
    with pytest.raises(Unreachable):
        locate(str(root), name, "vnc")


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "192.0.2.1", "localhost", "127.0.0.2", "::", "", None, 7, ["::1"]]
)
def test_it_dials_the_loopback_address_only(root, host):
    write_state(root, "web1", None, vnc={"host": host, "port": 5900} if not isinstance(host, list) else host)
    with pytest.raises(Unreachable):
        locate(str(root), "web1", "vnc")


@pytest.mark.parametrize("port", [0, -1, 65536, "5900", 5900.0, True, None])
def test_it_refuses_what_is_no_port(root, port):
    write_state(root, "web1", None, vnc={"host": "127.0.0.1", "port": port})
    with pytest.raises(Unreachable):
        locate(str(root), "web1", "vnc")


@pytest.mark.parametrize("state", ["stopped", "failed", "crashed", "", None, 3])
def test_a_port_of_a_guest_that_is_down_is_not_dialled_for_another_may_have_it_now(root, state):
    write_state(root, "web1", 5900, state=state)
    with pytest.raises(Unreachable, match="not running"):
        locate(str(root), "web1", "vnc")


def test_a_guest_whose_process_has_gone_is_not_dialled(root):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    write_state(root, "web1", 5900, pid=child)
    with pytest.raises(Unreachable, match="not running"):
        locate(str(root), "web1", "vnc")


def test_links_are_not_followed(root, tmp_path):
    folder = write_state(root, "web1", 5900)
    (folder.parent / "web2").symlink_to(folder)
    with pytest.raises(Unreachable):
        locate(str(root), "web2", "vnc")
    elsewhere = tmp_path / "state.json"
    elsewhere.write_text((folder / "state.json").read_text())
    (folder / "state.json").unlink()
    (folder / "state.json").symlink_to(elsewhere)
    with pytest.raises(Unreachable):
        locate(str(root), "web1", "vnc")


def test_a_serial_console_is_a_socket_and_no_link_to_one(root):
    folder = write_state(root, "web1", 5900)
    with pytest.raises(Unreachable, match="no serial socket"):
        locate(str(root), "web1", "serial")
    (folder / "serial1.sock").write_text("")
    with pytest.raises(Unreachable, match="not a socket"):
        locate(str(root), "web1", "serial")
    (folder / "serial1.sock").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "other.sock"))
        (folder / "serial1.sock").symlink_to(root / "other.sock")
        with pytest.raises(Unreachable, match="not a socket"):
            locate(str(root), "web1", "serial")


def test_a_pipe_in_place_of_the_state_does_not_hang_the_gateway(root):
    folder = run_directory(root, "web1")
    os.mkfifo(folder / "state.json")
    with pytest.raises(Unreachable):
        locate(str(root), "web1", "vnc")


words = st.sampled_from(["state", "vnc", "pid", "host", "port", "x"])
values = st.none() | st.booleans() | st.integers() | st.sampled_from(["running", "127.0.0.1", "::1", ""])
documents = st.recursive(
    values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
    max_leaves=12,
)


@given(st.binary(max_size=300) | documents.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_state_file_holds_it_is_a_loopback_port_or_unreachable(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("run")
    (folder / "state.json").write_bytes(content)
    directory = os.open(folder, os.O_RDONLY)
    try:
        host, port = vnc_address(read_state(directory))
    except Unreachable:
        return
    finally:
        os.close(directory)
    assert host in {"127.0.0.1", "::1"} and 0 < port < 65536


def test_each_serial_line_has_a_socket_and_another_for_those_who_only_listen(root):
    folder = write_state(root, "web1", None)
    names = ["serial1.sock", "serial1-watch.sock", "serial3.sock"]
    servers = [socket.socket(socket.AF_UNIX) for _ in names]
    for server, name in zip(servers, names, strict=True):
        server.bind(str(folder / name))

    def found(kind, *, watch=False):
        return Path(locate(str(root), "web1", kind, watch=watch)[1]).name

    assert [found("serial"), found("serial3")] == ["serial1.sock", "serial3.sock"]
    # A supervisor of before has none of these: the gateway drops what a watcher sends anyway.
    assert [found("serial", watch=True), found("serial3", watch=True)] == [
        "serial1-watch.sock",
        "serial3.sock",
    ]
    with pytest.raises(Unreachable):
        locate(str(root), "web1", "serial2")
    for server in servers:
        server.close()


def test_the_end_of_a_log_is_read_over_its_two_files(root):
    folder = write_state(root, "web1", None, state="stopped")
    assert read_log(str(root), "web1", "log", 100) == b""
    (folder / "serial1.log").write_bytes(b"newer")
    (folder / "serial1.log.1").write_bytes(b"older ")
    assert read_log(str(root), "web1", "log", 100) == b"older newer"
    assert read_log(str(root), "web1", "log", 7) == b"r newer"
    assert read_log(str(root), "web1", "log", 2) == b"er"
    assert read_log(str(root), "web1", "log4", 2) == b""
    (folder / "serial2.log").symlink_to(folder / "serial1.log")
    os.mkfifo(folder / "serial3.log")
    assert read_log(str(root), "web1", "log2", 9) == read_log(str(root), "web1", "log3", 9) == b""
    with pytest.raises(Unreachable):
        read_log(str(root), "../web1", "log", 9)
