"""From a committed row to an open page, and only to those who may hear of it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from django.db import connections, transaction
from django.test import Client
from django.utils import timezone

from bhype import live
from bhype.accounts.models import User
from bhype.live import consumers, tail, topics
from bhype.live.models import Event
from bhype.live.origin import ExactOrigin
from bhype.live.pruning import prune
from bhype.live.routing import websocket_urlpatterns
from tests.live.browser import SOON, Page

app = ExactOrigin(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))


@pytest.fixture(autouse=True)
def _rules(monkeypatch):
    monkeypatch.setattr(topics, "_rules", {})
    live.register("open", lambda user, topic: True)
    live.register("mine", lambda user, topic: topic == f"mine:{user.pk}")


@pytest.fixture
async def panel(transactional_db, settings):
    """All that touches the database does it in the one thread of sync_to_async, as in a web process."""
    settings.ALLOWED_HOSTS = ["localhost"]
    yield
    await sync_to_async(connections.close_all)()


@database_sync_to_async
def signed_in(username="alice"):
    user = User.objects.create_user(username, source="panel")
    client = Client()
    client.force_login(user, backend="bhype.accounts.backends.PanelBackend")
    return user, client


def browser(client, origin="http://localhost:8080"):
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items()) if client else ""
    headers = [(b"origin", origin.encode()), (b"host", b"localhost:8080"), (b"cookie", cookies.encode())]
    return Page(app, "/ws/live", headers)


async def opened(client, *subscribe, age=0):
    page = browser(client)
    assert await page.connect()
    await page.send(subscribe=list(subscribe), age=age)
    assert sorted((await page.hear())["subscribed"]) == sorted(subscribe)
    return page


publish = database_sync_to_async(live.publish)


async def test_an_event_reaches_those_who_subscribed(panel):
    _, client = await signed_in()
    first, second = await opened(client, "open:1", "open:2"), await opened(client, "open:2")
    await publish("open:2", "open:3")
    assert await first.hear() == {"topic": "open:2"}
    assert await second.hear() == {"topic": "open:2"}
    assert await first.receive_nothing(0.4)
    await first.send(unsubscribe=["open:2"])
    assert await first.hear() == {"subscribed": ["open:1"]}
    await publish("open:2", "open:1")
    assert await first.hear() == {"topic": "open:1"}
    await first.leave()
    await second.leave()


async def test_nobody_hears_what_they_may_not(panel):
    user, client = await signed_in()
    page = browser(client)
    await page.connect()
    await page.send(subscribe=[f"mine:{user.pk}", "mine:999", "secret:1", "session:x", "open:\0"])
    assert await page.hear() == {"subscribed": [f"mine:{user.pk}"]}
    await page.leave()


async def test_strangers_and_foreign_pages_are_refused(panel):
    _, client = await signed_in()
    for page in (
        browser(None),
        browser(client, "http://localhost:9"),
        browser(client, "http://evil.example"),
    ):
        assert not await page.connect()


async def test_what_changed_while_the_page_was_fetched_is_told(panel):
    _, client = await signed_in()
    await publish("open:1")
    early = await opened(client, "open:1", "open:2", age=60)
    assert await early.hear() == {"topic": "open:1"}
    await early.leave()
    fresh = await opened(client, "open:1", age=0)
    assert await fresh.receive_nothing(0.4)
    await fresh.leave()
    lost = await opened(client, "open:7", age=10_000)
    assert await lost.hear() == {"topic": "open:7"}
    await lost.leave()


async def test_a_sign_out_closes_the_page_at_once(panel):
    _, client = await signed_in()
    page = await opened(client, "open:1")
    key = client.session.session_key
    await database_sync_to_async(client.session.flush)()
    await publish(consumers.session_topic(key))
    assert (await page.receive_output(SOON)) == {"type": "websocket.close", "code": 4401}
    await page.leave()


async def test_a_session_that_ended_quietly_is_noticed(panel, monkeypatch):
    monkeypatch.setattr(consumers, "CHECK_SECONDS", 0.2)
    user, client = await signed_in()
    page = await opened(client, "open:1")
    assert await page.receive_nothing(0.5)
    await database_sync_to_async(User.objects.filter(pk=user.pk).update)(is_active=False)
    assert (await page.receive_output(SOON))["code"] == 4401
    await page.leave()


@pytest.mark.parametrize("sent", [0, 1, 2])
async def test_a_page_that_is_left_at_any_moment_leaves_no_listener_and_no_error(panel, sent):
    """What is sent after that fails, as in gunicorn's worker on uvloop, before disconnect() is called."""
    _, client = await signed_in()
    page = browser(client)
    connected = page.application

    async def left(scope, receive, send):
        messages = []

        async def sending(message):
            if len(messages) >= sent:
                raise RuntimeError(
                    "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
                )
            messages.append(message)
            await send(message)

        await connected(scope, receive, sending)

    page = Page(left, "/ws/live", page.scope["headers"])
    await page.send_input({"type": "websocket.connect"})
    await page.send(subscribe=["open:1"])
    await publish("open:1")
    for _ in range(sent):
        await page.receive_output(SOON)
    async with tail.subscribe("other") as news:
        await page.leave()
        assert set(news._tail.listeners) == {"other"}


async def test_a_page_holds_a_bounded_number_of_topics(panel, monkeypatch):
    monkeypatch.setattr(consumers, "MOST_TOPICS", 5)
    _, client = await signed_in()
    page = browser(client)
    await page.connect()
    await page.send(subscribe=[f"open:{n}" for n in range(50)])
    assert len((await page.hear())["subscribed"]) < 5
    await page.leave()


@pytest.mark.parametrize(
    "message",
    ["", "x", "[]", "1", '{"subscribe": "open:1"}', '{"subscribe": [1]}', '{"age": "x"}', '{"age": -1}',
     '{"age": NaN}', '{"age": true}', json.dumps({"subscribe": ["x" * 70_000]})],
)  # fmt: skip
async def test_a_bad_message_ends_the_page(panel, message):
    _, client = await signed_in()
    page = browser(client)
    await page.connect()
    await page.send_text(message)
    assert (await page.receive_output(SOON))["code"] == 4400
    await page.leave()


async def test_the_tail_tells_each_listener_once_however_much_changes(panel):
    async with tail.subscribe("a", "b") as news, tail.subscribe("b") as other:
        for _ in range(20):
            await publish("a", "b", "c")
        newest = (await database_sync_to_async(Event.objects.latest)("id")).pk
        while news._tail._last < newest:
            await asyncio.sleep(0.02)
        heard = {await asyncio.wait_for(news.get(), SOON) for _ in range(2)}
        assert heard == {"a", "b"}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(news.get(), 0.1)
        assert await asyncio.wait_for(other.get(), SOON) == "b"


async def test_nobody_listening_costs_nothing(panel):
    news = tail.subscribe("a")
    await news.heard()
    task = news._tail._task
    news.close()
    await asyncio.wait_for(task, SOON)
    assert not news._tail.listeners
    async with tail.subscribe("a") as again:
        await publish("a")
        assert await asyncio.wait_for(again.get(), SOON) == "a"


async def test_a_number_that_commits_late_is_not_missed(panel):
    async with tail.subscribe("late", "early") as news:
        first = await database_sync_to_async(Event.objects.create)(topic="x")
        await database_sync_to_async(Event.objects.create)(id=first.pk + 2, topic="early")
        assert await asyncio.wait_for(news.get(), SOON) == "early"
        await asyncio.sleep(0.4)
        await database_sync_to_async(Event.objects.create)(id=first.pk + 1, topic="late")
        assert await asyncio.wait_for(news.get(), SOON) == "late"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(news.get(), 0.6)


async def test_what_is_rolled_back_is_not_told(panel):
    @database_sync_to_async
    def fail():
        with transaction.atomic():
            live.publish("a")
            raise ZeroDivisionError

    async with tail.subscribe("a") as news:
        with pytest.raises(ZeroDivisionError):
            await fail()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(news.get(), 0.6)


def test_each_topic_is_published_once_and_bad_ones_not_at_all(db):
    live.publish("a", "b", "a", "", "x" * 81)
    assert list(Event.objects.values_list("topic", flat=True)) == ["a", "b"]


def test_old_events_go(db):
    Event.objects.create(topic="old", at=timezone.now() - timedelta(hours=1))
    Event.objects.create(topic="new")
    assert prune() == 1
    assert Event.objects.get().topic == "new"


def test_a_session_topic_tells_no_key(db):
    topic = consumers.session_topic("the-key")
    assert "the-key" not in topic
    assert len(topic) <= topics.LONGEST
