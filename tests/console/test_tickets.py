from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bhype.console import tickets
from bhype.console.models import Ticket

pytestmark = pytest.mark.django_db


@pytest.fixture
def ask(alice):
    return lambda **changes: tickets.issue(
        **{"user": alice, "session": "s1", "subject": "vm:1", "kind": "vnc"} | changes
    )


def age(seconds):
    Ticket.objects.update(created_at=timezone.now() - timedelta(seconds=seconds))


def test_a_ticket_opens_what_it_was_issued_for_once(ask, alice):
    secret = ask(take_over=True)
    ticket = tickets.redeem(secret, alice, "s1", "vm:1", "vnc")
    assert ticket is not None and ticket.take_over and ticket.used_at
    assert tickets.redeem(secret, alice, "s1", "vm:1", "vnc") is None


def test_it_is_stored_hashed(ask):
    secret = ask()
    assert secret not in str(Ticket.objects.values().get())


def test_it_lives_for_thirty_seconds(ask, alice):
    secret = ask()
    age(31)
    assert tickets.redeem(secret, alice, "s1", "vm:1", "vnc") is None
    age(28)
    assert tickets.redeem(secret, alice, "s1", "vm:1", "vnc")


@pytest.mark.parametrize(
    ("session", "subject", "kind"),
    [
        ("s2", "vm:1", "vnc"),
        ("s1", "vm:2", "vnc"),
        ("s1", "vm:1", "serial"),
        ("", "vm:1", "vnc"),
        ("s1", "vm:11", "vnc"),
    ],
)
def test_it_opens_nothing_else_and_a_wrong_try_does_not_spend_it(ask, alice, session, subject, kind):
    secret = ask()
    assert tickets.redeem(secret, alice, session, subject, kind) is None
    assert tickets.redeem(secret, alice, "s1", "vm:1", "vnc")


def test_it_is_for_one_user(ask, alice, stranger):
    secret = ask()
    assert tickets.redeem(secret, stranger, "s1", "vm:1", "vnc") is None


@pytest.mark.parametrize("secret", ["", "guess", "\0", "x" * 10_000])
def test_guesses_open_nothing(ask, alice, secret):
    ask()
    assert tickets.redeem(secret, alice, "s1", "vm:1", "vnc") is None


def test_old_tickets_are_thrown_away(ask):
    ask()
    age(7200)
    ask()
    assert Ticket.objects.count() == 1
