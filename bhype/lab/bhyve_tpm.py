"""Between QEMU and swtpm(8): QEMU wants the emulator's control channel, bhyve has only its data channel.

bhyve connects to the socket that swtpm serves (``--server type=unixio``) and sends the guest's commands there
(usr.sbin/bhyve/tpm_emul_swtpm.c). QEMU first asks on a control channel and passes a descriptor for the data there. The
control channel is answered here as if all were well, and its data goes to swtpm's socket. Requests and replies
are those of swtpm_ioctls(3) and QEMU's tpm_ioctl.h: a command of four bytes, big-endian as all, and its arguments.
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct

from bhype.lab.bhyve_relay import Loop, Stream

_GET_CAPABILITY, _GET_ESTABLISHED, _SET_DATAFD, _SET_BUFFERSIZE = 1, 4, 0x10, 0x11
_CAPABILITIES = (1 << 14) - 1
_BUFFER = 4096
_OK = struct.pack(">I", 0)


class Tpm:
    """The control channel; ``theirs`` is QEMU's end of it. connection: to swtpm."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX)

    def serve(self, loop: Loop) -> None:
        """QEMU has its end now: answer it."""
        self.loop = loop
        self.theirs.close()
        self.ours.settimeout(0)
        loop.watch(self.ours.fileno(), select.EPOLLIN, self._ready)

    def _ready(self, events: int) -> None:
        handles = array.array("i")
        try:
            data, extra, _, _ = self.ours.recvmsg(_BUFFER, socket.CMSG_SPACE(handles.itemsize))
        except OSError:
            data, extra = b"", []
        if len(data) < 4:  # QEMU is gone
            self.loop.forget(self.ours.fileno())
            self.ours.close()
            return
        for level, kind, content in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                handles.frombytes(content[: len(content) - len(content) % handles.itemsize])
        (verb,) = struct.unpack_from(">I", data)
        self.ours.sendall(self._answer(verb, list(handles)))

    def _answer(self, verb: int, handles: list[int]) -> bytes:
        if verb == _GET_CAPABILITY:
            return struct.pack(">Q", _CAPABILITIES)
        if verb == _SET_BUFFERSIZE:
            return _OK + struct.pack(">III", _BUFFER, _BUFFER, _BUFFER)
        if verb == _GET_ESTABLISHED:
            return _OK + bytes(4)
        if verb == _SET_DATAFD and handles:
            self._join(handles[0])
        return _OK

    def _join(self, handle: int) -> None:
        guest = Stream(self.loop, handle)
        emulator = Stream(self.loop, os.dup(self.connection.fileno()))
        guest.peer, emulator.peer = emulator, guest
        guest.on_end, emulator.on_end = emulator.close, guest.close
        self.connection.close()
