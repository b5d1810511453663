"""What global search finds of tasks: by number, or by title among the latest."""

from __future__ import annotations

from collections.abc import Iterator

from django.urls import reverse

from bhype.accounts.models import User
from bhype.ui.search import LIMIT, Hit

from .models import Task

# Titles have no index; a search looks back only so far, however long the table has grown.
LATEST = 5000


def find(user: User, query: str) -> Iterator[Hit]:
    rows = Task.objects.visible_to(user)
    number = query.removeprefix("#")
    if number.isascii() and number.isdigit() and len(number) < 19:
        found = rows.filter(pk=number)
    else:
        newest = Task.objects.values_list("pk", flat=True).first() or 0
        found = rows.filter(pk__gt=newest - LATEST, title__icontains=query)
    for task in found[:LIMIT]:
        address = reverse("tasks:detail", args=[task.pk])
        yield Hit(task.title, address, "list-check", f"#{task.pk}", task.status)
