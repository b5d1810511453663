"""authd: a small root process that asks PAM whether a system user's password is right.

pam_unix(8) can read other users' hashes only as root, and the web process is not root. One JSON line
{"user", "password", "address"} on a unix socket is answered with one line
{"ok", "reason": "refused" | "throttled" | "expired" | "unavailable", "retry_after": seconds}.
No Django here: the process stays small, and each password is checked in a child of its own that dies with it.

    python -m bhype.accounts.authd --socket PATH --group wheel [--service-user bhype] [--service bhype]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import selectors
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from . import pamcheck
from .throttle import Throttle

LINE_MAX = 8192
# A request must arrive, and PAM must answer, within these seconds.
READ_SECONDS = 5.0
CHECK_SECONDS = 10.0
# Every refusal is answered this long after its request, whatever the reason was.
REFUSAL_SECONDS = 0.6
CONNECTIONS_MAX = 64
CHILDREN_MAX = 8


@dataclass(eq=False)
class Conversation:
    """One connection: the request as it comes in, and the child that checks it."""

    connection: socket.socket
    deadline: float
    data: bytes = b""
    user: str = ""
    keys: tuple[str, ...] = ()
    asked_at: float = 0.0
    child: int = 0
    pipe: int = -1
    # A finished answer that waits for its time.
    answer: dict[str, Any] | None = None
    answer_at: float = 0.0


def peer_uid(connection: socket.socket) -> int:
    """The user id of the process at the other end, from unix(4) LOCAL_PEERCRED or Linux' SO_PEERCRED."""
    if sys.platform.startswith("linux"):
        _pid, uid, _gid = struct.unpack(
            "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )
        return int(uid)
    # struct xucred starts with u_int cr_version, uid_t cr_uid; SOL_LOCAL is 0, LOCAL_PEERCRED is 1.
    _version, uid = struct.unpack_from("=II", connection.getsockopt(0, 1, 512))
    return int(uid)


class Daemon:
    """Serves the socket until SIGTERM. Single-threaded, so that forking is safe."""

    def __init__(self, path: str, groups: list[str], service: str, trusted: frozenset[int]) -> None:
        self._path = path
        self._groups = groups
        self._service = service
        self._trusted = trusted
        self._throttle = Throttle()
        self._talks: set[Conversation] = set()
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._socket = listen(path)

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        self._stopping = True

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        # A signal must wake the select below, not only set a flag behind its back.
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        self._selector.register(read_end, selectors.EVENT_READ)
        self._selector.register(self._socket, selectors.EVENT_READ, self._accept)
        try:
            while not self._stopping:
                for key, _mask in self._selector.select(self._patience()):
                    if key.data is not None:
                        key.data()
                self._on_time()
        finally:
            for talk in list(self._talks):
                self._close(talk)
            # In this order: by now free, the name could be the next one's.
            Path(self._path).unlink(missing_ok=True)
            self._socket.close()

    # -- the loop -------------------------------------------------------------------------------------

    def _patience(self) -> float | None:
        times = [talk.answer_at if talk.answer else talk.deadline for talk in self._talks]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _on_time(self) -> None:
        now = time.monotonic()
        for talk in list(self._talks):
            if talk.answer is not None:
                if talk.answer_at <= now:
                    self._send(talk)
            elif talk.deadline <= now:
                if talk.child:
                    os.kill(talk.child, signal.SIGKILL)
                    self._judge(talk)
                else:
                    self._close(talk)

    def _accept(self) -> None:
        connection, _ = self._socket.accept()
        connection.settimeout(0)
        if peer_uid(connection) not in self._trusted or len(self._talks) >= CONNECTIONS_MAX:
            connection.close()
            return
        talk = Conversation(connection, time.monotonic() + READ_SECONDS)
        self._talks.add(talk)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(talk))

    def _read(self, talk: Conversation) -> None:
        try:
            data = talk.connection.recv(LINE_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        talk.data += data
        if not data or len(talk.data) > LINE_MAX:
            self._close(talk)
        elif talk.data.endswith(b"\n"):
            self._selector.unregister(talk.connection)
            line, talk.data = talk.data, b""
            self._begin(talk, line)

    def _send(self, talk: Conversation) -> None:
        # An error means that nobody waits for the answer any more.
        with contextlib.suppress(OSError):
            talk.connection.send(json.dumps(talk.answer).encode() + b"\n")
        self._close(talk)

    def _close(self, talk: Conversation) -> None:
        self._talks.discard(talk)
        if talk.connection in self._selector.get_map():
            self._selector.unregister(talk.connection)
        talk.connection.close()
        if talk.child:
            os.kill(talk.child, signal.SIGKILL)
            self._reap(talk)

    def _reap(self, talk: Conversation) -> int:
        self._selector.unregister(talk.pipe)
        os.close(talk.pipe)
        _, status = os.waitpid(talk.child, 0)
        talk.child = 0
        return os.waitstatus_to_exitcode(status)

    # -- one request ----------------------------------------------------------------------------------

    def _begin(self, talk: Conversation, line: bytes) -> None:
        talk.asked_at = time.monotonic()
        try:
            request = json.loads(line)
            user, address = request["user"], request.get("address", "")
            password = None if "unlock" in request else request["password"]
            if not all(isinstance(text, str) for text in (user, address, password or "")):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._answer(talk, "refused")
            return
        talk.user = user[:64]
        talk.keys = (f"user:{user[:64]}", f"address:{address[:64]}") if address else (f"user:{user[:64]}",)
        if password is None and peer_uid(talk.connection) in {0, os.geteuid()}:
            self._throttle.forget(talk.keys[0])
            self._answer(talk, "")
            return
        if password is None:
            self._answer(talk, "refused")
            return
        wait = self._throttle.wait(*talk.keys)
        if wait > 0:
            self._answer(talk, "throttled", wait)
        elif sum(1 for other in self._talks if other.child) >= CHILDREN_MAX:
            self._answer(talk, "throttled", 1)
        else:
            self._throttle.fail(*talk.keys)
            self._fork(talk, user, password)

    def _fork(self, talk: Conversation, user: str, password: str) -> None:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            # The child never returns into this loop, whatever happens.
            code = pamcheck.UNAVAILABLE
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                # It may outlive an authd that is killed: the next one's is to be the only one that listens.
                self._socket.close()
                pamcheck.confine()
                code = pamcheck.check(user, password, self._groups, self._service)
            except Exception as error:  # Its text could hold what was typed.
                pamcheck.say(f"checking failed: {type(error).__name__}")
            finally:
                os._exit(code)
        os.close(write_end)
        talk.child, talk.pipe = child, read_end
        talk.deadline = time.monotonic() + CHECK_SECONDS
        # The child holds the only write end: it is readable when the child is gone.
        self._selector.register(read_end, selectors.EVENT_READ, lambda: self._judge(talk))

    def _judge(self, talk: Conversation) -> None:
        code = self._reap(talk)
        reason = pamcheck.REASONS.get(code, "unavailable")
        if reason != "refused":
            self._throttle.take_back(*talk.keys)
        if reason == "":
            self._throttle.forget(talk.keys[0])
        self._answer(talk, reason)

    def _answer(self, talk: Conversation, reason: str, wait: float = 0.0) -> None:
        talk.answer = {"ok": reason == "", "reason": reason, "retry_after": int(wait + 0.999)}
        talk.answer_at = talk.asked_at + REFUSAL_SECONDS if reason == "refused" else 0.0


def listen(path: str) -> socket.socket:
    """Bind the socket, 0660 and of its folder's group. Raises OSError when another authd serves it."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except OSError:
        pass
    else:
        raise OSError(f"another authd serves {path}")
    finally:
        probe.close()
    Path(path).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode is right from the start and no link is followed: others may make files in this folder, too.
    umask = os.umask(0o117)
    try:
        server.bind(path)
    finally:
        os.umask(umask)
    os.chown(path, -1, Path(path).parent.stat().st_gid, follow_symlinks=False)
    server.listen(CONNECTIONS_MAX)
    server.settimeout(0)
    return server


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="authd", description="Ask PAM for the panel.")
    parser.add_argument("--socket", required=True)
    parser.add_argument(
        "--group", action="append", default=[], help="only members of these groups may sign in"
    )
    parser.add_argument("--service-user", default="", help="the user that may ask, besides root")
    parser.add_argument("--service", default="bhype", help="name of the PAM service")
    options = parser.parse_args(arguments)
    trusted = {0, os.geteuid()}
    # Without such a user the panel runs as the user that started it.
    with contextlib.suppress(KeyError):
        trusted.add(pwd.getpwnam(options.service_user).pw_uid)
    os.environ.clear()
    pamcheck.load()
    if os.geteuid() != 0:
        pamcheck.say("not root: PAM can check only the user who runs this")
    try:
        daemon = Daemon(options.socket, options.group, options.service, frozenset(trusted))
    except OSError as error:
        pamcheck.say(str(error))
        return 1
    daemon.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
