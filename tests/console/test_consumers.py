"""The WebSocket of a console, from the handshake through the real gateway to a guest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.conf import settings as django_settings
from django.test import Client
from django.utils import timezone

from bhype.accounts.models import ApiToken, AuditEntry, digest
from bhype.console import consumers, subjects, tickets
from bhype.console.models import Recording, Viewer
from bhype.console.routing import websocket_urlpatterns
from bhype.live.origin import ExactOrigin
from bhype.live.topics import publish
from tests.conftest import make_user

from .guests import greet
from .line import Line
from .test_onlooker import KEY, POINTER, SERVER, START, UPDATE

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = (b"origin", b"http://localhost:8080")
HOST = (b"host", b"localhost:8080")
# The router alone keeps the consumer's own check of the Origin in view; the panel wraps it once more.
application = AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
# What comes, comes at once; on a busy machine that may be seconds.
SOON = 30


@pytest.fixture
def door(monkeypatch, settings, gate, alice, operator):
    """Opens consoles of "thing web1", which alice owns; its dictionary changes what there is."""
    monkeypatch.setattr(subjects, "_entries", {})
    settings.STATE_DIR = settings.RUN_DIR = gate.folder
    fields = {
        "topic": "thing:1", "name": "web1", "title": "web1", "back_url": "/", "kinds": ("vnc", "serial"),
        "is_on": True, "state": "Running", "owner": alice.pk,
    }  # fmt: skip

    def resolve(user, name, right):
        found = name == "web1" and user.can(right, owner_id=fields["owner"])
        return subjects.Subject(**{k: v for k, v in fields.items() if k != "owner"}) if found else None

    subjects.register("thing", resolve)
    return fields


class Browser:
    """A signed-in browser that opens consoles."""

    def __init__(self, user):
        self.user = user
        self.open = []

    def _sign_in(self):
        self.client = Client()
        self.client.force_login(self.user, backend="bhype.accounts.backends.PanelBackend")
        self.key = self.client.session.session_key
        return self

    @classmethod
    async def of(cls, user):
        return await sync_to_async(cls(user)._sign_in)()

    async def ticket(self, subject="thing:1", kind="vnc", **options):
        return await sync_to_async(tickets.issue)(self.user, digest(self.key), subject, kind, **options)

    def headers(self):
        cookie = f"{django_settings.SESSION_COOKIE_NAME}={self.key}".encode()
        return [HOST, ORIGIN, (b"cookie", cookie)]

    async def dial(self, ticket=None, kind="vnc", headers=None, name="web1", app=application):
        ticket = await self.ticket(kind=kind) if ticket is None else ticket
        line = Line(app, f"/ws/console/thing/{name}/{kind}?ticket={ticket}", headers or self.headers())
        self.open.append(line)
        accepted, code = await line.connect(timeout=SOON)
        return line if accepted else code

    async def close(self):
        for line in self.open:
            await line.disconnect()


@pytest.fixture
async def browser(door, alice):
    window = await Browser.of(alice)
    yield window
    await window.close()


@pytest.fixture
async def other(door, operator):
    window = await Browser.of(operator)
    yield window
    await window.close()


@pytest.fixture
async def watching(door, db):
    window = await Browser.of(await sync_to_async(make_user)("wim", "watcher"))
    yield window
    await window.close()


@pytest.fixture
def shared(guest_of):
    """A serial line as a supervisor has it: what one says is shown to all."""
    return guest_of(greet, "web1", serial=SerialLine())


class SerialLine:
    """Shows new clients what was said before."""

    def __init__(self):
        self.clients = []
        self.said = b""
        self.one = threading.Lock()

    def __call__(self, connection):
        with self.one:
            self.clients.append(connection)
            connection.sendall(self.said)
        while data := connection.recv(65536):
            with self.one:
                self.said += data
                for client in self.clients:
                    with contextlib.suppress(OSError):
                        client.sendall(data)


class Screen:
    """A VNC server that remembers what it heard, and echoes it."""

    heard = b""

    def __call__(self, connection):
        connection.sendall(SERVER)
        while data := connection.recv(65536):
            self.heard += data
            connection.sendall(data)


async def closing(line, seconds=SOON):
    """Code and reason with which the panel closes; data before it is dropped."""
    async with asyncio.timeout(seconds):
        while True:
            message = await line.receive_output(timeout=seconds)
            if message["type"] == "websocket.close":
                return message["code"], message.get("reason") or ""


async def says(line, text, seconds=SOON):
    received = b""
    async with asyncio.timeout(seconds):
        while text not in received:
            received += (await line.receive_output(timeout=seconds)).get("bytes") or b""
    return received


async def test_a_viewer_sees_the_screen_and_types(browser, echoing):
    line = await browser.dial()
    await says(line, b"RFB 003.008\n")
    await line.send_to(bytes_data=b"hello")
    await says(line, b"hello")
    viewer = await Viewer.objects.aget()
    assert (viewer.subject, viewer.kind, viewer.user_id) == ("thing:1", "vnc", browser.user.pk)


async def test_opening_and_closing_are_on_record_without_the_ticket(browser, echoing):
    ticket = await browser.ticket()
    line = await browser.dial(ticket)
    await says(line, b"RFB")
    await line.disconnect()
    entries = [entry async for entry in AuditEntry.objects.order_by("id")]
    assert [(entry.action, entry.object, entry.username) for entry in entries] == [
        ("console.open", "thing web1", "alice"),
        ("console.close", "thing web1", "alice"),
    ]
    assert ticket not in str([entry.detail for entry in entries])
    assert not await Viewer.objects.aexists()


async def test_a_ticket_is_good_once(browser, echoing):
    ticket = await browser.ticket()
    await says(await browser.dial(ticket), b"RFB")
    assert (await closing(await browser.dial(ticket)))[0] == 4403


async def test_a_ticket_of_another_session_user_object_or_console_is_refused(browser, other, echoing):
    again = await Browser.of(browser.user)
    for ticket in [
        await again.ticket(),
        await other.ticket(),
        await browser.ticket(subject="thing:2"),
        await browser.ticket(kind="serial"),
        "",
        "guess",
    ]:
        line = await browser.dial(ticket)
        assert await closing(line) == (4403, "This console needs a new ticket.")
    assert not await Viewer.objects.aexists()


async def test_nobody_and_strangers_get_the_reason_and_nothing_else(browser, door, stranger, echoing):
    ticket = await browser.ticket()
    line = await browser.dial(ticket, headers=[HOST, ORIGIN])
    assert await closing(line) == (4401, "You are signed out.")
    window = await Browser.of(stranger)
    line = await window.dial(await window.ticket())
    assert (await closing(line))[0] == 4403
    line = await browser.dial(await browser.ticket(), name="none")
    assert (await closing(line))[0] == 4403


@pytest.mark.parametrize(
    "origin",
    [
        None,
        b"http://evil.example",
        b"http://localhost:8081",
        b"https://localhost:8080",
        b"null",
        b"http://localhost",
    ],
)
@pytest.mark.parametrize("app", [application, ExactOrigin(application)], ids=["consumer", "panel"])
async def test_another_origin_is_refused_before_the_ticket_is_spent(browser, echoing, origin, app):
    ticket = await browser.ticket()
    headers = [HOST, *browser.headers()[2:], *([(b"origin", origin)] if origin else [])]
    assert not isinstance(await browser.dial(ticket, headers=headers, app=app), Line)
    await says(await browser.dial(ticket, app=app), b"RFB")


async def test_a_program_opens_a_console_with_the_token_that_asked_for_it(browser, alice, echoing):
    token, secret = await sync_to_async(ApiToken.objects.issue)(alice, "t", "operate", None)
    _, other_secret = await sync_to_async(ApiToken.objects.issue)(alice, "u", "operate", None)

    async def dial(ticket, secret):
        headers = [HOST, ORIGIN, (b"authorization", f"Bearer {secret}".encode())]
        return await browser.dial(ticket, headers=headers)

    async def ask():
        return await sync_to_async(tickets.issue)(alice, token.digest, "thing:1", "vnc")

    assert (await closing(await dial(await ask(), other_secret)))[0] == 4403
    assert (await closing(await dial(await ask(), "bhype_wrong")))[0] == 4401
    line = await dial(await ask(), secret)
    await says(line, b"RFB")
    await ApiToken.objects.filter(pk=token.pk).aupdate(revoked_at=timezone.now())
    await sync_to_async(publish)(f"session:{token.digest}")
    assert await closing(line) == (4401, "You are signed out.")


async def test_a_token_whose_scope_has_no_consoles_opens_none(browser, alice, echoing):
    token, secret = await sync_to_async(ApiToken.objects.issue)(alice, "t", "read", None)
    ticket = await sync_to_async(tickets.issue)(alice, token.digest, "thing:1", "vnc")
    line = await browser.dial(ticket, headers=[HOST, ORIGIN, (b"authorization", f"Bearer {secret}".encode())])
    assert (await closing(line))[0] == 4403


async def test_signing_out_closes_at_once(browser, echoing, monkeypatch):
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 3600)
    line = await browser.dial()
    await says(line, b"RFB")
    await sync_to_async(browser.client.session.delete)()
    await sync_to_async(publish)(f"session:{digest(browser.key)}")
    assert await closing(line) == (4401, "You are signed out.")


async def test_it_notices_by_itself_what_nobody_told(browser, door, echoing, monkeypatch):
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.2)
    line = await browser.dial()
    await says(line, b"RFB")
    await sync_to_async(browser.client.session.delete)()
    assert (await closing(line))[0] == 4401


@pytest.mark.parametrize(
    "loss", ["owner", "deactivated", "another object of that name", "no screen any more"]
)
async def test_losing_the_right_closes(browser, door, other, alice, echoing, monkeypatch, loss):
    line = await browser.dial()
    await says(line, b"RFB")
    code = 4403
    if loss == "owner":
        door["owner"] = other.user.pk
    elif loss == "deactivated":
        alice.is_active = False
        await alice.asave()
        code = 4401
    elif loss == "no screen any more":
        door["kinds"] = ("serial",)
    else:
        door["topic"] = "thing:2"
    await sync_to_async(publish)("thing:1")
    assert (await closing(line))[0] == code


async def test_a_screen_in_use_is_refused_and_can_be_taken_over(browser, other, echoing):
    first = await browser.dial()
    await says(first, b"RFB")
    code, reason = await closing(await other.dial())
    assert code == 4409 and reason.startswith("alice has had this screen open since ")
    second = await other.dial(await other.ticket(take_over=True))
    assert await closing(first) == (4409, "Taken over by operator.")
    await says(second, b"RFB")
    await second.send_to(bytes_data=b"mine")
    await says(second, b"mine")


async def told(line, seconds=SOON, **wanted):
    """Wait until the panel tells this of the serial line; returns all of it."""
    async with asyncio.timeout(seconds):
        while True:
            message = await line.receive_output(timeout=seconds)
            if message.get("text", "pong") != "pong":
                state = json.loads(message["text"])["line"]
                if all(state[key] == value for key, value in wanted.items()):
                    return state


async def quiet(line, text, seconds=0.5):
    """Nothing with ``text`` in it comes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                message = await line.output_queue.get()
                assert text not in (message.get("bytes") or b"")


async def test_of_many_on_a_serial_line_one_writes(browser, other, shared):
    first = await browser.dial(kind="serial")
    await told(first, writes=True)
    second = await other.dial(kind="serial")
    state = await told(second, writes=False, writer="alice")
    assert [each["name"] for each in state["here"]] == ["alice", "operator"]
    await second.send_to(bytes_data=b"dropped")
    await second.send_to(bytes_data=b"dropped" * 1000)
    await first.send_to(bytes_data=b"from alice")
    assert b"dropped" not in await says(second, b"from alice")
    await says(first, b"from alice")


async def test_taking_control_is_immediate_and_told_to_all(browser, other, shared, monkeypatch):
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 3600)
    first = await browser.dial(kind="serial")
    second = await other.dial(kind="serial")
    await told(second, writer="alice")
    await second.send_to(text_data='{"control": true}')
    await told(second, writes=True, writer="operator")
    await told(first, writes=False, writer="operator")
    await first.send_to(bytes_data=b"too late")
    await second.send_to(bytes_data=b"in time")
    assert b"too late" not in await says(first, b"in time")
    entry = await AuditEntry.objects.aget(action="console.control")
    assert (entry.username, entry.object) == ("operator", "thing web1")
    await second.disconnect()
    await told(first, writes=True, writer="alice")


async def test_a_line_may_be_taken_over_with_the_ticket(browser, other, shared):
    first = await browser.dial(kind="serial")
    await told(first, writes=True)
    second = await other.dial(await other.ticket(kind="serial", take_over=True), kind="serial")
    await told(first, writes=False, writer="operator")
    await second.send_to(bytes_data=b"mine")
    await says(first, b"mine")


async def test_the_writers_terminal_gives_the_size(browser, other, shared):
    first = await browser.dial(kind="serial")
    second = await other.dial(kind="serial")
    for size in ("[0, 0]", "[1e9, 24]", '["a", "b"]', "[132]", "{}", "null", "[true, true]", "[132, 43]"):
        await first.send_to(text_data=f'{{"size": {size}}}')
    await told(second, size=[132, 43])


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"control": 1}', '{"control": true', "x" * 300, "[" * 250, '{"x": 1}']
)
async def test_other_text_on_a_line_is_ignored(browser, other, shared, text):
    first = await browser.dial(kind="serial")
    await told(first, writes=True)
    second = await other.dial(kind="serial")
    await told(second, writes=False)
    await second.send_to(text_data=text)
    await second.send_to(bytes_data=b"dropped")
    await first.send_to(bytes_data=b"still alice")
    assert b"dropped" not in await says(second, b"still alice")


async def test_who_may_only_watch_sees_and_never_writes(browser, watching, shared):
    first = await browser.dial(kind="serial")
    await told(first, writes=True)
    line = await watching.dial(
        await watching.ticket(kind="serial", right="watch", take_over=True), kind="serial"
    )
    state = await told(line, writes=False, writer="alice")
    assert [each["right"] for each in state["here"]] == ["console", "watch"]
    await line.send_to(text_data='{"control": true}')
    await line.send_to(bytes_data=b"hostile")
    await line.send_to(bytes_data=b"hostile" * 1000)
    await first.send_to(bytes_data=b"alice")
    assert b"hostile" not in await says(line, b"alice")
    await first.disconnect()
    await told(line, writes=False, writer="")
    await line.send_to(text_data='{"control": true}')
    await line.send_to(bytes_data=b"hostile")
    await quiet(line, b"hostile")


async def test_a_ticket_to_write_is_nothing_for_who_may_only_watch(watching, shared):
    line = await watching.dial(await watching.ticket(kind="serial"), kind="serial")
    assert await closing(line) == (4403, "You may only watch this console.")


async def test_the_gateway_drops_keys_of_who_may_only_watch_a_screen(watching, guest_of):
    screen = Screen()
    guest_of(screen, "web1")
    line = await watching.dial(await watching.ticket(right="watch"))
    await says(line, b"RFB 003.008\n")
    await line.send_to(bytes_data=START + KEY + POINTER + UPDATE)
    await says(line, UPDATE)
    assert screen.heard == START + UPDATE
    await line.send_to(bytes_data=b"\x63" * 20)
    assert (await closing(line))[0] == 1000
    assert screen.heard == START + UPDATE


async def test_losing_the_right_to_write_closes_and_the_next_ticket_is_for_watching(
    browser, door, shared, alice
):
    line = await browser.dial(kind="serial")
    await told(line, writes=True)
    alice.role = "watcher"
    await alice.asave()
    door["owner"] = None
    await sync_to_async(publish)("thing:1")
    assert await closing(line) == (4403, "You may only watch this console now.")
    line = await browser.dial(await browser.ticket(kind="serial", right="watch"), kind="serial")
    await told(line, writes=False)


async def test_a_session_is_recorded_when_that_is_chosen(browser, watching, door, gate, shared):
    door["is_recorded"] = True
    line = await browser.dial(kind="serial")
    await told(line, writes=True)
    await line.send_to(bytes_data=b"to be kept")
    await says(line, b"to be kept")
    looking = await watching.dial(await watching.ticket(kind="serial", right="watch"), kind="serial")
    await told(looking, writes=False)
    await line.disconnect()
    row = await Recording.objects.aget()
    assert (row.subject, row.kind, row.username) == ("thing:1", "serial", "alice")
    assert row.ended_at is not None and row.bytes > 0
    assert "to be kept" in (gate.folder / "recordings" / row.file).read_text()
    assert (await AuditEntry.objects.filter(action="console.open").order_by("id").afirst()).detail[
        "recorded"
    ] is True


async def test_a_guest_that_does_not_answer_is_told_and_leaves_no_viewer(browser, guest_of):
    guest_of(name="web1").close()
    line = await browser.dial()
    assert await closing(line) == (4502, "The console does not answer.")
    await line.disconnect()
    assert not await Viewer.objects.aexists()


async def test_the_guests_end_closes_in_order(browser, guest_of):
    guest_of(lambda connection: connection.sendall(b"bye"), "web1")
    line = await browser.dial()
    await says(line, b"bye")
    assert await closing(line) == (1000, "The guest closed the console.")


async def test_the_guest_hears_at_once_when_the_browser_goes(browser, gate, echoing):
    line = await browser.dial()
    await says(line, b"RFB")
    assert len(gate.children()) == 1
    await line.disconnect()
    async with asyncio.timeout(SOON):
        while gate.children():
            await asyncio.sleep(0.02)


async def test_binary_is_answered_only_to_who_offers_it(browser, echoing):
    for offered, chosen in [
        (["binary"], "binary"),
        (["base64", "binary"], "binary"),
        (["base64"], None),
        (None, None),
    ]:
        line = Line(
            application,
            f"/ws/console/thing/web1/serial?ticket={await browser.ticket(kind='serial')}",
            browser.headers(),
            subprotocols=offered,
        )
        browser.open.append(line)
        assert await line.connect(timeout=SOON) == (True, chosen)


async def test_ping_is_answered_and_other_text_is_ignored(browser, echoing):
    line = await browser.dial(kind="serial")
    await told(line, writes=True)
    await line.send_to(text_data="ping")
    assert (await line.receive_output(timeout=SOON))["text"] == "pong"
    await line.send_to(text_data='{"x": 1}')
    await line.send_to(bytes_data=b"x")
    assert await says(line, b"x") == b"x"


async def test_a_client_that_pinged_and_fell_silent_is_let_go(browser, echoing, monkeypatch):
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.1)
    monkeypatch.setattr(consumers, "SILENCE_SECONDS", 0.3)
    quiet = await browser.dial(kind="serial")
    line = await browser.dial(kind="serial")
    await line.send_to(text_data="ping")
    assert (await closing(line))[0] == 4408
    await quiet.send_to(bytes_data=b"x")
    await says(quiet, b"x")


async def test_a_guest_that_takes_no_input_is_given_up(browser, guest_of, monkeypatch):
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.1)
    monkeypatch.setattr(consumers, "STUCK_SECONDS", 0.3)
    release = threading.Event()
    guest_of(lambda connection: release.wait(SOON), "web1")
    line = await browser.dial()
    for _ in range(200):
        await line.send_to(bytes_data=bytes(65536))
    assert await closing(line) == (4502, "The guest takes no input.")
    release.set()


async def test_keys_never_visit_a_thread(browser, echoing):
    """Channels' own dispatch does for each message, behind whatever else waits there."""
    line = await browser.dial()
    await says(line, b"RFB")
    release = threading.Event()
    blocking = asyncio.create_task(sync_to_async(release.wait)(SOON))
    await asyncio.sleep(0.05)
    await line.send_to(bytes_data=b"key")
    await says(line, b"key")
    assert not blocking.done()
    release.set()
    await blocking


async def test_a_viewer_is_seen_again_and_again(browser, echoing, monkeypatch):
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.1)
    await says(await browser.dial(), b"RFB")
    old = timezone.now() - timedelta(seconds=20)
    await Viewer.objects.aupdate(seen_at=old)
    async with asyncio.timeout(SOON):
        while (await Viewer.objects.aget()).seen_at == old:
            await asyncio.sleep(0.05)
