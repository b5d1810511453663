"""The API of one's own public SSH keys."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from . import people, ssh_keys
from .access import lookup, signed_in
from .errors import ApiError
from .models import ApiToken, SshKey, User

router = Router()


class SSHKeyOut(Schema):
    id: int
    name: str
    text: str
    fingerprint: str
    created_at: datetime


class KeyIn(Schema):
    """text: one line as in a .pub file; name: by default the comment in it."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(max_length=10_000)
    name: str = Field("", max_length=64)


@router.get("", response=list[SSHKeyOut], summary="Your SSH keys")
def list_keys(request: HttpRequest) -> models.QuerySet[SshKey]:
    return SshKey.objects.visible_to(signed_in(request))


@router.post("", response={201: SSHKeyOut}, summary="Add an SSH key")
def add_key(request: HttpRequest, payload: KeyIn) -> Status[SshKey]:
    try:
        return Status(201, ssh_keys.add(request, _unscoped(request), payload.text, payload.name))
    except people.NotPossible as error:
        raise ApiError(422, error.code, error.message, error.field) from error


@router.delete("/{key_id}", response={204: None}, summary="Remove an SSH key")
def remove_key(request: HttpRequest, key_id: int) -> Status[None]:
    ssh_keys.remove(request, lookup(_unscoped(request), SshKey, "self", pk=key_id))
    return Status(204, None)


def _unscoped(request: HttpRequest) -> User:
    """The caller, if nothing narrows their rights: a key opens guests that are made later."""
    user = signed_in(request)
    if user.scope not in {None, ApiToken.Scope.FULL}:
        raise ApiError(403, "scope", "A token of this scope does not manage SSH keys.")
    return user
