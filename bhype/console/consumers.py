"""The WebSocket of a console: admits, relays between browser and gateway, and goes on asking whether it may.

Binary messages are the console's bytes. Text messages are for the line itself: a client may send "ping" and
gets "pong", which keeps proxies from closing an idle console; a client that did so once must go on doing it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from bhype.live import tail
from bhype.live.origin import is_same_origin

from . import admission
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


class ConsoleConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    admission: Admission | None = None
    relay: Relay | None = None
    opened = 0.0
    heard: float | None = None

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
            self.relay = await Relay.open(
                settings.RUN_DIR / "gateway.sock",
                settings.STATE_DIR / "gateway.key",
                self.admission.subject.name,
                self.admission.kind,
            )
        except (Refusal, Refused) as error:
            # Only an accepted WebSocket can tell its reason: a refused one is error 1006 to the page.
            await self.accept(subprotocol)
            if isinstance(error, Refusal):
                await self.end(error.code, error.reason)
            else:
                log.warning("%s: %s", self.scope["path"], error)
                await self.end(Code.UNAVAILABLE, "The console does not answer.")
            return
        await self.accept(subprotocol)
        self._start(self._down(self.relay))
        self._start(self._guard(self.admission, self.relay))

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """As Channels has it, less the layer of groups and the two tasks per message that it takes."""
        self.scope, self.base_send = scope, send
        with contextlib.suppress(StopConsumer):
            while True:
                message = await receive()
                data = message.get("bytes")
                # The short way of keys: nothing to wait for.
                if data and len(data) < 1024 and self.relay is not None and self.relay.stuck_since is None:
                    self.relay.send(data)
                else:
                    await self.dispatch(message)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Messages from the client go round Channels' own dispatch, which visits a thread for each."""
        if message["type"] != "websocket.receive":
            await super().dispatch(message)
        elif data := message.get("bytes"):
            if self.relay is not None:
                await self.relay.write(data)
        elif message.get("text") == "ping":
            if self.heard is None or time.monotonic() - self.heard > 1:
                self._start(self._pong())  # not here: a slow reader's pong would hold up its keys
            self.heard = time.monotonic()

    async def _pong(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            await self.base_send({"type": "websocket.send", "text": "pong"})

    async def _down(self, relay: Relay) -> None:
        """Carry what the guest shows. Waiting for the client here is what stops the reading of the guest."""
        send, read = self.base_send, relay.read
        with contextlib.suppress(OSError, RuntimeError):  # the client has gone; disconnect() follows
            while data := await read():
                await send({"type": "websocket.send", "bytes": data})
            await self.end(1000, "The guest closed the console.")

    async def _guard(self, admitted: Admission, relay: Relay) -> None:
        """Ask again every few seconds, and at once when something happened to session, place or subject."""
        async with tail.subscribe(*admitted.topics) as events:
            while not relay.ended:
                now = time.monotonic()
                if self.heard is not None and now - self.heard > SILENCE_SECONDS:
                    return await self.end(Code.LOST, "The browser was silent for too long.")
                if relay.stuck_since is not None and now - relay.stuck_since > STUCK_SECONDS:
                    return await self.end(Code.UNAVAILABLE, "The guest takes no input.")
                try:
                    await database_sync_to_async(admission.recheck)(admitted)
                except Refusal as refusal:
                    return await self.end(refusal.code, refusal.reason)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RECHECK_SECONDS):
                        await events.get()
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
            await database_sync_to_async(admission.leave)(self.admission, time.monotonic() - self.opened)
