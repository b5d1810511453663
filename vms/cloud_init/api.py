"""The API of cloud-init: what the guest of a VM is told, and the library of snippets.

The settings are an object: kind, user, ssh_keys, hostname, fqdn, networks ([{"nic": 0, "dhcp": true}] or addresses,
gateway4, gateway6, nameservers, search), user_data, scripts, snippets (numbers), packages, timezone, locale, shell,
eject, device, and for an installer: installer, answers.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype import cloudinit
from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in
from bhype.accounts.errors import ApiError
from bhype.accounts.models import User
from bhype.cloudinit import Invalid
from bhype.tasks.api import TaskOut
from vms import plan, wanted
from vms.models import VM, Snippet

from . import changes, seeds, snippets

router = Router()
library = Router()
CHANGE = "templates.change"


class CloudInitOut(Schema):
    """settings: without the hash of the password; documents: by name, without secrets; problems: why no seed can be
    made, as sentences; has_seed: whether the seed is in the VM; task: what writes it, null when nothing has changed."""

    settings: dict[str, Any]
    has_password: bool
    has_seed: bool
    generation: int
    documents: dict[str, str]
    problems: list[str]
    task: TaskOut | None = None


class CloudInitIn(Schema):
    """settings: all of them; {} takes them away. password: in clear, kept as a hash; null keeps the one that is set, ""
    takes it away. again: the guest takes itself for a new one."""

    model_config = ConfigDict(extra="forbid")
    settings: dict[str, Any]
    password: str | None = Field(None, max_length=256)
    again: bool = False


class SnippetOut(Schema):
    id: int
    name: str
    kind: str
    notes: str
    owner: str | None
    is_shared: bool
    changed_at: datetime

    @staticmethod
    def resolve_owner(row: Snippet) -> str | None:
        return row.owner.username if row.owner else None


class SnippetText(SnippetOut):
    """problems: what is doubtful about the text, as sentences."""

    text: str
    problems: list[str]

    @staticmethod
    def resolve_problems(row: Snippet) -> list[str]:
        return [str(problem) for problem in snippets.problems(row.kind, row.text)]


class SnippetIn(Schema):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=64)
    kind: str = Snippet.Kind.USER_DATA.value
    text: str = Field(max_length=1 << 16)
    notes: str = Field("", max_length=10_000)
    is_shared: bool = False


class SnippetChange(Schema):
    model_config = ConfigDict(extra="forbid")
    name: str | None = Field(None, max_length=64)
    text: str | None = Field(None, max_length=1 << 16)
    notes: str | None = Field(None, max_length=10_000)
    is_shared: bool | None = None


def _find(request: HttpRequest, name: str, right: str = "vms.view") -> VM:
    return wanted.load(lookup(signed_in(request), VM, right, name=name).pk)


def _out(request: HttpRequest, vm: VM, task: object = None) -> dict[str, Any]:
    may_change = signed_in(request).can("vms.change", owner_id=vm.owner_id)
    documents, problems = changes.shown(vm, bodies=may_change)
    public = changes.public(vm)
    if not may_change:
        public = {key: value for key, value in public.items() if key not in {"user_data", "scripts"}}
    return {
        "settings": public, "has_password": bool(vm.cloud_init.get("password_hash")), "has_seed": plan.has_seed(vm),
        "generation": vm.cloud_init_generation, "documents": documents, "task": task,
        "problems": [str(problem) for problem in problems],
    }  # fmt: skip


def _invalid(invalid: Invalid) -> ApiError:
    first = invalid.problems[0]
    return ApiError(422, "invalid", str(first), f"settings.{first.field}")


@router.get("/{name}/cloud-init", response=CloudInitOut, summary="What the guest is told by cloud-init")
def get_cloud_init(request: HttpRequest, name: str) -> dict[str, Any]:
    return _out(request, _find(request, name))


@router.put("/{name}/cloud-init", response=CloudInitOut, summary="Tell the guest something else")
def put_cloud_init(request: HttpRequest, name: str, payload: CloudInitIn) -> dict[str, Any]:
    vm = _find(request, name, "vms.change")
    try:
        vm, task = changes.save(vm, _values(vm, payload), signed_in(request), again=payload.again)
    except Invalid as invalid:
        raise _invalid(invalid) from invalid
    audit.record(request, "vms.cloud_init", f"vm {vm.name}", {"fields": sorted(payload.settings)}, task=task)
    return _out(request, vm, task)


def _values(vm: VM, payload: CloudInitIn) -> dict[str, Any]:
    """The settings with the hash of the password. Raises Invalid and ApiError."""
    values = {key: value for key, value in payload.settings.items() if value not in (None, "", [])}
    if not values:
        return {}
    if "password_hash" in values or values.keys() & {"slot", "applied"}:
        raise ApiError(422, "invalid", "This is not a setting; a password goes into password.", "settings")
    if values.get("device") not in {None, *plan.SEED_DEVICES}:
        raise ApiError(422, "invalid", f"It is one of {', '.join(plan.SEED_DEVICES)}.", "settings.device")
    if payload.password and values.get("installer") == Snippet.Kind.AUTOUNATTEND:
        raise ApiError(422, "invalid", changes.NO_HASH, "password")
    if payload.password:
        values["password_hash"] = cloudinit.hash_password(payload.password)
    elif payload.password is None and vm.cloud_init.get("password_hash"):
        values["password_hash"] = vm.cloud_init["password_hash"]
    cloudinit.parse(values)
    return values


@router.post("/{name}/cloud-init/{action}", response=CloudInitOut, summary="Take the seed out (eject), put it back "
             "(insert), or tell the guest again as a new one (again)")  # fmt: skip
def act_on_seed(request: HttpRequest, name: str, action: str) -> dict[str, Any]:
    vm, user = _find(request, name, "vms.change"), signed_in(request)
    if action not in {"eject", "insert", "again"}:
        raise ApiError(404, "not_found", "There is no such action; there are eject, insert and again.")
    if not vm.cloud_init:
        raise ApiError(409, "conflict", f"{vm.name} has no settings for cloud-init.")
    try:
        again = action == "again"
        task = changes.take_out(vm, user) if action == "eject" else changes.put_back(vm, user, again=again)
    except Invalid as invalid:
        raise _invalid(invalid) from invalid
    audit.record(request, f"vms.cloud_init_{action}", f"vm {vm.name}", task=task)
    return _out(request, _find(request, name), task)


@router.get("/{name}/seed.iso", summary="The seed as an ISO, with the hash of the password")
def get_seed(request: HttpRequest, name: str) -> HttpResponse:
    vm = _find(request, name, "vms.change")
    if not vm.cloud_init:
        raise ApiError(404, "not_found", f"{vm.name} has no settings for cloud-init.")
    try:
        return HttpResponse(seeds.image(vm), content_type="application/octet-stream")
    except Invalid as invalid:
        raise _invalid(invalid) from invalid


# The library.


def _writer(request: HttpRequest) -> User:
    user = signed_in(request)
    if user.scope not in {None, "full"}:
        raise ApiError(403, "scope", "A token of this scope does not change snippets.")
    return user


@library.get("", response=list[SnippetOut], summary="The snippets that you may use")
def list_snippets(request: HttpRequest) -> QuerySet[Snippet]:
    return Snippet.objects.visible_to(signed_in(request)).select_related("owner")


@library.post("", response={201: SnippetText}, summary="Write a snippet")
def create_snippet(request: HttpRequest, payload: SnippetIn) -> Status[Snippet]:
    row = Snippet(owner=_writer(request), **payload.model_dump())
    return Status(201, _save(request, row, "snippets.create"))


@library.get("/{snippet_id}", response=SnippetText, summary="A snippet with its text")
def get_snippet(request: HttpRequest, snippet_id: int) -> Snippet:
    return lookup(signed_in(request), Snippet, "self", pk=snippet_id)


@library.patch("/{snippet_id}", response=SnippetText, summary="Change a snippet")
def change_snippet(request: HttpRequest, snippet_id: int, payload: SnippetChange) -> Snippet:
    row = lookup(_writer(request), Snippet, CHANGE, pk=snippet_id)
    for key, value in payload.model_dump(exclude_none=True).items():
        setattr(row, key, value)
    return _save(request, row, "snippets.change")


@library.delete("/{snippet_id}", response={204: None}, summary="Delete a snippet that nobody uses")
def delete_snippet(request: HttpRequest, snippet_id: int) -> Status[None]:
    row = lookup(_writer(request), Snippet, CHANGE, pk=snippet_id)
    if problem := snippets.delete(row):
        raise ApiError(409, "in_use", problem)
    audit.record(request, "snippets.delete", f"snippet {row.name}")
    return Status(204, None)


def _save(request: HttpRequest, row: Snippet, verb: str) -> Snippet:
    row.text = row.text.replace("\r\n", "\n")
    if row.kind not in Snippet.Kind.values:
        raise ApiError(422, "invalid", f"It is one of {', '.join(Snippet.Kind.values)}.", "kind")
    if problem := snippets.name_problem(row.name, row):
        raise ApiError(422, "invalid", problem, "name")
    faults = [problem for problem in snippets.problems(row.kind, row.text) if not problem.is_warning]
    if faults:
        raise ApiError(422, "invalid", str(faults[0]), "text")
    snippets.touch(row)
    row.save()
    audit.record(request, verb, f"snippet {row.name}", {"shared": row.is_shared})
    return row
