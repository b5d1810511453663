"""Answers that tell the person something, as a toast in the page, or give a file that may be large."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import BinaryIO, TypeVar

from asgiref.sync import sync_to_async
from django.http import HttpResponse, StreamingHttpResponse
from django_htmx.http import trigger_client_event

Answer = TypeVar("Answer", bound=HttpResponse)
_PIECE = 1 << 20


def toast(response: Answer, text: str, level: str = "success", href: str = "") -> Answer:
    """Show ``text`` in the open page when htmx receives ``response``.

    ``level`` is success, info, warning or error; ``href`` is where the toast leads, such as the task's page.
    """
    trigger_client_event(response, "toast", {"text": text, "level": level, "href": href})
    return response


def attachment(file: BinaryIO, name: str, *, grows: bool = False) -> StreamingHttpResponse:
    """The opened file, to be saved as ``name``; it is closed in the end. grows: its length is not known yet."""

    async def pieces() -> AsyncIterator[bytes]:
        while piece := await sync_to_async(file.read, thread_sensitive=False)(_PIECE):
            yield piece

    response = StreamingHttpResponse(pieces(), content_type="application/octet-stream")
    if not grows:
        response["Content-Length"] = str(os.fstat(file.fileno()).st_size)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    # Also when nobody reads it to its end.
    response._resource_closers.append(file.close)  # type: ignore[attr-defined]
    return response
