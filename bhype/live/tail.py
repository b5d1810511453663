"""The tail of the events: one task per web process reads new rows and passes them on to whoever subscribed.

async with tail.subscribe("session:ab12", "vm:7") as news:
    async for topic in news: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections import defaultdict
from datetime import timedelta
from types import TracebackType

from channels.db import database_sync_to_async
from django.db import DatabaseError, InterfaceError
from django.db.models import Max, Q
from django.utils import timezone

logger = logging.getLogger(__name__)
POLL = 0.25
# A number that was passed over is a transaction that is not committed yet, or was rolled back: PostgreSQL
# gives numbers out before the commit. It is looked for again for this long.
GAP_SECONDS = 30.0
MOST_GAPS = 500
MOST_ROWS = 1_000


class Subscription:
    """What one listener wants to hear. News are coalesced by topic, so a slow listener costs no memory."""

    def __init__(self, tail: Tail, topics: tuple[str, ...]) -> None:
        self._tail = tail
        self._topics: set[str] = set()
        self._news: dict[str, None] = {}
        self._ring = asyncio.Event()
        self.closed = False
        self.add(*topics)

    @property
    def topics(self) -> frozenset[str]:
        return frozenset(self._topics)

    def add(self, *topics: str) -> None:
        """Listen to these as well, from now on."""
        for topic in topics:
            self._topics.add(topic)
            self._tail.listeners[topic].add(self)

    def discard(self, *topics: str) -> None:
        for topic in topics:
            self._topics.discard(topic)
            listeners = self._tail.listeners.get(topic)
            if listeners is not None:
                listeners.discard(self)
                if not listeners:
                    del self._tail.listeners[topic]
            self._news.pop(topic, None)

    def tell(self, topic: str) -> None:
        self._news[topic] = None
        self._ring.set()

    async def get(self) -> str:
        """The next topic that has changed; waits for one."""
        while not self._news:
            self._ring.clear()
            await self._ring.wait()
        topic = next(iter(self._news))
        del self._news[topic]
        return topic

    async def heard(self) -> None:
        """Wait until nothing that is published from now on can be missed."""
        await self._tail.ready()

    def close(self) -> None:
        self.discard(*self._topics)
        self.closed = True
        self._tail.leave(self)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> str:
        return await self.get()

    async def __aenter__(self) -> Subscription:
        await self._tail.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Tail:
    """Reads the table of events while somebody listens, and not else."""

    def __init__(self) -> None:
        self.listeners: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._last = 0
        self._gaps: dict[int, float] = {}

    def subscribe(self, *topics: str) -> Subscription:
        subscription = Subscription(self, topics)
        self._subscriptions.add(subscription)
        if self._task is None or self._task.done():
            self._ready = asyncio.Event()
            # A context of its own: it outlives the request or socket that happened to be the first.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())
        return subscription

    async def ready(self) -> None:
        """Wait until what is published from now on is heard."""
        await self._ready.wait()

    def leave(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)

    async def _run(self) -> None:
        self._gaps = {}
        while self._subscriptions:
            try:
                if not self._ready.is_set():
                    self._last = await database_sync_to_async(_newest)()
                    self._ready.set()
                for topic in dict.fromkeys(await self._look()):
                    for subscription in tuple(self.listeners.get(topic, ())):
                        subscription.tell(topic)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("Live events wait for the database: %s", error)
                await asyncio.sleep(1)
            await asyncio.sleep(POLL)

    async def _look(self) -> list[str]:
        """The topics of the rows that have come since the last look, also those that came late."""
        now = time.monotonic()
        self._gaps = {number: until for number, until in self._gaps.items() if until > now}
        topics = []
        for number, topic in await database_sync_to_async(_rows)(self._last, list(self._gaps)):
            topics.append(topic)
            self._gaps.pop(number, None)
            if number > self._last:
                missing = range(max(self._last + 1, number - MOST_GAPS), number)
                self._gaps |= dict.fromkeys(missing, now + GAP_SECONDS)
                self._last = number
        while len(self._gaps) > MOST_GAPS:
            del self._gaps[min(self._gaps)]
        return topics


def _newest() -> int:
    from .models import Event

    return Event.objects.aggregate(newest=Max("id"))["newest"] or 0


def _rows(last: int, gaps: list[int]) -> list[tuple[int, str]]:
    from .models import Event

    wanted = Q(id__gt=last) | Q(id__in=gaps) if gaps else Q(id__gt=last)
    return list(Event.objects.filter(wanted).order_by("id").values_list("id", "topic")[:MOST_ROWS])


def changed_within(topics: list[str], seconds: float) -> list[str]:
    """Those of the topics that have changed in the last ``seconds``. Asks the database."""
    from .models import Event

    since = timezone.now() - timedelta(seconds=seconds)
    return list(
        Event.objects.filter(at__gte=since, topic__in=topics)
        .order_by()
        .values_list("topic", flat=True)
        .distinct()
    )


_tails: dict[asyncio.AbstractEventLoop, Tail] = {}


def subscribe(*topics: str) -> Subscription:
    """Listen to topics, in this process. Call it in a running event loop; close the result, or use it as an
    async context manager, which also waits until nothing that is published later can be missed."""
    loop = asyncio.get_running_loop()
    for old in [other for other in _tails if other.is_closed()]:
        del _tails[old]
    with contextlib.suppress(KeyError):
        return _tails[loop].subscribe(*topics)
    _tails[loop] = Tail()
    return _tails[loop].subscribe(*topics)
