"""Asking for an operation in a person's name: ask, put it on the record, and answer. For pages and for the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.forms import Form
from django.http import HttpRequest
from ninja.responses import Status

from bhype.accounts import audit
from bhype.accounts.access import signed_in

from .asking import ask
from .errors import Refused
from .models import Task


def on_page(
    request: HttpRequest,
    operation: str,
    params: Mapping[str, Any],
    *,
    what: str,
    said: str = "",
    form: Form | None = None,
) -> Task | None:
    """The task, or None where it was refused: the reason then stands in the form, or in a message.

    what: as the audit log names what it is about, "vm web1"; said: told to the person when it was asked for.
    """
    try:
        task = ask(operation, params, signed_in(request))
    except Refused as refused:
        if form is None:
            messages.error(request, refused.message)
        else:
            form.add_error(refused.field if refused.field in form.fields else None, refused.message)
        return None
    audit.record(request, operation, what, dict(params), task=task)
    if said:
        messages.success(request, said)
    return task


def by_api(request: HttpRequest, what: str, operation: str, /, **params: Any) -> Status[Task]:
    """202 with the task. Raises Refused, of which `bhype.api` makes the answer. what: as of `on_page`."""
    task = ask(operation, params, signed_in(request))
    audit.record(request, operation, what, params, task=task)
    return Status(202, task)
