"""The REST API under /api/v1: everything a page can do. Each app brings its router; here they meet."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.operation import Operation
from ninja.parser import Parser
from ninja.responses import Response

from bhype.accounts.access import allow
from bhype.accounts.api import audit as audit_router
from bhype.accounts.api import tokens as tokens_router
from bhype.accounts.api import users as users_router
from bhype.accounts.api_auth import Bearer, Session
from bhype.accounts.api_ssh_keys import router as ssh_keys_router
from bhype.accounts.errors import ApiError
from bhype.hosts.api import router as hosts_router
from bhype.tasks.api import router as tasks_router
from bhype.tasks.api_schedules import router as schedules_router
from bhype.tasks.errors import Refused
from network.api import router as network_router
from storage.api import router as storage_router
from vms.api import router as vms_router
from vms.cloud_init.api import library as snippets_router
from vms.cloud_init.api import router as cloud_init_router
from vms.deploy.api import router as deploy_router
from vms.hardware.api import router as hardware_router
from vms.hardware.api_edited import router as edited_router
from vms.keys.api import router as key_router
from vms.life.api import boot as boot_router
from vms.life.api import router as life_router
from vms.life.api_consoles import router as consoles_router
from vms.os_templates.api import preset_router
from vms.os_templates.api import router as templates_router
from vms.snapshots.api import router as vm_snapshots_router
from vms.traffic.api import router as vm_traffic_router
from vms.transfer.api_export import router as export_router
from vms.transfer.api_files import router as import_files_router
from vms.transfer.api_import import router as import_router

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class StrictParser(Parser):
    """JSON whose texts can be stored: neither bytes nor escapes make half a surrogate pair, which no encoding takes."""

    def parse_body(self, request: HttpRequest) -> Any:
        text = request.body.decode()  # json.loads would let surrogates in UTF-8 pass
        body = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(body, ensure_ascii=False).encode()
        return body


class PanelAPI(NinjaAPI):
    """Names each operation by its tag and its function: a client made from the description calls it by that."""

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """As "network_create_switch". Not by the module, as ninja does, so that code may move and clients stay."""
        return "_".join([*(operation.tags or ()), operation.view_func.__name__]).replace("-", "_")


api = PanelAPI(
    parser=StrictParser(),
    title="bHype",
    version="1",
    description="Virtual machines on FreeBSD. Sign in with `Authorization: Bearer TOKEN`.",
    auth=[Bearer(), Session()],
    # Its description and the page that shows it are below, each with a rule of its own.
    openapi_url="",
    urls_namespace="api",
)
api.add_router("/vms", deploy_router, tags=["vms"])
api.add_router("/vms", import_router, tags=["vms"])
api.add_router("/vms", import_files_router, tags=["vms"])
api.add_router("/vms", vms_router, tags=["vms"])
api.add_router("/vms", hardware_router, tags=["vms"])
api.add_router("/vms", edited_router, tags=["vms"])
api.add_router("/vms", life_router, tags=["vms"])
api.add_router("/vms", export_router, tags=["vms"])
api.add_router("/vms", vm_snapshots_router, tags=["vms"])
api.add_router("/vms", vm_traffic_router, tags=["vms"])
api.add_router("/vms", key_router, tags=["vms"])
api.add_router("/vms", consoles_router, tags=["vms"])
api.add_router("/vms", cloud_init_router, tags=["cloud-init"])
api.add_router("/snippets", snippets_router, tags=["cloud-init"])
api.add_router("/templates", templates_router, tags=["templates"])
api.add_router("/presets", preset_router, tags=["templates"])
api.add_router("/boot", boot_router, tags=["vms"])
api.add_router("", storage_router, tags=["storage"])
api.add_router("", network_router, tags=["network"])
api.add_router("/hosts", hosts_router, tags=["hosts"])
api.add_router("/tasks", tasks_router, tags=["tasks"])
api.add_router("/schedules", schedules_router, tags=["tasks"])
api.add_router("/users", users_router, tags=["accounts"])
api.add_router("/tokens", tokens_router, tags=["accounts"])
api.add_router("/ssh-keys", ssh_keys_router, tags=["accounts"])
api.add_router("/audit", audit_router, tags=["accounts"])


@api.get("/openapi.json", url_name="openapi-json", tags=["api"], summary="This description, as OpenAPI 3.1")
def get_description(request: HttpRequest) -> HttpResponse:
    """All operations with what they take and answer."""
    return Response(description())


@cache
def description() -> dict[str, Any]:
    """The API as OpenAPI. Kept: it takes a second to make, and never changes."""
    return dict(api.get_openapi_schema())


@allow("self")
def documentation(request: HttpRequest) -> HttpResponse:
    """The page that shows the description to people."""
    return api.docs.render_page(request, api)


def _answer(
    request: HttpRequest, status: int, code: str, message: str, field: str | None = None
) -> HttpResponse:
    """Every error has this one shape: a code for programs, a sentence for people, the field if there is one."""
    body: dict[str, Any] = {"code": code, "message": message}
    if field:
        body["field"] = field
    return api.create_response(request, body, status=status)


@api.exception_handler(ApiError)
def _api_error(request: HttpRequest, error: ApiError) -> HttpResponse:
    return _answer(request, error.status, error.code, error.message, error.field)


@api.exception_handler(Refused)
def _refused(request: HttpRequest, error: Refused) -> HttpResponse:
    return _answer(request, error.status, error.code, error.message, error.field)


@api.exception_handler(Http404)
@api.exception_handler(PermissionDenied)
def _missing(request: HttpRequest, _error: Exception) -> HttpResponse:
    return _answer(request, 404, "not_found", "There is no such object, or it is not yours.")


@api.exception_handler(AuthenticationError)
def _unauthenticated(request: HttpRequest, _error: AuthenticationError) -> HttpResponse:
    return _answer(request, 401, "unauthenticated", "Send a valid token: Authorization: Bearer TOKEN.")


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    first = error.errors[0] if error.errors else {}
    place = [str(part) for part in first.get("loc", ())[1:] if part not in {"payload", "body"}]
    return _answer(
        request, 422, "invalid", str(first.get("msg", "The request is not valid.")), ".".join(place) or None
    )


@api.exception_handler(HttpError)
def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    return _answer(request, error.status_code, "error", str(error))
