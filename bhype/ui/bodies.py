"""No request has a body that is larger than any page or door of this panel takes (SECURITY.md T27).

Django writes the whole body of a request to a temporary file before anything looks at whom it is from; files come in
pieces instead (storage/uploads/tus.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

LIMIT = 20 << 20
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[Any]]


class TooLarge(Exception):
    """More has come than may."""


class Bounded:
    """Wraps an ASGI application for HTTP: what announces a body above the limit is answered 413, and what goes on
    beyond it without having announced that is cut off."""

    def __init__(self, app: App, limit: int = LIMIT) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> Any:
        length = next((value for key, value in scope["headers"] if key.lower() == b"content-length"), b"0")
        if not length.isdigit() or int(length[:20]) > self.limit:
            return await _refuse(send)
        count, has_begun = 0, False

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body") or b"")
            if count > self.limit:
                raise TooLarge
            return message

        async def told(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            return await self.app(scope, counted, told)
        except TooLarge:
            return None if has_begun else await _refuse(send)


async def _refuse(send: Send) -> None:
    text = b"This is more than a request may have."
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": text})
