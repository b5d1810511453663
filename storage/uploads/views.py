"""Where browsers send files, in pieces that may stop and go on (tus)."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from bhype.accounts.access import allow, signed_in

from . import tus_http


@allow("self", methods="OPTIONS POST")
def uploads(request: HttpRequest) -> HttpResponse:
    return tus_http.collection(request, signed_in(request), reverse("storage:uploads"))


@allow("self", methods="OPTIONS HEAD PATCH DELETE")
def upload(request: HttpRequest, upload: UUID) -> HttpResponse:
    return tus_http.item(request, signed_in(request), upload)
