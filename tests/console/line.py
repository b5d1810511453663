"""A WebSocket client of an ASGI application in this process. (channels.testing needs Daphne.)"""

from __future__ import annotations

from asgiref.testing import ApplicationCommunicator


class Line(ApplicationCommunicator):
    """``headers`` as in ASGI; ``subprotocols`` offered by the client."""

    def __init__(self, application, url, headers, subprotocols=None):
        path, _, query = url.partition("?")
        scope = {
            "type": "websocket", "path": path, "query_string": query.encode(), "headers": headers,
            "subprotocols": subprotocols or [], "client": ["127.0.0.1", 50000], "scheme": "ws",
        }  # fmt: skip
        super().__init__(application, scope)
        self.ended = False

    async def connect(self, timeout):
        """Returns whether it was accepted, and the subprotocol or the code of the refusal."""
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(timeout)
        if answer["type"] == "websocket.accept":
            return True, answer.get("subprotocol")
        return False, answer.get("code", 1000)

    async def send_to(self, text_data=None, bytes_data=None):
        await self.send_input({"type": "websocket.receive", "text": text_data, "bytes": bytes_data})

    async def disconnect(self, timeout=30):
        if not self.ended:
            self.ended = True
            await self.send_input({"type": "websocket.disconnect", "code": 1000})
            await self.wait(timeout)
