"""The WebSocket of a console: admits, relays between browser and gateway, and goes on asking whether it may.

Binary messages are the console's bytes. Text messages are for the connection itself: a client may send "ping"
and gets "pong", which keeps proxies from closing an idle console; a client that did so once must go on doing it.

Of those on a serial line one writes, and the others' bytes are dropped here. A client sends ``{"control": true}``
to be the one, and ``{"size": [columns, rows]}`` of its terminal; it gets ``{"line": ...}`` (``viewers.Line``)
whenever that has changed. What one who may only watch sends is dropped by the gateway, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from bhype.live import tail
from bhype.live.origin import is_same_origin

from . import admission, viewers
from .admission import Admission, Code, Refusal
from .relay import Refused, Relay

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

RECHECK_SECONDS = 10.0
# A client that pinged once and has been silent for so long is gone without a word.
SILENCE_SECONDS = 90.0
# A guest that takes no byte for so long hangs, and would hold the viewer's connection with it.
STUCK_SECONDS = 30.0
# Between two changes of a terminal's size that are passed on.
RESIZE_SECONDS = 0.3

# The consoles of this process by the topic of their serial line: they hear of each other at once.
_lines: defaultdict[str, set[ConsoleConsumer]] = defaultdict(set)


class ConsoleConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    admission: Admission | None = None
    relay: Relay | None = None
    opened = 0.0
    heard: float | None = None
    # Whether what the client sends goes on to the gateway.
    writes = False
    events: tail.Subscription | None = None
    told = ""
    size: tuple[int, int] | None = None
    takes_control = False

    def __init__(self) -> None:
        super().__init__()
        self.tasks: set[asyncio.Task[None]] = set()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connect(self) -> None:
        if not is_same_origin(self.scope):
            await self.close()
            return
        subprotocol = "binary" if "binary" in self.scope["subprotocols"] else None
        try:
            self.admission = await database_sync_to_async(admission.admit)(self.scope)
            self.opened = time.monotonic()
            self.relay = await self._open(self.admission)
        except (Refusal, Refused) as error:
            # Only an accepted WebSocket can tell its reason: a refused one is error 1006 to the page.
            await self.accept(subprotocol)
            if isinstance(error, Refusal):
                await self.end(error.code, error.reason)
            else:
                log.warning("%s: %s", self.scope["path"], error)
                await self.end(Code.UNAVAILABLE, "The console does not answer.")
            return
        # A screen's watchers have to speak, too: the gateway takes out what acts.
        self.writes = not self.admission.is_line or self.admission.viewer.writes_since is not None
        await self.accept(subprotocol)
        self._start(self._down(self.relay))
        self._start(self._guard(self.admission, self.relay))

    @staticmethod
    async def _open(admitted: Admission) -> Relay:
        viewer = admitted.viewer
        return await Relay.open(
            settings.RUN_DIR / "gateway.sock",
            settings.STATE_DIR / "gateway.key",
            admitted.subject.name,
            admitted.kind,
            watch=not admitted.may_write,
            record=admitted.recording.file if admitted.recording else "",
            size=(viewer.columns, viewer.rows),
        )

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """As Channels has it, less the layer of groups and the two tasks per message that it takes."""
        self.scope, self.base_send = scope, send
        with contextlib.suppress(StopConsumer):
            while True:
                message = await receive()
                data = message.get("bytes")
                # The short way of keys: nothing to wait for.
                relay = self.relay
                if data and self.writes and len(data) < 1024 and relay and relay.stuck_since is None:
                    relay.send(data)
                else:
                    await self.dispatch(message)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Messages from the client go round Channels' own dispatch, which visits a thread for each."""
        if message["type"] != "websocket.receive":
            await super().dispatch(message)
        elif data := message.get("bytes"):
            if self.relay is not None and self.writes:
                await self.relay.write(data)
        elif message.get("text") == "ping":
            if self.heard is None or time.monotonic() - self.heard > 1:
                self._start(self._say("pong"))  # not here: a slow reader's pong would hold up its keys
            self.heard = time.monotonic()
        elif (text := message.get("text")) and self.admission is not None and self.admission.is_line:
            self._ask(text, self.admission)

    async def _say(self, text: str) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            await self.base_send({"type": "websocket.send", "text": text})

    # Serial lines.

    def _ask(self, text: str, admitted: Admission) -> None:
        """What a client asks of its serial line; anything else is ignored."""
        try:
            asked = json.loads(text) if len(text) < 256 else None
        except (ValueError, RecursionError):
            return
        if not isinstance(asked, dict):
            return
        if asked.get("control") is True and not self.takes_control:
            self.takes_control = True
            self._start(self._take_control(admitted))
        size = asked.get("size")
        if isinstance(size, list) and len(size) == 2 and (size := admission.size_of(*size)):
            if self.size is None:
                self._start(self._resize(admitted))
            self.size = size

    async def _take_control(self, admitted: Admission) -> None:
        try:
            await database_sync_to_async(admission.take_control)(admitted)
        finally:
            self.takes_control = False
        self._tell(admitted)

    async def _resize(self, admitted: Admission) -> None:
        await asyncio.sleep(RESIZE_SECONDS)
        size, self.size = self.size, None
        if size is not None:
            await database_sync_to_async(viewers.resize)(admitted.viewer, *size)
            self._tell(admitted)

    def _tell(self, admitted: Admission) -> None:
        """Let all on this line look again; other processes hear of it by the event."""
        for each in _lines.get(admitted.line, ()):
            if each.events is not None:
                each.events.tell(admitted.line)

    def _show(self, line: viewers.Line, admitted: Admission) -> None:
        """Do and tell what the line's state means for this client."""
        state = line.seen_by(admitted.viewer)
        self.writes = state["writes"] and admitted.may_write
        text = json.dumps({"line": state})
        if text != self.told:
            self.told = text
            self._start(self._say(text))

    async def _down(self, relay: Relay) -> None:
        """Carry what the guest shows. Waiting for the client here is what stops the reading of the guest."""
        send, read = self.base_send, relay.read
        with contextlib.suppress(OSError, RuntimeError):  # the client has gone; disconnect() follows
            while data := await read():
                await send({"type": "websocket.send", "bytes": data})
            await self.end(1000, "The guest closed the console.")

    async def _guard(self, admitted: Admission, relay: Relay) -> None:
        """Ask again every few seconds, and at once when something happened to session, place, subject or line."""
        async with tail.subscribe(*admitted.topics) as self.events:
            if admitted.is_line:
                _lines[admitted.line].add(self)
                self._tell(admitted)
            while not relay.ended:
                now = time.monotonic()
                if self.heard is not None and now - self.heard > SILENCE_SECONDS:
                    return await self.end(Code.LOST, "The browser was silent for too long.")
                if relay.stuck_since is not None and now - relay.stuck_since > STUCK_SECONDS:
                    return await self.end(Code.UNAVAILABLE, "The guest takes no input.")
                try:
                    line = await database_sync_to_async(admission.recheck)(admitted)
                except Refusal as refusal:
                    return await self.end(refusal.code, refusal.reason)
                if line is not None:
                    self._show(line, admitted)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RECHECK_SECONDS):
                        await self.events.get()
        return None

    async def end(self, code: int, reason: str) -> None:
        """Close with a reason that the page shows (RFC 6455: at most 123 bytes)."""
        if self.relay is not None:
            self.relay.abort()
        with contextlib.suppress(OSError, RuntimeError):
            await self.close(code, reason.encode()[:123].decode(errors="ignore"))

    async def disconnect(self, code: int) -> None:
        if self.relay is not None:
            self.relay.abort()
        for task in list(self.tasks):
            task.cancel()
        if self.admission is not None:
            line = self.admission.line
            _lines[line].discard(self)
            if not _lines[line]:
                del _lines[line]
            await database_sync_to_async(admission.leave)(self.admission, time.monotonic() - self.opened)
            self._tell(self.admission)
