"""Answers that tell the person something: a toast in the page, or a message after a redirect."""

from __future__ import annotations

from typing import TypeVar

from django.http import HttpResponse
from django_htmx.http import trigger_client_event

Answer = TypeVar("Answer", bound=HttpResponse)


def toast(response: Answer, text: str, level: str = "success", href: str = "") -> Answer:
    """Show ``text`` in the open page when htmx receives ``response``.

    ``level`` is success, info, warning or error; ``href`` is where the toast leads, such as the task's page.
    """
    trigger_client_event(response, "toast", {"text": text, "level": level, "href": href})
    return response
