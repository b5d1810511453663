"""Unix sockets at paths of any length."""

from __future__ import annotations

import stat

import pytest

from bhype.host import connect_unix, listen_unix


@pytest.mark.parametrize("depth", [1, 20])
def test_a_socket_works_however_deep_its_folder_is(tmp_path, depth):
    folder = tmp_path.joinpath(*["a-long-folder"] * depth)
    folder.mkdir(parents=True)
    path = str(folder / "control.sock")
    with listen_unix(path, 0o600) as server:
        assert stat.S_IMODE((folder / "control.sock").stat().st_mode) == 0o600
        with connect_unix(path, 5) as client:
            server.settimeout(5)
            connection, _ = server.accept()
            with connection:
                client.sendall(b"hello")
                assert connection.recv(5) == b"hello"


def test_a_stale_socket_is_replaced(tmp_path):
    path = str(tmp_path / "s")
    listen_unix(path, 0o600).close()
    with pytest.raises(ConnectionRefusedError):
        connect_unix(path)
    with listen_unix(path, 0o600):
        connect_unix(path).close()


def test_nobody_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        connect_unix(str(tmp_path / "none"))


def test_a_folder_that_is_missing_is_told(tmp_path):
    with pytest.raises(OSError):
        listen_unix(str(tmp_path / "none" / "s"), 0o600)
