"""The API of uploads: tus 1.0.0, with a token. Any tus client works; a piece has at most 16 MiB."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Router, Schema

from bhype.accounts.access import signed_in
from storage.models import Upload

from . import tus_http

router = Router()
BASE = "/api/v1/uploads/"


class UploadOut(Schema):
    """size, received: bytes; finished_at: null while parts are missing."""

    uuid: UUID
    name: str
    purpose: str
    size: int
    received: int
    created_at: datetime
    changed_at: datetime
    finished_at: datetime | None


@router.get("", response=list[UploadOut], summary="Your uploads that have begun and are not forgotten")
def list_uploads(request: HttpRequest) -> QuerySet[Upload]:
    user = signed_in(request)
    if not tus_http.may_send(user):
        raise Http404
    return Upload.objects.filter(user=user)


@router.post("", response={201: None}, summary="Begin an upload (tus: Upload-Length, Upload-Metadata)")
def begin_upload(request: HttpRequest) -> HttpResponse:
    return tus_http.collection(request, signed_in(request), BASE)


@router.api_operation(["OPTIONS"], "", summary="What this tus server can do")
def upload_abilities(request: HttpRequest) -> HttpResponse:
    return tus_http.collection(request, signed_in(request), BASE)


@router.api_operation(["HEAD"], "/{uuid:upload}", summary="How much of an upload is there")
def look_at_upload(request: HttpRequest, upload: UUID) -> HttpResponse:
    return tus_http.item(request, signed_in(request), upload)


@router.patch("/{uuid:upload}", response={204: None}, summary="Send the next piece of an upload")
def send_piece(request: HttpRequest, upload: UUID) -> HttpResponse:
    return tus_http.item(request, signed_in(request), upload)


@router.delete("/{uuid:upload}", response={204: None}, summary="Give an upload up")
def end_upload(request: HttpRequest, upload: UUID) -> HttpResponse:
    return tus_http.item(request, signed_in(request), upload)
