"""Where a guest's console is: read from its run directory, and dialled without trusting any path in it.

The run directory and its ``state.json`` are written by the guest's supervisor (``bhype.vmrun``). Directories
are opened one by one without following links, and only loopback ports and sockets inside them are dialled.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from typing import Any

from bhype.freebsd.names import BadName, vm_name

# As bhype.vmrun.client has it; not imported from there, to keep this process small.
RUN_DIR = "/var/run/bhype/vms"
STATE_MAX = 256 * 1024
SERIAL_SOCKET = "serial1.sock"
LOOPBACK = frozenset({"127.0.0.1", "::1"})
# States in which a supervisor answers for the ports in its state file.
ALIVE = frozenset({"starting", "running", "stopping"})
CONNECT_SECONDS = 5.0


class Unreachable(Exception):
    """There is no such console now. The message is for the log."""


def open_directory(root: str, name: str) -> int:
    """A descriptor of the guest's run directory below the root. Follows no link. Raises Unreachable."""
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for part in (*RUN_DIR.strip("/").split("/"), vm_name(name)):
            parent = descriptor
            try:
                # FreeBSD's /var/run may be a link of the installation; what lies below it is ours.
                follow = 0 if part in {"var", "run"} else os.O_NOFOLLOW
                descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | follow, dir_fd=parent)
            finally:
                os.close(parent)
    except (OSError, BadName) as error:
        raise Unreachable(f"no run directory: {error}") from error
    return descriptor


def read_state(directory: int) -> dict[str, Any]:
    """The supervisor's account of a guest that is up. Raises Unreachable."""
    try:
        descriptor = os.open("state.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unreachable("state.json is not a file")
            state = json.loads(file.read(STATE_MAX))
    except (OSError, ValueError, RecursionError) as error:
        raise Unreachable(f"no readable state: {error}") from error
    if not isinstance(state, dict) or str(state.get("state")) not in ALIVE:
        raise Unreachable("the guest is not running")
    return state


def _is_alive(pid: object) -> bool:
    """A supervisor that was killed leaves a state behind; by now its port may be another guest's."""
    if type(pid) is not int or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:  # a process of root
        return True
    except (OSError, OverflowError):
        return False
    return True


def vnc_address(state: dict[str, Any]) -> tuple[str, int]:
    """Host and port of the VNC server; always a loopback address. Raises Unreachable."""
    vnc = state.get("vnc")
    if not isinstance(vnc, dict):
        raise Unreachable("the guest has no screen")
    if not _is_alive(state.get("pid")):
        raise Unreachable("the guest is not running")
    host, port = vnc.get("host"), vnc.get("port")
    if not isinstance(host, str) or host not in LOOPBACK or type(port) is not int or not 1 <= port <= 65535:
        raise Unreachable(f"{host!r}:{port!r} is not a port of the loopback address")
    return host, port


def locate(root: str, name: str, kind: str) -> tuple[str, int | str]:
    """Where a console listens, as websockify's token plugins say it. Raises Unreachable.

    Returns ``(host, port)`` or ``("unix_socket", path)``.
    """
    directory = open_directory(root, name)
    try:
        state = read_state(directory)
        if kind == "vnc":
            return vnc_address(state)
        try:
            mode = os.stat(SERIAL_SOCKET, dir_fd=directory, follow_symlinks=False).st_mode
        except OSError as error:
            raise Unreachable(f"no serial socket: {error}") from error
        if not stat.S_ISSOCK(mode):
            raise Unreachable(f"{SERIAL_SOCKET} is not a socket")
        return "unix_socket", f"{root.rstrip('/')}{RUN_DIR}/{name}/{SERIAL_SOCKET}"
    finally:
        os.close(directory)


def dial(root: str, name: str, address: tuple[str, int | str]) -> socket.socket:
    """Connect to what ``locate`` found. Changes the working directory: one process serves one console.

    Raises OSError, Unreachable.
    """
    host, port = address
    if host != "unix_socket":
        connection = socket.create_connection((host, int(port)), CONNECT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    # From inside the directory: no link on the way counts, and the name always fits sockaddr_un (104 bytes).
    directory = open_directory(root, name)
    try:
        os.fchdir(directory)
    finally:
        os.close(directory)
    if not stat.S_ISSOCK(os.lstat(SERIAL_SOCKET).st_mode):
        raise Unreachable(f"{SERIAL_SOCKET} is not a socket")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_SECONDS)
    try:
        connection.connect(SERIAL_SOCKET)
    except OSError:
        connection.close()
        raise
    return connection
