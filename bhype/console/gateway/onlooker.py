"""What someone who may only watch a screen may send: RFB without keys, pointer, clipboard and the rest that acts.

Only whole messages of kinds that change nothing on the guest pass; everything else is taken out of the stream,
and what is not understood ends the connection. Standard: RFC 6143 7.1-7.5 and the community's additions to it
(rfbproto.rst).
"""

from __future__ import annotations

VERSIONS = frozenset({b"RFB 003.007\n", b"RFB 003.008\n"})
NONE, VNC_AUTH = 1, 2
# Bytes that follow the choice of a way to sign in.
ANSWERS = {NONE: 0, VNC_AUTH: 16}
ENCODINGS_MAX = 256
# What waits for its other half; the longest message that passes is SetEncodings.
HELD_MAX = 256 * 1024

SET_PIXEL_FORMAT, SET_ENCODINGS, UPDATE_REQUEST, KEY, POINTER, CUT_TEXT = 0, 2, 3, 4, 5, 6
CONTINUOUS_UPDATES, FENCE, XVP, SET_DESKTOP_SIZE, QEMU = 150, 248, 250, 251, 255


class Hostile(Exception):
    """Bytes that are no RFB which a watcher may speak."""


class ScreenInput:
    """Filters what one viewer sends. Knows from the server's own words how the viewer has to sign in.

    bhyve's server takes the answer to its challenge whatever way the viewer has chosen (usr.sbin/bhyve/rfb.c):
    a viewer who could choose freely would have its messages read at another place than here.
    """

    def __init__(self) -> None:
        self._server = b""
        self._offers: bytes | None = None
        self._held = b""
        self._skip = 0
        # Parts of the start that are still to come: version, choice, answer, ClientInit.
        self._step = 0
        self._answer = 0

    def served(self, data: bytes) -> None:
        """Look at what the server sends, until it has said how to sign in."""
        if self._offers is not None:
            return
        self._server += data[:512]
        # Its version, then a number and so many ways (RFC 6143 7.1.2).
        if len(self._server) > 12 and len(self._server) >= 13 + self._server[12]:
            self._offers = self._server[13 : 13 + self._server[12]]

    def feed(self, data: bytes) -> bytes:
        """The part of what the viewer has sent so far that may go on to the server. Raises Hostile."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._held += data
        passed = b""
        while self._held:
            length, goes = self._start() if self._step < 4 else self._message()
            if not length:
                break
            if goes:
                if length > len(self._held):
                    break
                passed += self._held[:length]
            self._skip = max(0, length - len(self._held))
            self._held = self._held[length:]
        if len(self._held) > HELD_MAX:
            raise Hostile("an endless message")
        return passed

    def _start(self) -> tuple[int, bool]:
        """Length of the next part of the handshake, 0 if it is not there yet; and whether it passes."""
        held = self._held
        if self._step == 0:
            if len(held) < 12:
                return 0, True
            if held[:12] not in VERSIONS:
                raise Hostile("another version of RFB")
            length = 12
        elif self._step == 1:
            if self._offers is None:
                return 0, True
            if held[0] not in self._offers or held[0] not in ANSWERS:
                raise Hostile("another way to sign in")
            self._answer = ANSWERS[held[0]]
            length = 1
        elif self._step == 2:
            length = self._answer
            if len(held) < length:
                return 0, True
            if not length:
                self._step = 3
                return self._start()
        else:
            length = 1
        self._step += 1
        return length, True

    def _message(self) -> tuple[int, bool]:
        """Length of the next message, 0 if that cannot be told yet; and whether it passes."""
        held = self._held
        kind = held[0]
        if kind in FIXED:
            return FIXED[kind]
        # No message of a variable length is shorter, but for SetEncodings.
        if len(held) < (4 if kind == SET_ENCODINGS else 9):
            return 0, True
        if kind == SET_ENCODINGS:
            count = int.from_bytes(held[2:4], "big")
            if count > ENCODINGS_MAX:
                raise Hostile("too many encodings")
            return 4 + 4 * count, True
        if kind == CUT_TEXT:
            # Negative: the extended clipboard.
            return 8 + abs(int.from_bytes(held[4:8], "big", signed=True)), False
        if kind == FENCE:
            if held[8] > 64:
                raise Hostile("a fence that is too long")
            return 9 + held[8], True
        if kind == SET_DESKTOP_SIZE:
            return 8 + 16 * held[6], False
        if kind == QEMU and held[1] == 0:
            return 12, False
        raise Hostile(f"message {kind}")


FIXED = {
    SET_PIXEL_FORMAT: (20, True),
    UPDATE_REQUEST: (10, True),
    KEY: (8, False),
    POINTER: (6, False),
    CONTINUOUS_UPDATES: (10, True),
    XVP: (4, False),
}
