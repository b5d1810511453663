"""tus over HTTP, for the pages (with the session) and the API (with a token) alike: headers in, headers out.

What becomes of a file is said when its upload begins, in Upload-Metadata: filename; purpose, "file" (it stays in the
person's folder), "iso" or "image" (it goes into the library, which takes the right storage.change); name, in the
library; sha256, of the file; facts, of an image, as JSON. The answer has the purpose's own errors before a byte is
sent.
"""

from __future__ import annotations

import json
from functools import partial
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.http import http_date

from bhype.accounts import audit
from bhype.accounts.models import User
from bhype.tasks import Refused, ask
from bhype.tasks.errors import not_found
from storage.library import adding, checksums
from storage.library.forms import FactsForm
from storage.models import Image, Iso, Upload

from . import store, tus
from .store import BadUpload, NotReady
from .tus import TusError

PURPOSES = ("file", "iso", "image")
TYPE = "application/offset+octet-stream"


def may_send(user: User) -> bool:
    return user.can("vms.create") or user.can("storage.change")


def collection(request: HttpRequest, user: User, base: str) -> HttpResponse:
    """OPTIONS and POST on the address of all uploads, ``base``. Raises Http404."""
    if not may_send(user):
        raise Http404
    if request.method == "OPTIONS":
        return _answer(HTTPStatus.NO_CONTENT, _abilities())
    try:
        _check_version(request)
        upload = _begin(request, user)
    except NotReady:
        task = ask("storage.ready_transfers", {}, user)
        audit.record(request, task.operation, "host", task=task)
        return _error(409, "not_ready", "The folder for uploads is being made. Try again in a moment.")
    except TusError as error:
        return _refusal(error)
    except BadUpload as error:
        return _error(422, "invalid", str(error))
    except Refused as refused:
        return _error(refused.status, refused.code, refused.message, refused.field)
    audit.record(
        request, "storage.upload", f"file {upload.name}", {"size": upload.size, "purpose": upload.purpose}
    )
    return _answer(HTTPStatus.CREATED, {"Location": f"{base}{upload.uuid}", **_state(upload, 0)})


def item(request: HttpRequest, user: User, uuid: UUID) -> HttpResponse:
    """OPTIONS, HEAD, PATCH and DELETE on one of a person's own uploads. Raises Http404."""
    upload = Upload.objects.select_related("pool", "user").filter(uuid=uuid, user=user).first()
    if upload is None or not may_send(user):
        raise Http404
    if request.method == "OPTIONS":
        return _answer(HTTPStatus.NO_CONTENT, _abilities())
    try:
        _check_version(request)
        if request.method == "PATCH":
            return _add(request, upload)
        if request.method == "DELETE":
            tus.end(upload)
            audit.record(request, "storage.remove_upload", f"file {upload.name}")
            return _answer(HTTPStatus.NO_CONTENT, {})
        there = tus.offset(upload)
        if there == upload.size:
            tus.complete(upload, partial(_received, request))
    except TusError as error:
        return _refusal(error)
    return _answer(HTTPStatus.OK, {"Upload-Length": str(upload.size), **_state(upload, there)})


def _begin(request: HttpRequest, user: User) -> Upload:
    if "Upload-Defer-Length" in request.headers:
        raise TusError(400, "A file has to tell its size when it begins.")
    size = tus.number(request.headers.get("Upload-Length", ""))
    told = tus.metadata(request.headers.get("Upload-Metadata", ""))
    name, purpose = told.get("filename", ""), told.get("purpose", "file")
    columns: dict[str, Any] = {
        "purpose": purpose,
        "sha256": _digest(told),
        "options": _options(user, purpose, told),
    }
    return tus.begin(user, name, size, **columns)


def _digest(told: dict[str, str]) -> str:
    value = told.get("sha256", "").lower()
    if value:
        try:
            if checksums.parse(value).algorithm != "sha256":
                raise Refused("invalid", "SHA-256 has 64 hexadecimals.", "sha256")
        except checksums.BadChecksum as error:
            raise Refused("invalid", str(error), "sha256") from error
    return value


def _options(user: User, purpose: str, told: dict[str, str]) -> dict[str, Any]:
    """What is kept for the moment when all has arrived. Raises Refused."""
    if purpose not in PURPOSES:
        raise Refused("invalid", f"A purpose is one of {', '.join(PURPOSES)}.", "purpose")
    if purpose == "file":
        return {}
    if not user.can("storage.change"):
        raise not_found()
    pool, filename = adding.pool_for_library(), told.get("filename", "")
    if purpose == "iso":
        name = told.get("name") or adding.medium_name_of(filename)
        if not name:
            raise Refused("invalid", "The name of a medium ends with .iso or .img.", "name")
        if Iso.objects.filter(pool=pool, name=name, size__gt=0).exists():
            raise Refused("conflict", "There is already a medium of this name.", "name", 409)
        return {"name": name}
    name = told.get("name") or adding.image_name_of(filename)
    if problem := adding.image_name_problem(name):
        raise Refused("invalid", problem, "name")
    if Image.objects.filter(pool=pool, name=name).exists():
        raise Refused("conflict", "There is already an image of this name.", "name", 409)
    return {"name": name, "facts": _facts(told.get("facts", ""))}


def _facts(text: str) -> dict[str, str]:
    try:
        told = json.loads(text or "{}")
    except ValueError as error:
        raise Refused("invalid", "The facts are no JSON.", "facts") from error
    form = FactsForm({"firmware": "uefi", **told} if isinstance(told, dict) else {})
    if not form.is_valid():
        field, errors = next(iter(form.errors.items()))
        raise Refused("invalid", str(errors[0]), field)
    return form.facts()


def _add(request: HttpRequest, upload: Upload) -> HttpResponse:
    if request.content_type != TYPE:
        return _error(415, "invalid", f"A piece of a file is {TYPE}.")
    start = tus.number(request.headers.get("Upload-Offset", ""))
    promised = tus.checksum(request.headers.get("Upload-Checksum", ""))
    there = tus.write(upload, start, request, promised, partial(_received, request))
    return _answer(HTTPStatus.NO_CONTENT, _state(upload, there))


def _received(request: HttpRequest, upload: Upload) -> None:
    """Ask for what is to become of a file, now that all of it is there."""
    task = None
    source = {"file": f"{upload.user_id}/{upload.name}"}
    if upload.sha256:
        source["checksum"] = upload.sha256
    try:
        if upload.purpose == "iso":
            task = adding.add_iso(upload.user, upload.pool, upload.options["name"], source)
        elif upload.purpose == "image":
            name, facts = upload.options["name"], upload.options["facts"]
            task = adding.add_image(upload.user, upload.pool, name, facts, source)[1]
    except Refused as refused:
        # The name was taken meanwhile: the file stays among the person's files.
        audit.record(request, "storage.upload_kept", f"file {upload.name}", {"why": str(refused)})
        return
    audit.record(request, "storage.uploaded", f"file {upload.name}", task=task)


def _state(upload: Upload, there: int) -> dict[str, str]:
    state = {"Upload-Offset": str(there)}
    if there < upload.size:
        state["Upload-Expires"] = http_date(tus.expires(upload).timestamp())
    return state


def _check_version(request: HttpRequest) -> None:
    if request.headers.get("Tus-Resumable") != tus.VERSION:
        raise TusError(412, f"This is tus {tus.VERSION}: send the header Tus-Resumable.")


def _abilities() -> dict[str, str]:
    return {
        "Tus-Version": tus.VERSION,
        "Tus-Extension": tus.EXTENSIONS,
        "Tus-Max-Size": str(store.LIMIT),
        "Tus-Checksum-Algorithm": ",".join(tus.ALGORITHMS),
    }


def _answer(status: int, headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(
        status=status, headers={"Tus-Resumable": tus.VERSION, "Cache-Control": "no-store", **headers}
    )


def _error(status: int, code: str, message: str, field: str | None = None) -> HttpResponse:
    body = {"code": code, "message": message} | ({"field": field} if field else {})
    return JsonResponse(
        body, status=status, headers={"Tus-Resumable": tus.VERSION, "Tus-Version": tus.VERSION}
    )


def _refusal(error: TusError) -> HttpResponse:
    response = _error(error.status, "upload", str(error))
    if error.offset is not None:
        response["Upload-Offset"] = str(error.offset)
    return response
