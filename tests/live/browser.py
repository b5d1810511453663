"""A WebSocket client without a network: Channels' own needs daphne."""

from __future__ import annotations

import json

from asgiref.testing import ApplicationCommunicator

# What comes, comes at once; on a busy machine that may be seconds.
SOON = 30


class Page(ApplicationCommunicator):
    def __init__(self, app, path, headers, scheme="ws"):
        scope = {"type": "websocket", "path": path, "query_string": b"", "headers": headers, "scheme": scheme}
        super().__init__(app, scope | {"subprotocols": [], "client": ["127.0.0.1", 4000]})

    async def connect(self) -> bool:
        """Whether the panel let it in."""
        await self.send_input({"type": "websocket.connect"})
        return (await self.receive_output(SOON))["type"] == "websocket.accept"

    async def send_text(self, text):
        await self.send_input({"type": "websocket.receive", "text": text})

    async def send(self, **message):
        await self.send_text(json.dumps(message))

    async def hear(self):
        return json.loads((await self.receive_output(SOON))["text"])

    async def leave(self):
        await self.send_input({"type": "websocket.disconnect", "code": 1005})
        await self.wait(SOON)
