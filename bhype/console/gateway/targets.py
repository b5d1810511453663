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


def serial_line(kind: str) -> str:
    """The supervisor's word for the line of a console or log: "serial" and "log" are "serial1"."""
    return f"serial{kind[-1] if kind[-1].isdigit() else 1}"


def _serial_socket(directory: int, kind: str, *, watch: bool) -> str:
    """Name of the line's socket; of the one for listeners only if it is there. Raises Unreachable."""
    line = serial_line(kind)
    reason = "no serial console"
    for name in ([f"{line}-watch.sock"] if watch else []) + [f"{line}.sock"]:
        try:
            if stat.S_ISSOCK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                return name
            reason = f"{name} is not a socket"
        except OSError as error:
            reason = f"no serial socket: {error}"
    raise Unreachable(reason)


def locate(root: str, name: str, kind: str, *, watch: bool = False) -> tuple[str, int | str]:
    """Where a console listens, as websockify's token plugins say it. Raises Unreachable.

    watch: of a serial line, the socket of those who only listen.
    Returns ``(host, port)`` or ``("unix_socket", path)``.
    """
    directory = open_directory(root, name)
    try:
        state = read_state(directory)
        if kind in {"vnc", "picture"}:
            return vnc_address(state)
        line = _serial_socket(directory, kind, watch=watch)
        return "unix_socket", f"{root.rstrip('/')}{RUN_DIR}/{name}/{line}"
    finally:
        os.close(directory)


def dial(
    root: str, name: str, address: tuple[str, int | str], seconds: float = CONNECT_SECONDS
) -> socket.socket:
    """Connect to what ``locate`` found. Changes the working directory: one process serves one console.

    Raises OSError, Unreachable.
    """
    host, port = address
    if host != "unix_socket":
        connection = socket.create_connection((host, int(port)), seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    line = str(port).rpartition("/")[2]
    # From inside the directory: no link on the way counts, and the name always fits sockaddr_un (104 bytes).
    directory = open_directory(root, name)
    try:
        os.fchdir(directory)
    finally:
        os.close(directory)
    if not stat.S_ISSOCK(os.lstat(line).st_mode):
        raise Unreachable(f"{line} is not a socket")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(seconds)
    try:
        connection.connect(line)
    except OSError:
        connection.close()
        raise
    return connection


def read_log(root: str, name: str, kind: str, tail: int) -> bytes:
    """The last ``tail`` bytes of what a serial line has said; b"" if it has no log. Works on a guest that is off.

    kind: "log" of the first line, "log2" of the second. Raises Unreachable.
    """
    directory = open_directory(root, name)
    try:
        text = b""
        log = f"{serial_line(kind)}.log"
        # The supervisor moves what is too long aside, to NAME.1.
        for file in (log, f"{log}.1"):
            if len(text) < tail:
                text = _end_of(directory, file, tail - len(text)) + text
        return text
    finally:
        os.close(directory)


def _end_of(directory: int, file: str, size: int) -> bytes:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as log:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        log.seek(max(0, log.seek(0, os.SEEK_END) - size))
        return log.read(size)
