"""/ws/live: a page says what it shows and hears when that has changed.

From the page: {"subscribe": [topics], "age": seconds since it fetched them} and {"unsubscribe": [topics]}.
To the page: {"subscribed": [those that it may hear of]} and {"topic": one that has changed}.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from typing import Any

from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.utils.module_loading import import_string

from . import tail, topics
from .pruning import KEEP

MOST_TOPICS = 500
LONGEST_MESSAGE = 64 * 1024
CHECK_SECONDS = 15.0
# What is raised to who sends to a page that was left; disconnect() follows. Of RuntimeError uvloop makes use.
GONE = (OSError, RuntimeError)
SIGNED_OUT = 4401
BAD_MESSAGE = 4400


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One open page. It holds topics, never data: the page fetches what changed, and is checked then."""

    news: tail.Subscription | None = None
    pump: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        user = self.scope.get("user")
        if user is None or not user.is_authenticated or not user.is_active:
            await self._end(SIGNED_OUT)
            return
        self.ended = session_topic(self.scope["session"].session_key)
        self.news = tail.subscribe(self.ended)
        with contextlib.suppress(*GONE):
            await self.accept()
        self.pump = asyncio.get_running_loop().create_task(self._pump(self.news))

    async def disconnect(self, code: int) -> None:
        if self.news is not None:
            self.news.close()
        if self.pump is not None:
            self.pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.pump

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.news is None:
            return
        try:
            subscribe, unsubscribe, age = _parse(text_data)
        except ValueError:
            await self._end(BAD_MESSAGE)
            return
        self.news.discard(*(topic for topic in unsubscribe if topic != self.ended))
        room = MOST_TOPICS - len(self.news.topics)
        fresh = [topic for topic in subscribe if topic not in self.news.topics][: max(0, room)]
        allowed = await database_sync_to_async(topics.visible)(self.scope["user"], fresh)
        self.news.add(*allowed)
        await self.news.heard()
        await self._send(subscribed=sorted(self.news.topics - {self.ended}))
        # What changed between the page's own fetch and now would be missed.
        late = allowed if age >= KEEP.total_seconds() else await _changed(allowed, age)
        for topic in late:
            self.news.tell(topic)

    async def _pump(self, news: tail.Subscription) -> None:
        """Pass on what changes; look regularly whether the user is still signed in."""
        loop = asyncio.get_running_loop()
        check_at = loop.time() + CHECK_SECONDS
        while True:
            topic = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(check_at):
                    topic = await news.get()
            if topic is None or topic == self.ended:
                check_at = loop.time() + CHECK_SECONDS
                if not await is_signed_in(self.scope):
                    await self._end(SIGNED_OUT)
                    return
            else:
                await self._send(topic=topic)

    async def _send(self, **message: Any) -> None:
        with contextlib.suppress(*GONE):
            await self.send(text_data=json.dumps(message))

    async def _end(self, code: int) -> None:
        with contextlib.suppress(*GONE):
            await self.close(code)


def session_topic(session_key: str | None) -> str:
    """The topic that tells of a sign-out: it holds a digest, never the key itself."""
    return "session:" + hashlib.sha256((session_key or "").encode()).hexdigest()


async def is_signed_in(scope: dict[str, Any]) -> bool:
    """Whether the session that opened this socket still stands, and its user may still sign in."""
    store = import_string(f"{settings.SESSION_ENGINE}.SessionStore")
    session = store(session_key=scope["session"].session_key)
    await database_sync_to_async(session.load)()
    user = await get_user({"session": session})
    return bool(user.is_authenticated and user.is_active and user.pk == scope["user"].pk)


@database_sync_to_async  # type: ignore[untyped-decorator]
def _changed(subscribed: list[str], age: float) -> list[str]:
    return tail.changed_within(subscribed, age) if subscribed and age > 0 else []


def _parse(text: str | None) -> tuple[list[str], list[str], float]:
    """subscribe, unsubscribe and age of one message. Raises ValueError."""
    if text is None or len(text) > LONGEST_MESSAGE:
        raise ValueError("not a message")
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("not an object")
    age = message.get("age", 0)
    if isinstance(age, bool) or not isinstance(age, int | float) or not age >= 0:
        raise ValueError("age is no number of seconds")
    return _topics(message.get("subscribe", [])), _topics(message.get("unsubscribe", [])), float(age)


def _topics(words: Any) -> list[str]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("not a list of topics")
    return list(dict.fromkeys(word for word in words if 0 < len(word) <= topics.LONGEST and "\0" not in word))
