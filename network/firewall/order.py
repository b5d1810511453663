"""The order of rules: the first that is met decides, so each has its place among the host's."""

from __future__ import annotations

from collections.abc import Collection

from django.db import transaction

from bhype.hosts.models import Host
from network.models import Rule


def insert(rule: Rule, before: int | None = None) -> None:
    """Save a new rule before the one with the number ``before``, else behind all."""
    with transaction.atomic():
        numbers = _numbers(rule.host)
        rule.position = len(numbers)
        rule.save()
        place = numbers.index(before) if before in numbers else len(numbers)
        _write(rule.host, [*numbers[:place], rule.pk, *numbers[place:]])


def move(rule: Rule, *, up: bool, among: Collection[int] | None = None) -> bool:
    """Let the rule change places with its neighbour; whether there was one.

    among: the numbers of those that the person sees: it goes past the next one of these, and past what lies between.
    """
    with transaction.atomic():
        numbers = _numbers(rule.host)
        place = numbers.index(rule.pk)
        seen = set(numbers if among is None else among)
        side = numbers[:place][::-1] if up else numbers[place + 1 :]
        neighbour = next((number for number in side if number in seen), None)
        if neighbour is None:
            return False
        numbers.remove(rule.pk)
        numbers.insert(numbers.index(neighbour) + (0 if up else 1), rule.pk)
        _write(rule.host, numbers)
    return True


def _numbers(host: Host) -> list[int]:
    # Two people who move at once wait for each other (SQLite: at the transaction's begin).
    Host.objects.select_for_update(no_key=True).filter(pk=host.pk).first()
    return list(Rule.objects.filter(host=host).values_list("pk", flat=True))


def _write(host: Host, numbers: list[int]) -> None:
    places = {number: place for place, number in enumerate(numbers)}
    rows = [row for row in Rule.objects.filter(host=host) if row.position != places[row.pk]]
    for row in rows:
        row.position = places[row.pk]
    Rule.objects.bulk_update(rows, ["position"])
