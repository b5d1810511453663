"""The API of deployments: VMs of a template, and new identities. Sizes are bytes; as input also text such as "2G"."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError, invalid
from bhype.accounts.models import SshKey, User
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from network.models import Switch
from vms import plan, wanted
from vms.models import VM, Template
from vms.os_templates import rows as template_rows
from vms.os_templates.api import Size, key_of

from . import orders
from .forms import DeployForm
from .forms_identity import IdentityForm

router = Router()
_STRICT = ConfigDict(extra="forbid")


class DeployIn(Schema):
    """template: ``debian12`` is its newest version, ``debian12:2`` that one. name: of several, ``web{01..20}``, or with
    count. What is left out is as the template has it; switch null: no network; ssh_keys: beside those of your profile,
    unless profile_keys is false; addressing: "" (by DHCP), "lease" (a static one), "pool" (the next free of the switch,
    set in the guest) or "typed"; address: of the first VM, with its prefix; the others follow; passphrase:
    encrypts them, which takes copies of the template's disks."""

    model_config = _STRICT
    template: str = Field(max_length=64)
    name: str = Field(max_length=60)
    count: int | None = None
    cpus: int | None = None
    memory: Size | None = None
    disk_size: Size | None = None
    switch: str | None = Field(None, max_length=64)
    mac: str = Field(default="", max_length=17)
    owner: str | None = Field(None, max_length=150)
    start: bool = True
    autostart: bool = False
    tags: list[str] = []
    notes: str = Field(default="", max_length=10_000)
    user: str | None = Field(None, max_length=32)
    password: str = Field(default="", max_length=128)
    profile_keys: bool = True
    ssh_keys: list[str] = Field(default=[], max_length=64)
    addressing: str = Field(default="", max_length=5)
    address: str = Field(default="", max_length=100)
    gateway: str = Field(default="", max_length=45)
    nameservers: list[str] = []
    packages: list[str] = []
    snippets: list[int] = []
    user_data: str = Field(default="", max_length=1 << 16)
    script: str = Field(default="", max_length=1 << 16)
    passphrase: str = Field(default="", max_length=512)


class DeployedOut(Schema):
    name: str
    task: TaskOut | None
    error: str | None


class DeploymentOut(Schema):
    """key: of a batch, "" for one VM."""

    key: str
    items: list[DeployedOut]


class IdentityIn(Schema):
    """name: "" keeps it; macs, screen: new addresses of its ports, a new password of its screen. Of the guest, where it
    has a seed: address with its prefix, password, and SSH keys; what is left out stays."""

    model_config = _STRICT
    name: str = Field(default="", max_length=64)
    macs: bool = True
    screen: bool = True
    address: str = Field(default="", max_length=100)
    password: str = Field(default="", max_length=128)
    ssh_keys: list[str] = Field(default=[], max_length=64)


@router.post("/deploy", response={202: DeploymentOut}, summary="Deploy VMs of a template")
def deploy_vms(request: HttpRequest, payload: DeployIn) -> Status[dict[str, Any]]:
    user = require(request, "vms.create")
    template = template_rows.find(user, payload.template)
    if template is None:
        raise ApiError(422, "invalid", "There is no such template, or it is not published.", "template")
    form = DeployForm(_deploy_data(payload, template, user), user=user)
    saved = form.save() if form.is_valid() else None
    if saved is None:
        raise invalid(form)
    key, outcomes = saved
    for outcome in outcomes:
        if outcome.vm:
            audit.record(
                request, "vms.deploy", f"vm {outcome.name}", {"template": str(template)}, task=outcome.task
            )
    return Status(202, {"key": key, "items": [_deployed(outcome) for outcome in outcomes]})


def _deployed(outcome: orders.Outcome) -> dict[str, Any]:
    return {"name": outcome.name, "task": outcome.task, "error": outcome.error or None}


def _deploy_data(payload: DeployIn, template: Template, user: User) -> dict[str, Any]:
    """What the form would have been sent, with the template's own where the caller says nothing."""
    begun = DeployForm(user=user, initial={"template": template.pk})
    said = payload.model_fields_set
    data: dict[str, Any] = {
        key: getattr(payload, key)
        for key in ("name", "mac", "start", "autostart", "tags", "notes", "password", "address")
    }
    data |= {
        key: getattr(payload, key)
        for key in ("addressing", "gateway", "user_data", "script", "count", "cpus", "snippets")
    }
    data |= {
        key: "" if getattr(payload, key) is None else str(getattr(payload, key))
        for key in ("memory", "disk_size")
    }
    switch = begun.initial.get("switch")
    if "switch" in said:
        data["switch"] = key_of(Switch.objects.filter(host=template.host), "switch", "name", payload.switch)
    else:
        data["switch"] = switch.pk if isinstance(switch, Switch) else ""
    return data | {
        **dict.fromkeys(("passphrase", "again"), payload.passphrase),
        "template": template.pk,
        "owner": key_of(User.objects, "owner", "username", payload.owner),
        "user": begun.initial.get("user", "") if payload.user is None else payload.user,
        "keys": list(SshKey.objects.filter(user=user).values_list("pk", flat=True))
        if payload.profile_keys
        else [],
        "ssh_keys": "\n".join(payload.ssh_keys),
        "nameservers": ",".join(payload.nameservers),
        "packages": ",".join(payload.packages),
    }


@router.get("/deploy/{key}", response=list[TaskOut], summary="The tasks of a batch")
def get_batch(request: HttpRequest, key: str) -> list[Task]:
    user = signed_in(request)
    tasks = orders.tasks_of(key, user) if user.can("vms.create") and "\0" not in key else []
    if not tasks:
        raise Http404
    return tasks


@router.post("/{name}/identity", response={202: TaskOut}, summary="Give a VM a new identity")
def reset_identity(request: HttpRequest, name: str, payload: IdentityIn | None = None) -> Status[Task]:
    user, said = signed_in(request), payload or IdentityIn()
    vm = wanted.load(lookup(user, VM, "vms.change", name=name).pk)
    if vm.state in plan.ON:
        raise ApiError(409, "conflict", f"{vm.name} is on. Stop it first.")
    guest = [key for key in ("address", "password", "ssh_keys") if getattr(said, key)]
    if guest and not vm.cloud_init:
        raise ApiError(422, "invalid", f"{vm.name} has no seed: its guest cannot be told this.", guest[0])
    form = IdentityForm(said.model_dump() | {"ssh_keys": "\n".join(said.ssh_keys)}, vm=vm)
    task = form.save(user) if form.is_valid() else None
    if task is None:
        raise invalid(form)
    audit.record(
        request, "vms.reset_identity", f"vm {name}", {"fields": sorted(said.model_fields_set)}, task=task
    )
    return Status(202, task)
